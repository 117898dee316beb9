"""The norm's kernels against PyTorch in float64, here in the interpreter, and the layer on them."""

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu import functional
from deltanet_edu.kernels import rms_norm as file
from deltanet_edu.kernels.rms_norm import rms_norm
from deltanet_edu.layers.rms_norm import RMSNorm

from .judge import DEVICE


def given(*shape):
    g = torch.Generator().manual_seed(0)
    tensors = torch.randn(*shape, generator=g), torch.randn(shape[-1], generator=g)
    return [z.to(DEVICE).requires_grad_() for z in tensors]


@pytest.mark.parametrize("eps", [1e-2, 0.0])                             # without it a row of zeros has no norm
@pytest.mark.parametrize("shape", [(2, 3, 10), (37, 5), (1, 1), (0, 4)])
def test_it_is_pytorch_s_norm_and_its_gradients(shape, eps, monkeypatch):
    monkeypatch.setattr(file, "ENTRIES", 32)                             # several programs, the last one ragged
    monkeypatch.setattr(file, "TURNS", 3)
    tensors = given(*shape)
    exact = [z.detach().double().requires_grad_() for z in tensors]
    y, wanted = rms_norm(*tensors, eps, torch.float32), F.rms_norm(exact[0], shape[-1:], exact[1], eps)
    dy = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    grads, wanted_grads = torch.autograd.grad(y, tensors, dy), torch.autograd.grad(wanted, exact, dy.double())
    for actual, expected in zip((y, *grads), (wanted, *wanted_grads), strict=True):
        torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-5)


def test_it_reads_one_dtype_and_writes_another():
    x, weight = given(3, 8)
    y = rms_norm(x, weight, 1e-5, torch.float16)
    dx, dw = torch.autograd.grad(y.float().sum(), (x, weight))
    assert (y.dtype, dx.dtype, dw.dtype) == (torch.float16, torch.float32, torch.float32)
    torch.testing.assert_close(y.float(), F.rms_norm(x, (8,), weight, 1e-5), rtol=1e-3, atol=1e-3)


def test_a_compiler_meets_it_as_one_operator():
    tensors = given(2, 3, 10)
    compiled = torch.compile(lambda *z: 2 * rms_norm(*z, 1e-5, torch.float32), fullgraph=True,
                             backend="inductor" if DEVICE == "cuda" else "aot_eager")
    y, expected = compiled(*tensors), 2 * rms_norm(*tensors, 1e-5, torch.float32)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(*(torch.autograd.grad(z.sum(), tensors) for z in (y, expected)))
    torch.library.opcheck(file.normalize.operator, (*tensors, 1e-5, torch.float32))


def test_the_layer_takes_it_where_kernels_run_and_says_the_same(monkeypatch):
    layer, x, ran = RMSNorm(6, eps=1e-5), torch.randn(2, 3, 6), []
    wanted = layer(x).to(DEVICE)
    monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    monkeypatch.setattr(file, "rms_norm", lambda *z: ran.append(1) or rms_norm(*z))
    torch.testing.assert_close(layer.to(DEVICE)(x.to(DEVICE)), wanted)
    assert ran
