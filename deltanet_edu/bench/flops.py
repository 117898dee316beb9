"""FLOPs that a call really executes: PyTorch's own counter, taught the operations that it skips."""

import math

import torch
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten


def one_per_entry(*args, out_shape, **options):
    return math.prod(out_shape)


def dense_solve(A_shape, B_shape, *args, out_shape, **options):
    """A triangular solve as the libraries do it: n (n - 1) / 2 multiplications and as many subtractions a column,
    about n^2 FLOPs."""
    return math.prod(out_shape) * A_shape[-1]


def product_in_place(sum_shape, A_shape, B_shape, *args, out_shape, **options):
    return 2 * math.prod(out_shape) * A_shape[-1]


def flops(f, *args, **options):
    """{operation: FLOPs} of f(*args, **options): matrix products, triangular solves, and sums,
    differences and products entry by entry."""
    with FlopCounterMode(display=False, custom_mapping={
            aten.mul: one_per_entry, aten.add: one_per_entry, aten.sub: one_per_entry, aten.baddbmm_: product_in_place,
            aten.linalg_solve_triangular: dense_solve}) as counter:
        f(*args, **options)
    return {operation.__name__: count for operation, count in counter.get_flop_counts()["Global"].items()}
