"""Does a Triton kernel run here? `deltanet-edu doctor` runs this file as a program, with and without a GPU."""

import torch
import triton
import triton.language as tl


@triton.jit
def add_one(x_ptr, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(x_ptr + at, tl.load(x_ptr + at) + 1)


if __name__ == "__main__":
    x = torch.arange(8.0, device="cuda" if torch.cuda.is_available() else "cpu")
    add_one[(1,)](x, N=8)
    assert x.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], x.tolist()
