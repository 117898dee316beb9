"""The tutor: exercises whose checks know the plausible mistakes, numeric checks of every equation, hints and progress.

A notebook uses `check`, `hint`, `solution`, `predict`, `verify`, `lines`, `show` and `progress`.
A chapter (`chapters/ch05`) uses `exercise`, `Case`, `Mistake`, `order_the_lines` and `AnswerError` in its `problems.py`,
`equation` and `prediction` in its `lesson.py`: lists to look things up in by number.
"""

from .notebook import CheckFailed, check, hint, lines, predict, progress, solution, verify
from .ordering import order_the_lines
from .registry import (AnswerError, Case, Mistake, RegistrationError, UnknownId, all_equations, all_exercises, all_predictions,
                       equation, exercise, prediction)
from .source import show

__all__ = ["AnswerError", "Case", "CheckFailed", "Mistake", "RegistrationError", "UnknownId", "all_equations", "all_exercises",
           "all_predictions", "check", "equation", "exercise", "hint", "lines", "order_the_lines", "predict", "prediction",
           "progress", "show", "solution", "verify"]
