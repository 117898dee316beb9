"""How the kernels of chapter 12's exercises are launched, and what they fill."""

import torch
import triton

from .forward import tile_of


def running(launch, outputs):
    """(kernel, *inputs) -> outputs: memory for them, and one launch."""
    def run(kernel, *inputs):
        found = outputs(*inputs)
        launch(kernel, *inputs, *(found if isinstance(found, tuple) else (found,)))
        return found
    return run


# -- 12.3 --------------------------------------------------------------------------------------------------------------

def sweep_outputs(q, k, beta, UT_low, do, d_final, scale):
    """dS' of each chunk (B, H, N, V, K), dV (B, T, H, V), the gradient of the first memory (B, H, V, K)."""
    (B, T, H, K), V, C = q.shape, do.shape[3], UT_low.shape[3]
    return q.new_empty(B, H, triton.cdiv(T, C), V, K), torch.empty_like(do), torch.empty_like(d_final)


def launch_sweep(kernel, q, k, beta, UT_low, do, d_final, scale, d_states, dv, d_initial):
    """One program per tile of V and head."""
    (B, T, H, K), V, C = q.shape, do.shape[3], UT_low.shape[3]
    tile, options = tile_of(do)
    kernel[(V // tile, B * H)](q, k, beta, UT_low, do, d_final, d_states, dv, d_initial,
                               scale, T, H, K, V, C, tile, **options)


backward_sweep = running(launch_sweep, sweep_outputs)


# -- 12.4 --------------------------------------------------------------------------------------------------------------

def strengths_outputs(beta, dv, X, C):
    return torch.empty_like(beta)


def launch_strengths(kernel, beta, dv, X, C, dbeta):
    """One program per chunk, head and tile of V; dbeta is zero before."""
    (B, T, H), V = beta.shape, dv.shape[3]
    tile = 16 if dv.dtype == torch.float32 else min(V, 128)              # the fewer tiles, the fewer additions
    kernel[(triton.cdiv(T, C), B * H, V // tile)](beta, dv, X, dbeta.zero_(), T, H, V, C, tile)


gradient_of_strengths = running(launch_strengths, strengths_outputs)


# -- 12.5 --------------------------------------------------------------------------------------------------------------

def keys_outputs(q, k, do, dv, X, states, d_states, scale, C):
    return torch.empty_like(k)


def launch_keys(kernel, q, k, do, dv, X, states, d_states, scale, C, dk):
    """One program per chunk and head."""
    (B, T, H, K), V = k.shape, do.shape[3]
    tile, options = tile_of(do)
    kernel[(triton.cdiv(T, C), B * H)](q, k, do, dv, X, states, d_states, dk, scale, T, H, K, V, C, tile, **options)


gradient_of_keys = running(launch_keys, keys_outputs)
