"""What every way in asks of its inputs: types, dtypes, devices and shapes always, values where looking costs nothing."""

import math
from numbers import Real

import torch

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def one_of(name, value, known):
    """Raise ValueError unless an option has one of the values that it can have."""
    if value not in known:
        raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(map(repr, known))}.")


def can_look(*tensors):
    """Can the values of these be read, without waiting for a GPU and without breaking what a compiler, a fake tensor or vmap does?"""
    return not torch.compiler.is_compiling() and all(
        x.device.type == "cpu" and type(x) in (torch.Tensor, torch.nn.Parameter) and not torch._C._functorch.is_functorch_wrapped_tensor(x)
        for x in tensors)


def autocast_dtype(x):
    """The dtype that autocast asks for where x lies; None if it is off."""
    device = x.device.type if isinstance(x, torch.Tensor) else "meta"
    # For meta, which has no autocast, is_autocast_enabled raises. is_autocast_available would say so, but torch.compile cannot read it before 2.13.
    return torch.get_autocast_dtype(device) if device != "meta" and torch.is_autocast_enabled(device) else None


def check_inputs(q, k, v, beta, *, initial_state=None, scale=1.0, chunk_size=None, cu_seqlens=None, cu_seqlens_cpu=None):
    """Raise TypeError or ValueError unless types, dtypes, devices and shapes fit together. Returns the number of sequences, N.

    Reads no value but those of cu_seqlens, and these only where they lie on the CPU.
    """
    named = {"q": q, "k": k, "v": v, "beta": beta}
    if initial_state is not None:
        named["initial_state"] = initial_state
    for name, x in named.items():
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{name}: got {type(x).__name__}, expected a torch.Tensor. Convert it with torch.as_tensor(...).")
        if x.dtype not in DTYPES:
            raise TypeError(f"{name}: got dtype {x.dtype}, expected float16, bfloat16, float32 or float64. Convert it with {name}.float().")
        if x.layout != torch.strided:
            raise TypeError(f"{name}: got layout {x.layout}, expected a dense tensor. Convert it with {name}.to_dense().")
        if x.device != q.device:
            raise ValueError(f"{name}: is on {x.device}, but q is on {q.device}. Move it with {name}.to({str(q.device)!r}).")
    for name in "kv":
        if named[name].dtype != q.dtype:
            raise TypeError(f"{name}: got dtype {named[name].dtype}, but q is {q.dtype}. Convert it with {name}.to(q.dtype).")

    for name, letters in (("q", "BTHK"), ("k", "BTHK"), ("v", "BTHV"), ("beta", "BTH")):
        x = named[name]
        if x.ndim != len(letters):
            raise ValueError(f"{name}: got shape {tuple(x.shape)}, expected {len(letters)} dimensions ({', '.join(letters)})."
                             + (" Drop the last dimension with beta.squeeze(-1)." if name == "beta" and x.ndim == 4 and x.shape[-1] == 1 else ""))
    B, T, H, K = q.shape
    V = v.shape[-1]
    for name, expected, letters in (("k", (B, T, H, K), "BTHK"), ("v", (B, T, H, V), "BTHV"), ("beta", (B, T, H), "BTH")):
        x = named[name]
        if tuple(x.shape) != expected:
            swapped = x.ndim >= 3 and tuple(x.transpose(1, 2).shape) == expected
            fix = f" Heads come after time here: {name}.transpose(1, 2)." if swapped else ""
            raise ValueError(f"{name}: got shape {tuple(x.shape)}, but q of shape {tuple(q.shape)} "
                             f"asks for ({', '.join(letters)}) = {expected}.{fix}")
    for letter, size, name in zip("HKV", (H, K, V), "qqv"):
        if size == 0:
            raise ValueError(f"{name}: got shape {tuple(named[name].shape)} with {letter} = 0, expected at least one.")
    N = check_packing(q, cu_seqlens, cu_seqlens_cpu)
    if initial_state is not None:
        check_state("initial_state", initial_state, (N, H, V, K))

    if isinstance(scale, bool) or not isinstance(scale, Real):
        raise TypeError(f"scale: got {type(scale).__name__}, expected a number such as 1.0.")
    if not abs(scale) < math.inf:                                        # not math.isfinite, which compilers stumble over
        raise ValueError(f"scale: got {scale}, expected a finite number such as 1.0.")
    if chunk_size is not None and (isinstance(chunk_size, bool) or not isinstance(chunk_size, int)):
        raise TypeError(f"chunk_size: got {chunk_size!r}, expected a positive integer such as 64.")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size: got {chunk_size}, expected a positive integer such as 64.")
    return N


def check_state(name, S, expected):
    """Raise ValueError unless S has the shape (N, H, V, K) that is expected."""
    if tuple(S.shape) != expected:
        N, H, V, K = expected
        fix = f" This is the layout of flash-linear-attention: pass {name}.mT." if tuple(S.shape) == (N, H, K, V) else ""
        raise ValueError(f"{name}: got shape {tuple(S.shape)}, expected {expected}, a memory (V, K) for each sequence and head.{fix}")


def check_packing(q, cu_seqlens, cu_seqlens_cpu):
    """The number of sequences, N: B, or with cu_seqlens as many as it says."""
    if cu_seqlens is None:
        if cu_seqlens_cpu is not None:
            raise ValueError("cu_seqlens_cpu: came without cu_seqlens; it is only its copy on the CPU. Pass cu_seqlens too.")
        return len(q)
    for name, x in (("cu_seqlens", cu_seqlens), ("cu_seqlens_cpu", cu_seqlens_cpu)):
        if name == "cu_seqlens_cpu" and x is None:
            continue
        if not isinstance(x, torch.Tensor) or x.dtype not in (torch.int32, torch.int64) or x.ndim != 1 or len(x) < 2:
            came = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
            raise TypeError(f"{name}: got {came}, expected a one-dimensional tensor of int32 or int64, [0, c_1, ..., T], with at least two entries.")
    if len(q) != 1:
        raise ValueError(f"q: got batch size {len(q)} together with cu_seqlens, expected 1: pack the sequences end to end in one row.")
    if cu_seqlens.device != q.device:
        raise ValueError(f"cu_seqlens: is on {cu_seqlens.device}, but q is on {q.device}. Move it with cu_seqlens.to({str(q.device)!r}).")
    if can_look(cu_seqlens):
        checked_ends(cu_seqlens, q.shape[1])
    if cu_seqlens_cpu is not None:
        if cu_seqlens_cpu.device.type != "cpu" or cu_seqlens_cpu.shape != cu_seqlens.shape:
            raise ValueError(f"cu_seqlens_cpu: got shape {tuple(cu_seqlens_cpu.shape)} on {cu_seqlens_cpu.device}, expected a copy of "
                             f"cu_seqlens, shape {tuple(cu_seqlens.shape)}, on the CPU.")
        if can_look(cu_seqlens_cpu):
            ends = checked_ends(cu_seqlens_cpu, q.shape[1])
            if can_look(cu_seqlens) and cu_seqlens.tolist() != ends:
                raise ValueError(f"cu_seqlens_cpu: got {ends}, expected a copy of cu_seqlens, {cu_seqlens.tolist()}.")
    return len(cu_seqlens) - 1


def checked_ends(cu_seqlens, T):
    """The list [0, c_1, ..., T], after checking that it is one."""
    ends = cu_seqlens.tolist()
    if ends[0] != 0 or ends[-1] != T or any(a > b for a, b in zip(ends, ends[1:])):
        raise ValueError(f"cu_seqlens: got {ends}, expected ends that never decrease, from 0 to T = {T}.")
    return ends


def check_input_values(q, k, v, beta, *, initial_state=None):
    """Raise ValueError for NaN or infinity, negative beta, or keys so long that the memory would blow up."""
    named = {"q": q, "k": k, "v": v, "beta": beta}
    if initial_state is not None:
        named["initial_state"] = initial_state
    for name, x in named.items():
        finite = x.isfinite()
        if not finite.all():
            where = (~finite).nonzero()[0].tolist()
            raise ValueError(f"{name}: {x[tuple(where)].item()} at index {where}, expected finite numbers. "
                             f"Look at what computed {name}; {(~finite).sum().item()} of {x.numel()} entries are affected.")
    if (beta < 0).any():
        where = (beta < 0).nonzero()[0].tolist()
        raise ValueError(f"beta: {beta[tuple(where)].item():.4g} at index {where}, expected a write strength of at least 0. "
                         f"Use a sigmoid: beta = torch.sigmoid(...).")
    strength = beta.float() * k.float().square().sum(-1)                 # (B, T, H)
    if strength.max() > 2 * (1 + 4 * torch.finfo(k.dtype).eps) + 1e-5:   # unit keys are rounded: with beta = 2 they pass 2 a little
        where = [int(i) for i in torch.unravel_index(strength.argmax(), strength.shape)]
        raise ValueError(f"k: beta |k|^2 reaches {strength.max().item():.4g} at index {where}; above 2 each write makes the error larger "
                         f"and the memory grows without bound. Normalize the keys, k = torch.nn.functional.normalize(k, dim=-1), "
                         f"or pass check_values=False to go on.")
