"""The memory of Mamba (arXiv 2312.00752): every entry decays at a rate of its own. Three forms of one function.

    S_t = exp(delta_t 1^T * A) * S_{t-1} + (delta_t * v_t) k_t^T,    o_t = S_t q_t + skip * v_t      (* entry by entry)

A step size delta_t > 0 for each channel says how much of the token is taken in and, with A < 0, how much of the past
fades. Mamba writes h, x, B and C for our S, v, k and q. One memory serves all channels, so there are no heads here:

    q, k: (B, T, K), K of them for all channels alike.    v, delta: (B, T, V), V channels.
    A: (V, K), negative.    skip: (V,), or None for none.    initial_state: (B, V, K), zeros if None.

All forms return o: (B, T, V) in the dtype of v and the state after the last token, (B, V, K). Half precision is
computed, and its state returned, in float32.
"""

import torch
from torch import Tensor

from .common import working_dtype


def selective_scan_recurrent(q: Tensor, k: Tensor, v: Tensor, delta: Tensor, A: Tensor, skip: Tensor | None = None, *,
                             initial_state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One token at a time. Cost per token: 6KV FLOPs and KV exponentials on a state of KV numbers."""
    out_dtype = v.dtype
    q, k, v, delta, A, S = enter(q, k, v, delta, A, initial_state)
    o = []
    for q_t, k_t, v_t, delta_t in zip(q.unbind(1), k.unbind(1), v.unbind(1), delta.unbind(1)):
        S = (delta_t[..., None] * A).exp() * S + (delta_t * v_t)[..., None] * k_t[..., None, :]      # (B, V, K)
        o.append((S @ q_t[..., None])[..., 0])                           # (B, V)
    o = torch.stack(o, 1) if o else v                                    # no tokens: v is empty, and has the shape
    return add_skip(o, v, skip).to(out_dtype), S


def selective_scan_parallel(q: Tensor, k: Tensor, v: Tensor, delta: Tensor, A: Tensor, skip: Tensor | None = None, *,
                            initial_state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """All tokens at once, by `linear_scan`.

    Decays that differ in every entry of S leave no matrix product to do the work, as the other memories have it: all T
    states are made. Cost: about 9TKV FLOPs, TKV exponentials, and several times TKV numbers of memory.
    """
    out_dtype, T = v.dtype, v.shape[1]
    q, k, v, delta, A, S = enter(q, k, v, delta, A, initial_state)
    if not T:
        return v.to(out_dtype), S
    decay = (delta[..., None] * A).exp()                                 # (B, T, V, K)
    write = (delta * v)[..., None] * k[..., None, :]                     # (B, T, V, K)
    first = write[:, :1] + decay[:, :1] * S[:, None]                     # the first token meets what came before
    states = linear_scan(decay, torch.cat([first, write[:, 1:]], 1))     # (B, T, V, K)
    o = (states @ q[..., None])[..., 0]                                  # (B, T, V)
    return add_skip(o, v, skip).to(out_dtype), states[:, -1].clone()     # a view would keep all T of them alive


def selective_scan_chunkwise(q: Tensor, k: Tensor, v: Tensor, delta: Tensor, A: Tensor, skip: Tensor | None = None, *,
                             initial_state: Tensor | None = None, chunk_size: int = 64) -> tuple[Tensor, Tensor]:
    """The parallel form on C tokens at a time: without gradients, memory for C states instead of T."""
    S, o = initial_state, []
    for piece in zip(*(x.split(chunk_size, 1) for x in (q, k, v, delta))):
        o_n, S = selective_scan_parallel(*piece, A, skip, initial_state=S)
        o.append(o_n)
    return torch.cat(o, 1), S


def linear_scan(a: Tensor, b: Tensor) -> Tensor:
    """All of x_t = a_t * x_{t-1} + b_t with x_0 = 0, entry by entry. a, b: (B, T, ...), as is the result.

    Two tokens in a row are one map of the same kind: x -> a_2 a_1 x + (a_2 b_1 + b_2). So join neighbors, scan half as
    many, and take one step from each result to the token between (Blelloch 1990). 2 log2 T rounds, together about 5 T
    FLOPs an entry, where a scan that keeps all T busy in every round needs 3 T log2 T.
    """
    T = a.shape[1]
    if T == 1:
        return b
    a_1, a_2 = a[:, 0:T - 1:2], a[:, 1::2]                               # (B, T // 2, ...)  first and second of a pair
    after_pairs = linear_scan(a_2 * a_1, a_2 * b[:, 0:T - 1:2] + b[:, 1::2])         # tokens 2, 4, ...
    before = torch.cat([torch.zeros_like(b[:, :1]), after_pairs], 1)[:, :(T + 1) // 2]
    between = a[:, ::2] * before + b[:, ::2]                             # tokens 1, 3, ...: one more if T is odd
    both = torch.stack([between[:, :T // 2], after_pairs], 2).flatten(1, 2)          # (B, 2 (T // 2), ...)
    return torch.cat([both, between[:, T // 2:]], 1)


def enter(q, k, v, delta, A, initial_state):
    """Bring all to the working dtype and make the state that enters, (B, V, K), zeros if None."""
    dtype = working_dtype(q, k, v, delta, A)
    q, k, v, delta, A = (x.to(dtype) for x in (q, k, v, delta, A))
    S = v.new_zeros(len(v), *A.shape) if initial_state is None else initial_state.to(dtype)
    return q, k, v, delta, A, S


def add_skip(o, v, skip):
    return o if skip is None else o + skip.to(o.dtype) * v
