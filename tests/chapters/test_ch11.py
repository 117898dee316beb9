"""Chapter 11: its kernels against the float64 recurrence, and answers to its exercises as readers write them."""

import importlib.util

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("chapter 11 needs Triton", allow_module_level=True)

from deltanet_edu.chapters.ch11 import bill, build, forward, inputs, memory, other_ways, problems, whole
from deltanet_edu.chapters.kernel_answers import changed
from deltanet_edu.chapters.kernel_faults import OVERWRITTEN, TRAFFIC
from deltanet_edu.figures.forward import asked

from .answers import assert_verdict, cases

interpreted = pytest.mark.skipif(torch.cuda.is_available(), reason="watched is what runs in the interpreter")


def tokens_of(B, T, H, K, V):
    return inputs.tokens(torch.Generator().manual_seed(1), B, T, H, K, V)


def right(q, k, v, beta, scale=1.0):
    from deltanet_edu.ops import delta_rule_recurrent
    return delta_rule_recurrent(*(x.double() for x in (q, k, v, beta)), scale=scale)


def assert_close(x, expected):
    assert ((x.double() - expected).norm() / expected.norm().clamp(min=1e-6)).item() < 2e-6


@interpreted
@pytest.mark.parametrize("f", [forward.delta_rule, other_ways.in_one_launch, other_ways.one_token_a_step,
                               whole.in_three_launches])
@pytest.mark.parametrize("shape", [(1, 1, 1, 16, 16), (2, 37, 2, 16, 32), (1, 70, 1, 64, 32), (1, 33, 1, 16, 128)])
def test_every_form_is_the_recurrence(f, shape):
    tokens = tokens_of(*shape)
    assert_close(f(*tokens, 0.5), right(*tokens, 0.5)[0])


@interpreted
@pytest.mark.parametrize("kernel", [forward.inverse_kernel, other_ways.inverse_by_substitution,
                                    other_ways.inverse_upside_down])
def test_inverse_is_the_lower_part_of_UT(kernel):
    _, k, _, beta = tokens_of(2, 37, 2, 16, 16)
    UT_low = torch.full((2, 37, 2, 16), torch.nan)
    build.launch_inverse(kernel, k, beta, 16, UT_low)
    assert_close(UT_low, inputs.UT_low_of(k.double(), beta.double(), 16))


@interpreted
@pytest.mark.parametrize("kernel", [forward.memory_kernel, other_ways.memory_by_rows, other_ways.memory_by_tokens])
def test_memories_are_those_of_the_recurrence(kernel):
    q, k, v, beta = tokens_of(2, 37, 2, 16, 32)
    UT_low = inputs.UT_low_of(k, beta, 16)
    states, X = memory.room_for_memories(k, v, beta, UT_low)
    memory.launch_memory(kernel, k, v, beta, UT_low, states, X)
    for n in (1, 2):
        assert_close(states[:, n], right(*(x[:, :16 * n] for x in (q, k, v, beta)))[1])
    S = states[:, 2].double() + torch.einsum("bthv,bthk->bhvk", X[:, 32:].double(), k[:, 32:].double())
    assert_close(S, right(q, k, v, beta)[1])


@interpreted
def test_bytes_of_the_exercise_are_those_of_the_equation_and_of_the_package():
    for K, V, C, V_TILE in ((16, 32, 16, 16), (16, 32, 16, 32), (32, 64, 32, 32)):      # one shape in two tilings
        counted = bill.counted(2 * C, 2, K, V, C, V_TILE)
        assert counted == sum(asked(V_TILE, K, V, C, e=4)) == problems.bytes_per_token(K, V, C, V_TILE, 4)


@interpreted
def test_bill_leaves_the_table_as_it_was():
    from deltanet_edu.kernels import configs
    before = configs.plan(16, 16, torch.float32, 2, configs.device(None))
    bill.counted(32, 1, 16, 32, 16, 16)
    assert configs.plan(16, 16, torch.float32, 2, configs.device(None)) == before


def test_tokens_as_columns_never_leave_the_registers():
    """What the lesson says of the chain, asked of the compiler: no tile goes from registers to shared memory."""
    import jupytext

    from deltanet_edu.bench.ahead_of_time import compiled

    from ..book.lessons import ROOT
    cells = jupytext.read(ROOT / "book" / "lessons" / "11_forward_kernels.py", fmt="py:percent").cells
    (source,) = [cell.source for cell in cells if "def chain(" in cell.source]
    chain = compile_cell(source)
    told = dict(k_ptr=torch.bfloat16, UT_ptr=torch.bfloat16, S_ptr=torch.float32, T=4096, K=128, V=64, C=64)
    rows, columns = (compiled(chain, 90, COLUMNS=columns, **told).ptx for columns in (False, True))
    assert rows.count("stmatrix") == 16 and columns.count("stmatrix") == 0
    assert rows.count("bar.sync") > columns.count("bar.sync")


def compile_cell(source):
    """The last kernel of a cell of the lesson."""
    import linecache

    import triton
    import triton.language as tl
    file = "<a cell of lesson 11>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    space = {"triton": triton, "tl": tl, "load_rows": forward.load_rows}
    exec(compile(source, file, "exec"), space)
    return space["chain"]


# -- answers -----------------------------------------------------------------------------------------------------------

def inverse(*replaced, **names):
    return changed(forward.inverse_kernel, *replaced, **names)


ANSWERS = {
    "11.1": {"right": ["A C E F", "acef", "FECA", ["A", "C", "E", "F"]],
             "gives every chunk a program that hands the memory on": ["ABCDEF", "B"],
             "cuts the memory into columns": ["ACDEF"], "gives the letters of those that are wrong": ["DB"],
             "keeps the inverses together": ["C E F"], "takes whoever keeps a memory for wrong": ["E A"],
             "takes whoever has one chunk for wrong": ["CF"], "takes several for wrong that are right": ["F", "A C"]},
    "11.2": {
        "right": [lambda K, V, C, V_TILE, e: e * (K + C) + 8 + -(-V // V_TILE) * (2 * K * e + C * e + 4) + 2 * V * e],
        "counts what is read alone": [
            lambda K, V, C, V_TILE, e: e * K + 4 + -(-V // V_TILE) * (2 * K * e + C * e + 4) + V * e],
        "gives the least": [lambda K, V, C, V_TILE, e: 2 * e * (K + V) + 4],
        "rounds the number of programs down": [
            lambda K, V, C, V_TILE, e: e * (K + C) + 8 + V // V_TILE * (2 * K * e + C * e + 4) + 2 * V * e]},
    "11.3": {"right": ["DAFBHE", "a d f b h e"], "falls for both decoys": ["CAGBHE"]},
}


@cases(ANSWERS)
def test_verdicts(id, answer, name):
    assert_verdict(id, answer, name)


FIRST_ROWS = "at = (v0 + tl.arange(0, V_TILE))", "at = (tl.arange(0, V_TILE))"


@interpreted
@pytest.mark.parametrize("id, answer, name", [
    ("11.6", memory.memory_with(FIRST_ROWS), "stores all memories to the first rows"),
    ("11.6", memory.memory_with(FIRST_ROWS, ("v_ptr + head * V + v0", "v_ptr + head * V")), OVERWRITTEN),
])
def test_a_name_says_what_is_true_of_the_answer(id, answer, name):
    """Entries that nobody writes are the same for several mistakes: what is written tells them apart."""
    assert_verdict(id, answer, name)


O_SCALED = "O_t * scale), first", "O_t), first"


@interpreted
@pytest.mark.parametrize("name, forward, launch", [
    ("scales one term only", [("tl.dot(S_in, tl.trans(q)) ", "tl.dot(S_in, tl.trans(q)) * scale "), O_SCALED], ()),
    ("scales what the chunk has written only", [("tl.dot(X_t, P_t, O_t)", "tl.dot(X_t, P_t * scale, O_t)"), O_SCALED],
     ()),
    ("forgets the scale", [("O_t * scale", "O_t")], ()),
    ("starts every chunk with an empty memory", [("tl.dot(X_t, k, S) ", "S * 0.0 ")], ()),
    ("leaves a level of the inverse out", (), [("C.bit_length() - 1", "C.bit_length() - 2")]),
])
def test_chunks_of_another_length_make_no_other_mistake(name, forward, launch):
    """What shows in one chunk alone does not tell these apart."""
    assert_verdict("11.8", whole.whole(forward, launch=[*launch, (whole.LENGTH, "32")]), name)


@interpreted
def test_three_launches_move_too_much_and_one_launch_the_least():
    assert_verdict("11.8", whole.in_three_launches, TRAFFIC)
    from deltanet_edu.tutor.grading import grade
    from deltanet_edu.tutor.registry import find
    said = grade(find("exercise", "11.8"), whole.in_three_launches).text
    assert "another loads: UT, states, X" in " ".join(said.split())
    said = grade(find("exercise", "11.8"), whole.whole(launch=[("min(V, 64)", "16")])).text
    assert "q 4 times" in " ".join(said.split()) and "another loads" not in said
    verdict = grade(find("exercise", "11.8"), other_ways.in_one_launch)
    assert verdict.state == "pass" and "1.00 times what must be moved" in verdict.text
