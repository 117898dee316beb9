"""The tutor: exercises whose checks know the plausible mistakes, numeric checks of every equation, hints and progress.

A notebook uses `check`, `hint`, `solution`, `predict`, `verify`, `lines`, `show` and `progress`.
A chapter module (`ch05.py`) uses `exercise`, `Case`, `Mistake`, `equation`, `prediction`, `order_the_lines` and `AnswerError`. It is a
list to look things up in by number, as long as its chapter asks: the exercises in order, each with its solutions, mistakes and hints;
then the equations of the lesson; then its predictions.
"""

from .notebook import CheckFailed, check, hint, lines, predict, progress, solution, verify
from .ordering import order_the_lines
from .registry import (AnswerError, Case, Mistake, RegistrationError, UnknownId, all_equations, all_exercises, all_predictions,
                       equation, exercise, prediction)
from .source import show

__all__ = ["AnswerError", "Case", "CheckFailed", "Mistake", "RegistrationError", "UnknownId", "all_equations", "all_exercises",
           "all_predictions", "check", "equation", "exercise", "hint", "lines", "order_the_lines", "predict", "prediction",
           "progress", "show", "solution", "verify"]
