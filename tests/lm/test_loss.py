"""The loss in chunks: the same numbers as all scores at once, in a fraction of the memory."""

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu.bench.roofline import kept
from deltanet_edu.lm.loss import IGNORED, head_loss


def case(N=23, D=6, V=11, ignored=4):
    g = torch.Generator().manual_seed(0)
    x, W = (torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_() for shape in ((N, D), (V, D)))
    targets = torch.randint(V, (N,), generator=g)
    targets[torch.randperm(N, generator=g)[:ignored]] = IGNORED
    return x, W, targets


@pytest.mark.parametrize("scores", [1, 11, 50, 23 * 11 - 1])             # 1, 1, 4 and 22 rows at a time
@pytest.mark.parametrize("ignored", [0, 9])
def test_chunks_give_the_loss_and_the_gradients_of_the_whole(scores, ignored):
    x, W, targets = case(ignored=ignored)
    whole = F.cross_entropy(x @ W.T, targets)
    in_chunks = head_loss(x, W, targets, scores)
    assert "ChunkedLoss" in str(in_chunks.grad_fn)
    torch.testing.assert_close(in_chunks, whole, rtol=0, atol=1e-14)
    for a, b in zip(torch.autograd.grad(3 * in_chunks, (x, W)), torch.autograd.grad(3 * whole, (x, W))):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


def test_its_gradient_is_its_slope():
    x, W, targets = case(N=7)
    assert torch.autograd.gradcheck(lambda x, W: head_loss(x, W, targets, 20), (x, W))
    with pytest.raises(RuntimeError, match="differentiated"):
        torch.autograd.grad(head_loss(x, W, targets, 20), x, create_graph=True)[0].sum().backward()


def test_few_scores_are_left_to_pytorch():
    x, W, targets = case()
    assert "NllLoss" in str(head_loss(x, W, targets).grad_fn)


def test_only_what_is_wanted_is_computed():
    x, W, targets = case()
    with torch.no_grad():
        assert not head_loss(x, W, targets, 30).requires_grad
    (dx,) = torch.autograd.grad(head_loss(x, W.detach(), targets, 30), x)
    torch.testing.assert_close(dx, torch.autograd.grad(F.cross_entropy(x @ W.T, targets), x)[0], rtol=0, atol=1e-14)


def test_under_autocast_products_are_in_half_precision_and_sums_are_not():
    x, W, targets = (y.detach().float() if y.is_floating_point() else y for y in case(N=64, D=32, V=50))
    x, W = x.requires_grad_(), W.requires_grad_()
    results = []
    for scores in (10**9, 500):
        with torch.autocast("cpu", torch.bfloat16):
            loss = head_loss(x, W, targets, scores)
        results.append([loss.detach(), *torch.autograd.grad(loss, (x, W))])
    for a, b in zip(*results):
        assert a.dtype == b.dtype == torch.float32 and (a - b).norm() < 0.01 * b.norm()


def test_a_vocabulary_of_32_000_does_not_fill_memory():
    """What autograd holds until the backward pass: x and W, which are there anyway, and their gradients; no scores."""
    N, D, V = 512, 8, 32_000
    x, W, targets = torch.randn(N, D, requires_grad=True), torch.randn(V, D, requires_grad=True), torch.zeros(N).long()
    assert kept(head_loss, x, W, targets, N * V) >= 4 * N * V
    assert kept(head_loss, x, W, targets, 100 * V) == 2 * 4 * (N * D + V * D)
