"""Measurements are continued where they stopped, and only with what belongs together."""

import json

import pytest
import typer

from deltanet_edu.bench import stored
from deltanet_edu.bench.stored import Measurements


class Killed(BaseException):
    pass


def test_what_is_done_is_not_done_again(tmp_path):
    path, asked = tmp_path / "x.json", []

    def f(key):
        asked.append(key)
        if key == "c" and len(asked) == 3:
            raise Killed
        return {"value": key.upper()}

    first = Measurements(path, "measure --first", rounds=3)
    with pytest.raises(Killed):
        first.measure("letters", "abcd", f)
    assert json.loads(path.read_text())["letters"] == {"a": {"value": "A"}, "b": {"value": "B"}}
    shown = []
    Measurements(path, "measure --second", rounds=3).measure("letters", "abcd", f, lambda key, value: shown.append(key))
    assert asked == list("abccd") and shown == list("abcd")
    file = json.loads(path.read_text())
    assert file["rounds"] == 3 and file["versions"]["kernels"]
    assert file["command"] == "measure --first && measure --second"
    Measurements(path, "measure --second", rounds=3).measure("letters", "e", f)
    assert json.loads(path.read_text())["command"] == "measure --first && measure --second", "named once"


@pytest.mark.parametrize("change", ["rounds", "versions", "another machine", "fresh"])
def test_other_circumstances_start_anew(tmp_path, monkeypatch, capsys, change):
    path = tmp_path / "x.json"
    Measurements(path, "c", rounds=3).measure("letters", "a", str.upper)
    if change == "versions":
        monkeypatch.setattr(stored, "versions", lambda: {"kernels": "edited"})
    if change == "another machine":
        path.write_text(json.dumps(json.loads(path.read_text()) | {"machine": {"gpu": "another"}}))
    again = Measurements(path, "c", fresh=change == "fresh", rounds=4 if change == "rounds" else 3)
    assert "letters" not in again
    assert ("measured anew" in capsys.readouterr().out) == (change != "fresh")
    assert "letters" in json.loads(path.read_text()), "the file stays until there is something new"


def test_without_a_file():
    kept = Measurements(None, "c")
    kept.measure("letters", "ab", str.upper)
    assert kept == {"letters": {"a": "A", "b": "B"}}


def test_a_command_is_stored_without_the_folders_of_its_machine():
    app, seen = typer.Typer(), []

    @app.command("measure")
    def measure(context: typer.Context, output: str = "", rounds: int = 3, graphs: bool = False):
        seen.append(stored.as_typed(context))

    for words in (["--output", "/somewhere/of/mine/x.json", "--graphs"], ["--rounds", "5"]):
        app(words, standalone_mode=False)
    assert [command.split("--", 1)[1] for command in seen] == ["output x.json --graphs", "rounds 5"]
