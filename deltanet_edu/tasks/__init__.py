"""Tasks that ask what a memory can hold: each makes its sequences, knows the answers, and has a baseline to beat.

A task is one file here, which decorates its class with `@task("name")`. `training.py` trains a model on one, by the
loop of `lm`; `sweep.py` does so for many settings.
"""

from importlib import import_module
from pkgutil import iter_modules

__all__ = ["IGNORED", "TASKS", "Batch", "Task", "accuracy", "task"]


def __getattr__(name):
    """The names above, and the tasks by the names of their classes. Loaded when asked for, as they need PyTorch."""
    if name.startswith("_"):
        raise AttributeError(name)
    for file in iter_modules(__path__):
        import_module(f"{__name__}.{file.name}")
    from . import definition as shared

    names = {known: getattr(shared, known) for known in __all__} | {cls.__name__: cls for cls in shared.TASKS.values()}
    if name not in names:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; the tasks are {', '.join(shared.TASKS)}.")
    return names[name]
