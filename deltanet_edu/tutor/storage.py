"""What a learner has done, in one JSON file: attempts, solved exercises, hints seen, mistakes made, predictions.

The file lies in the user's data folder, or in $DELTANET_EDU_HOME. Each change reads the file, changes it and replaces
it while holding a lock, so several notebooks may be open at once and a crash leaves the old or the new file, never half
of one. A folder that cannot be written costs a warning, once, and progress then lasts as long as the session; a file
that cannot be read is set aside under another name.
"""

import copy
import json
import warnings
from datetime import datetime, timezone

from filelock import FileLock, Timeout

from ..records import user_folder, whole_file

VERSION = 1
LOCK_SECONDS = 5

recording = True                 # False while cells are run again whose verdicts have been recorded

_warned = set()
_session = {}                    # home -> record, where the folder cannot be written


def home():
    """The folder of the progress file."""
    return user_folder()


def path():
    """The progress file; it need not exist yet."""
    return home() / "progress.json"


def empty():
    return {"version": VERSION, "exercises": {}, "predictions": {}}


def read(locked=False):
    """What has been recorded so far; an empty record if there is nothing, or nothing readable.

    An unreadable file is set aside by whoever holds the lock, so that no other's new file is taken for it.
    """
    try:
        data = json.loads(path().read_text(encoding="utf-8"))
        if not sound(data):
            raise ValueError("it is not a progress file")
        json.dumps(data,
                   ensure_ascii=False).encode()                    # half a surrogate pair could not be written back
        return mended(data)
    except (ValueError, RecursionError) as error:
        if locked:
            _set_aside(error)
        return empty()
    except OSError:                                                      # usually: no such file yet
        return copy.deepcopy(_session.get(home()) or empty())


def sound(data):
    """Whether this is a record of progress: two tables of records."""
    tables = [data.get(part) for part in ("exercises", "predictions")] if isinstance(data, dict) else [None]
    return all(isinstance(table, dict) and all(isinstance(r, dict) for r in table.values()) for table in tables)


def mended(data):
    """A sound record without the fields that are not what they should be: as if they had never been written."""
    for record in data["exercises"].values():
        for name, fits in FIELDS.items():
            if name in record and not fits(record[name]):
                del record[name]
        if "mistakes" in record:
            record["mistakes"] = {name: n for name, n in record["mistakes"].items() if _whole(n)}
    return data


def _whole(x):
    return type(x) is int and 0 <= x < 10**9


def _date(x):
    return x is None or isinstance(x, str)


FIELDS = {"attempts": _whole, "hints": _whole, "solved": _date, "first": _date, "last": _date,
          "mistakes": lambda x: isinstance(x, dict)}


def update(change):
    """Apply `change(data)` to the latest record and write it back. Never raises because of the file."""
    if not recording:
        return change(read())
    try:
        home().mkdir(parents=True, exist_ok=True)
        with FileLock(home() / "progress.lock", timeout=LOCK_SECONDS):
            data = read(locked=True)
            change(data)
            write(data)
    except (OSError, Timeout, NotImplementedError) as error:
        data = read()
        change(data)
        _session[home()] = data
        _warn(f"Your progress is not recorded, because {home()} cannot be written ({type(error).__name__}). "
              "It is remembered until you close the notebook; set DELTANET_EDU_HOME to a folder of yours to record it.")


def write(data):
    """Replace the file in one step."""
    with whole_file(path()) as file:
        json.dump(data, file, ensure_ascii=False, indent=1, sort_keys=True)


def backup():
    """Copy the file beside itself with the date in its name; the copy's path, or None if there is no file."""
    if not path().exists():
        return None
    return _keep_copy("before-reset", path().read_bytes())


def _keep_copy(label, content):
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
    kept = home() / f"progress-{label}-{stamp}.json"
    kept.write_bytes(content)
    return kept


def _set_aside(error):
    try:
        kept = _keep_copy("unreadable", path().read_bytes())
        _warn(f"Your progress file could not be read ({error}). It is kept as {kept}, and a new one is begun.")
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
    for name, default in dict(attempts=0, solved=None, hints=0, mistakes={}, first=None, last=None).items():
        record.setdefault(name, default)
    return record


def state(record):
    """How an exercise stands, by its record: "solved", "tried" or "open"."""
    return "solved" if record.get("solved") else "tried" if record.get("attempts") else "open"


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

    update(change)
    return seen[-1]


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
