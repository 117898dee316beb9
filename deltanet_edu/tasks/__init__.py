"""Tasks that ask what a memory can hold: each makes its sequences, knows the answers, and has a baseline to beat.

A task is one file here, which decorates its class with `@task("name")`.
"""

from importlib import import_module
from pkgutil import iter_modules

from .task import IGNORED, TASKS, Batch, Task, accuracy, task

for file in iter_modules(__path__):
    import_module(f"{__name__}.{file.name}")
globals().update({cls.__name__: cls for cls in TASKS.values()})

__all__ = ["IGNORED", "TASKS", "Batch", "Task", "accuracy", "task", *(cls.__name__ for cls in TASKS.values())]
