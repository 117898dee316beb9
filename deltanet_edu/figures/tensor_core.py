"""What chapter 6 measures with: products rounded as by a tensor core, on any machine, and kinds of keys."""

import torch
import torch.nn.functional as F


def to_tf32(x):
    """float32 rounded to 10 bits behind the point, to nearest, ties to even: what a tensor core keeps of an operand."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0xFFF + (bits >> 13 & 1)) & ~0x1FFF).view(torch.float32)


class TensorCore(torch.overrides.TorchFunctionMode):
    """Inside, products of matrices with sides >= 16 round their operands to tf32."""

    def __torch_function__(self, f, types, args=(), kwargs=None):
        product = f in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__)
        if product and min(*args[0].shape[-2:], args[1].shape[-1]) >= 16:
            args = [to_tf32(x) for x in args]
        return f(*args, **(kwargs or {}))


def on_tensor_core(method):
    """The same method with its large products in tf32."""
    def run(A):
        with TensorCore():
            return method(A)
    return run


def similar_keys(cosine, beta, seed, C=64, K=64):
    """Unit keys (C, K) of this mean cosine, or of the kind "SiLU" or "8 keys", and β: (C,), random if None."""
    torch.manual_seed(seed)
    x, shared, uniform = torch.randn(C, K), torch.randn(K), torch.rand(C)
    k = {"SiLU": F.silu(x), "8 keys": x[:8].repeat(C // 8, 1)}.get(cosine)
    if k is None:
        k = (1 - cosine) ** 0.5 * x + cosine**0.5 * shared
    return F.normalize(k, dim=-1), uniform if beta is None else torch.full((C,), beta)
