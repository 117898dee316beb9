"""What a check says of answers that a reader might give: the name of the mistake, or that it is right."""

import pytest

from deltanet_edu.tutor.grading import grade
from deltanet_edu.tutor.registry import find


def cases(table):
    """Parameters (id, answer, name) from {id: {name of the mistake, or "right": [answers]}}."""
    return pytest.mark.parametrize("id, answer, name", [
        pytest.param(id, answer, name, id=f"{id} {name} {n}")
        for id, names in table.items() for name, answers in names.items() for n, answer in enumerate(answers)])


def assert_verdict(id, answer, name):
    verdict = grade(find("exercise", id), answer)
    if name == "right":
        assert verdict.state == "pass", verdict.text
    else:
        assert (verdict.state, verdict.mistake) == ("fail", name), verdict.text
