"""What turns gradients into steps: Muon and AdamW, and how large a step is when."""

import math
from functools import partial

import torch


FUSED = ("cpu", "cuda", "mps", "xpu")                                    # where PyTorch has an AdamW of one kernel


class Float32Muon(torch.optim.Muon):
    """PyTorch's Muon, but with products in float32: its bfloat16 is emulated on most CPUs, 15 times slower."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(p)
                mean = state["momentum_buffer"].lerp_(p.grad, 1 - momentum)
                ahead = p.grad.lerp(mean, momentum)                      # Nesterov's
                update = orthogonal(ahead, group["ns_steps"], group["ns_coefficients"], group["eps"])
                p.mul_(1 - lr * group["weight_decay"])
                p.add_(update, alpha=-lr * math.sqrt(max(1, len(p) / p.shape[1])))


def orthogonal(G, steps, coefficients, eps):
    """Roughly the nearest matrix with orthonormal rows or columns: singular values near 1, by Newton and Schulz."""
    a, b, c = coefficients
    X = G / G.norm().clamp(min=eps)
    X = X.T if len(X) > X.shape[1] else X                                # wide, so that X X^T is small
    for _ in range(steps):                                               # singular values s become a s + b s^3 + c s^5
        A = X @ X.T
        X = torch.addmm(X, torch.addmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X.T if len(G) > G.shape[1] else X


def build_optimizers(model, config):
    """Muon for the matrices of the blocks, AdamW for embeddings, head, norms, convolutions and write strengths.

    AdamW scales every weight on its own. Muon replaces the momentum of a matrix by the nearest matrix with orthonormal
    rows or columns, roughly, so that all its directions move equally fast. With config.optimizer = "adamw" the matrices
    are AdamW's as well.
    """
    matrices = [m.weight for m in model.blocks.modules()
                if isinstance(m, torch.nn.Linear) and len(m.weight) > config.heads]
    others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
    device = matrices[0].device.type
    muon = Float32Muon if device == "cpu" else torch.optim.Muon
    adamw = partial(torch.optim.AdamW, lr=config.adam_lr, betas=(0.9, 0.95), fused=device in FUSED)
    optimizers = [adamw(matrices, weight_decay=config.weight_decay) if config.optimizer == "adamw" else
                  muon(matrices, config.lr, weight_decay=config.weight_decay), adamw(others, weight_decay=0.0)]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def rate(step, config):
    """The share of the peak learning rates at step 1, 2, ..., steps.

    Up along a line, then down along half a cosine to a twentieth.
    """
    warmup = max(1, round(config.warmup * config.steps))
    if step <= warmup:
        return step / warmup
    done = (step - warmup) / max(1, config.steps - warmup)               # 0 to 1
    return 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2
