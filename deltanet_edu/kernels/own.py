"""The reader's own rows of the table: what `deltanet-edu tune` found fastest on this very GPU,
in a file of the user's folder.

A file of other kernels than these is not used: what was fast for them may not even fit.
"""

import hashlib
import json
import re
import warnings
from functools import cache
from pathlib import Path

from ..records import user_folder


def path(gpu):
    """The file for the GPU of this name, in the user's data folder or $DELTANET_EDU_HOME; it need not exist."""
    return user_folder() / f"kernels-{re.sub(r'[^A-Za-z0-9]+', '-', gpu).strip('-')}.json"


@cache
def fingerprint():
    """Of the source of the kernels."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def few(heads, V, multiprocessors):
    """Are the memories so few that no multiprocessor gets two programs of 64 rows?"""
    return heads * -(-V // 64) <= multiprocessors


def key(dtype, width, heads, V, multiprocessors):
    """Which row is asked for, such as "bfloat16 128 few"."""
    return f"{str(dtype).removeprefix('torch.')} {width} {'few' if few(heads, V, multiprocessors) else 'many'}"


@cache
def rows(gpu):
    """{key: {field of a Plan: [v_tile, warps, stages], a number or None}}; empty without a file that can be used."""
    if not gpu:
        return {}
    try:
        stored = json.loads(path(gpu).read_text(encoding="utf-8"))
        if stored["versions"]["kernels"] == fingerprint():
            return {name: row["plan"] for name, row in stored["rows"].items()}
        warnings.warn(f"{path(gpu)} was made for other kernels than these and is not used. "
                      "Make it anew: deltanet-edu tune")
    except (FileNotFoundError, ImportError):
        pass
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        warnings.warn(f"{path(gpu)} cannot be read ({type(error).__name__}) and is not used. "
                      "Make it anew: deltanet-edu tune --fresh")
    return {}
