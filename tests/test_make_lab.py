"""`make lab` and the README's line without make: a server from which the lessons and the exercises can be reached."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def in_makefile():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "$(BIN)/jupyter lab $(LAB) $(ARGS)" in text
    return re.search(r"^LAB := (.*)$", text, re.M)[1]


def in_readme():
    return re.search(r"^jupyter lab (.*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M)[1]


@pytest.mark.parametrize("options", [in_makefile, in_readme])
def test_lessons_and_exercises_can_be_reached(options, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        *shlex.split(options()),
        "--no-browser",
        "--allow-root",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=secret",
    ]
    env = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path),
        "JUPYTER_DATA_DIR": str(tmp_path),
    }
    log = tmp_path / "log"
    with log.open("w") as said, subprocess.Popen(command, cwd=ROOT, env=env, stdout=said, stderr=said) as server:
        try:
            for name in (
                "notebooks/00_start_here.ipynb",
                *sorted(f"exercises/{p.name}" for p in (ROOT / "exercises").glob("05_*.ipynb")),
            ):
                assert fetch(f"http://127.0.0.1:{port}/api/contents/{name}", server, log)["path"] == name
        finally:
            server.terminate()
    assert "/lab/tree/notebooks/00_start_here.ipynb" in log.read_text(), "the first lesson is what opens"


def fetch(address, server, log):
    """What the server answers, once it is up."""
    request = urllib.request.Request(address, headers={"Authorization": "token secret"})
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.25)
    raise AssertionError(f"no server after a minute:\n{log.read_text()}")


def test_make_passes_flags_on():
    said = subprocess.run(
        ["make", "--dry-run", "lab", "ARGS=--allow-root --port 8890"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert re.search(r"jupyter lab .*--allow-root --port 8890$", said, re.M)
