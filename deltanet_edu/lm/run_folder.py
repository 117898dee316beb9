"""A run on disk: config.json, log.jsonl and checkpoint.pt, each whole or not there, and one writer at a time."""

import json
import math
import shlex
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from ..records import sweep, whole_file
from .config import Config

FORMAT = 2
FILES = SETTINGS, LOG, CHECKPOINT, BEST = "config.json", "log.jsonl", "checkpoint.pt", "best.pt"
MAY_CHANGE = ("corpus", "steps")                                         # on resume; a text has its fingerprint


class RunError(ValueError):
    """A run folder cannot be used as asked. The message says why and what to do."""


class RunFolder:
    """The files of one run while it trains. With folder=None nothing is kept. With writes=False it is another process
    that keeps it, and this one only reads along."""

    def __init__(self, folder, writes=True):
        self.folder, self.lock, self.file, self.entries = Path(folder) if folder else None, None, None, []
        self.writes = writes

    def open(self, config, resume):
        """Look, and write nothing. Returns the checkpoint to continue from, or None to start at step 0."""
        if self.folder is None:
            if resume:
                raise RunError("resume: there is nothing to resume without a run folder.")
            return None
        if not self.writes:                                              # it has been looked at
            return load_checkpoint(self.folder) if resume and (self.folder / CHECKPOINT).exists() else None
        if not resume:
            self.refuse_a_second_run()
            return None
        if not (self.folder / SETTINGS).is_file():
            raise RunError(f"{self.folder}: there is no run to resume here (no {SETTINGS}). "
                           "Start one without --resume.")
        self.acquire()
        refuse_if_different(self.folder, read_settings(self.folder, type(config)), config.to_dict(), MAY_CHANGE)
        if not (self.folder / CHECKPOINT).exists():
            return None                                                  # stopped before its first: start over
        saved = load_checkpoint(self.folder)
        refuse_if_different(self.folder, type(config)(**saved["config"]).to_dict(), config.to_dict(), MAY_CHANGE)
        if config.steps < saved["step"]:
            raise RunError(f"{self.folder}: cannot resume for {config.steps:,} steps, it has made {saved['step']:,} "
                           f"already. Ask for as many or more with --steps.")
        return saved

    def start(self, config, step):
        """From now on the folder is ours, until `close`: settings are written, and the log is cut back to `step`."""
        if self.folder is None:
            return
        self.entries = [entry for entry in read_log(self.folder) if entry["step"] <= step] if step else []
        if not self.writes:
            return
        if self.lock is None:
            self.acquire()
            self.refuse_a_second_run()                                   # which may have begun while the text was read
        for name in FILES:
            sweep(self.folder / name)
        with whole_file(self.folder / SETTINGS) as file:
            json.dump(config.to_dict(), file, indent=1)
        with whole_file(self.folder / LOG) as file:
            file.writelines(json.dumps(entry) + "\n" for entry in self.entries)
        self.file = open(self.folder / LOG, "a", encoding="utf-8", newline="\n")

    def add(self, entry):
        """Add a step to the log: one JSON object a line."""
        self.entries.append(entry)
        if self.file:
            try:
                self.file.write(json.dumps(entry) + "\n")
                self.file.flush()
            except OSError as error:                                     # the disk is full, say: name the file
                error.filename = str(self.folder / LOG)
                raise

    def is_best(self, entry, goal=min):
        """Is what this entry of the log has measured, if anything, better than all before it?"""
        measured = [e["held_out"] for e in [*self.entries, entry] if not math.isnan(e.get("held_out", math.nan))]
        here = entry.get("held_out")                                     # NaN equals nothing, and is nobody's best
        return here in measured and here == goal(measured) and measured.count(here) == 1

    def save(self, name=CHECKPOINT, /, **parts):
        """Replace a checkpoint in one step: a process killed at any moment leaves the old one or the new one. Raises
        FloatingPointError for a model of which nothing can be made any more; then the old one stays."""
        if self.folder and self.writes:
            if not all(x.isfinite().all() for x in parts.get("model", {}).values()):
                raise FloatingPointError("The weights are no longer finite: training has diverged. Use smaller "
                                         f"learning rates (lr, adam_lr). {self.folder / name} is left as it was.")
            with whole_file(self.folder / name, "wb") as file:
                torch.save({"format": FORMAT, **parts}, file)

    def close(self):
        if self.file:
            self.file.close()
        if self.lock:
            self.lock.release()

    def acquire(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(f"{self.folder}: another training is writing this run. Wait for it, stop it, "
                           "or choose another name with --run.") from None
        self.lock = lock

    def refuse_a_second_run(self):
        if (self.folder / CHECKPOINT).exists():
            raise RunError(f"{self.folder}: there is a run in it already. Continue it with --resume, "
                           "or choose another name with --run.")


def load_checkpoint(folder, name=CHECKPOINT):
    """The parts of a checkpoint. Loads tensors and plain values only, so a file from a stranger cannot run code."""
    path = Path(folder, name)
    if not path.is_file():
        start = shlex.join(["deltanet-edu", "train", "--run", Path(folder).name, *["--keep-best"] * (name == BEST)])
        raise RunError(f"{folder}: there is no {name} in it. Start a run with: {start}")
    try:
        parts = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise                                                            # it cannot be read at all
    except Exception as error:
        raise RunError(f"{path}: this is not a checkpoint of deltanet-edu, or it is damaged ({type(error).__name__}). "
                       "Start a new run, or put a copy of the file back.") from error
    if not isinstance(parts, dict) or parts.get("format") != FORMAT:
        raise RunError(f"{path}: this checkpoint is of another version; expected format {FORMAT}. Start a new run.")
    return parts


def read_settings(folder, kind=Config):
    """The settings of a run, as Config, or another kind of it, was given them."""
    path = Path(folder, SETTINGS)
    try:
        settings = kind(**json.loads(path.read_text(encoding="utf-8"))).to_dict()
    except (ValueError, TypeError) as error:                             # not JSON, not UTF-8, or not these settings
        raise RunError(f"{path}: these are not the settings of a run ({error}). "
                       "Put a copy of the file back, or start a run of another name.") from None
    return settings


def refuse_if_different(folder, saved, asked, may_change=()):
    """Raise unless two descriptions of a run are equal, naming what differs."""
    names = sorted(saved.keys() | asked.keys())
    different = [f"{name} was {saved.get(name)!r}, now {asked.get(name)!r}" for name in names
                 if saved.get(name) != asked.get(name) and name not in may_change]
    if different:
        raise RunError(f"{folder}: cannot resume, this is another run: {'; '.join(different)}. "
                       f"Resume with the same settings, or start a run of another name.")


def read_log(folder):
    """The entries of a run's log. A last line that was cut off by a crash is left out."""
    path, entries = Path(folder, LOG), []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            entry["step"] + entry["loss"]
        except (ValueError, TypeError, KeyError):
            if number == len(lines):
                break
            raise RunError(f"{path}: line {number} is damaged. Training does not need the log: move it away and "
                           "resume; only the curve so far is lost.") from None
        entries.append(entry)
    return entries
