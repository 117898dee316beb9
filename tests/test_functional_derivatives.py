"""Higher derivatives and function transforms through the front door: right in PyTorch, refused by the kernels.

A derivative of zero that should not be one is the worst answer: a penalty on gradients is then left out without a word.
"""

import warnings

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.autograd.functional as functional
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from deltanet_edu import delta_rule
from deltanet_edu.bench.judge import make
from deltanet_edu.kernels import HAS_TRITON
from deltanet_edu.layers import DeltaNet

needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="needs Triton")


def loss_of(linear=False, **options):
    def loss(q, k, v, beta, S):
        o, final = delta_rule(q, k, v, beta, initial_state=S, scale=0.7, check_values=False, **options)
        return o.sum() if linear else o.square().sum() + final.sin().sum()
    return loss


def penalized(loss, inputs):
    """Gradients of a loss and the squares of its gradients."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    value = loss(*inputs)
    first = torch.autograd.grad(value, inputs, create_graph=True)
    return torch.autograd.grad(value + sum(g.square().sum() for g in first), inputs)


def shared(loss, inputs):
    """Queries made from keys: the gradients of the two must not be counted twice."""
    return penalized(lambda k, v, beta, S: loss(2 * k, k, v, beta, S), inputs[1:])


def checkpointed(loss, inputs):
    return penalized(lambda *inputs: checkpoint(loss, *inputs, use_reentrant=False), inputs)


def dual(loss, inputs):
    with forward_ad.dual_level():
        k = forward_ad.make_dual(inputs[1], inputs[0])
        return forward_ad.unpack_dual(loss(inputs[0], k, *inputs[2:])).tangent


def of_k(loss, inputs):
    return lambda k: loss(inputs[0], k, *inputs[2:])


ROUTES = {
    "hessian of k": lambda f, x: functional.hessian(of_k(f, x), x[1]),
    "hessian of all": lambda f, x: functional.hessian(f, tuple(x)),
    "hessian, vectorized": lambda f, x: functional.hessian(of_k(f, x), x[1], vectorize=True),
    "hessian, forward over backward": lambda f, x: functional.hessian(
        of_k(f, x), x[1], vectorize=True, outer_jacobian_strategy="forward-mode"),
    "hvp": lambda f, x: functional.hvp(f, tuple(x), tuple(x)),
    "vhp": lambda f, x: functional.vhp(f, tuple(x), tuple(x)),
    "jvp, backward twice": lambda f, x: functional.jvp(f, tuple(x), tuple(x)),
    "jvp, forward": lambda f, x: torch.func.jvp(f, tuple(x), tuple(x)),
    "dual numbers": dual,
    "penalty": penalized,
    "penalty, queries made from keys": shared,
    "penalty, checkpointed": checkpointed,
    "func.grad": lambda f, x: torch.func.grad(f, argnums=(0, 1, 2, 3, 4))(*x),
    "func.hessian": lambda f, x: torch.func.hessian(of_k(f, x))(x[1]),
    "vmap": lambda f, x: torch.vmap(f)(*(torch.stack([y, y / 2]) for y in x)),
    "gradients, vectorized": lambda f, x: functional.jacobian(of_k(f, x), x[1], vectorize=True),
}


def flat(results):
    return torch.cat([x.detach().flatten() for x in tree_leaves(results)])


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES.keys())
def test_in_pytorch_every_route_is_right(route):
    """The chunkwise form, whose backward pass is by hand, against autograd's derivatives of the loop."""
    inputs = make(B=2, T=5, H=1, K=2, V=3, keys="unit")
    expected = flat(route(loss_of(form="recurrent"), inputs))
    assert expected.abs().max() > 0.1
    for form in ("chunkwise", "parallel"):
        torch.testing.assert_close(flat(route(loss_of(form=form, chunk_size=2), inputs)), expected)


@needs_triton
@pytest.mark.parametrize("form", ["chunkwise", "recurrent"])
@pytest.mark.parametrize("name", ROUTES)
def test_by_the_kernels_every_route_is_refused(name, form):
    inputs = [x.float() for x in make(B=1, T=3, H=1, K=2, V=3, keys="unit")]
    if torch.cuda.is_available():
        inputs = [x.cuda() for x in inputs]
    with pytest.raises(RuntimeError, match='backend="torch"'):
        ROUTES[name](loss_of(form=form, backend="triton"), inputs)


def test_jacobians_by_many_gradients_at_once():
    q, k, v, beta, _ = make(B=1, T=5, H=2, K=2, V=3, keys="unit")
    found = [functional.jacobian(lambda k: delta_rule(q, k, v, beta, form=form)[0], k, vectorize=vectorize)
             for form, vectorize in (("chunkwise", True), ("chunkwise", False), ("recurrent", False))]
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], found[2])


def test_second_derivatives_through_a_layer():
    layers = [DeltaNet(4, 2, form=form).double() for form in ("chunkwise", "recurrent")]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(1, 6, 4, dtype=torch.float64)
    hessians = [functional.hessian(lambda x: layer(x)[0].square().sum(), x) for layer in layers]
    torch.testing.assert_close(*hessians)


def test_third_derivatives():
    inputs = make(B=1, T=3, H=1, K=2, V=2, keys="unit")
    third = [functional.jacobian(lambda k: functional.hessian(of_k(loss_of(form=form), inputs), k, create_graph=True),
                                 inputs[1]) for form in ("chunkwise", "recurrent")]
    assert third[1].abs().max() > 0.1
    torch.testing.assert_close(*third)


# -- results that are changed, programs that are exported --------------------------------------------------------------

@pytest.mark.parametrize("form", ["auto", "recurrent", "chunkwise", "parallel"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_results_may_be_changed_in_place(form, dtype):
    inputs = [x.to(dtype).requires_grad_() for x in make(B=2, T=7, H=2, K=3, V=4, keys="unit", beta_max=1.0)]
    o, final = delta_rule(*inputs[:4], initial_state=inputs[4], form=form)
    expected = torch.autograd.grad(2 * o.sum() + 3 * final.sum(), inputs)
    o, final = delta_rule(*inputs[:4], initial_state=inputs[4], form=form)
    o *= 2
    if form == "recurrent":                                              # autograd has saved it, as that of exp
        final = 3 * final
    else:
        final *= 3
    for a, e in zip(torch.autograd.grad(o.sum() + final.sum(), inputs), expected, strict=True):
        torch.testing.assert_close(a, e)


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_layer_can_be_trained(strict):
    layer, x = DeltaNet(8, 2), torch.randn(2, 40, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(layer, (x,), strict=strict).module()
    gradients = []
    for run in (layer, program):
        y = x.clone().requires_grad_()
        out = run(y)[0]
        gradients.append(torch.autograd.grad(out.square().sum(), y)[0])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)
