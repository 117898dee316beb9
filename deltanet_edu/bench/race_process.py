"""A function in a process of its own, whose death is a verdict: in the interpreter first, and then on the GPU if there
is one.

Without a GPU a copy of this process will do, if kernels already run in the interpreter here (fork). Otherwise a new
process is started, and the function travels as source: a function of an importable module by its name, one of a file by
the file, one of a notebook as text, together with whatever it uses of the notebook (`module_of`). A new process knows
nothing of values that were computed: who uses such a global, or a variable of a function around it, is told so.
"""

import contextlib
import faulthandler
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from .race import Verdict, from_file
from .sources import Unsendable, where_it_lives

ENDLESS = "Is there a loop whose bound never comes? The interpreter is slow: seconds= gives more."
DIED = "Most often a load or a store far outside a tensor, in code that runs outside a kernel."
DIED_ON_GPU = "Most often an illegal access. In the interpreter everything was inside: is there a cast to 32 bits?"


def verdict_on(f, backward, seconds, library=True, apart=True):
    """The Verdict on f; see `race`."""
    from ..kernels import HAS_TRITON, interpreted
    from .race_judge import judge

    gpu = torch.cuda.is_available()
    if not HAS_TRITON:
        return Verdict(failed="there is no Triton here", why="On Linux: pip install triton. Elsewhere the race "
                                                             "cannot run.")
    if not apart:
        verdict = judge(f, backward)
        return verdict.joined(timed(f, backward, library)) if verdict and gpu else verdict
    if not gpu and interpreted() and hasattr(os, "fork"):
        return copied(f, backward, seconds)
    try:
        home = where_it_lives(f)
    except Unsendable as error:
        return Verdict(failed="it cannot be sent to another process", why=str(error))
    verdict = started(home, "interpreter", backward, seconds, library)
    return verdict.joined(started(home, "gpu", backward, seconds, library)) if verdict and gpu else verdict


def timed(f, backward, library):
    from .race_clock import times

    return times(f, backward, library)


# -- a copy of this process --------------------------------------------------------------------------------------------

def copied(f, backward, seconds):
    ours, theirs = multiprocessing.Pipe(duplex=False)
    copy = multiprocessing.get_context("fork").Process(target=_in_the_copy, args=(f, backward, theirs), daemon=True)
    copy.start()
    theirs.close()
    verdict = None
    try:
        if not ours.poll(seconds):
            verdict = endless(seconds)
        else:
            with contextlib.suppress(EOFError):
                verdict = ours.recv()
        if verdict is None:
            copy.join(10)                                                # it is dying, of something that has a name
    finally:
        copy.kill()
        copy.join()
    return dead(copy.exitcode, DIED) if verdict is None else verdict


def _in_the_copy(f, backward, pipe):
    from .race_judge import judge

    torch.set_num_threads(1)
    faulthandler.disable()                                               # a crash needs no long report
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        verdict = judge(f, backward)
    pipe.send(verdict)


def endless(seconds):
    return Verdict(failed=f"it did not come to an end in {seconds:g} seconds", why=ENDLESS)


def dead(code, why):
    how = signal.Signals(-code).name if code and code < 0 else f"status {code}"
    return Verdict(failed=f"the process of your kernel died ({how})", why=why)


# -- a new process -----------------------------------------------------------------------------------------------------

def started(home, where, backward, seconds, library):
    """The verdict of a new process on a function that lives at `home`; `where` is "interpreter" or "gpu"."""
    with tempfile.TemporaryDirectory() as folder:
        job, answer, home = Path(folder) / "job.json", Path(folder) / "verdict.json", home.put_into(Path(folder))
        beside = [str(Path(home["place"]).parent)] if home["kind"] == "file" else []
        job.write_text(json.dumps(dict(home=home, where=where, backward=backward, library=library, answer=str(answer))))
        with open(Path(folder) / "said.txt", "w+") as said:
            command = [sys.executable, "-m", __name__, str(job)]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                       env=environment(where, *beside), start_new_session=True)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                return endless(seconds)
            finally:
                end(process)
            if answer.exists():
                return Verdict(**json.loads(answer.read_text(encoding="utf-8")))
            said.seek(0)
            last = (said.read().strip().splitlines() or [""])[-1]
            return dead(process.returncode, "\n".join(filter(None, [DIED_ON_GPU if where == "gpu" else DIED, last])))


def environment(where, *beside):
    """Of a new process, whose kernels run `where`, and which finds what this one finds, and what lies `beside`."""
    places = os.pathsep.join(filter(None, [*beside, *sys.path, os.environ.get("PYTHONPATH")]))
    inherited = {**os.environ, "PYTHONFAULTHANDLER": "", "PYTHONPATH": places, "TRITON_INTERPRET": "0"}
    return inherited | ({"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""} if where == "interpreter" else {})


def end(process):
    """Kill a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
    process.wait()


def main(path):
    """In the new process: the job that a file describes, and its verdict into another file."""
    from ..records import whole_file
    from .race_judge import judge

    job = json.loads(Path(path).read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    try:
        f = from_home(**job["home"])
    except Exception as error:
        verdict = Verdict(failed=f"its source raises {type(error).__name__} in a new process", why=str(error))
    else:
        verdict = judge(f, job["backward"])
        if job["where"] == "gpu":
            verdict.passed = [f"on the GPU: {said}" for said in verdict.passed]
        if verdict and job["where"] == "gpu":
            verdict = verdict.joined(timed(f, job["backward"], job["library"]))
    with whole_file(job["answer"]) as file:
        json.dump(asdict(verdict), file)
    sys.stdout.flush()
    os._exit(0)                                                          # whatever it has left running


def from_home(kind, place, name):
    """The function that another process has sent."""
    if kind == "file":
        return from_file(place, name)
    import importlib

    f = importlib.import_module(place)
    for part in name.split("."):
        f = getattr(f, part)
    return f


if __name__ == "__main__":
    main(sys.argv[1])
