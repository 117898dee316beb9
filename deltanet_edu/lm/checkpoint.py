"""Runs that survive anything: a checkpoint is written whole or not at all, and refuses to continue another run."""

import json
from pathlib import Path

import torch

from ..records import whole_file

FORMAT = 1


class RunError(ValueError):
    """A run folder cannot be used as asked. The message says why and what to do."""


def save_checkpoint(folder, **parts):
    """Replace the checkpoint of a run in one step: a process killed at any moment leaves the old one or the new one."""
    with whole_file(Path(folder, "checkpoint.pt"), "wb") as file:
        torch.save({"format": FORMAT, **parts}, file)


def load_checkpoint(folder):
    """The parts of a checkpoint. Loads tensors and plain values only, so a file from a stranger cannot run code."""
    path = Path(folder, "checkpoint.pt")
    if not path.is_file():
        raise RunError(f"{folder}: there is no checkpoint.pt in it. Start a run with: deltanet-edu train --run {Path(folder).name}")
    try:
        parts = torch.load(path, weights_only=True)
    except Exception as error:
        raise RunError(f"{path}: this is not a checkpoint of deltanet-edu, or it is damaged ({type(error).__name__}).") from error
    if not isinstance(parts, dict) or parts.get("format") != FORMAT:
        raise RunError(f"{path}: this checkpoint is of another version; expected format {FORMAT}. Start a new run.")
    return parts


def refuse_if_different(folder, saved, asked):
    """Raise unless two descriptions of a run are equal, naming what differs."""
    names = sorted(saved.keys() | asked.keys())
    different = [f"{name} was {saved.get(name)!r}, now {asked.get(name)!r}" for name in names if saved.get(name) != asked.get(name)]
    if different:
        raise RunError(f"{folder}: cannot resume, this is another run: {'; '.join(different)}. "
                       f"Resume with the same settings, or start a run of another name.")


class Log:
    """log.jsonl of a run: one JSON object a step. On resume it is cut back to the checkpoint's step."""

    def __init__(self, folder, after_step=0):
        self.path = Path(folder, "log.jsonl") if folder else None
        self.entries = [entry for entry in read_log(folder) if entry["step"] <= after_step] if folder and after_step else []
        if self.path:
            with whole_file(self.path) as file:
                file.writelines(json.dumps(entry) + "\n" for entry in self.entries)
            self.file = open(self.path, "a", encoding="utf-8", newline="\n")

    def add(self, entry):
        self.entries.append(entry)
        if self.path:
            self.file.write(json.dumps(entry) + "\n")
            self.file.flush()

    def close(self):
        if self.path:
            self.file.close()


def read_log(folder):
    """The entries of a run's log. A last line that was cut off by a crash is left out."""
    path, entries = Path(folder, "log.jsonl"), []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return entries
