"""Random inputs for the delta rule, adversarial by construction: K != V, any T, raw or repeated keys, beta up to 2."""

from hypothesis import strategies as st

from deltanet_edu.bench.judge import KEYS, make

any_inputs = st.builds(
    make, B=st.integers(1, 2), T=st.integers(1, 21), H=st.integers(1, 2), K=st.integers(1, 6), V=st.integers(1, 6),
    keys=st.sampled_from(KEYS), beta_max=st.sampled_from([0.0, 1.0, 2.0]), seed=st.integers(0, 2**16))
