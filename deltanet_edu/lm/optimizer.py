"""What turns gradients into steps: Muon and AdamW, and how large a step is when."""

import math

import torch


def build_optimizers(model, config):
    """Muon for the matrices of the blocks, AdamW for embeddings, head, norms, convolutions and write strengths.

    AdamW scales every weight on its own. Muon replaces the momentum of a matrix by the nearest matrix with orthonormal
    rows or columns, roughly, so that all its directions move equally fast.
    """
    matrices = [m.weight for m in model.blocks.modules()
                if isinstance(m, torch.nn.Linear) and len(m.weight) > config.heads]
    others = [p for p in model.parameters() if all(p is not matrix for matrix in matrices)]
    optimizers = [torch.optim.Muon(matrices, config.lr, weight_decay=config.weight_decay),
                  torch.optim.AdamW(others, config.adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)]
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
