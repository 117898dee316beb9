"""Random inputs for the delta rule, adversarial by construction: K != V, any T, raw or repeated keys, beta up to 2."""

import torch
import torch.nn.functional as F
from hypothesis import strategies as st

KEYS = ("unit", "repeated", "unnormalized", "zero")


def make(B=2, T=7, H=2, K=3, V=5, keys="unit", beta_max=1.0, dtype=torch.float64, seed=0):
    """q, k, v, beta, initial_state."""
    g = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(B, T, H, K, generator=g, dtype=dtype) for _ in range(2))
    v = torch.randn(B, T, H, V, generator=g, dtype=dtype)
    beta = beta_max * torch.rand(B, T, H, generator=g, dtype=dtype)
    S = torch.randn(B, H, V, K, generator=g, dtype=dtype)
    if keys != "unnormalized":
        k = F.normalize(k, dim=-1)
    if keys == "repeated":
        k = k[:, torch.randint(min(T, 2), (T,), generator=g)]
    if keys == "unnormalized":
        k = k * 0.7                                                       # beta |k|^2 passes 2 now and then
    if keys == "zero":
        k, beta = k * (torch.rand(B, T, H, 1, generator=g) > 0.3), beta * (torch.rand(B, T, H, generator=g) > 0.3)
    return q, k, v, beta, S


any_inputs = st.builds(make, B=st.integers(1, 2), T=st.integers(1, 21), H=st.integers(1, 2), K=st.integers(1, 6), V=st.integers(1, 6),
                       keys=st.sampled_from(KEYS), beta_max=st.sampled_from([0.0, 1.0, 2.0]), seed=st.integers(0, 2**16))
