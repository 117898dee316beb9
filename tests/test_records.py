"""A result is written whole or not at all."""

import json
import subprocess
import sys

import pytest

from deltanet_edu import records
from deltanet_edu.records import provenance, read_result, whole_file, write_result


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole_file(path) as file:
        file.write("half a res")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_killed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    script = f"""
import os, signal
from deltanet_edu.records import whole_file
with whole_file({str(path)!r}) as file:
    file.write("half"); file.flush(); os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -9
    assert path.read_text() == "old"


def test_a_result_says_where_when_and_how(tmp_path):
    write_result(tmp_path / "new" / "r.json", {"milliseconds": 3}, command="deltanet-edu bench x")
    read = json.loads((tmp_path / "new" / "r.json").read_text())
    assert read["milliseconds"] == 3 and read["command"] == "deltanet-edu bench x"
    assert set(provenance()) <= set(read) and read["machine"]["processor"] and read["versions"]["torch"]


def test_a_result_is_read_by_its_name_or_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "__file__", str(tmp_path / "deltanet_edu" / "records.py"))
    assert read_result("speed") is None
    write_result(tmp_path / "results" / "speed.json", {"milliseconds": 3})
    assert read_result("speed")["milliseconds"] == 3
