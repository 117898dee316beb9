"""The delta rule, one token at a time: three ways to see one step, and the loop that applies it (paper, section 2.2).

A step takes the memory S: (..., V, K), a key k: (..., K), a value v: (..., V) and a write strength beta: (...),
and returns the new memory. The three steps are the same function.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..common import enter


def sgd_step(S: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    """One step of gradient descent on 1/2 |S k - v|^2 with learning rate beta (eq. 2.3): S - beta (S k - v) k^T."""
    error = (S @ k[..., None])[..., 0] - v         # (..., V)  what the memory says, minus what it should say
    return S - beta[..., None, None] * error[..., :, None] * k[..., None, :]


def erase_then_write_step(S: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    """Read the old value, blend it with the new one, erase the old, write the blend (eq. 2.5).

    v_old = S k,   v_new = beta v + (1 - beta) v_old,   S - v_old k^T + v_new k^T
    """
    v_old = (S @ k[..., None])[..., 0]                                   # (..., V)
    v_new = beta[..., None] * v + (1 - beta[..., None]) * v_old          # (..., V)
    return S - v_old[..., :, None] * k[..., None, :] + v_new[..., :, None] * k[..., None, :]


def transition_step(S: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    """A linear recurrence: S (I - beta k k^T) + beta v k^T (eq. 2.6). The bracket: a generalized Householder matrix."""
    eye = torch.eye(k.shape[-1], dtype=k.dtype, device=k.device)
    transition = eye - beta[..., None, None] * k[..., :, None] * k[..., None, :]     # (..., K, K)
    return S @ transition + beta[..., None, None] * v[..., :, None] * k[..., None, :]


def delta_rule_recurrent(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, *,
                         initial_state: Tensor | None = None, scale: float = 1.0,
                         step: Callable = sgd_step) -> tuple[Tensor, Tensor]:
    """The delta rule, one token at a time: the definition every other form is tested against.

    S_t = S_{t-1} - beta_t (S_{t-1} k_t - v_t) k_t^T,   o_t = scale * S_t q_t      (eq. 2.4; paper, section 2.2)

    Args:
        q, k: (B, T, H, K).    v: (B, T, H, V).    beta: (B, T, H), write strength; 0 leaves the memory alone,
            1 with a unit key replaces what was stored.
        initial_state: (B, H, V, K), zeros if None.
        scale: a factor on q.
        step: `sgd_step`, `erase_then_write_step` or `transition_step`; the answer is the same.
    Returns:
        o: (B, T, H, V) in the dtype of v, and the state after the last token, (B, H, V, K); half precision is
        computed, and its state returned, in float32.
    Cost per token and head: 6KV FLOPs on a state of KV numbers, read and written once: memory-bound on every machine.
    """
    out_dtype = v.dtype
    q, k, v, beta, S = enter(q, k, v, beta, initial_state=initial_state)
    o = []
    for q_t, k_t, v_t, beta_t in zip(q.unbind(1), k.unbind(1), v.unbind(1), beta.unbind(1)):
        S = step(S, k_t, v_t, beta_t)                                    # (B, H, V, K)
        o.append((S @ q_t[..., None])[..., 0])                           # (B, H, V)
    o = torch.stack(o, 1) if o else v                                    # no tokens: v is empty, and has the shape
    return (scale * o).to(out_dtype), S


def delta_rule_recurrent_backward(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, do: Tensor,
                                  dS: Tensor | None = None, *, initial_state: Tensor | None = None,
                                  scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `delta_rule_recurrent`, by hand, in three sweeps that keep no state (eq. 3.2 to 3.6).

    The gradient of the memory runs from the last token to the first and needs neither v nor the memory; the memory
    itself runs forward again afterwards. Between the sweeps only the errors wait: V numbers a token instead of KV.

    Args:
        q, k, v, beta, initial_state, scale: as they went into `delta_rule_recurrent`.
        do: (B, T, H, V), the gradient of the outputs.    dS: (B, H, V, K), that of the final state; zeros if None.
    Returns:
        dq, dk: (B, T, H, K), dv: (B, T, H, V), dbeta: (B, T, H), and the gradient of the initial state, (B, H, V, K).
    Cost per token and head: 18KV FLOPs, three times the forward pass.
    """
    q, k, v, beta, do, S_0 = enter(q, k, v, beta, do, initial_state=initial_state)
    errors = torch.empty_like(v)
    dq, dk, dv, dbeta = (torch.empty_like(x) for x in (q, k, v, beta))

    # forward: the errors
    S = S_0
    for t in range(k.shape[1]):
        errors[:, t] = read(S, k[:, t]) - v[:, t]                        # (B, H, V)
        S = S - outer(beta[:, t, :, None] * errors[:, t], k[:, t])       # (B, H, V, K)

    # backward: the gradient of the memory
    dS = torch.zeros_like(S_0) if dS is None else dS.to(S_0.dtype)
    for t in reversed(range(k.shape[1])):
        dS = dS + outer(scale * do[:, t], q[:, t])                       # (B, H, V, K)
        told = read(dS, k[:, t])                                         # (B, H, V)
        dv[:, t] = beta[:, t, :, None] * told
        dbeta[:, t] = -(told * errors[:, t]).sum(-1)                     # (B, H)
        dk[:, t] = -beta[:, t, :, None] * read(dS.mT, errors[:, t])      # (B, H, K)  first term
        dS = dS - outer(dv[:, t], k[:, t])                               # (B, H, V, K)

    # forward again: the memory
    S = S_0
    for t in range(k.shape[1]):
        dk[:, t] -= read(S.mT, dv[:, t])                                 # (B, H, K)  second
        S = S - outer(beta[:, t, :, None] * errors[:, t], k[:, t])       # (B, H, V, K)
        dq[:, t] = scale * read(S.mT, do[:, t])
    return dq, dk, dv, dbeta, dS


def read(S, x):
    """S x for a batch: (..., V, K), (..., K) to (..., V)."""
    return (S @ x[..., None])[..., 0]


def outer(x, y):
    """x y^T for a batch: (..., V), (..., K) to (..., V, K)."""
    return x[..., :, None] * y[..., None, :]
