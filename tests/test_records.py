"""A result is written whole or not at all."""

import json
import subprocess
import sys

import pytest

from deltanet_edu import records
from deltanet_edu.records import provenance, read_result, sweep, user_folder, whole_file, write_result


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


def test_leftovers_of_a_killed_write_are_swept_and_nothing_else(tmp_path):
    path = tmp_path / "a[1].json"
    others = [path, tmp_path / "a[1].json.old", tmp_path / ".hidden", tmp_path / ".a1.json.x"]
    for other in others:
        other.write_text("keep")
    (tmp_path / ".a[1].json.ab12cd").write_text("half")
    sweep(path)
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("x" * 255)
    with whole_file(path) as file:
        file.write("whole")
    assert path.read_text() == "whole"


@pytest.mark.parametrize("said, expected", [("~/mine", "mine"), ("mine", "mine"), ("", None)])
def test_the_users_folder_is_the_same_from_everywhere(tmp_path, monkeypatch, said, expected):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("DELTANET_EDU_HOME", said)
    if expected is None:
        from platformdirs import user_data_dir
        assert str(user_folder()) == user_data_dir("deltanet_edu", appauthor=False)
    else:
        assert user_folder() == tmp_path / expected


@pytest.mark.parametrize("program, said", [("/usr/bin/deltanet-edu", "deltanet-edu"), ("somewhere/x.py", "x.py"),
                                           ("somewhere/deltanet_edu/__main__.py", "deltanet-edu")])
def test_the_command_is_one_that_can_be_typed(program, said, monkeypatch):
    monkeypatch.setattr("sys.argv", [program, "bench", "--model", "delta norm=l1"])
    assert provenance()["command"] == f"{said} bench --model 'delta norm=l1'"
