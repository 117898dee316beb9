"""What turns gradients into steps: Muon and AdamW, and how large a step is when."""

import math
from functools import partial

import torch


FUSED = ("cpu", "cuda", "mps", "xpu")                                    # where PyTorch has an AdamW of one kernel


class Muon(torch.optim.Muon):
    """PyTorch's Muon, faster. On a CPU its products are in float32: bfloat16 is emulated on most, 15 times slower. On a
    GPU all matrices of one shape go through it together: a step of 8 blocks starts 200 kernels, not 1,600."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for same in alike(p for p in group["params"] if p.grad is not None):
                for p in same:
                    if "momentum_buffer" not in self.state[p]:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                grads, means = [p.grad for p in same], [self.state[p]["momentum_buffer"] for p in same]
                torch._foreach_lerp_(means, grads, 1 - momentum)
                ahead = torch._foreach_lerp(grads, means, momentum)      # Nesterov's
                ahead = torch.stack(ahead) if len(same) > 1 else ahead[0]                # (n, rows, columns) or one
                update = orthogonal(ahead, group["ns_steps"], group["ns_coefficients"], group["eps"])
                torch._foreach_mul_(same, 1 - lr * group["weight_decay"])
                rows, columns = same[0].shape
                torch._foreach_add_(same, list(update) if len(same) > 1 else [update],
                                    alpha=-lr * math.sqrt(max(1, rows / columns)))


class Average(torch.optim.Optimizer):
    """The moving average of the weights. It changes no weight: it is an optimizer because what it remembers, a tensor
    for each weight, is kept in checkpoints, cut among processes and put back as an optimizer's is. It steps last."""

    def __init__(self, parameters, decay):
        super().__init__(parameters, dict(lr=1.0, decay=decay))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p not in self.state:
                    self.state[p]["average"] = p.clone()
            torch._foreach_lerp_([self.state[p]["average"] for p in group["params"]], group["params"],
                                 1 - group["decay"])

    @torch.no_grad()
    def swap(self):
        """Weights and averages change places; where nothing was averaged yet, nothing does."""
        for p, remembered in self.state.items():
            weights = p.clone()
            p.copy_(remembered["average"])
            remembered["average"].copy_(weights)


def alike(matrices):
    """Lists of matrices of one shape; on a CPU, where nothing is gained by it, each alone."""
    found = {}
    for i, p in enumerate(matrices):
        found.setdefault(i if p.device.type == "cpu" else p.shape, []).append(p)
    return found.values()


def orthogonal(G, steps, coefficients, eps):
    """Roughly the nearest matrix with orthonormal rows or columns: singular values near 1, by Newton and Schulz.

    G: one matrix, or (n, rows, columns). The products are in float32 on a CPU and in bfloat16 elsewhere.
    """
    a, b, c = coefficients
    tall, add = G.shape[-2] > G.shape[-1], torch.addmm if G.ndim == 2 else torch.baddbmm
    X = G / torch.linalg.vector_norm(G, dim=(-2, -1), keepdim=True).clamp(min=eps)
    X = X if G.device.type == "cpu" else X.bfloat16()
    X = X.mT if tall else X                                              # wide, so that X X^T is small
    if G.device.type == "cpu" and 2 * X.shape[-1] > 3 * X.shape[-2]:     # then it is less work
        X = combined(X @ X.mT, steps, coefficients) @ X
    else:
        for _ in range(steps):                                           # singular values s become a s + b s^3 + c s^5
            A = X @ X.mT
            X = add(X, add(A, A, A, beta=b, alpha=c), X, beta=a)
    return (X.mT if tall else X).to(G.dtype)


def combined(A, steps, coefficients):
    """What these steps multiply X by, all together, if A = X X^T. Every step multiplies X by a polynomial of A from the
    left, so only small matrices are followed. Not in bfloat16: A has the squares of the singular values."""
    a, b, c = coefficients
    P = None
    for step in range(steps):
        Q = (b * A).add_(A @ A, alpha=c)
        Q.diagonal(dim1=-2, dim2=-1).add_(a)                             # a I + b A + c A^2
        P = Q if P is None else Q @ P
        A = Q @ A @ Q if step + 1 < steps else None
    return P


def build_optimizers(model, config):
    """Muon for the matrices of the blocks, AdamW for embeddings, head, norms, convolutions and write strengths.

    AdamW scales every weight on its own. Muon replaces the momentum of a matrix by the nearest matrix with orthonormal
    rows or columns, roughly, so that all its directions move equally fast. With config.optimizer = "adamw" the matrices
    are AdamW's as well. With config.average the last one is an `Average`.
    """
    matrices = [m.weight for m in model.blocks.modules()
                if isinstance(m, torch.nn.Linear) and len(m.weight) > config.heads]
    others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
    device = matrices[0].device.type
    adamw = partial(torch.optim.AdamW, lr=config.adam_lr, betas=(0.9, 0.95), fused=device in FUSED)
    optimizers = [adamw(matrices, weight_decay=config.weight_decay) if config.optimizer == "adamw" else
                  Muon(matrices, config.lr, weight_decay=config.weight_decay), adamw(others, weight_decay=0.0)]
    optimizers += [Average(matrices + others, config.average)] if config.average else []
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
