"""With a GPU: the verdict of Triton's interpreter on an answer, from a process beside this one.

A GPU runs an answer and says nothing of what is forgiven by chance: a load outside a tensor, programs that meet at a
number, a triangle that nobody asked for. The interpreter sees all of that, and knows mistakes by their names, but it is
chosen when Triton is imported. So an answer travels, as text (bench/sources.py), into a process that has chosen it. The
first check starts that process, later ones find it there. What passes is then run on the GPU as well.
"""

import atexit
import json
import queue
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from ..bench.race_process import end, environment, from_home
from ..bench.sources import Unsendable, importable, module_of, unwrapped
from ..tutor.verdict import Part, Verdict

SECONDS = 120                                                            # that a check in the interpreter may take
DIFFERS = "is right in the interpreter, and wrong on this GPU"
WHY = ("The interpreter runs programs one after the other, in numbers of Python and NumPy. A GPU runs them at once, "
       "and its compiler holds whole numbers to 32 bits, branches to one type, and products to the precision that is "
       "asked for.")


def verdict_on(exercise, answer, f, compared):
    """The verdict on an answer and on the function f that is prepared of it; None if the interpreter cannot be asked.

    compared: (exercise, f) -> (number of the smallest case that is wrong, its outcome), or None, on this machine.
    """
    said = None if hasattr(answer, "watched") else of_the_interpreter(exercise, answer)
    if said is None or said.state != "pass":
        return said
    if wrong := compared(exercise, f):
        return replace(said, state="fail", headline=f"it {DIFFERS}", parts=(Part(WHY), *wrong), mistake=None)
    return replace(said, parts=(*said.parts, Part("Run on this machine's GPU as well.")))


def of_the_interpreter(exercise, answer):
    """The verdict of the process beside this one; None if the answer cannot travel, or the process cannot be asked."""
    try:
        job = dict(id=exercise.id, **sendable(answer))
    except (Unsendable, AttributeError, OSError, SyntaxError):           # a lambda, a function around a tensor
        return None
    said = (Interpreter.running or Interpreter()).asked(job)
    if not said:
        return None
    return Verdict(exercise.id, exercise.title, **{**said, "parts": tuple(Part(**part) for part in said["parts"])})


def sendable(answer):
    if isinstance(answer, (str, list, tuple)):
        return dict(value=answer)
    inner = unwrapped(answer)
    if importable(answer, inner.__module__, inner.__qualname__):
        return dict(name=inner.__qualname__, module=inner.__module__)
    return dict(name=inner.__name__, text=module_of(answer))


class Interpreter:
    """The process that has chosen Triton's interpreter, kept for the next check."""

    running = None

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, start_new_session=True,
                                        env=environment("interpreter") | {"OMP_NUM_THREADS": "1"})
        self.answers = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()
        atexit.register(self.end)
        Interpreter.running = self

    def listen(self):
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("")                                             # it is gone

    def asked(self, job):
        """What it says of a job, a dictionary; None if it dies of it, or takes too long."""
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
            line = self.answers.get(timeout=SECONDS)
        except (OSError, queue.Empty):
            line = ""
        if not line:
            self.end()
        return json.loads(line) if line else None

    def end(self):
        end(self.process)
        Interpreter.running = None


@contextmanager
def three_products():
    """On a GPU: products of float32 as three of tf32, nearly what the interpreter computes, if none other is asked for.

    The option keeps what is compiled here apart from what was compiled elsewhere.
    """
    from triton import knobs
    from triton.runtime.jit import JITFunction

    run = JITFunction.run

    def asked(kernel, *args, **options):
        return run(kernel, *args, **{"default_dot_input_precision": "tf32x3", **options})

    with knobs.language.scope():
        JITFunction.run, knobs.language.fp32_default = asked, "tf32x3"
        try:
            yield
        finally:
            JITFunction.run = run


# -- in that process ---------------------------------------------------------------------------------------------------

def answered(job, folder):
    """The verdict on a job, as a dictionary; None if there is none."""
    from ..tutor.grading import grade
    from ..tutor.registry import find

    answer = job.get("value")
    if "text" in job:
        file = Path(tempfile.mkdtemp(dir=folder)) / "answer.py"
        file.write_text(job["text"], encoding="utf-8")
        answer = from_home("file", str(file), job["name"])
    elif "module" in job:
        answer = from_home("module", job["module"], job["name"])
    verdict = grade(find("exercise", job["id"]), answer)
    return dict(state=verdict.state, headline=verdict.headline, mistake=verdict.mistake,
                parts=[asdict(part) for part in verdict.parts])


def main():
    replies, sys.stdout = sys.stdout, sys.stderr                         # what an answer prints is no reply
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            try:
                reply = answered(json.loads(line), folder)
            except Exception:
                reply = None
            replies.write(json.dumps(reply) + "\n")
            replies.flush()


if __name__ == "__main__":
    main()
