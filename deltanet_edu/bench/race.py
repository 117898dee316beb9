"""A forward or backward kernel of your own: is it right, would a GPU agree, and how does it do against the package's?

    race(f)                          in a notebook; f(q, k, v, beta) -> o, or (o, final state), launches your kernels
    deltanet-edu race my_kernel.py   on the command line; the file defines delta_rule(q, k, v, beta)

Questions in this order, and the first no ends the race (race_judge.py): are the values right, on ragged lengths and
K ≠ V; does it stay inside its tensors and write all it should; does the order of its programs not matter; does the
compiler accept it; how many bytes does it move? On a GPU then (race_clock.py): are the values right there, in float32
and bfloat16, and how many milliseconds does it take? f runs in a process of its own (race_process.py), so that what
crashes or never ends takes nothing with it.
"""

import inspect
import json
from dataclasses import asdict, dataclass, field
from textwrap import fill

from ..records import provenance, user_folder, whole_file

__all__ = ["Verdict", "board", "board_figure", "from_file", "race"]


@dataclass
class Verdict:
    """How far a kernel came.

    passed: questions in order.    failed, why: what went wrong, and what to look at.    scores: what was measured, in
    words.    bytes: {"must": ..., "yours": ..., "the package": ...}.    times: {"B,T,H,K": {who: milliseconds, or why
    there are none}}, on a GPU.    advice: what to do next about a kernel that is right.
    """

    passed: list = field(default_factory=list)
    failed: str = ""
    why: str = ""
    scores: dict = field(default_factory=dict)
    bytes: dict = field(default_factory=dict)
    times: dict = field(default_factory=dict)
    advice: list = field(default_factory=list)

    def __bool__(self):
        return not self.failed

    def __str__(self):
        lines = [f"✓ {said}" for said in self.passed]
        if self.failed:
            lines += [f"✗ {self.failed}", *(f"      {line}" for line in self.why.splitlines())]
        lines += [f"  {name:<32} {said}" for name, said in self.scores.items()]
        return "\n".join([*lines, *(fill(f"→ {said}", 100, subsequent_indent="  ") for said in self.advice)])

    def figure(self):
        """The scores as a picture: bytes, and on a GPU milliseconds."""
        from ..figures import race as picture

        if not (self.bytes or self.times):
            raise ValueError("figure: there is nothing to draw, since the kernel did not get through.")
        return picture.verdict(self.bytes, self.times)

    def joined(self, later):
        """This verdict, and that of the questions that came after."""
        return Verdict(self.passed + later.passed, later.failed, later.why, self.scores | later.scores,
                       self.bytes | later.bytes, self.times | later.times, self.advice + later.advice)


def race(f, backward=False, seconds=300, name=None, *, library=True, apart=True):
    """Put f to the questions above; print and return the Verdict, and keep it on the board if it got through.

    Args:
        f: (q, k, v, beta) -> o, or (o, final state); scale 1, an empty memory at the start.
            q, k: (B, T, H, K), v: (B, T, H, V), beta: (B, T, H), o: (B, T, H, V), final state: (B, H, V, K).
        backward: judge the gradients, too: f must be differentiable.
        seconds: how long f may take for all of it; on a GPU, in the interpreter and on the GPU each.
        name: what the board calls it; the function's own name if None.
        library: on a GPU, measure flash-linear-attention as well, if it is installed (its first call takes minutes).
        apart: in a process of its own. False runs f here: for debugging, where a crash is yours.
    """
    from .race_process import verdict_on

    verdict = verdict_on(f, backward, seconds, library, apart)
    print(verdict)
    if verdict:
        keep(name or getattr(f, "__name__", "yours"), verdict, backward)
    return verdict


# -- the board ---------------------------------------------------------------------------------------------------------

def board_file():
    return user_folder() / "race.json"


def board():
    """What got through so far, oldest first: [{name, date, scores, ...}]."""
    try:
        return json.loads(board_file().read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return []


def keep(name, verdict, backward):
    """Add a verdict to the reader's board; if it is there already, word for word, it only gets today's date."""
    said = json.loads(json.dumps({"name": name, "passes": "both" if backward else "forward", **asdict(verdict)}))
    others = [entry for entry in board() if entry | said != entry]
    with whole_file(board_file()) as file:
        json.dump([*others, said | provenance("race")], file, indent=1, ensure_ascii=False)


def board_figure():
    """The board as a picture: each kernel that got through, beside the package's. None if there is none yet."""
    from ..figures import race as picture

    entries = [entry for entry in board() if entry.get("bytes")]
    return picture.board(entries) if entries else None


def from_file(path, name="delta_rule"):
    """The function `name` of a Python file; raises ValueError that says what is missing."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("raced", path)
    if spec is None:
        raise ValueError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    f = getattr(module, name, None)
    if not callable(f):
        known = [n for n, x in vars(module).items() if inspect.isfunction(x) and x.__module__ == "raced"]
        raise ValueError(f"{path} defines no function {name}, but {', '.join(known) or 'none'}; --name picks one.")
    return f
