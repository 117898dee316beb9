"""Compile kernels for GPUs that are not there, and see what becomes of them: registers, spills, shared memory, PTX.

    compiled(kernel, 90, x_ptr=torch.float32, n=37, B=16)          one kernel; a tensor is given by its dtype
    python -m deltanet_edu.bench.ahead_of_time 90 bfloat16         the package's own: every row of the table, in JSON

The compiler and ptxas come with Triton. Nothing is run: a driver that only names a target makes each launch a
compilation. Where kernels run in the interpreter, Triton's own functions (`tl.sum`, `tl.cdiv`) do so, too, and cannot
be compiled. So `compiled` sends a kernel's source to a process of its own (this file, run as a program), which also
outlives a compiler that crashes.
"""

import ast
import atexit
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType

TARGETS = (80, 90)                                                       # what kernels are compiled for: A100 and H100
SHARED = {80: 163, 89: 99, 90: 227}                                      # KB of shared memory that one program may have
SECONDS = 120                                                            # the longest a compilation may take


class Rejected(Exception):
    """The compiler does not accept a kernel. The message is its reason, in a line or two."""


@dataclass(frozen=True)
class Compiled:
    """What a compiler makes of a kernel."""

    registers: int                                                       # per thread
    stack: int                                                           # bytes per thread: registers that did not fit
    shared: int                                                          # bytes of shared memory per program
    ptx: str = field(repr=False)
    sass: str = field(repr=False)                                        # the instructions of the GPU itself
    ttir: str = field(repr=False)                                        # Triton's own intermediate form


def compiled(kernel, capability=90, num_warps=4, **arguments):
    """A kernel as compiled for a GPU of this compute capability (80: A100, 90: H100); raises Rejected.

    Args:
        kernel: made by @triton.jit, in the interpreter or not.
        arguments: by name. A tensor, or its dtype in its place; any other value as the kernel is launched with it.
    """
    said = ask(kernel, capability, num_warps, arguments, True)
    if "late" in said:
        raise TimeoutError(said["late"])
    return Compiled(**said)


def accept(kernel, capability=90, num_warps=4, **arguments):
    """Raise Rejected if the compiler does not accept a kernel; one that takes too long is not held against it.

    Sooner than `compiled`, with the same arguments. Returns "", or a sentence that says that it has taken too long.
    """
    return ask(kernel, capability, num_warps, arguments, False).get("late", "")


def accept_launch(launch, capability):
    """`accept` the kernel of a watched launch (trace.py) with the arguments that it was launched with."""
    takes = inspect.signature(launch.function).parameters
    given = {name: x for name, x in launch.arguments.items() if name in takes}
    return accept(launch.function, capability, launch.arguments.get("num_warps", 4), **given)


def ask(kernel, capability, num_warps, arguments, look):
    """What the compiling process says of a kernel: a dictionary; with the fields of Compiled, if it is to look."""
    while hasattr(kernel, "fn"):
        kernel = kernel.fn
    order = dict(source=module_of(kernel), name=kernel.__name__, num_warps=num_warps, capability=capability, look=look,
                 arguments={name: described(x) for name, x in arguments.items()})
    said = answer(json.dumps(order))
    if "rejected" in said:
        raise Rejected(said["rejected"])
    if said.get("shared", 0) > SHARED[capability] * 1024:
        raise Rejected(f"It needs {said['shared']:,} bytes of shared memory; sm_{capability} has "
                       f"{SHARED[capability] * 1024:,} for a program.")
    return said


def described(x):
    """What the other process is told of an argument: [what it is, its name or value]."""
    x = getattr(x, "value", x) if type(x).__name__ == "constexpr" else getattr(x, "dtype", x)
    if str(x).startswith("torch."):
        return "tensor", str(x)
    return ("type", x.name) if type(x).__name__ == "dtype" else ("value", x)


# -- a kernel as a module of its own ----------------------------------------------------------------------------------

def module_of(function):
    """Source of a module with a kernel, and all that it calls and reads: what another process needs to compile it."""
    made = {}
    _add(function, made)
    return "\n\n".join(["import triton", *made.values()]) + "\n"


def _add(function, made):
    """Put a kernel into made, {name: source}, after what it needs."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    tree.body[0].decorator_list.clear()
    made[function.__name__] = ""                                         # it may call itself: the compiler's to refuse
    closed = inspect.getclosurevars(function).nonlocals
    for name in sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}):
        x = closed.get(name, function.__globals__.get(name, made))
        if name not in made and x is not made and (text := _written(name, x, made)):
            made[name] = text
    del made[function.__name__]
    made[function.__name__] = "@triton.jit\n" + source(function)


def source(function):
    """The source of a function without its decorators."""
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    while not lines[0].startswith("def "):
        lines = lines[1:]
    return "\n".join(lines)


def _written(name, x, made):
    """Source that gives a global of a kernel its value; "" for what only the compiler can judge."""
    if isinstance(x, ModuleType):
        return f"import {x.__name__} as {name}"
    if hasattr(x, "fn") and x.fn.__module__.startswith("triton."):
        return f"from {x.fn.__module__} import {x.__name__} as {name}"
    if hasattr(x, "fn"):
        _add(x.fn, made)
        return ""
    if type(x).__name__ == "constexpr":
        return f"{name} = triton.language.constexpr({x.value!r})"
    return f"{name} = {x!r}" if isinstance(x, (bool, int, float, str, tuple)) else ""


# -- the process that compiles ----------------------------------------------------------------------------------------

_process = []


@cache
def answer(order):
    """What the compiling process says to an order; both are JSON, and the process stays for the next."""
    if not _process or _process[0].poll() is not None:
        environment = {**os.environ, "TRITON_INTERPRET": "0"}
        command = [sys.executable, "-P", __file__]                       # -P: our trace.py is not Python's
        _process[:] = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, encoding="utf-8", env=environment)]
        atexit.register(_process[0].kill)
    process = _process[0]
    try:
        process.stdin.write(order + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())
    except (BrokenPipeError, ValueError):
        if hasattr(signal, "SIGALRM") and process.wait() == -signal.SIGALRM:
            return {"late": f"The compiler has not come to an end in {SECONDS} seconds."}
        return {"rejected": "The compiler stopped without a word."}
    except BaseException:                                                # interrupted: what it says next is nobody's
        process.kill()
        raise


def serve():
    """Compile what comes, one order a line, and say what became of it."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        if hasattr(signal, "alarm"):
            signal.alarm(SECONDS)                                        # ends the process, which is an answer as well
        print(json.dumps(fulfil(**json.loads(line))), file=out, flush=True)
        if hasattr(signal, "alarm"):
            signal.alarm(0)


def fulfil(source, name, arguments, num_warps, capability, look):
    """What has become of an order: a dictionary, or {"rejected": why}."""
    import linecache

    import triton
    from triton.runtime import driver

    kinds = {"tensor": Stub, "type": triton.language.dtype, "value": lambda x: x}
    driver.set_active(Driver(capability))
    file = f"<kernel {hash(source)}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    given = {n: kinds[kind](x) for n, (kind, x) in arguments.items()}
    try:
        namespace = {"__name__": "kernels_to_compile"}
        exec(compile(source, file, "exec"), namespace)
        kernel = namespace[name].run(**given, grid=(1,), warmup=True, num_warps=num_warps)
        if not look:
            return {"shared": kernel.metadata.shared}
        found = resources(kernel) | {"sass": instructions(kernel)}
    except Exception as error:
        return {"rejected": reason(error)}
    return found | {what: kernel.asm[what] for what in ("ptx", "ttir")}


def reason(error):
    """The reason of a compiler, with the line it is about, if it says which."""
    while error.__cause__ is not None and not str(error.__cause__).startswith("at "):
        error = error.__cause__
    text = str(error).strip()
    quoted = re.search(r"^at \d+:\d+:\n(.*?)^ *\^$\n?(.*)", text, re.S | re.M)
    if not quoted:
        return " ".join(text.split())[:300]
    line, why = quoted[1].rstrip().splitlines()[-1].strip(), " ".join(quoted[2].split())
    return f"{why or 'It is not understood'}, at `{line}`"[:300]


class Stub:
    """Stands for a tensor: the compiler asks for its dtype only, and whether its address is a multiple of 16."""

    def __init__(self, dtype):
        self.dtype = dtype                                               # its name: this process needs no PyTorch

    def data_ptr(self):
        return 0

    def ptr_range(self):
        return 0


class Driver:
    """Names a GPU, and has none."""

    def __init__(self, capability):
        self.capability = capability

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self):
        return self.capability

    def get_current_stream(self, device):
        return 0

    def get_active_torch_device(self):
        import torch

        return torch.device("cpu")


def resources(kernel):
    """Registers and bytes of stack (spilled registers) per thread, and bytes of shared memory per program."""
    said = tool("cuobjdump", "-res-usage", kernel)
    return dict(registers=int(re.search(r"REG:(\d+)", said)[1]), stack=int(re.search(r"STACK:(\d+)", said)[1]),
                shared=kernel.metadata.shared)


def lost(kernel):
    """By width of the result, how many products the assembler has lost: it was caught leaving some out whose results
    were subtracted. Only those of Hopper's own instruction, wgmma, are counted."""
    asked = Counter(re.findall(r"wgmma\.mma_async\S*\.m64n(\d+)k16\.f32", kernel.asm["ptx"]))
    done = re.findall(r"HGMMA\.64x(\d+)x16\.F32", instructions(kernel)) if asked else ()          # unrolled: more
    return asked - Counter(done)


def instructions(kernel):
    """The instructions of the GPU itself. They take most of a second."""
    return tool("nvdisasm", "-c", kernel)


def tool(name, option, kernel):
    """What one of NVIDIA's tools that come with Triton says of a compiled kernel."""
    from triton.backends.nvidia import compiler as nvidia

    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(kernel.asm["cubin"])
        cubin.flush()
        return subprocess.run([Path(nvidia.__file__).parent / "bin" / name, option, cubin.name],
                              capture_output=True, text=True, check=True).stdout


# -- the package's own kernels ----------------------------------------------------------------------------------------

def compile_all(capability, dtype, widths=(64, 128, 256)):
    """Compile every row of the table, through the operators' own launches: a list of dictionaries."""
    import torch
    from triton.runtime import driver
    from triton.runtime.jit import JITFunction

    from deltanet_edu.kernels import configs, launches

    driver.set_active(Driver(capability))
    launches.why_not = lambda device, dtype: ""
    rows, looked_at, run = [], {}, JITFunction.run

    def compile_only(self, *args, grid, warmup, **kwargs):
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        kwargs |= dict(zip(self.arg_names, args))
        sweeps = {n: kwargs[n] for n in ("FORWARD", "BACKWARD") if n in kwargs}
        if kernel.hash not in looked_at:                                 # some are the same in several rows
            looked_at[kernel.hash] = resources(kernel) | {"lost": lost(kernel)}
        rows.append(dict(kernel=self.__name__, width=width, v_tile=kwargs.get("V_TILE"), warps=kwargs["num_warps"],
                         stages=kwargs["num_stages"], **sweeps, **looked_at[kernel.hash]))

    def x(*shape, dtype=dtype):
        return torch.empty(1, 64, 16, *shape, dtype=dtype)

    JITFunction.run = compile_only
    for width in widths:
        for few in (True, False) if capability == 90 and dtype.itemsize == 2 else (True,):
            configs.device = lambda index: configs.Device(SHARED[capability] * 1024, 10**9 if few else 1)
            for fused in (False, True) if width == 128 and capability == 90 else (False,):
                start = len(rows)
                S = torch.empty(2 if fused else 1, 16, width, width)
                cu_seqlens = torch.tensor([0, 32, 64]) if fused else None
                inputs = q, k, v, beta, *_ = x(width), x(width), x(width), x(dtype=torch.float32), S, cu_seqlens
                options = launches.Options(0.5, fused, fused, "tf32x3", 0, False, 1)
                out = launches.run_chunkwise(*inputs, *options)
                launches.run_chunkwise_backward(out.o, out.final, *inputs, out.UT_low, out.norms, None, None, None,
                                                *options)
                if not fused:
                    launches.run_chunkwise(*inputs, *options._replace(save=True, segments=2))
                for row in rows[start:]:
                    row |= dict(programs="few" if few else "many", fused=fused, C=out.UT_low.shape[3])
        if capability < 90:
            continue
        o, final, errors = launches.run_recurrent(*inputs, 0.5, True)
        launches.run_recurrent_backward(o, final, *inputs, errors, 0.5)
        launches.run_step(q, k, v, beta, S, 0.5)
    return rows


def main(capability, dtype, *widths):
    """Print what becomes of the package's kernels, a line each."""
    import torch

    assert os.environ.get("TRITON_INTERPRET", "0") == "0"
    for row in compile_all(int(capability), getattr(torch, dtype), tuple(map(int, widths)) or (64, 128, 256)):
        print(json.dumps(row))


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 1 else serve()
