"""A progress file of its own for every test of the tutor."""

import pytest

from deltanet_edu.tutor import storage


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    monkeypatch.setenv("DELTANET_EDU_HOME", str(folder))
    monkeypatch.setattr(storage, "_warned", set())
    return folder
