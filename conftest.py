"""Shared by the tests of the package and of the notebooks: nobody's progress file is touched, and two cores are enough."""

import os
import tempfile
from pathlib import Path

import pytest

collect_ignore_glob = ["*/my_*.ipynb"]                                   # a learner's own copies
os.environ.setdefault("OMP_NUM_THREADS", "1")                            # two tests run side by side: one core each
_homes = tempfile.TemporaryDirectory(prefix="deltanet-edu-")
os.environ["DELTANET_EDU_HOME"] = _homes.name


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Each notebook starts with an empty record of progress, as it did when it was made. Its kernel is started after this."""
    if item.path.suffix == ".ipynb":
        home = Path(_homes.name) / f"{item.path.parent.name}-{item.path.stem}-{os.environ.get('PYTEST_XDIST_WORKER', 'only')}"
        os.environ["DELTANET_EDU_HOME"] = str(home)
