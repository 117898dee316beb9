"""The progress file survives crashes, several writers, damage and folders that cannot be written."""

import json
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deltanet_edu.cli import app
from deltanet_edu.tutor import check, hint, progress, solution, storage
from deltanet_edu.tutor.verdict import Verdict

ROOT = Path(__file__).resolve().parents[2]


def solved(id):
    return Verdict(id, "Title", "pass", "right")


ALONE = f"""
import sys, types
for name in ("deltanet_edu", "deltanet_edu.tutor"):                      # the packages, without running what is in them
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [{str(ROOT)!r} + "/" + name.replace(".", "/")]
from deltanet_edu.tutor import storage
"""


def program(code):
    """Run code in a process of its own, with the storage imported alone: no PyTorch, so that it starts fast."""
    return subprocess.Popen([sys.executable, "-c", ALONE + textwrap.dedent(code)], stderr=subprocess.PIPE, text=True)


def test_what_is_recorded(home):
    storage.record_verdict(Verdict("5.2", "T", "fail", "it forgets beta", (), "forgets beta"))
    storage.record_verdict(Verdict("5.2", "T", "fail", "it forgets beta", (), "forgets beta"))
    storage.record_verdict(Verdict("5.2", "T", "open", "not attempted"))
    storage.record_verdict(solved("5.2"))
    record = json.loads((home / "progress.json").read_text())["exercises"]["5.2"]
    today = storage.today()
    assert record == {"attempts": 3, "solved": today, "hints": 0, "mistakes": {"forgets beta": 2}, "first": today,
                      "last": today}
    assert [p.name for p in home.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("place", ["json.dump", "os.fsync", "os.replace"])
def test_a_crash_while_writing_leaves_the_old_file(home, place):
    storage.record_verdict(solved("5.1"))
    before = (home / "progress.json").read_bytes()
    crashed = program(f"""
        import json, os
        def crash(*args, **kwargs):
            if args and hasattr(args[-1], "write"):
                args[-1].write('{{"half": '), args[-1].flush()
            os._exit(9)
        {place} = crash
        storage.update(lambda data: storage.entry(data, "5.2"))
    """)
    assert crashed.wait() == 9
    assert (home / "progress.json").read_bytes() == before
    storage.record_verdict(solved("5.3"))                                 # the lock of a dead process holds nobody up
    assert set(storage.read()["exercises"]) == {"5.1", "5.3"}


def test_killed_at_any_time_the_file_is_whole(home):
    """A writer is killed again and again; what is left can always be read and only ever grows."""
    storage.record_verdict(solved("1.1"))
    most = 0
    for _ in range(5):
        writer = program("""
            print("ready", file=sys.stderr, flush=True)
            while True:
                storage.update(lambda data: storage.entry(data, "5.2").update(
                    attempts=storage.entry(data, "5.2")["attempts"] + 1))
        """)
        writer.stderr.readline()
        while True:
            attempts = json.loads((home / "progress.json").read_text())["exercises"].get("5.2", {}).get("attempts", 0)
            if attempts > most + 3:
                break
        writer.kill()
        writer.wait()
        most = json.loads((home / "progress.json").read_text())["exercises"]["5.2"]["attempts"]
    assert storage.read()["exercises"]["1.1"]["solved"]


def test_several_notebooks_at_once_lose_nothing():
    writers = [program(f"""
        for i in range(20):
            storage.update(lambda data: storage.entry(data, "5.2").update(
                attempts=storage.entry(data, "5.2")["attempts"] + 1))
            storage.update(lambda data: storage.entry(data, "{n}." + str(i + 1)))
    """) for n in range(1, 5)]
    assert [writer.wait() for writer in writers] == [0] * 4
    exercises = storage.read()["exercises"]
    assert exercises["5.2"]["attempts"] == 80 and len(exercises) == 81


@pytest.mark.parametrize("content",
                         ["", "{", "[]", '{"version": 1}', '{"exercises": [], "predictions": {}}', "\x00\xff",
                                     '{"exercises": {"5.2": 3}, "predictions": {}}'], ids=repr)
def test_a_damaged_file_is_set_aside_not_lost(home, content):
    home.mkdir()
    (home / "progress.json").write_bytes(content.encode("latin-1"))
    with pytest.warns(UserWarning, match="It is kept as .*unreadable"):
        storage.record_verdict(solved("5.2"))
    kept = [p for p in home.iterdir() if "unreadable" in p.name]
    assert [p.read_bytes() for p in kept] == [content.encode("latin-1")]
    assert storage.read()["exercises"]["5.2"]["solved"]


def test_a_folder_that_cannot_be_written_costs_one_warning(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DELTANET_EDU_HOME", str(tmp_path / "file" / "home"))
    with pytest.warns(UserWarning, match="not recorded.*DELTANET_EDU_HOME"):
        assert check("0.1", lambda S, v, k: S + v[:, None] * k)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check("0.1", lambda S, v, k: S)
        hint("0.1"), hint("0.1")
    assert "hint 2 of 3" in capsys.readouterr().out                       # remembered as long as the session lasts
    assert storage.read()["exercises"]["0.1"]["attempts"] == 2


def test_fields_of_a_later_version_are_kept(home):
    home.mkdir()
    (home / "progress.json").write_text(
        '{"version": 2, "exercises": {"5.2": {"stars": 4}}, "predictions": {}, "theme": "dark"}')
    storage.record_verdict(solved("5.2"))
    data = json.loads((home / "progress.json").read_text())
    assert data["theme"] == "dark" and data["exercises"]["5.2"]["stars"] == 4
    assert data["exercises"]["5.2"]["attempts"] == 1


def test_without_the_variable_it_is_the_users_data_folder(monkeypatch):
    from platformdirs import user_data_dir

    monkeypatch.delenv("DELTANET_EDU_HOME")
    assert str(storage.home()) == user_data_dir("deltanet_edu", appauthor=False)


def test_hints_come_one_after_another(capsys):
    for _ in range(4):
        hint("0.2")
    said = capsys.readouterr().out
    assert [f"hint {n} of 3" in said for n in (1, 2, 3)] == [True] * 3
    assert said.index("hint 3 of 3") < said.index("all three hints")
    assert storage.read()["exercises"]["0.2"]["hints"] == 3


def test_solution_waits_for_a_first_attempt(capsys):
    solution("0.2")
    assert "einsum" not in capsys.readouterr().out
    solution("0.2", confirm=True)
    assert 'torch.einsum("bthk,bhvk->bthv", q, S)' in capsys.readouterr().out
    check("0.2", lambda q, S: q)
    capsys.readouterr()
    solution("0.2")
    assert "einsum" in capsys.readouterr().out


def test_forget_and_backup(home):
    storage.record_verdict(solved("5.2"))
    storage.record_prediction("5.a", "yes", True)
    storage.record_verdict(solved("6.1"))
    copy = storage.backup()
    storage.forget({"5.2", "5.a"})
    assert set(storage.read()["exercises"]) == {"6.1"} and storage.read()["predictions"] == {}
    assert set(json.loads(copy.read_text())["exercises"]) == {"5.2", "6.1"}
    storage.forget()
    assert storage.read() == storage.empty()


def test_the_first_prediction_counts():
    storage.record_prediction("2.a", "8", False)
    storage.record_prediction("2.a", "5", True)
    assert storage.read()["predictions"]["2.a"]["choice"] == "8"


# -- a file that somebody or something has damaged ---------------------------------------------------------------------

NEST = 200_000
DAMAGED = {
    "wrong types": '{"exercises": {"0.1": {"attempts": "three", "hints": [2], "mistakes": ["x"], "solved": 5, '
                   '"last": {}}}, "predictions": {}}',
    "nulls": '{"exercises": {"0.1": {"attempts": null, "hints": null, "mistakes": null}}, "predictions": {"0.a": {}}}',
    "counts that are none": '{"exercises": {"0.1": {"attempts": 1e999, "hints": -4, "mistakes": {"forgets": "often", '
                            '"adds": NaN}}}, "predictions": {}}',
    "half a character": '{"exercises": {"0.1": {"mistakes": {"\\ud800": 1}}}, "predictions": {}}',
    "a list": "[]", "nothing": "", "half a file": '{"exercises": {"0.1": {"att', "no text": b"\xff\xfe\x00\x01",
    "deep": "[" * NEST + "]" * NEST, "records that are none": '{"exercises": {"0.1": 3}, "predictions": {}}',
    "strange ids": '{"exercises": {"": {}, "x.y": {}, "0.1.2": {"attempts": 2}}, "predictions": {"0": {}}}',
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_never_breaks_anything(home, content, capsys):
    home.mkdir()
    (home / "progress.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        progress(), hint("0.1")
        assert check("0.1", lambda S, v, k: S + v[:, None] * k)
        check("0.1", lambda S, v, k: v[:, None] * k)
        for command in (["list", "0"], ["next"], ["progress"], ["reset", "--all", "--yes"]):
            assert CliRunner().invoke(app, command).exit_code == 0
    assert "hint 1 of 3" in capsys.readouterr().out


def test_what_is_sound_in_a_damaged_file_is_kept(home):
    home.mkdir()
    kept = {"attempts": 3, "solved": "2026-01-02", "hints": 1, "mistakes": {"forgets beta": 2},
            "of a later version": [1]}
    data = {"version": 1, "exercises": {"5.2": {**kept, "last": 7}, "5.3": {**kept, "mistakes": {"a": 1, "b": "x"}}},
            "predictions": {}}
    (home / "progress.json").write_text(json.dumps(data))
    assert storage.read()["exercises"] == {"5.2": kept, "5.3": {**kept, "mistakes": {"a": 1}}}


def test_a_folder_where_the_file_should_be(home):
    (home / "progress.json").mkdir(parents=True)
    with pytest.warns(UserWarning, match="cannot be written"):
        assert check("0.1", lambda S, v, k: S + v[:, None] * k)


@pytest.mark.parametrize("given", ["~/there", "there"])
def test_one_home_from_every_folder(given, monkeypatch, tmp_path):
    """`~` is the home folder, and so is where a relative path begins."""
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "me"))
    monkeypatch.setenv("DELTANET_EDU_HOME", given)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        assert storage.home() == tmp_path / "me" / "there"
