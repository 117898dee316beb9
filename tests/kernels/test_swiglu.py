"""The kernels of the gated MLP against PyTorch in float64, here in the interpreter, and the layer on them."""

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu import functional
from deltanet_edu.kernels import swiglu
from deltanet_edu.kernels.swiglu import swiglu_product
from deltanet_edu.layers.swiglu import SwiGLU

from .judge import DEVICE


@pytest.mark.parametrize("shape", [(2, 3, 10), (1, 70), (0, 4)])
def test_it_is_pytorch_s_product_and_its_gradient(shape, monkeypatch):
    monkeypatch.setattr(swiglu, "TILE", 16)                              # several tiles, the last one ragged
    x = (3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))).to(DEVICE).requires_grad_()
    exact = x.detach().double().requires_grad_()
    y, (gate, up) = swiglu_product(x), exact.chunk(2, -1)
    wanted = F.silu(gate) * up
    dy = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    (dx,), (wanted_dx,) = torch.autograd.grad(y, x, dy), torch.autograd.grad(wanted, exact, dy.double())
    for actual, expected in ((y, wanted), (dx, wanted_dx)):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-5)


def test_the_layer_takes_it_where_kernels_run_and_says_the_same(monkeypatch):
    layer, x, ran = SwiGLU(6, 5).to(DEVICE), torch.randn(2, 3, 6, device=DEVICE), []
    if DEVICE == "cpu":
        wanted = layer(x)
        monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    else:
        wanted = SwiGLU.forward(layer.cpu(), x.cpu()).to(DEVICE)
        layer.to(DEVICE)
    monkeypatch.setattr(swiglu, "swiglu_product", lambda x: ran.append(1) or swiglu_product(x))
    torch.testing.assert_close(layer(x), wanted, rtol=1e-3, atol=1e-4)
    assert ran
