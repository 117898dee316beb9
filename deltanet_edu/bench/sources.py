"""A function as the text of a module: with the kernels, functions, classes and constants that it uses.

So it can go into another process, or into a file. Of a notebook only what has a source or can be written down can go
along: no tensors, no models, no variables of a function around it.
"""

import ast
import builtins
import importlib
import inspect
import linecache
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

WAY_OUT = "Put it all into a file of its own and race that:  deltanet-edu race my_kernel.py"


class Unsendable(ValueError):
    """A function uses something that has no source. The message names it and says what to do."""


@dataclass(frozen=True)
class Home:
    """Where another process finds a function: in an importable module, in a file, or in a text."""

    kind: str                                                            # "module", "file" or "text"
    place: str
    name: str

    def put_into(self, folder):
        """What is told to the other process; a text becomes a file in `folder`."""
        if self.kind != "text":
            return dict(kind=self.kind, place=self.place, name=self.name)
        file = folder / "raced.py"
        file.write_text(self.place, encoding="utf-8")
        return dict(kind="file", place=str(file), name=self.name)


def where_it_lives(f):
    """The Home of a function; raises Unsendable."""
    name, module = getattr(f, "__qualname__", ""), getattr(f, "__module__", None)
    if not (inspect.isfunction(f) or inspect.isclass(f) or hasattr(f, "fn")):
        raise Unsendable(f"{f!r} is no function. Write one, def delta_rule(q, k, v, beta), that calls it.")
    if f.__name__ == "<lambda>":
        raise Unsendable("A lambda has no name by which another process could find it. Write it with def.")
    if importable(f, module, name):
        return Home("module", module, name)
    file = getattr(f, "__globals__", {}).get("__file__")
    if module not in (None, "__main__") and file and Path(file).is_file() and "." not in name:
        return Home("file", str(Path(file).resolve()), name)
    return Home("text", module_of(f), f.__name__)


def importable(x, module, name):
    """Would `from module import name` give x in a new process?"""
    if module in (None, "__main__", "builtins") or not name or "<locals>" in name:
        return False
    held = sys.modules.get(module)
    if held is None or getattr(held, "__spec__", None) is None:
        return False
    for part in name.split("."):
        held = getattr(held, part, None)
    return held is x


def module_of(f):
    """The text of a module that defines f and whatever it uses."""
    head, body = {}, {}
    add(f, head, body)
    return "\n".join(["import torch", *head.values()]) + "\n\n\n" + "\n\n\n".join(filter(None, body.values())) + "\n"


def add(x, head, body):
    """Put a function, class or kernel into `body`, after what it uses."""
    inner = unwrapped(x)
    source = source_of(inner)
    body[inner.__name__] = ""                                            # it may call itself
    for name, value in used(inner, source):
        if name not in head and name not in body:
            written = as_written(name, value, head, body, inner.__name__)
            if written:
                head[name] = written
    del body[inner.__name__]                                             # dependencies come first
    body[inner.__name__] = source


def unwrapped(x):
    """The function inside a kernel, however it is decorated."""
    while not inspect.isfunction(x) and not inspect.isclass(x) and hasattr(x, "fn"):
        x = x.fn
    return x


def used(x, source):
    """(name, value) of the globals that a source mentions. Raises Unsendable for variables of a function around it."""
    functions = [x] if inspect.isfunction(x) else [f for f in map(bare, vars(x).values()) if inspect.isfunction(f)]
    for f in functions:
        for name in f.__code__.co_freevars:
            if name != "__class__":
                raise Unsendable(f"{x.__name__} uses {name}, a variable of the function around it, which stays behind. "
                                 f"Make it an argument with a default, or a global number.\n{WAY_OUT}")
    namespace = functions[0].__globals__ if functions else {}
    names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    return [(name, namespace[name]) for name in sorted(names) if name in namespace]


def as_written(name, value, head, body, user):
    """The line that gives a global its value in another module; "" if it is put into `body`. Raises Unsendable."""
    if isinstance(value, ModuleType):
        if value.__name__ == "__main__":
            raise Unsendable(f"{user} uses the module __main__.\n{WAY_OUT}")
        return f"import {value.__name__} as {name}"
    if getattr(builtins, name, None) is value:
        return ""
    inner = unwrapped(value)
    module, inside = getattr(inner, "__module__", None), getattr(inner, "__qualname__", "")
    if importable(value, module, inside) and "." not in inside:
        return f"from {module} import {inside} as {name}"
    if inspect.isfunction(inner) or inspect.isclass(inner):
        add(value, head, body)
        if inner.__name__ != name:
            body[name] = f"{name} = {inner.__name__}"
        return ""
    if constant(value):
        return f"{name} = {value!r}"
    if type(value).__name__ == "constexpr" and constant(value.value):
        return f"import triton.language\n{name} = triton.language.constexpr({value.value!r})"
    if str(value).startswith("torch.") and type(value).__module__.startswith("torch"):
        return f"{name} = {value}"                                       # a dtype, a memory format
    if type(value).__name__ == "dtype" and type(value).__module__.startswith("triton."):
        return f"import triton.language\n{name} = triton.language.{named_in('triton.language', value)}"
    raise Unsendable(f"{user} uses {name}, a global of type {type(value).__name__}, which has no source. Make it where "
                     f"it is needed, or an argument.\n{WAY_OUT}")


def named_in(module, value):
    return next((n for n, x in vars(importlib.import_module(module)).items() if x is value), str(value))


def constant(value):
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def bare(x):
    return getattr(x, "__func__", x)                                     # of a staticmethod


def source_of(x):
    """The source of a function or class, decorators and all; also of a class of a notebook, which `inspect` misses."""
    try:
        return textwrap.dedent(inspect.getsource(x))
    except (OSError, TypeError):
        methods = [f for f in map(bare, vars(x).values()) if inspect.isfunction(f)] if inspect.isclass(x) else []
        for f in methods:
            text = "".join(linecache.getlines(f.__code__.co_filename))
            for node in ast.walk(ast.parse(text)) if text else ():
                named = isinstance(node, ast.ClassDef) and node.name == x.__name__
                if named and node.lineno <= f.__code__.co_firstlineno <= node.end_lineno:
                    start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                    return textwrap.dedent("\n".join(text.splitlines()[start - 1:node.end_lineno]))
        raise Unsendable(f"the source of {x.__name__} cannot be found.\n{WAY_OUT}") from None
