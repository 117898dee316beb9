"""Every row of the table: all tokens at once as one by one, and what sets it apart from its neighbors."""

import pytest
import torch

from deltanet_edu.ops.associative import MEMORIES, draw

PAPER = ["linear attention", "+ kernel", "+ normalization", "DeltaNet", "RetNet", "Mamba", "Mamba-2", "GLA", "HGRN-2",
         "RWKV-6", "mLSTM", "S4, diagonal", "ABC", "GSA", "gated RFA", "decaying fast weights"]


def test_the_rows_of_the_table_are_here():
    assert sorted(MEMORIES) == sorted(PAPER) and all(row.parallel for row in MEMORIES.values())
    assert [name for name, row in MEMORIES.items() if row.product == "matrices"] == ["DeltaNet"]


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("T", [1, 2, 9, 33])
def test_all_at_once_is_one_by_one(name, T):
    inputs = draw(name, T=T, generator=torch.Generator().manual_seed(T))
    o = MEMORIES[name].recurrent(**inputs)
    assert o.shape == inputs["v"].shape and o.abs().max() > 0
    assert (MEMORIES[name].parallel(**inputs) - o).norm() <= 1e-10 * o.norm()


@pytest.mark.parametrize("name", PAPER)
def test_no_token_sees_a_later_one_and_all_inputs_matter(name):
    inputs = draw(name, T=7)
    o = MEMORIES[name].parallel(**inputs)
    shapes = {"q": "TK", "k": "TK", "v": "TV"} | MEMORIES[name].needs
    unused = {"HGRN-2": {"k"}, "S4, diagonal": {"q", "k"}}.get(name, set())
    for each, shape in shapes.items():
        changed = inputs | {each: inputs[each].clone()}
        if "T" in shape:
            changed[each][:, 4:] *= 0.9
        else:
            changed[each].mul_(0.9)
        other = MEMORIES[name].parallel(**changed)
        assert torch.equal(other, o) == (each in unused), each
        if "T" in shape:
            torch.testing.assert_close(other[:, :4], o[:, :4], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name, like, same", [
    ("GLA", "linear attention", dict(alpha=1.0)), ("Mamba-2", "linear attention", dict(gamma=1.0)),
    ("RetNet", "linear attention", dict(gamma=1.0)), ("DeltaNet", "linear attention", None),
    ("mLSTM", "linear attention", None), ("decaying fast weights", "GLA", dict(beta=1.0)),
    ("RWKV-6", "GLA", dict(d=1.0)),
])
def test_rows_meet_where_their_gates_are_open(name, like, same):
    """With orthonormal keys the delta rule at beta = 1 finds nothing to erase, so it adds; and so on."""
    inputs = draw(name, T=3, K=3)
    if name == "DeltaNet":
        inputs["k"], inputs["beta"] = torch.eye(3).double().expand(2, 3, 3), torch.ones(2, 3).double()
    if name == "mLSTM":                                                  # small queries: the denominator is 1
        inputs |= dict(f=torch.ones(2, 3).double(), i=torch.ones(2, 3).double(), q=0.01 * inputs["q"])
    for gate, value in (same or {}).items():
        inputs[gate] = torch.full_like(inputs[gate], value)
    if name == "RWKV-6":                                                 # then only the present is not decayed
        inputs["alpha"] = inputs["alpha"].clone()
        inputs["alpha"][:] = 1.0
    shared = {each: inputs[each] for each in ("q", "k", "v", *MEMORIES[like].needs)}
    torch.testing.assert_close(MEMORIES[name].recurrent(**inputs), MEMORIES[like].recurrent(**shared))


def test_a_convex_gate_keeps_a_constant():
    """gated RFA averages: if every value is the same, so is every answer."""
    inputs = draw("gated RFA", T=5)
    inputs["v"] = torch.full_like(inputs["v"], 3.0)
    torch.testing.assert_close(MEMORIES["gated RFA"].recurrent(**inputs), inputs["v"])
