"""What every way in asks of its arguments: types, dtypes, devices, shapes; values where looking costs nothing."""

import math
import warnings
from decimal import Decimal
from numbers import Real

import torch

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def one_of(name, value, known):
    """Raise ValueError unless an option has one of the values that it can have."""
    if value not in known:
        raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(map(repr, known))}.")


def can_look(*tensors):
    """Can the values of these be read, without waiting for a GPU and without breaking what a compiler, a fake tensor or
    vmap does?"""
    return not torch.compiler.is_compiling() and all(
        x.device.type == "cpu" and type(x) in (torch.Tensor, torch.nn.Parameter)
        and not torch._C._functorch.is_functorch_wrapped_tensor(x) for x in tensors)


def autocast_dtype(x):
    """The dtype that autocast asks for where x lies; None if it is off."""
    device = x.device.type if isinstance(x, torch.Tensor) else "meta"
    # For meta, which has no autocast, is_autocast_enabled raises. is_autocast_available would say so, but torch.compile
    # cannot read it before 2.13.
    return torch.get_autocast_dtype(device) if device != "meta" and torch.is_autocast_enabled(device) else None


# -- types, dtypes, devices, shapes ------------------------------------------------------------------------------------

def check_inputs(q, k, v, beta, *, initial_state=None, scale=1.0, chunk_size=None, cu_seqlens=None,
                 cu_seqlens_cpu=None):
    """Raise TypeError or ValueError unless types, dtypes, devices and shapes fit together. Returns N, the number of
    sequences: any number of them, none included, and of any length, none included.

    Reads no value but those of cu_seqlens, and these only where they lie on the CPU.
    """
    named = {"q": q, "k": k, "v": v, "beta": beta}
    if initial_state is not None:
        named["initial_state"] = initial_state
    for name, x in named.items():
        check_tensor(name, x, q)
    for name in "kv":
        if named[name].dtype != q.dtype:
            raise TypeError(f"{name}: got dtype {named[name].dtype}, but q is {q.dtype}. "
                            f"Convert it with {name}.to(q.dtype).")
    check_shapes(q, k, v, beta)
    N = check_packing(q, cu_seqlens, cu_seqlens_cpu)
    if initial_state is not None:
        check_state("initial_state", initial_state, (N, q.shape[2], v.shape[3], q.shape[3]))

    if isinstance(scale, bool) or not isinstance(scale, (Real, Decimal)):
        raise TypeError(f"scale: got {type(scale).__name__}, expected a number such as 1.0.")
    if scale != scale or not abs(scale) < math.inf:                      # compilers stumble over math.isfinite
        raise ValueError(f"scale: got {scale}, expected a finite number such as 1.0.")
    if chunk_size is not None and (isinstance(chunk_size, bool) or not isinstance(chunk_size, int)):
        raise TypeError(f"chunk_size: got {chunk_size!r}, expected a positive integer such as 64.")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size: got {chunk_size}, expected a positive integer such as 64.")
    return N


def check_tensor(name, x, q):
    """Raise TypeError or ValueError unless x is a dense tensor of floating-point numbers that lies where q lies."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name}: got {type(x).__name__}, expected a torch.Tensor. "
                        "Convert it with torch.as_tensor(...).")
    if x.dtype not in DTYPES:
        raise TypeError(f"{name}: got dtype {x.dtype}, expected float16, bfloat16, float32 or float64. "
                        f"Convert it with {name}.float().")
    if x.layout != torch.strided:
        raise TypeError(f"{name}: got layout {x.layout}, expected a dense tensor. Convert it with {name}.to_dense().")
    if x.device != q.device:
        raise ValueError(f"{name}: is on {x.device}, but q is on {q.device}. "
                         f"Move it with {name}.to({str(q.device)!r}).")


def check_shapes(q, k, v, beta):
    """Raise ValueError unless the shapes are (B, T, H, K), the same, (B, T, H, V) and (B, T, H)."""
    if q.ndim == v.ndim == 4 and k.shape == q.shape and v.shape[:3] == q.shape[:3] == beta.shape and (
            0 not in (*q.shape[2:], v.shape[3])):
        return                                                           # the usual case; the rest finds the words
    named = {"q": (q, "BTHK"), "k": (k, "BTHK"), "v": (v, "BTHV"), "beta": (beta, "BTH")}
    for name, (x, letters) in named.items():
        if x.ndim != len(letters):
            one_too_many = name == "beta" and x.ndim == 4 and x.shape[-1] == 1
            fix = " Drop the last dimension with beta.squeeze(-1)." if one_too_many else ""
            raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected {len(letters)} dimensions "
                             f"({', '.join(letters)}).{fix}")
    sizes = dict(zip("BTHKV", (*q.shape, v.shape[3])))
    for name, (x, letters) in named.items():
        expected = tuple(sizes[letter] for letter in letters)
        if tuple(x.shape) != expected:
            raise ValueError(f"{name}: got shape {tuple(x.shape)}, but q of shape {tuple(q.shape)} "
                             f"asks for ({', '.join(letters)}) = {expected}.{fix_of_heads(name, x, expected)}")
    for letter, name in zip("HKV", "qqv"):
        if sizes[letter] == 0:
            shape = tuple(named[name][0].shape)
            raise ValueError(f"{name}: got shape {shape} with {letter} = 0, expected at least one.")


def fix_of_heads(name, x, expected):
    """What to do if heads and time have changed places, or if x has another number of heads than q."""
    if tuple(x.transpose(1, 2).shape) == expected:
        return f" Heads come after time here: {name}.transpose(1, 2)."
    heads, H = x.shape[2], expected[2]
    if tuple(x.shape) != (*expected[:2], heads, *expected[3:]) or 0 in (heads, H):
        return ""
    if heads % H == 0:
        return (f" Each head of q serves {heads // H} of {name}: q.repeat_interleave({heads // H}, dim=2), "
                f"and likewise whatever else has {H} heads.")
    return (f" Each head of {name} serves {H // heads} of q: {name}.repeat_interleave({H // heads}, dim=2)."
            if H % heads == 0 else "")


def check_state(name, S, expected):
    """Raise ValueError unless S has the shape (N, H, V, K) that is expected."""
    if tuple(S.shape) != expected:
        N, H, V, K = expected
        of_the_library = tuple(S.shape) == (N, H, K, V)
        fix = f" This is the layout of flash-linear-attention: pass {name}.mT." if of_the_library else ""
        raise ValueError(f"{name}: got shape {tuple(S.shape)}, expected {expected}, a memory (V, K) for each sequence "
                         f"and head.{fix}")


def warn_if_head_first(q, stacklevel):
    """Tensors in the layout (B, H, T, K) fit one another too. What may give them away: more heads than tokens."""
    B, T, H, K = q.shape
    if 1 < T < H and not torch.compiler.is_compiling():
        warnings.warn(f"q: shape {(B, T, H, K)} is read as (B, T, H, K), {T} tokens with {H} heads. If heads come "
                      "before time in yours, pass q.transpose(1, 2), and k, v and beta alike.",
                      stacklevel=stacklevel + 1)


# -- sequences packed end to end ---------------------------------------------------------------------------------------

def check_packing(q, cu_seqlens, cu_seqlens_cpu):
    """The number of sequences, N: B, or with cu_seqlens as many as it says."""
    if cu_seqlens is None:
        if cu_seqlens_cpu is not None:
            raise ValueError("cu_seqlens_cpu: came without cu_seqlens, whose copy on the CPU it is. Pass both.")
        return len(q)
    for name, x in (("cu_seqlens", cu_seqlens), ("cu_seqlens_cpu", cu_seqlens_cpu)):
        if x is not None or name == "cu_seqlens":
            check_ends_tensor(name, x)
    if len(q) != 1:
        raise ValueError(f"q: got batch size {len(q)} together with cu_seqlens, expected 1: pack the sequences end to "
                         "end in one row.")
    if cu_seqlens.device != q.device:
        raise ValueError(f"cu_seqlens: is on {cu_seqlens.device}, but q is on {q.device}. "
                         f"Move it with cu_seqlens.to({str(q.device)!r}).")
    if can_look(cu_seqlens):
        checked_ends(cu_seqlens, q.shape[1])
    if cu_seqlens_cpu is not None:
        check_copy(cu_seqlens_cpu, cu_seqlens, q.shape[1])
    return len(cu_seqlens) - 1


def check_ends_tensor(name, x):
    """Raise TypeError unless x is a list of integers as a tensor."""
    if not isinstance(x, torch.Tensor) or x.dtype not in (torch.int32, torch.int64) or x.ndim != 1 or len(x) < 2:
        came = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
        raise TypeError(f"{name}: got {came}, expected a one-dimensional tensor of int32 or int64, [0, c_1, ..., T], "
                        "with at least two entries.")


def check_copy(cu_seqlens_cpu, cu_seqlens, T):
    """Raise ValueError unless one is a copy of the other on the CPU."""
    if cu_seqlens_cpu.device.type != "cpu" or cu_seqlens_cpu.shape != cu_seqlens.shape:
        raise ValueError(f"cu_seqlens_cpu: got shape {tuple(cu_seqlens_cpu.shape)} on {cu_seqlens_cpu.device}, "
                         f"expected a copy of cu_seqlens, shape {tuple(cu_seqlens.shape)}, on the CPU.")
    if can_look(cu_seqlens_cpu):
        ends = checked_ends(cu_seqlens_cpu, T)
        if can_look(cu_seqlens) and cu_seqlens.tolist() != ends:
            raise ValueError(f"cu_seqlens_cpu: got {ends}, expected a copy of cu_seqlens, {cu_seqlens.tolist()}.")


def checked_ends(cu_seqlens, T):
    """The list [0, c_1, ..., T], after checking that it is one."""
    ends = cu_seqlens.tolist()
    if ends[0] != 0 or ends[-1] != T or any(a > b for a, b in zip(ends, ends[1:])):
        raise ValueError(f"cu_seqlens: got {ends}, expected ends that never decrease, from 0 to T = {T}.")
    return ends


# -- values ------------------------------------------------------------------------------------------------------------

def check_input_values(q, k, v, beta, *, initial_state=None):
    """Raise ValueError for NaN or infinity, negative beta, or keys so long that the memory would blow up."""
    named = {"q": q, "k": k, "v": v, "beta": beta}
    if initial_state is not None:
        named["initial_state"] = initial_state
    for name, x in named.items():
        finite = x.isfinite()
        if not finite.all():
            where = (~finite).nonzero()[0].tolist()
            raise ValueError(f"{name}: {x[tuple(where)].item()} at index {where}, expected finite numbers. Look at "
                             f"what computed {name}; {(~finite).sum().item()} of {x.numel()} entries are affected.")
    if (beta < 0).any():
        where = (beta < 0).nonzero()[0].tolist()
        raise ValueError(f"beta: {beta[tuple(where)].item():.4g} at index {where}, expected a write strength of at "
                         "least 0. Use a sigmoid: beta = torch.sigmoid(...).")
    strength = beta.float() * k.float().square().sum(-1)                 # (B, T, H)
    most = 2 * (1 + 4 * torch.finfo(k.dtype).eps) + 1e-5                 # unit keys are rounded and may pass 2 a little
    if strength.numel() and strength.max() > most:
        where = [int(i) for i in torch.unravel_index(strength.argmax(), strength.shape)]
        raise ValueError(f"k: beta |k|^2 reaches {strength.max().item():.4g} at index {where}; above 2 each write "
                         "makes the error larger and the memory grows without bound. Normalize the keys, "
                         "k = torch.nn.functional.normalize(k, dim=-1), or pass check_values=False to go on.")
