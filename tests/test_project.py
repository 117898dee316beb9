"""The project as a whole: what depends on what, what is pinned, what is written in more than one place."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from functools import cache
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "deltanet_edu"
MODULES = sorted(PACKAGE.rglob("*.py"))
# A room may import from the rooms before it. `records` and `checks` know nothing of the others; `chapters` may use all.
ROOMS = [
    "records",
    "terminal",
    "checks",
    "ops",
    "kernels",
    "functional",
    "compat",
    "layers",
    "lm",
    "tasks",
    "figures",
    "bench",
    "tutor",
    "chapters",
    "cli",
]
# What a room may use of a later one, but only inside a function: not before it is needed.
LATER = {("lm", "figures"), ("tasks", "figures")}


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def tracked():
    """The text files of the repository, with their text."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    paths = [ROOT / name for name in names if name] or [
        p for p in ROOT.rglob("*") if ".venv" not in p.parts and ".git" not in p.parts
    ]
    return {p.relative_to(ROOT).as_posix(): p.read_text(encoding="utf-8") for p in paths
            if p.is_file() and p.suffix not in (".png", ".npz", ".pt", ".gz")}


# -- what imports what -------------------------------------------------------------------------------------------------

def imports(path):
    """(module imported, inside a function?) of a file, with relative names made absolute."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.Lambda))
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from ((f"{module}.{alias.name}", id(node) in lazy) for alias in node.names)


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "deltanet_edu" and parts[1] in ROOMS else None


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py").replace("__main__", "cli")
    if here == "__init__":
        assert {room(module) for module, _ in imports(path)} <= {None, "functional"}, (
            "the front door opens on functional.py alone"
        )
        return
    assert here in ROOMS, f"{here} has no place among the rooms: {' < '.join(ROOMS)}"
    for module, lazy in imports(path):
        there = room(module)
        allowed = there is None or ROOMS.index(there) <= ROOMS.index(here) or (lazy and (here, there) in LATER)
        assert allowed, f"{here} imports {module}, which comes after it: {' < '.join(ROOMS)}"
        if here == "ops":
            assert there in (None, "ops"), "ops imports nothing of ours"


DISTRIBUTIONS = {
    "IPython": "jupyterlab",
    "traitlets": "jupyterlab",
    "matplotlib_inline": "jupyterlab",
    "pygments": "jupyterlab",
    "cycler": "matplotlib",
    "mpl_toolkits": "matplotlib",
    "PIL": "matplotlib",
}


YARDSTICKS = ("fla", "flash_qla", "transformers")                        # measured where somebody has installed them


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_whatever_is_imported_is_declared(path):
    project = tomllib.loads(read("pyproject.toml"))["project"]
    needed = {Requirement(r).name for r in project["dependencies"]}
    optional = {Requirement(r).name for extra in project["optional-dependencies"].values() for r in extra}
    for module, lazy in imports(path):
        top = module.split(".")[0]
        if top not in sys.stdlib_module_names and top not in ("deltanet_edu", "__future__"):
            name = DISTRIBUTIONS.get(top, top.replace("_", "-"))
            assert name in needed or (lazy and name in optional | needed) or (lazy and top in YARDSTICKS), (
                f"{top} is not among the dependencies"
            )


def test_files_are_short():
    """400 lines at most, of tests 420. A chapter's problems are a list rather than a program, and may be longer."""
    for path, text in tracked().items():
        if path.endswith(".py") and not path.startswith(("book/lessons", "book/problems")):
            problems = re.fullmatch(r"deltanet_edu/chapters/ch\d\d/problems.py", path)
            limit = 600 if problems else 420 if path.startswith("tests/") else 400
            assert len(text.splitlines()) <= limit, (
                f"{path} has {len(text.splitlines())} lines, expected at most {limit}"
            )


def test_lines_are_short():
    """120 columns at most in the package and its tests."""
    wide = [f"{path}:{n}" for path, text in tracked().items()
            if path.endswith(".py") and path.startswith(("deltanet_edu/", "tests/"))
            for n, line in enumerate(text.splitlines(), 1) if len(line) > 120]
    assert not wide, wide


def test_no_name_is_unknown_or_unused():
    """ruff, with the rules of pyproject.toml."""
    files = [path for path in tracked() if path.endswith(".py")]
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--quiet", "--output-format=concise", *files]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_whoever_installs_the_package_gets_its_types():
    """py.typed says that the annotations count, and every public function of the doors and of ops has them."""
    data = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["package-data"]
    assert (PACKAGE / "py.typed").exists() and "py.typed" in data["deltanet_edu"]
    from deltanet_edu import compat, functional, ops

    named = [getattr(room, name) for room in (functional, compat, ops) for name in room.__all__]
    for f in filter(callable, named):
        missing = inspect.signature(f).parameters.keys() - f.__annotations__.keys()
        assert not missing and "return" in f.__annotations__, f"{f.__name__}: {missing or 'the result'} has no type"


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "triton":
            raise ModuleNotFoundError("No module named 'triton'", name="triton")
sys.meta_path.insert(0, Blocker())
import matplotlib
matplotlib.use("agg")
import torch
torch.set_num_threads(1)
"""


def run_without_triton(code):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code], cwd=ROOT / "book", capture_output=True, text=True, timeout=170
    )


def test_the_blocker_blocks():
    result = run_without_triton("import triton")
    assert result.returncode != 0 and "No module named 'triton'" in result.stderr


def test_the_package_works_without_triton():
    result = run_without_triton("""
import importlib, pkgutil, deltanet_edu
k = torch.nn.functional.normalize(torch.randn(1, 5, 2, 3), dim=-1)
deltanet_edu.delta_rule(k, k, torch.randn(1, 5, 2, 4), torch.rand(1, 5, 2))
for name in ("compat", "layers", "lm", "tasks", "tutor", "chapters", "figures", "bench", "cli"):
    if importlib.util.find_spec(f"deltanet_edu.{name}"):
        importlib.import_module(f"deltanet_edu.{name}")
assert "triton" not in sys.modules
""")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("chapter", ["00", "01", "02"])
def test_the_first_lessons_work_without_triton(chapter):
    import jupytext
    (path,) = (ROOT / "book" / "lessons").glob(f"{chapter}_*.py")
    code = "\n\n".join(cell.source for cell in jupytext.read(path, fmt="py:percent").cells if cell.cell_type == "code")
    result = run_without_triton(code + "\nassert 'triton' not in sys.modules\n")
    assert result.returncode == 0, result.stderr


# -- what is installed -------------------------------------------------------------------------------------------------

CONDA_NAMES = {"pytorch": "torch"}


def declared():
    """{name: requirement} of everything in pyproject.toml but the corpus, whose dependencies nobody wants."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["lab"] + project["optional-dependencies"]["test"]
    return {r.name: r for r in map(Requirement, lines)}


def test_the_conda_environment_asks_for_the_same():
    environment = yaml.safe_load(read("environment.yml"))["dependencies"]
    (pip,) = (line["pip"] for line in environment if isinstance(line, dict))
    wanted = {}
    for line in [line for line in environment if isinstance(line, str)] + [
        line for line in pip if not line.startswith("-e")
    ]:
        requirement = Requirement(line)
        wanted[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement
    python = wanted.pop("python")
    assert str(python.specifier) == tomllib.loads(read("pyproject.toml"))["project"]["requires-python"]
    wanted.pop("pip")
    assert {n: (str(r.specifier), str(r.marker)) for n, r in wanted.items()} == {
        n: (str(r.specifier), str(r.marker)) for n, r in declared().items()
    }
    assert "-e ." in pip


def test_every_line_of_the_conda_environment_has_its_reason():
    inside = False
    for line in read("environment.yml").splitlines():
        inside = inside or line.startswith("dependencies:")
        if inside and line.lstrip().startswith("- ") and not line.rstrip().endswith("pip:"):
            assert re.search(r"\s# \w{2,}", line), line


def pinned():
    return [Requirement(line) for line in read("requirements.lock").splitlines() if line and not line.startswith("#")]


def test_the_lock_satisfies_pyproject():
    pins = {}
    for requirement in pinned():
        (exact,) = requirement.specifier
        assert exact.operator == "==" and "+" not in exact.version, f"{requirement} is not one exact public version"
        pins.setdefault(requirement.name, []).append(exact.version)
    for name, requirement in declared().items():
        assert pins.get(name), f"{name} is not in requirements.lock: make lock"
        assert all(requirement.specifier.contains(Version(v)) for v in pins[name]), f"{name} {pins[name]}: make lock"


def test_the_lock_is_for_people_not_browsers_and_leaves_cuda_to_torch():
    for requirement in pinned():
        assert "== 'emscripten'" not in str(requirement.marker).replace('"', "'") and not requirement.name.startswith(
            ("nvidia-", "cuda-")
        )


def test_the_corpus_has_one_version():
    found = {
        (name, version)
        for name, text in tracked().items()
        for version in re.findall(r"nlp[-_]primitives *== *([\d.]+\d)", text)
    }
    assert {name for name, _ in found} >= {"pyproject.toml", "Makefile", "README.md", "environment.yml"}
    assert len({version for _, version in found}) == 1, found


# -- what is written ---------------------------------------------------------------------------------------------------

def test_no_path_of_one_machine():
    """Home folders and drives. Notebooks are looked at more closely by book/proofread.py."""
    pattern = re.compile(r"(?<![\w./:~-])/(home|root|Users)/\w|\b[A-Z]:\\\\?Users\b")
    found = [
        f"{name}: {text[m.start() - 20 : m.end() + 40]!r}"
        for name, text in tracked().items()
        for m in pattern.finditer(text)
        if name not in ("tests/test_project.py", "tests/book/test_proofread.py", "book/proofread.py")
    ]
    assert not found


def test_nothing_is_left_for_later():
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
    assert not [
        name for name, text in tracked().items() if words.search(text) and not name.endswith((".lock", ".ipynb"))
    ]


def address():
    return tomllib.loads(read("pyproject.toml"))["project"]["urls"]["Repository"]


def test_make_says_what_it_does():
    targets = re.search(r"^\.PHONY: (.*)$", read("Makefile"), re.M)[1].split()
    for target in targets:
        assert re.search(rf"^{target}:.*## \w", read("Makefile"), re.M), target
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    assert all(re.search(rf"^make {target}\b", said, re.M) for target in targets)


def test_the_address_of_the_project_is_one():
    """pyproject.toml says it; the pages that repeat it agree."""
    pattern = re.compile(r"https://github\.com/[\w.-]+/deltanet_edu\b")
    for name in ("README.md", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "pyproject.toml"):
        assert set(pattern.findall(read(name))) <= {address()}, name


def test_versions_agree():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    least = project["requires-python"].removeprefix(">=")
    assert f"Programming Language :: Python :: {least}" in project["classifiers"]
    version = tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert f"\nversion: {version}\n" in read("CITATION.cff") and f"\n## {version}\n" in read("CHANGELOG.md")


def test_the_sdist_is_the_package_alone(tmp_path):
    source = tmp_path / "project"
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(".*", "*.egg-info", "build", "notebooks", "exercises", "solutions", "results"),
    )
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    assert {"deltanet_edu/functional.py", "deltanet_edu/py.typed"} <= {*names}
    assert not any(n.startswith(("tests", "book")) for n in names)


def test_no_registry_is_named():
    for name in ("Makefile", ".ci/run", "requirements.lock", "environment.yml", "pyproject.toml"):
        assert not re.search(r"index-url|find-links|https?://(?!github\.com/)", read(name)), name
