"""The convolution's kernels against PyTorch's own in float64, here in the interpreter, and the layer on them."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu import functional
from deltanet_edu.kernels import convolution
from deltanet_edu.kernels.convolution import convolve, short_convolution
from deltanet_edu.layers.convolution import ShortConvolution

from .judge import DEVICE


def results(f, x, weight, dtype=None):
    x, weight = (z.detach().to(dtype or z.dtype).requires_grad_() for z in (x, weight))
    y = f(x, weight)
    g = torch.Generator().manual_seed(0)                                 # the same weights whatever y was rounded to
    (torch.randn(y.shape, generator=g).to(y) * y).sum().backward()
    return y.detach(), x.grad, weight.grad


def conv1d(x, weight):
    size, D = weight.shape
    return F.conv1d(F.pad(x.mT, (size - 1, 0)), weight.T[:, None], groups=D).mT


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("B, T, D, size", [(2, 1, 3, 4), (1, 37, 5, 4), (2, 20, 17, 3), (1, 4, 2, 1), (2, 0, 3, 4),
                                           (1, 17, 3, 4), (1, 5, 3, 6)])
def test_it_is_pytorch_s_convolution_and_its_gradients(B, T, D, size, silu, monkeypatch):
    monkeypatch.setattr(convolution, "LENGTH", 16)                       # several programs, the last one ragged
    monkeypatch.setattr(convolution, "BACK_LENGTH", 16)
    monkeypatch.setattr(convolution, "D_TILE", 16)
    g = torch.Generator().manual_seed(T)
    x, weight = (torch.randn(*shape, generator=g).to(DEVICE) for shape in ((B, T, D), (size, D)))
    exact = (lambda x, weight: F.silu(conv1d(x, weight))) if silu else conv1d
    wanted = results(exact, x, weight, torch.float64) if T else (x, x, torch.zeros_like(weight))
    transposed = x.mT.contiguous().mT                                    # strides of another layout
    for given in (x, transposed):
        for actual, expected in zip(results(partial(short_convolution, silu=silu), given, weight), wanted, strict=True):
            torch.testing.assert_close(actual.double(), expected.double(), rtol=1e-5, atol=1e-5)


def test_the_layer_takes_it_where_kernels_run_and_says_the_same(monkeypatch):
    layer, ran = ShortConvolution(6).to(DEVICE), []
    x = torch.randn(2, 9, 6, device=DEVICE)
    wanted, cache = layer(x, torch.zeros(2, 3, 6, device=DEVICE))        # with a cache it is PyTorch's form
    monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    monkeypatch.setattr(convolution, "short_convolution", lambda *z: ran.append(1) or short_convolution(*z))
    y, after = layer(x)
    assert ran and torch.equal(after, cache)
    torch.testing.assert_close(y, wanted)
    torch.testing.assert_close(torch.cat([layer(x[:, :5])[0], layer(x[:, 5:], layer(x[:, :5])[1])[0]], 1), wanted)
    torch.testing.assert_close(layer(x[:, :2])[0], wanted[:, :2])        # shorter than it reaches


def test_a_compiler_meets_it_as_one_operator():
    x, weight = (torch.randn(*shape, device=DEVICE, requires_grad=True) for shape in ((2, 9, 6), (4, 6)))
    compiled = torch.compile(lambda *z: 2 * short_convolution(*z, silu=True), fullgraph=True,
                             backend="inductor" if DEVICE == "cuda" else "aot_eager")
    for actual, expected in zip(results(compiled, x, weight),
                                results(lambda *z: 2 * short_convolution(*z, silu=True), x, weight), strict=True):
        torch.testing.assert_close(actual, expected)
    torch.library.opcheck(convolve.operator, (x, weight, True, 0, 0, 0))


@pytest.mark.parametrize("widths", [(32, 64, 32), (64, 32), (5, 91)], ids=str)
def test_pieces_are_what_it_would_be_split_into(widths):
    g = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*shape, generator=g).to(DEVICE) for shape in ((2, 40, sum(widths)), (4, sum(widths))))

    def in_pieces(x, weight):
        y = short_convolution(x, weight, True, widths)
        assert [z.shape[-1] for z in y] == list(widths)
        return torch.cat(y, -1)
    wanted = results(partial(short_convolution, silu=True), x, weight)
    compiled = torch.compile(in_pieces, fullgraph=True, backend="inductor" if DEVICE == "cuda" else "aot_eager")
    for form in (in_pieces, compiled):
        for actual, expected in zip(results(form, x, weight), wanted, strict=True):
            torch.testing.assert_close(actual, expected)
    one = [z.detach().requires_grad_() for z in (x, weight)]             # a gradient of one piece alone
    short_convolution(*one, True, widths)[1].sum().backward()
    assert one[0].grad[..., : widths[0]].eq(0).all() and one[0].grad[..., widths[0] :].ne(0).any()
    if widths[0] % 32 == 0:
        torch.library.opcheck(convolve.operator, (*one, True, *(*widths[:-1], 0)[:2], 0))


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("widths, unit", [((64, 64, 32), 32), ((32, 32, 64), 16), ((64, 64), 64)])
def test_queries_and_keys_come_as_unit_vectors(widths, unit, silu):
    g = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*shape, generator=g).to(DEVICE) for shape in ((2, 70, sum(widths)), (4, sum(widths))))
    x[0, :9] = 0                                                         # vectors of zeros

    def exact(x, weight):
        y = F.silu(conv1d(x, weight)) if silu else conv1d(x, weight)
        q, k, *v = y.split(widths, -1)
        return torch.cat([*(z / (z.unflatten(-1, (-1, unit)).square().sum(-1, keepdim=True) + 1e-6).sqrt()
                            .expand(*z.shape[:2], -1, unit).flatten(-2) for z in (q, k)), *v], -1)

    def kernel(x, weight):
        return torch.cat(short_convolution(x, weight, silu, widths, unit), -1)
    compiled = torch.compile(kernel, fullgraph=True, backend="inductor" if DEVICE == "cuda" else "aot_eager")
    wanted = results(exact, x, weight, torch.float64)
    for form in (kernel, compiled):
        for actual, expected in zip(results(form, x, weight), wanted, strict=True):
            assert (actual - expected).norm() <= 1e-5 * expected.norm()
    torch.library.opcheck(convolve.operator, (x, weight.requires_grad_(), silu, *(*widths[:-1], 0)[:2], unit))


@pytest.mark.parametrize("widths, unit", [(None, 32), ((64, 64, 32), 64), ((96, 96), 48), ((96, 96), -32),
                                          ((40, 40), 8)], ids=str)
def test_unit_vectors_that_a_program_does_not_have_whole_are_refused(widths, unit):
    D = sum(widths or (96,))
    with pytest.raises(ValueError, match="unit"):
        short_convolution(torch.randn(1, 4, D, device=DEVICE), torch.randn(4, D, device=DEVICE), True, widths, unit)


def test_it_can_be_differentiated_once():
    x = torch.randn(1, 3, 2, device=DEVICE, requires_grad=True)
    dx, = torch.autograd.grad((short_convolution(x, torch.ones(4, 2, device=DEVICE)) ** 2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiat"):
        dx.sum().backward()


@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("T", [2, 9])
def test_a_hook_runs_once_also_where_pieces_are_asked_for(T, kernels, monkeypatch):
    monkeypatch.setattr(functional, "compiled_on", lambda device: kernels)
    layer, ran = ShortConvolution(128).to(DEVICE), []
    layer.register_forward_hook(lambda *_: ran.append(1))
    layer(torch.randn(2, T, 128, device=DEVICE), widths=(32, 32, 64))
    assert ran == [1]


@pytest.mark.parametrize("widths", [(32, 32), (64, 64), (64, 64, 64)], ids=str)
def test_pieces_that_are_not_the_whole_are_refused(widths):
    with pytest.raises(RuntimeError, match="split"):
        short_convolution(torch.randn(1, 4, 96, device=DEVICE), torch.randn(4, 96, device=DEVICE), True, widths)
