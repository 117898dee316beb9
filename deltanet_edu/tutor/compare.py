"""Is this the expected value? Tensors, arrays, numbers, strings, and tuples, lists, dicts and sets of them."""

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from numbers import Number

import numpy as np
import torch


@dataclass(frozen=True)
class Difference:
    """The first thing that differs, and how.

    kind: "type", "length", "keys", "shape", "dtype", "nan" or "value". `where` is "" or a path such as "[1]".
    Where entries differ: the index of the first, how many differ, and the largest difference.
    """

    kind: str
    where: str
    expected: object
    actual: object
    index: tuple = ()
    count: int = 0
    largest: float = 0.0


def difference(expected, actual, tolerance, where=""):
    """None if `actual` is `expected` up to `tolerance * max(1, largest expected entry)`, else the first Difference.

    A number of any kind, a tensor without dimensions and a NumPy scalar stand for each other; so do a tuple and a list,
    and a tensor and an array. Strings are compared without case and surrounding space. Shapes must agree. Dtypes need
    not while the values do, but truth values are no numbers, and complex numbers are not real.
    """
    if isinstance(expected, (tuple, list)):
        if not isinstance(actual, (tuple, list)):
            return Difference("type", where, expected, actual)
        if len(expected) != len(actual):
            return Difference("length", where, expected, actual)
        return _first(difference(e, a, tolerance, f"{where}[{i}]") for i, (e, a) in enumerate(zip(expected, actual)))
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            return Difference("type", where, expected, actual)
        if expected.keys() != actual.keys():
            return Difference("keys", where, expected, actual)
        return _first(difference(e, actual[name], tolerance, f"{where}[{name!r}]") for name, e in expected.items())
    if isinstance(expected, str) or isinstance(actual, str):
        if not (isinstance(expected, str) and isinstance(actual, str)):
            return Difference("type", where, expected, actual)
        equal = expected.strip().lower() == actual.strip().lower()
        return None if equal else Difference("value", where, expected, actual)
    e, a = as_tensor(expected), as_tensor(actual)
    if e is None or a is None:
        return _other(expected, actual, e, where)
    return _tensors(e, a, expected, actual, tolerance, where)


def equal(expected, actual, tolerance):
    """Whether there is no difference. Sooner than `difference`, which looks for the first and the largest as well."""
    if isinstance(expected, (tuple, list)) and isinstance(actual, (tuple, list)):
        return len(expected) == len(actual) and all(equal(e, a, tolerance) for e, a in zip(expected, actual))
    if isinstance(expected, torch.Tensor) and isinstance(actual, torch.Tensor):
        e, a = as_tensor(expected), as_tensor(actual)
        if e is not None and a is not None:
            return e.shape == a.shape and family(e) == family(a) and not _far(e, a, tolerance)[0].any()
    return difference(expected, actual, tolerance) is None


def _first(differences):
    return next((d for d in differences if d is not None), None)


def as_tensor(x):
    """A detached dense tensor for a tensor, array or number; None for anything else, such as a meta tensor."""
    try:
        if isinstance(x, torch.Tensor):
            if x.is_meta or x.is_quantized:
                return None
            return x.detach().to_dense() if x.layout != torch.strided else x.detach()
        if isinstance(x, (np.ndarray, np.generic)):
            x = np.asarray(x)
            return torch.as_tensor(np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("=")).reshape(x.shape))
        if isinstance(x, (Fraction, Decimal)):
            x = float(x)
        if isinstance(x, Number):
            wide = {float: torch.float64, complex: torch.complex128}
            return torch.tensor(x, dtype=next((wide[kind] for kind in wide if isinstance(x, kind)), None))
    except (TypeError, ValueError, OverflowError, RuntimeError):         # an array of objects, an integer of 100 digits
        return None
    return None


def plain(right, answer):
    """A tensor or an array as the number or the tuple of numbers that is asked for; any other answer as it is.

    Leading dimensions of size 1 are no mistake: a memory of one row, (1, K), is a row.
    """
    several = isinstance(right, (tuple, list))
    if several and isinstance(answer, (tuple, list)) and len(answer) == len(right):
        numbers = map(plain, right, answer)
        return list(numbers) if isinstance(answer, list) else tuple(numbers)
    if not (several or isinstance(right, Number)) or not isinstance(answer, (torch.Tensor, np.ndarray)):
        return answer
    x = as_tensor(answer)
    if x is None or family(x) != "real":
        return answer
    while x.ndim > several and len(x) == 1:
        x = x[0]
    return x.tolist() if x.ndim == several else answer


def as_wide(expected, actual):
    """The actual value in float64 if that is what it is held against, in each of its parts."""
    if isinstance(actual, (tuple, list)) and isinstance(expected, (tuple, list)) and len(actual) == len(expected):
        return type(actual)(map(as_wide, expected, actual))
    both = isinstance(actual, torch.Tensor) and isinstance(expected, torch.Tensor)
    narrow = both and actual.dtype == torch.float32 and expected.dtype == torch.float64
    return actual.double() if narrow else actual


def _other(expected, actual, expected_tensor, where):
    numbers = isinstance(expected, Number) and isinstance(actual, Number)  # one of them too large for a tensor
    if not numbers and (expected_tensor is not None or type(expected) is not type(actual)):
        return Difference("type", where, expected, actual)
    try:
        equal = bool(expected == actual)
    except Exception:
        equal = False
    return None if equal else Difference("value", where, expected, actual)


def _tensors(e, a, expected, actual, tolerance, where):
    if e.shape != a.shape:
        return Difference("shape", where, expected, actual)
    if family(e) != family(a):
        return Difference("dtype", where, expected, actual)
    far, gap, wider = _far(e, a, tolerance)
    if not far.any():
        return None
    tensors = isinstance(expected, torch.Tensor) and isinstance(actual, torch.Tensor)
    index = tuple(far.nonzero()[0].tolist())
    kind = "nan" if bool((a.isnan() & ~e.isnan()).any()) else "value"
    if e.dtype != a.dtype and not wider and (tensors or e.ndim):
        kind = "dtype"
    largest = gap[far].nan_to_num(float("inf")).max().item()
    return Difference(kind, where, expected, actual, index, int(far.sum()), largest)


def _far(e, a, tolerance):
    """As `apart`, and whether the dtype of `a` is wider. What is expected is as exact as its dtype."""
    wider = e.dtype != a.dtype and _holds(a.dtype, e.dtype)
    if wider and e.is_floating_point():
        tolerance = max(tolerance, 4 * torch.finfo(e.dtype).eps)
    return *apart(e, a, tolerance), wider


def _holds(wide, narrow):
    """Whether every number of one dtype has its place in the other."""
    try:
        return torch.promote_types(wide, narrow) == wide
    except RuntimeError:                                                 # PyTorch does not combine float8 with anything
        return False


def family(x):
    """Of a tensor: "truth", "complex" or "real"."""
    return "truth" if x.dtype == torch.bool else "complex" if x.is_complex() else "real"


def apart(e, a, tolerance):
    """Which entries differ by more than the tolerance, and by how much; infinities and NaNs must match."""
    wide = torch.complex128 if e.is_complex() or a.is_complex() else torch.float64
    e, a = e.to(wide).cpu(), a.to(wide).cpu()
    gap = (e - a).abs()                                                  # NaN for equal infinities: handled below
    largest = e.abs().max().item() if e.numel() else 0.0
    if math.isfinite(largest):
        return ~(gap <= tolerance * max(1.0, largest)), gap
    finite = e.isfinite()
    largest = e[finite].abs().max().item() if finite.any() else 0.0
    matching = (e == a) | (e.isnan() & a.isnan())
    return ~matching & ~(gap <= tolerance * max(1.0, largest)), gap
