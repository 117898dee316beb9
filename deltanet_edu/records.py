"""Files written whole or not at all, where a user's own files live, and what a measurement must say about itself."""

import contextlib
import datetime
import glob
import json
import os
import platform
import shlex
import shutil
import sys
import tempfile
from pathlib import Path


def user_folder():
    """Where the package keeps what is the user's own: $DELTANET_EDU_HOME, or the system's folder for such files.

    A relative $DELTANET_EDU_HOME lies in the home folder, so that it is the same wherever a program is started.
    """
    if folder := os.environ.get("DELTANET_EDU_HOME"):
        return Path.home() / Path(folder).expanduser()
    from platformdirs import user_data_dir                               # here, so that kernels run without it

    return Path(user_data_dir("deltanet_edu", appauthor=False))


@contextlib.contextmanager
def whole_file(path, mode="w"):
    """Open a temporary file beside `path`. On success it replaces `path` in one step; on failure nothing changes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=temporary_prefix(path), dir=path.parent)
    try:
        os.chmod(temporary, 0o644)                                       # mkstemp makes it private
        text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
        with open(handle, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename in (None, temporary):
            error.filename = str(path)                                   # a full disk, say, does not name the file
        raise


@contextlib.contextmanager
def whole_folder(path):
    """A new folder beside `path`, to be filled. On success it becomes `path`, which must not exist; else it is gone."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=temporary_prefix(path), dir=path.parent))
    try:
        yield temporary
        os.chmod(temporary, 0o755)                                       # mkdtemp makes it private
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def temporary_prefix(path):
    return f".{path.name[:40]}."                                         # a name may be as long as the system allows


def sweep(path):
    """Remove what a process that was killed as it wrote `path` has left beside it. Only while nobody else writes it."""
    path = Path(path)
    for left in path.parent.glob(glob.escape(temporary_prefix(path)) + "*"):
        left.unlink(missing_ok=True)


def processor_name():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def provenance(command=None):
    """Machine, versions, date and command: {"machine": ..., "versions": ..., "date": ..., "command": ...}."""
    import torch

    machine = {"processor": processor_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
               "system": platform.system()}
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
        versions["cuda"] = torch.version.cuda
    with contextlib.suppress(ImportError):
        import triton
        versions["triton"] = triton.__version__
    if command is None:
        program = Path(sys.argv[0])
        of_package = program.parts[-2:] == ("deltanet_edu", "__main__.py")           # python -m deltanet_edu
        command = shlex.join(["deltanet-edu" if of_package else program.name, *sys.argv[1:]])
    return {"machine": machine, "versions": versions, "date": datetime.date.today().isoformat(), "command": command}


def write_result(path, measured, command=None):
    """Write {provenance, measured} as JSON, whole or not at all."""
    with whole_file(path) as file:
        json.dump({**provenance(command), **measured}, file, indent=1)
        file.write("\n")


def read_result(name):
    """The measurement results/NAME.json as a dict; None where it is not, as in Colab, which has only the package."""
    path = Path(__file__).parents[1] / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
