"""The package and the tutor work where Triton and IPython are not installed, and where a notebook has neither."""

import ast
import re
import subprocess
import sys
from pathlib import Path

from deltanet_edu import tutor

PROGRAM = """
import sys
for missing in ("triton", "IPython", "nbclient", "nbformat", "matplotlib", "hypothesis", "pytest"):
    sys.modules[missing] = None                                           # importing it raises ModuleNotFoundError
import deltanet_edu, torch
from deltanet_edu import delta_rule
from deltanet_edu.tutor import all_exercises, check, hint, lines, predict, progress, show, solution, verify
from deltanet_edu.tutor.doctor import examine
from deltanet_edu.tutor.registry import unavailable_chapters

assert check("0.1", lambda S, v, k: S + torch.outer(v, k))
assert not check("0.1", lambda S, v, k: S.float())
assert verify("0.1")
predict("0.a"), hint("0.1"), solution("0.2", confirm=True), show(delta_rule), progress()
assert {0} <= {e.chapter for e in all_exercises()}
assert all("needs Triton" in reason for reason in unavailable_chapters().values())
"""


def test_without_triton_and_ipython(home):
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "✓ 0.1 Write one association" in done.stdout and "def delta_rule(" in done.stdout


def test_progress_without_tokenizers(home):
    code = ("import sys; sys.modules['tokenizers'] = None\nfrom deltanet_edu.tutor import progress\nprogress()")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "chapter  2" in done.stdout


def test_importing_the_tutor_imports_no_chapter(home):
    code = "import sys, deltanet_edu.tutor; sys.exit(any(m.startswith('deltanet_edu.chapters') for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_tutor_knows_no_chapter():
    """The engine imports nothing of the chapters, and names none: it loads a chapter by its number."""
    for path in Path(tutor.__file__).parent.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else \
                [f"{node.module or ''}.{a.name}" for a in node.names] if isinstance(node, ast.ImportFrom) else []
            assert not any("chapters.ch" in name or re.search(r"\bch\d\d\b", name) for name in names), path
