"""The front door: `delta_rule(...)` checks its inputs, picks a form and a backend, and runs it. It and compat.py choose between ops and kernels."""

import math
from functools import wraps
from numbers import Real

import torch

from .ops import delta_rule_chunkwise_by_hand, delta_rule_parallel, delta_rule_recurrent

FORMS = ("auto", "recurrent", "chunkwise", "parallel")
BACKENDS = ("auto", "torch", "triton")


def cast_once(rule):
    """Decorate a rule so that autocast treats it as it does a matrix product: q, k and v are cast first, and nothing inside again."""
    @wraps(rule)
    def cast_first(q, k, v, *args, **kwargs):
        device = q.device.type if isinstance(q, torch.Tensor) else "cpu"
        if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
            return rule(q, k, v, *args, **kwargs)
        low, wide = torch.get_autocast_dtype(device), (torch.float32, torch.bfloat16, torch.float16)      # float64 stays, as in PyTorch
        q, k, v = (x.to(low) if isinstance(x, torch.Tensor) and x.dtype in wide else x for x in (q, k, v))
        with torch.autocast(device, enabled=False):
            return rule(q, k, v, *args, **kwargs)
    return cast_first


@cast_once
def delta_rule(q, k, v, beta, *, initial_state=None, scale=1.0, form="auto", backend="auto",
               chunk_size=None, check_values=None):
    """The delta rule over a sequence:  S_t = S_{t-1} - beta_t (S_{t-1} k_t - v_t) k_t^T,   o_t = scale * S_t q_t.

    Args:
        q, k: (B, T, H, K), floating point, of one dtype with v. Keys must satisfy beta |k|^2 <= 2, or the memory
            grows without bound (eq. 2.10); unit keys, `torch.nn.functional.normalize(k, dim=-1)`, always do for beta <= 2.
        v: (B, T, H, V).
        beta: (B, T, H), write strength, nonnegative; usually a sigmoid. 0 leaves the memory alone, 1 with a unit key
            replaces what was stored.
        initial_state: (B, H, V, K), the memory before the first token; zeros if None.
        scale: a factor on q. The paper uses 1; flash-linear-attention defaults to 1 / sqrt(K).
        form: "recurrent" (one token at a time), "chunkwise" (one chunk at a time), "parallel" (all at once), or "auto":
            chunkwise, except for a single token. All give the same answer. The chunkwise form has its backward pass
            written by hand and no second derivatives; the other two have them in PyTorch.
        backend: "torch", or "triton" for the kernels: forms "recurrent" and "chunkwise", K and V up to 256, no float64, no
            second derivatives. "auto": the kernels on a GPU where they can run, PyTorch elsewhere; see `choose_backend`.
        chunk_size: C of the chunkwise form, which changes rounding and speed only. None means what is fast: in PyTorch 32 on
            a CPU and 64 elsewhere, in the kernels what their table says. They know 16, 32 and 64.
        check_values: look for NaN, infinity, negative beta and beta |k|^2 > 2 as well as at shapes and dtypes.
            None means on a CPU only, because on a GPU the look would wait for everything queued before it.
    Returns:
        o: (B, T, H, V) in the dtype of v, and the state after the last token, (B, H, V, K), float32 for half precision.
        Under autocast q, k and v are first cast to its dtype.
    Raises:
        TypeError, ValueError: naming the argument, what came, what was expected, and the fix.
        RuntimeError: backend="triton", and the kernels cannot run on these tensors; says why.
    """
    check_inputs(q, k, v, beta, initial_state=initial_state, scale=scale, chunk_size=chunk_size)
    if form not in FORMS:
        raise ValueError(f"form: got {form!r}, expected one of {', '.join(map(repr, FORMS))}.")
    if backend not in BACKENDS:
        raise ValueError(f"backend: got {backend!r}, expected one of {', '.join(map(repr, BACKENDS))}.")
    if check_values is None:
        check_values = q.device.type == "cpu" and not torch.compiler.is_compiling()
    if check_values:
        check_input_values(q, k, v, beta, initial_state=initial_state)

    if form == "auto":
        form = "recurrent" if q.shape[1] == 1 else "chunkwise"
    arguments = dict(initial_state=initial_state, scale=scale)
    if choose_backend(backend, form, q, v, scale=scale, chunk_size=chunk_size) == "triton":
        from . import kernels

        if form == "recurrent":
            return kernels.delta_rule_recurrent(q, k, v, beta, **arguments)
        return kernels.delta_rule_chunkwise(q, k, v, beta, chunk_size=chunk_size, **arguments)
    if form == "recurrent":
        return delta_rule_recurrent(q, k, v, beta, **arguments)
    if form == "parallel":
        return delta_rule_parallel(q, k, v, beta, **arguments)
    if chunk_size is None:
        chunk_size = 32 if q.device.type == "cpu" else 64
    return delta_rule_chunkwise_by_hand(q, k, v, beta, chunk_size=chunk_size, **arguments)


def choose_backend(backend, form, q, v, *, scale=1.0, chunk_size=None):
    """"torch" or "triton": what `delta_rule` runs on with these arguments, of which only shapes, dtypes and devices matter.

    Raises, for backend="triton", ValueError if there is no such kernel and RuntimeError if this machine cannot run it.
    """
    if backend == "torch" or backend == "auto" and not compiled_on(q.device):
        return "torch"
    from . import kernels                                                # here, so that the package never needs Triton

    K, V, unfit = q.shape[-1], v.shape[-1], ""
    if form == "parallel":
        unfit = 'form: got "parallel" together with backend="triton", which has no such kernel. Use "chunkwise".'
    elif max(K, V) > 256:
        unfit = f'backend: the kernels hold heads of at most 256, but K = {K} and V = {V}. Use backend="torch".'
    elif scale == 0:
        unfit = 'scale: got 0, by which the backward kernels divide. Use backend="torch".'
    elif form == "chunkwise" and chunk_size not in (None, 16, 32, 64):
        unfit = f'chunk_size: got {chunk_size}, but the kernels know 16, 32 and 64. Use one of these, None, or backend="torch".'
    elif form == "chunkwise" and chunk_size == 64 and q.dtype == torch.float32 and max(K, V) > 128:
        unfit = (f"chunk_size: 64 rows of {max(K, V)} float32 numbers do not fit into the shared memory of every GPU. "
                 'Use 16, 32, None, or backend="torch".')
    reason = kernels.why_not(q.device, q.dtype)
    if backend == "auto":
        return "torch" if unfit or reason else "triton"
    if unfit:
        raise ValueError(unfit)
    if reason:
        raise RuntimeError(f"backend: {reason}")
    return "triton"


def compiled_on(device):
    """Would kernels run as compiled programs there? The alternative is Triton's interpreter, which is for tests."""
    if device.type != "cuda":
        return False
    from . import kernels
    return not kernels.interpreted()


def check_inputs(q, k, v, beta, *, initial_state=None, scale=1.0, chunk_size=None):
    """Raise TypeError or ValueError unless types, dtypes, devices and shapes fit together. Never reads a value."""
    named = {"q": q, "k": k, "v": v, "beta": beta}
    if initial_state is not None:
        named["initial_state"] = initial_state
    for name, x in named.items():
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"{name}: got {type(x).__name__}, expected a torch.Tensor. Convert it with torch.as_tensor(...).")
        if not x.is_floating_point():
            raise TypeError(f"{name}: got dtype {x.dtype}, expected a floating-point dtype. Convert it with {name}.float().")
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
    for letter, size, name in zip("BTHKV", (B, T, H, K, V), "qqqqv"):
        if size == 0:
            raise ValueError(f"{name}: got shape {tuple(named[name].shape)} with {letter} = 0, expected at least one of everything.")
    if initial_state is not None and tuple(initial_state.shape) != (B, H, V, K):
        transposed = tuple(initial_state.shape) == (B, H, K, V)
        fix = " This is the layout of flash-linear-attention: pass initial_state.mT." if transposed else ""
        raise ValueError(f"initial_state: got shape {tuple(initial_state.shape)}, expected (B, H, V, K) = {(B, H, V, K)}.{fix}")

    if isinstance(scale, bool) or not isinstance(scale, Real):
        raise TypeError(f"scale: got {type(scale).__name__}, expected a number such as 1.0.")
    if not math.isfinite(scale):
        raise ValueError(f"scale: got {scale}, expected a finite number such as 1.0.")
    if chunk_size is not None and (isinstance(chunk_size, bool) or not isinstance(chunk_size, int)):
        raise TypeError(f"chunk_size: got {chunk_size!r}, expected a positive integer such as 64.")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size: got {chunk_size}, expected a positive integer such as 64.")


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
