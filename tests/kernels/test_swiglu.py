"""The kernels of the gated MLP against PyTorch in float64, here in the interpreter, and the layer on them."""

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu import functional
from deltanet_edu.kernels import swiglu
from deltanet_edu.kernels.swiglu import swiglu_projection
from deltanet_edu.layers.swiglu import SwiGLU

from .judge import DEVICE


def given(*shape, out=3):
    g = torch.Generator().manual_seed(0)
    x, weight = 3 * torch.randn(*shape, generator=g), torch.randn(out, shape[-1] // 2, generator=g)
    return x.to(DEVICE).requires_grad_(), weight.to(DEVICE).requires_grad_()


@pytest.mark.parametrize("shape", [(2, 3, 10), (1, 70), (0, 4), (6,)])
def test_it_is_pytorch_s_product_and_its_gradients(shape, monkeypatch):
    monkeypatch.setattr(swiglu, "TILE", 16)                              # several tiles, the last one ragged
    tensors = given(*shape)
    exact = [z.detach().double().requires_grad_() for z in tensors]
    gate, up = exact[0].chunk(2, -1)
    y, wanted = swiglu_projection(*tensors), F.linear(F.silu(gate) * up, exact[1])
    dy = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    grads, wanted_grads = torch.autograd.grad(y, tensors, dy), torch.autograd.grad(wanted, exact, dy.double())
    for actual, expected in zip((y, *grads), (wanted, *wanted_grads), strict=True):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-4)


def test_a_compiler_meets_it_as_one_operator():
    tensors = given(2, 3, 10)
    compiled = torch.compile(lambda *z: 2 * swiglu_projection(*z), fullgraph=True,
                             backend="inductor" if DEVICE == "cuda" else "aot_eager")
    y, expected = compiled(*tensors), 2 * swiglu_projection(*tensors)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(*(torch.autograd.grad(z.sum(), tensors) for z in (y, expected)))
    torch.library.opcheck(swiglu.project.operator, tensors)


def test_the_layer_takes_it_where_kernels_run_and_says_the_same(monkeypatch):
    layer, x, ran = SwiGLU(6, 5).to(DEVICE), torch.randn(2, 3, 6, device=DEVICE), []
    if DEVICE == "cpu":
        wanted = layer(x)
        monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    else:
        wanted = SwiGLU.forward(layer.cpu(), x.cpu()).to(DEVICE)
        layer.to(DEVICE)
    monkeypatch.setattr(swiglu, "swiglu_projection", lambda *z: ran.append(1) or swiglu_projection(*z))
    torch.testing.assert_close(layer(x), wanted, rtol=1e-3, atol=1e-4)
    assert ran


def test_what_hangs_on_the_second_matrix_or_stands_in_its_place_is_not_passed_over(monkeypatch):
    x = torch.randn(2, 3, 6, device=DEVICE)

    class Adapted(torch.nn.Linear):
        def forward(self, y):
            return super().forward(y) + 1

    def layer(to_out=None, hook=False):
        torch.manual_seed(0)
        layer = SwiGLU(6, 5).to(DEVICE)
        plain, layer.to_out = layer.to_out, to_out.to(DEVICE) if to_out else layer.to_out
        layer.to_out.weight = plain.weight
        if hook:
            layer.to_out.register_forward_hook(lambda module, args, y: y + 1)
        return layer
    monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    biased = torch.nn.Linear(5, 6)
    torch.nn.init.ones_(biased.bias)
    for changed in (layer(Adapted(5, 6, bias=False)), layer(biased), layer(hook=True)):
        torch.testing.assert_close(changed(x), layer()(x) + 1, rtol=1e-3, atol=1e-4)
