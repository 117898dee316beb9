"""A progress file of its own for every test that checks an answer, and short runs where a check trains a model."""

import pytest

from deltanet_edu.tutor.registry import find

from ..tutor.conftest import home  # noqa: F401


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    monkeypatch.setattr(find("exercise", "16.19").prepare, "steps", 20)
