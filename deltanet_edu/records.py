"""Files that are written whole or not at all, and what every measurement must say about itself."""

import contextlib
import datetime
import json
import os
import platform
import shlex
import sys
import tempfile
from pathlib import Path


@contextlib.contextmanager
def whole_file(path, mode="w"):
    """Open a temporary file beside `path`; on success it replaces `path` in one step, on failure nothing has changed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        os.chmod(temporary, 0o644)                                       # mkstemp makes it private
        with open(handle, mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": "\n"})) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def processor_name():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def provenance(command=None):
    """Machine, versions, date and command: {"machine": ..., "versions": ..., "date": ..., "command": ...}."""
    import torch

    machine = {"processor": processor_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "system": platform.system()}
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
        versions["cuda"] = torch.version.cuda
    with contextlib.suppress(ImportError):
        import triton
        versions["triton"] = triton.__version__
    if command is None:
        command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return {"machine": machine, "versions": versions, "date": datetime.date.today().isoformat(), "command": command}


def write_result(path, measured, command=None):
    """Write {provenance, measured} as JSON, whole or not at all."""
    with whole_file(path) as file:
        json.dump({**provenance(command), **measured}, file, indent=1)
        file.write("\n")


def read_result(name):
    """The measurement results/NAME.json as a dict; None where it is not, as in Colab, where only the package arrives."""
    path = Path(__file__).parents[1] / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
