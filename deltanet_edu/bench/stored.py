"""Measurements that grow: in one JSON file, continued after an interruption, not mixed with other circumstances."""

import contextlib
import importlib.metadata
import json
import shlex
from pathlib import Path

from ..kernels import own
from ..records import provenance, write_result

WRITTEN_BY_RECORDS = ("machine", "versions", "date", "command")


def versions():
    """Of everything that is measured; of the kernels here, a fingerprint of their source."""
    found = provenance("")["versions"]
    for package in ("fla-core", "flash-qla"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found | {"kernels": own.fingerprint()}


def as_typed(context, group=("bench",)):
    """The command of a typer.Context with the options given; of the output file, the name without its folder."""
    words = ["deltanet-edu", *group, context.info_name]
    for parameter in context.command.params:
        if context.get_parameter_source(parameter.name).name == "COMMANDLINE":
            value = context.params[parameter.name]
            if isinstance(value, bool):
                words.append((parameter.opts if value else parameter.secondary_opts)[0])
            else:
                words += [parameter.opts[0], Path(value).name if parameter.name == "output" else str(value)]
    return shlex.join(words)


class Measurements(dict):
    """{section: {key: value}}, written to `path` after every new value; path=None keeps them in memory only.

    What the file holds already is kept if it is of the same GPU and processor, the same versions and the same
    `circumstances`, a dict of whatever else the values depend on.
    """

    def __init__(self, path, command, fresh=False, **circumstances):
        self.path, self.command = path, command
        self.about = {"versions": versions(), **circumstances}
        there = path and Path(path).exists() and not fresh
        stored = json.loads(Path(path).read_text(encoding="utf-8")) if there else {}
        if stored and self.differs(stored) is None:
            self.update({name: value for name, value in stored.items()
                         if name not in (*WRITTEN_BY_RECORDS, *self.about)})
            earlier = stored.get("command") or ""
            self.command = earlier if command in earlier.split(" && ") else f"{earlier} && {command}"
        elif stored:
            print(f"{path} is measured anew: {self.differs(stored)} differ from those it was made with.")

    def differs(self, stored):
        """The first thing that keeps `stored` from being continued here; None if nothing does."""
        here, there = provenance("")["machine"], stored.get("machine", {})
        if any(here.get(part) != there.get(part) for part in ("gpu", "processor")):
            return "the GPU or the processor"
        return next((name for name, value in self.about.items() if stored.get(name) != value), None)

    def measure(self, section, keys, f, show=lambda key, value: None, progress=lambda keys: keys):
        """self[section][key] = f(key) for every key that is not there yet; `show` is called for all, old and new."""
        values = self.setdefault(section, {})
        for key in progress(list(keys)):
            if key not in values:
                values[key] = f(key)
                self.save()
            show(key, values[key])

    def save(self):
        if self.path:
            write_result(self.path, {**self.about, **self}, self.command)
