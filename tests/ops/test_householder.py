"""Products of generalized Householder matrices, the WY representation and the UT transform."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deltanet_edu.ops.delta_rule import delta_rule_recurrent, householder as hh

from .inputs import KEYS, make

UT = {"solve": hh.ut_by_solve, "substitution": hh.ut_by_substitution, "blocks": hh.ut_by_blocks}
ut = pytest.mark.parametrize("transform", UT.values(), ids=UT.keys())


def keys_values(C, keys="unit", K=4, V=3):
    """k: (2, C, K), v: (2, C, V), beta: (2, C) and S: (2, V, K), with one head folded into the batch."""
    _, k, v, beta, S = make(B=2, T=C, H=1, K=K, V=V, keys=keys, beta_max=2.0)
    return k[:, :, 0], v[:, :, 0], beta[:, :, 0], S[:, 0]


sizes = given(st.integers(1, 17), st.sampled_from(KEYS))


def close(a, b, tolerance=1e-10):
    assert a.shape == b.shape and (a - b).abs().max() <= tolerance * max(1.0, b.abs().max())


@sizes
def test_wy_is_the_product(C, keys):
    k, _, beta, _ = keys_values(C, keys)
    close(torch.eye(4, dtype=torch.float64) - hh.wy_w(k, beta).mT @ k, hh.householder_product(k, beta))


@sizes
def test_wy_gives_the_state_after_the_chunk(C, keys):
    k, v, beta, S = keys_values(C, keys)
    q, k_one, v_one, beta_one = (x[:, :, None] for x in (k, k, v, beta))     # one head
    _, final = delta_rule_recurrent(q, k_one, v_one, beta_one, initial_state=S[:, None])
    close(S @ hh.householder_product(k, beta) + hh.wy_u(k, v, beta).mT @ k, final[:, 0])


@ut
@sizes
def test_ut_gives_w_and_u(transform, C, keys):
    k, v, beta, _ = keys_values(C, keys)
    T = transform(k, beta)
    close(T @ k, hh.wy_w(k, beta))
    close(T @ v, hh.wy_u(k, v, beta))


@sizes
def test_residual_identity(C, keys):
    k, v, beta, S = keys_values(C, keys)
    T = hh.ut_by_solve(k, beta)
    close(T @ v - T @ k @ S.mT, T @ (v - k @ S.mT))


@pytest.mark.parametrize("inverse", [hh.inverse_by_substitution, hh.inverse_by_blocks])
@sizes
def test_inverse(inverse, C, keys):
    k, _, beta, _ = keys_values(C, keys)
    A = hh.ut_system(k, beta)
    eye = torch.eye(C, dtype=torch.float64).expand_as(A)
    close(inverse(A) @ (eye + A), eye)
    close(inverse(A), inverse(eye + A))                                  # what stands on the diagonal is not looked at


@ut
def test_gradcheck(transform):
    k, _, beta, _ = keys_values(5)
    assert torch.autograd.gradcheck(transform, (k.requires_grad_(), beta.requires_grad_()))


def test_eigenvalues():
    k, beta = torch.tensor([0.9, -1.2, 0.4], dtype=torch.float64), torch.tensor(0.8, dtype=torch.float64)
    expected = torch.stack([1 - beta * k @ k, *torch.ones(2, dtype=torch.float64)]).sort().values
    close(torch.linalg.eigvalsh(hh.householder(k, beta)), expected)


def test_order_matters():
    k, _, beta, _ = keys_values(2)
    P = hh.householder_product(k, beta)
    assert (P - hh.householder_product(k.flip(-2), beta.flip(-1))).abs().max() > 1e-2
    close(P, hh.householder(k[:, 0], beta[:, 0]) @ hh.householder(k[:, 1], beta[:, 1]))


@sizes
def test_apply_is_the_product_with_the_matrix(C, keys):
    k, _, beta, S = keys_values(C, keys)
    close(hh.apply_householder(S, k[:, 0], beta[:, 0]), S @ hh.householder(k[:, 0], beta[:, 0]))


@given(st.integers(1, 8), st.integers(0, 8), st.integers(0, 99))
def test_reflections(K, n, seed):
    """A product of n random reflections needs at most min(n, K); permutations need K minus the number of cycles."""
    g = torch.Generator().manual_seed(seed)
    k = torch.nn.functional.normalize(torch.randn(n, K, generator=g, dtype=torch.float64), dim=-1)
    Q = hh.householder_product(k, torch.full((n,), 2.0, dtype=torch.float64))
    found = hh.reflections(Q)
    assert len(found) <= min(n, K) and (n - len(found)) % 2 == 0          # the determinant fixes the parity
    close(hh.householder_product(found, torch.full((len(found),), 2.0, dtype=torch.float64)), Q)


def test_reflections_of_permutations():
    eye = torch.eye(5, dtype=torch.float64)
    permutations = [0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [1, 0, 3, 2, 4], [1, 2, 3, 4, 0]
    assert [len(hh.reflections(eye[:, p])) for p in permutations] == [0, 1, 2, 4]


def test_counting_beta_twice_is_wrong():
    """A published listing defines T without diag(beta); mixing that with ours counts beta twice."""
    k, _, beta, _ = keys_values(12)
    T, W = hh.ut_by_solve(k, beta), hh.wy_w(k, beta)
    assert (T @ (beta[..., None] * k) - W).abs().max() > 0.1


@given(st.integers(1, 9), st.sampled_from(KEYS))
def test_power_series_is_right_on_short_chunks(C, keys):
    k, _, beta, _ = keys_values(C, keys)
    close(hh.ut_by_power_series(k, beta), hh.ut_by_solve(k, beta), 1e-8)


def test_power_series_is_ruined_by_repeated_keys():
    k = torch.zeros(64, 4, dtype=torch.float64)
    k[:, 0] = 1.0
    beta = torch.ones(64, dtype=torch.float64)
    below = torch.diag(torch.ones(63, dtype=torch.float64), -1)
    exact = torch.eye(64, dtype=torch.float64) - below                   # u_t = v_t - v_{t-1}
    for transform in UT.values():
        close(transform(k, beta), exact)
    assert (hh.ut_by_power_series(k, 0.99 * beta) - hh.ut_by_solve(k, 0.99 * beta)).abs().max() > 1e-3
