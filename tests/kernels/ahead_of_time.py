"""Compile kernels for GPUs that are not there: every row of the table, through the operators' own launches.

    python -m tests.kernels.ahead_of_time 90 bfloat16       (prints one JSON line a kernel)

The compiler and ptxas come with Triton. Nothing is run: a driver that only names a target makes a launch compile.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import compiler as nvidia
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from deltanet_edu.kernels import configs, launches

SHARED = {80: 163, 89: 99, 90: 227}                                      # KB of shared memory that one program may have
TOOLS = Path(nvidia.__file__).parent / "bin"


class Driver:
    def __init__(self, capability):
        self.capability = capability

    def get_current_target(self):
        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self):
        return self.capability

    def get_current_stream(self, device):
        return 0

    def get_active_torch_device(self):
        return torch.device("cpu")


def output(command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def resources(kernel):
    """Registers and bytes of stack (spilled registers) per thread, bytes of shared memory per program, and by width of
    the result how many products the assembler has lost: it was caught leaving out some that were subtracted."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
        cubin.write(kernel.asm["cubin"])
        cubin.flush()
        said, code = (output([TOOLS / tool, option, cubin.name])
                      for tool, option in (("cuobjdump", "-res-usage"), ("nvdisasm", "-c")))
    asked = Counter(re.findall(r"wgmma\.mma_async\S*\.m64n(\d+)k16\.f32", kernel.asm["ptx"]))
    lost = asked - Counter(re.findall(r"HGMMA\.64x(\d+)x16\.F32", code))                  # unrolled loops may have more
    return dict(registers=int(re.search(r"REG:(\d+)", said)[1]), stack=int(re.search(r"STACK:(\d+)", said)[1]),
                shared=kernel.metadata.shared, lost=lost)


def compile_all(capability, dtype, widths=(64, 128, 256)):
    driver.set_active(Driver(capability))
    launches.why_not = lambda device, dtype: ""
    compiled, run = [], JITFunction.run

    def compile_only(self, *args, grid, warmup, **kwargs):
        kernel = run(self, *args, grid=grid, warmup=True, **kwargs)
        kwargs |= dict(zip(self.arg_names, args))
        sweeps = {n: kwargs[n] for n in ("FORWARD", "BACKWARD") if n in kwargs}
        compiled.append(dict(kernel=self.__name__, width=width, v_tile=kwargs.get("V_TILE"), warps=kwargs["num_warps"],
                             stages=kwargs["num_stages"], **sweeps, **resources(kernel)))

    JITFunction.run = compile_only
    for width in widths:
        for few in (True, False) if capability == 90 and dtype.itemsize == 2 else (True,):
            configs.device = lambda index: configs.Device(SHARED[capability] * 1024, 10**9 if few else 0)
            for fused in (False, True) if few and width == 128 and capability == 90 else (False,):
                start = len(compiled)
                x = lambda *shape, dtype=dtype: torch.empty(1, 64, 16, *shape, dtype=dtype)              # noqa: E731
                S = torch.empty(2 if fused else 1, 16, width, width)
                cu_seqlens = torch.tensor([0, 32, 64]) if fused else None
                inputs = q, k, v, beta, *_ = x(width), x(width), x(width), x(dtype=torch.float32), S, cu_seqlens
                options = launches.Options(0.5, fused, fused, "tf32x3", 0, False, 1)
                out = launches.run_chunkwise(*inputs, *options)
                launches.run_chunkwise_backward(out.o, out.final, *inputs, out.UT_low, out.norms, None, None, None,
                                                *options)
                if not fused:
                    launches.run_chunkwise(*inputs, *options._replace(save=True, segments=2))
                for row in compiled[start:]:
                    row |= dict(programs="few" if few else "many", fused=fused, C=out.UT_low.shape[3])
        if capability < 90:
            continue
        o, final, errors = launches.run_recurrent(*inputs, 0.5, True)
        launches.run_recurrent_backward(o, final, *inputs, errors, 0.5)
        launches.run_step(q, k, v, beta, S, 0.5)
    return compiled


if __name__ == "__main__":
    assert os.environ.get("TRITON_INTERPRET", "0") == "0"
    widths = tuple(map(int, sys.argv[3:])) or (64, 128, 256)
    for row in compile_all(int(sys.argv[1]), getattr(torch, sys.argv[2]), widths):
        print(json.dumps(row))
