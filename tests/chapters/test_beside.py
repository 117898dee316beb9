"""With a GPU an answer is judged in the interpreter first, in a process beside: what travels, and what comes back."""

import json

import pytest
import torch

pytest.importorskip("triton")

from deltanet_edu.chapters import beside, kernel_answers
from deltanet_edu.chapters.ch10 import rows
from deltanet_edu.chapters.kernel_answers import changed
from deltanet_edu.tutor.grading import grade, smallest_failing
from deltanet_edu.tutor.registry import find
from deltanet_edu.tutor.verdict import Verdict

ADD = "10.2"
UNMASKED = changed(rows.add_kernel, ("o_ptr + i, x + y, mask=inside", "o_ptr + i, x + y"))


def travelled(id, answer, folder):
    """The verdict on an answer that has been text on its way."""
    job = json.loads(json.dumps(dict(id=id, **beside.sendable(answer))))
    reply = json.loads(json.dumps(beside.answered(job, folder)))
    return reply["state"], reply["mistake"]


@pytest.mark.parametrize("id, answer, found", [
    (ADD, UNMASKED, ("fail", "stores the tail without a mask")), ("10.7", "FEBDHA", ("fail", "stores nothing")),
])
@pytest.mark.skipif(torch.cuda.is_available(), reason="this process runs no interpreter")
def test_an_answer_travels(id, answer, found, tmp_path):
    assert travelled(id, answer, tmp_path) == found


def test_a_process_is_asked_again_and_again_and_survives_what_raises():
    assert beside.of_the_interpreter(find("exercise", ADD), UNMASKED).mistake == "stores the tail without a mask"
    process = beside.Interpreter.running
    try:
        assert process.asked(dict(id="no such exercise")) is None
        assert beside.of_the_interpreter(find("exercise", ADD), changed(rows.add_kernel, ("x + y", "x - y"))).mistake
        assert beside.Interpreter.running is process
        process.process.kill()
        assert beside.of_the_interpreter(find("exercise", ADD), rows.add_kernel) is None
        assert beside.Interpreter.running is None                        # and a next check starts another
    finally:
        process.end()


def test_what_cannot_travel_is_judged_here():
    number = torch.ones(3)

    def around(x, y):
        return x + y + number

    assert beside.of_the_interpreter(find("exercise", ADD), around) is None


@pytest.mark.parametrize("said, right, state",
                         [("fail", True, "fail"), ("pass", True, "pass"), ("pass", False, "fail")])
def test_what_passes_in_the_interpreter_is_run_here_as_well(said, right, state, monkeypatch):
    exercise = find("exercise", ADD)
    answer = rows.add_kernel if right else changed(rows.add_kernel, ("x + y", "x - y"))
    found = Verdict(ADD, "A sum", said, "a headline")
    monkeypatch.setattr(beside, "of_the_interpreter", lambda exercise, answer: found)
    verdict = beside.verdict_on(exercise, answer, exercise.prepared(answer), smallest_failing)
    assert verdict.state == state
    assert ("on this GPU" in verdict.headline) == (said == "pass" and not right)
    assert ("Run on this machine's GPU as well." in verdict.text) == (state == "pass")


@pytest.mark.parametrize("said", ["pass", "fail"])
def test_a_check_on_a_machine_with_a_gpu_gives_the_verdict_of_the_interpreter(said, monkeypatch):
    """Also where the answer does well here: nobody looks at what it loads."""
    monkeypatch.setattr(kernel_answers.Answers, "elsewhere", lambda self, exercise, answer, f: beside.verdict_on(
        exercise, answer, f, smallest_failing))
    found = Verdict(ADD, "A sum", said, "a headline")
    monkeypatch.setattr(beside, "of_the_interpreter", lambda exercise, answer: found)
    verdict = grade(find("exercise", ADD), rows.add_kernel)
    assert (verdict.state, verdict.headline) == (said, "a headline")


def test_products_on_a_gpu_keep_the_digits_of_float32(monkeypatch):
    """Compiled apart from what was compiled elsewhere, and not where an exercise is about precision."""
    from triton import knobs
    from triton.runtime.jit import JITFunction

    seen, before = [], knobs.language.fp32_default
    monkeypatch.setattr(JITFunction, "run", lambda kernel, *args, **options: seen.append(
        (options.get("default_dot_input_precision"), knobs.language.fp32_default)))
    monkeypatch.setattr(kernel_answers, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    for exact in (False, True):
        with kernel_answers.watching(exact):
            JITFunction.run(None, 1, grid=(1,))
    JITFunction.run(None, 1, grid=(1,))
    assert seen == [("tf32x3", "tf32x3"), (None, before), (None, before)]


def test_the_name_of_a_changed_kernel_is_plain():
    """It goes into the debug lines of PTX, whose assembler takes no quotes and no other alphabets."""
    name = changed(rows.softmax_kernel, ('other=-float("inf"))', 'other=float("inf"))  # ←')).fn.__code__.co_filename
    assert name.isascii() and not set('"\\\n') & set(name)
