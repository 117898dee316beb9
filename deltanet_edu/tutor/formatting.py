"""Numbers, tensors and cases in a few characters, the same on every machine."""

import inspect
import re
import textwrap

import torch

from .compare import as_tensor

FULL = 20        # tensors of up to this many entries are written out


def number(x, digits=4):
    """So many significant digits, without noise: 0.5, 1.333, 1e-07, nan."""
    if isinstance(x, complex):
        sign = "+" if x.imag >= 0 or x.imag != x.imag else ""
        return f"{number(x.real, digits)}{sign}{number(x.imag, digits)}j"
    if isinstance(x, (bool, int, str)):
        return str(x)
    text = f"{x:.{digits}g}"
    return "0" if text == "-0" else text


def value(x, depth=4, digits=4):
    """A value in one line: small tensors in full, large ones by shape and first entries."""
    if isinstance(x, str):
        return shorten(x)
    if isinstance(x, (tuple, list, dict)) and not depth:
        return "..."
    if isinstance(x, (tuple, list)):
        inner = ", ".join(value(y, depth - 1, digits) for y in x[:4]) + (", ..." if len(x) > 4 else "")
        if isinstance(x, list):
            return f"[{inner}]"
        return f"({inner},)" if len(x) == 1 else f"({inner})"
    if isinstance(x, dict):
        return "{" + ", ".join(f"{name}: {value(y, depth - 1, digits)}" for name, y in x.items()) + "}"
    if isinstance(x, (set, frozenset)):
        return "{" + ", ".join(sorted(map(printed, x))) + "}"
    t = as_tensor(x)
    if t is None:
        return shorten(getattr(x, "__name__", None) or printed(x))
    usual = t.dtype in (torch.float64, torch.int64, torch.bool) or not isinstance(x, torch.Tensor)
    dtype = "" if usual else f" {str(t.dtype)[6:]}"
    if 0 < t.numel() <= FULL:
        return _nested(t.tolist(), digits) + dtype
    first = ", ".join(number(y, digits) for y in t.flatten()[:4].tolist())
    return f"{shape(t)}{dtype}" + (f" [{first}, ...]" if first else "")


def printed(x):
    """str(x), whatever x is."""
    try:
        return str(x)
    except Exception:
        return f"<{type(x).__name__}>"


def kind(x):
    """What to call a value: "tensor", "sparse tensor", "tuple", "NoneType"."""
    if not isinstance(x, torch.Tensor):
        return type(x).__name__
    kinds = ("meta ", x.is_meta), ("quantized ", x.is_quantized), ("sparse ", x.layout != torch.strided)
    return next((name for name, applies in kinds if applies), "") + "tensor"


def fits(x, width=80, digits=4):
    """Whether a value fits in one line."""
    return len(value(x, digits=digits)) <= width


def rows(x, width=80, split=False, digits=4):
    """A value as lines: one if it fits and is not to be split, else one per row of a matrix or member of a tuple."""
    text = value(x, digits=digits)
    if len(text) <= width and not (split and isinstance(x, tuple) and x):
        return [text]
    if isinstance(x, tuple):
        lines = []
        for i, member in enumerate(x):
            inner = rows(member, width - 2, digits=digits)
            inner[-1] += "," if i + 1 < len(x) or len(x) == 1 else ""
            lines += [" " + line for line in inner]
        return ["(" + lines[0][1:], *lines[1:-1], lines[-1] + ")"] if len(lines) > 1 else ["(" + lines[0][1:] + ")"]
    if isinstance(x, torch.Tensor):
        return re.sub(r"(\]+), (\[+)", lambda m: f"{m[1]},\n{' ' * (x.ndim - len(m[2]))}{m[2]}", text).splitlines()
    return [text]


def _nested(x, digits):
    return "[" + ", ".join(_nested(y, digits) for y in x) + "]" if isinstance(x, list) else number(x, digits)


def shape(t):
    """The shape as a tuple: (5, 3)."""
    return str(tuple(t.shape))


def shorten(text, width=200):
    """One line of at most `width` characters, without addresses in memory, which differ from run to run."""
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", " ".join(str(text).split()))
    return text if len(text) <= width else text[: width - 4] + " ..."


def size(x, depth=4):
    """How many numbers there are in a value."""
    if isinstance(x, (tuple, list, dict)):
        return sum(size(y, depth - 1) for y in (x.values() if isinstance(x, dict) else x)) if depth else 1
    t = as_tensor(x)
    return 1 if t is None else t.numel()


def argument_names(f, n):
    """Names of the first n positional arguments of f."""
    try:
        parameters = inspect.signature(f).parameters.values()
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):
        names = []
    return (names + [f"argument {i + 1}" for i in range(len(names), n)])[:n]


def summary(notes):
    """One phrase for many notes: ["repeated keys, T = 1", "repeated keys, T = 2"] becomes "repeated keys, T = 1, 2"."""
    words, settings = [], {}
    for phrase in phrases(notes):
        name, equals, setting = phrase.partition(" = ")
        if equals:
            values = settings.setdefault(name, [])
            if setting not in values:
                values.append(setting)
        elif phrase not in words:
            words.append(phrase)
    for name, values in settings.items():
        values.sort(key=_numeric)
    return ", ".join(words + [f"{name} = {', '.join(values)}" for name, values in settings.items()])


def phrases(notes):
    """The comma-separated phrases of notes, in order."""
    return [phrase.strip() for note in notes for phrase in note.split(",") if phrase.strip()]


def _numeric(text):
    return (0, float(text), text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else (1, 0.0, text)


def wrap(text, indent, width=110):
    """Paragraphs of plain text, wrapped and indented; "eq. 5.4" and "K = V" stay on one line."""
    glued = re.sub(r"(?<=\beq\.) (?=\d)|(?<=\b\w) (?=[=≠≤≥<>] )|(?<= [=≠≤≥<>]) (?=\w)", "\N{NO-BREAK SPACE}", text)
    wrapper = textwrap.TextWrapper(width, initial_indent=indent, subsequent_indent=indent, break_long_words=False,
                                   break_on_hyphens=False)
    return "\n".join(map(wrapper.fill, glued.splitlines())).replace("\N{NO-BREAK SPACE}", " ")
