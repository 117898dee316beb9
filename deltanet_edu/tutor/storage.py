"""What a learner has done, in one JSON file: attempts, solved exercises, hints seen, mistakes made, predictions.

The file lies in the user's data folder, or in $DELTANET_EDU_HOME. Each change reads the file, changes it and replaces it
while holding a lock, so several notebooks may be open at once and a crash leaves the old or the new file, never half of one.
A folder that cannot be written costs a warning, once; a file that cannot be read is set aside under another name.
"""

import json
import os
import tempfile
import warnings
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_data_dir

VERSION = 1
LOCK_SECONDS = 5

_warned = set()


def home():
    """The folder of the progress file."""
    return Path(os.environ.get("DELTANET_EDU_HOME") or user_data_dir("deltanet_edu", appauthor=False))


def path():
    """The progress file; it need not exist yet."""
    return home() / "progress.json"


def empty():
    return {"version": VERSION, "exercises": {}, "predictions": {}}


def read():
    """What has been recorded so far; an empty record if there is nothing, or nothing readable."""
    try:
        data = json.loads(path().read_text(encoding="utf-8"))
        if not isinstance(data, dict) or not all(isinstance(data.get(part), dict) for part in ("exercises", "predictions")):
            raise ValueError("it is not a progress file")
        return data
    except FileNotFoundError:
        return empty()
    except ValueError as error:
        _set_aside(error)
        return empty()
    except OSError as error:
        _warn(f"Your progress cannot be read: {error}.")
        return empty()


def update(change):
    """Apply `change(data)` to the latest record and write it back. Never raises because of the file."""
    try:
        home().mkdir(parents=True, exist_ok=True)
        with FileLock(home() / "progress.lock", timeout=LOCK_SECONDS):
            data = read()
            change(data)
            write(data)
    except (OSError, Timeout, NotImplementedError) as error:
        _warn(f"Your progress is not recorded, because {home()} cannot be written ({type(error).__name__}). "
              "Everything else works; set DELTANET_EDU_HOME to a folder of yours to record it.")


def write(data):
    """Replace the file in one step: a new file beside it, flushed to disk, then renamed."""
    handle, name = tempfile.mkstemp(dir=home(), prefix="progress-", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(data, file, ensure_ascii=False, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path())
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def backup():
    """Copy the file beside itself with the date in its name; the copy's path, or None if there is no file."""
    if not path().exists():
        return None
    return _copy_name("before-reset", path().read_bytes())


def _copy_name(label, content):
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
    copy = home() / f"progress-{label}-{stamp}.json"
    copy.write_bytes(content)
    return copy


def _set_aside(error):
    try:
        copy = _copy_name("unreadable", path().read_bytes())
        path().unlink()
        _warn(f"Your progress file could not be read ({error}). It is kept as {copy}, and a new one is begun.")
    except OSError:
        _warn(f"Your progress file could not be read ({error}).")


def _warn(message):
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, stacklevel=2)


def today():
    return datetime.now(timezone.utc).date().isoformat()


def entry(data, id):
    """The record of one exercise, made if there is none."""
    record = data["exercises"].setdefault(id, {})
    for name, default in (("attempts", 0), ("solved", None), ("hints", 0), ("mistakes", {}), ("first", None), ("last", None)):
        record.setdefault(name, default)
    return record


def record_verdict(verdict):
    """Count an attempt; `solved` keeps the date of the first success."""
    if verdict.state == "open":
        return

    def change(data):
        record = entry(data, verdict.id)
        record["attempts"] += 1
        record["first"], record["last"] = record["first"] or today(), today()
        if verdict.state == "pass":
            record["solved"] = record["solved"] or today()
        elif verdict.mistake:
            record["mistakes"][verdict.mistake] = record["mistakes"].get(verdict.mistake, 0) + 1

    update(change)


def record_hint(id):
    """Count one more hint as seen; returns its number, 1 to 3."""
    seen = []

    def change(data):
        record = entry(data, id)
        record["hints"] = min(record["hints"] + 1, 3)
        seen.append(record["hints"])

    before = read()["exercises"].get(id, {}).get("hints", 0)
    update(change)
    return seen[0] if seen else min(before + 1, 3)


def record_prediction(id, choice, right):
    """Keep the first choice: a prediction is made once."""
    update(lambda data: data["predictions"].setdefault(id, {"choice": choice, "right": right, "date": today()}))


def forget(ids=None):
    """Remove these exercises, and the predictions with these ids; everything if ids is None."""
    def change(data):
        for part in ("exercises", "predictions"):
            for id in list(data[part]):
                if ids is None or id in ids:
                    del data[part][id]

    update(change)
