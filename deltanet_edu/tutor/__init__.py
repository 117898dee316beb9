"""The tutor: exercises whose checks know the plausible mistakes, numeric checks of every equation, hints and progress.

A notebook uses `check`, `hint`, `solution`, `predict`, `verify`, `lines`, `show` and `progress`.
A chapter (`chapters/ch05`) uses `exercise`, `Case`, `Mistake`, `order_the_lines` and `AnswerError` in its
`problems.py`, `equation` and `prediction` in its `lesson.py`: lists to look things up in by number.
"""

from importlib import import_module

# Where each name lives. It is imported when it is first asked for: the command line needs no PyTorch to answer --help.
_HOMES = {
    "notebook": ("CheckFailed", "check", "hint", "lines", "predict", "progress", "solution", "verify"),
    "ordering": ("order_the_lines",),
    "registry": ("AnswerError", "Case", "Mistake", "RegistrationError", "UnknownId", "all_equations", "all_exercises",
                 "all_predictions", "equation", "exercise", "prediction"),
    "source": ("show",),
}
__all__ = sorted(name for names in _HOMES.values() for name in names)


def __getattr__(name):
    for home, names in _HOMES.items():
        if name in names:
            globals()[name] = getattr(import_module(f".{home}", __name__), name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
