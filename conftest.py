"""Shared by the tests of the package and of the notebooks: nobody's progress file is touched, and two cores are enough."""

import importlib.util
import os
import re
import tempfile
from pathlib import Path

import pytest

collect_ignore_glob = ["*/my_*.ipynb"]                                   # a learner's own copies
os.environ.setdefault("OMP_NUM_THREADS", "1")                            # two tests run side by side: one core each
_homes = tempfile.TemporaryDirectory(prefix="deltanet-edu-")
os.environ["DELTANET_EDU_HOME"] = _homes.name


STARTS = 3                                                               # of a notebook's kernel, before it is given up


def pytest_configure():
    """A kernel that dies at its start is started anew, on other ports.

    Its five ports are chosen first and bound later, by another process. In between, whoever else opens a port on this
    machine, a kernel of the test beside this one, say, may get the same.
    """
    if importlib.util.find_spec("nbval") is None:
        return
    from nbval import kernel

    start = kernel.start_new_kernel

    def start_again(*args, **options):
        for left in reversed(range(STARTS)):
            try:
                return start(*args, **options)
            except RuntimeError:
                if not left:
                    raise

    kernel.start_new_kernel = start_again


def pytest_collection_modifyitems(items):
    """A notebook trains for three seconds: `book/generate.py` has run it whole, and shown what came of it."""
    for item in items:
        if hasattr(item, "cell") and re.search(r"\btrain\(", item.cell.source):
            item.cell.source = re.sub(r"\bseconds=\d+\b", "seconds=3", item.cell.source)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Each notebook starts with an empty record of progress, as it did when it was made. Its kernel is started after this."""
    if item.path.suffix == ".ipynb":
        home = Path(_homes.name) / f"{item.path.parent.name}-{item.path.stem}-{os.environ.get('PYTEST_XDIST_WORKER', 'only')}"
        os.environ["DELTANET_EDU_HOME"] = str(home)
