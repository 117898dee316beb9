"""Every row of the table is compiled for the GPUs it is meant for, and uses no more of them than it may.
No GPU is needed."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# what is compiled, and how many bytes a thread may spill in which kernel at which width; none where nothing is said
TARGETS = {
    "Hopper, bfloat16": (90, "bfloat16", (64, 128, 256), {
        ("inverse_kernel", 128): 50, ("inverse_kernel", 256): 50, ("forward_kernel", 128): 50,
        ("gradients_kernel", 128): 300, ("gradients_kernel", 256): 50,
        ("group_gradients_kernel", 128): 400, ("forward_kernel", 256): 200, ("sweeps_kernel", 256): 150}),
    "Hopper, float16": (90, "float16", (128,),
                        {("inverse_kernel", 128): 50, ("forward_kernel", 128): 100, ("gradients_kernel", 128): 300,
                         ("group_gradients_kernel", 128): 400}),
    "Ada, bfloat16": (89, "bfloat16", (64, 256), {
        ("inverse_kernel", 256): 50, ("gradients_kernel", 64): 100, ("forward_kernel", 256): 50}),
    "Ampere, bfloat16": (80, "bfloat16", (128,), {}),
    "Hopper, float32": (90, "float32", (64, 128, 256), {
        ("inverse_kernel", 256): 100, ("forward_kernel", 64): 50, ("forward_kernel", 128): 50,
        ("forward_kernel", 256): 1700, ("sweeps_kernel", 256): 900, ("segment_kernel", 256): 50}),
}
PER_PROGRAM = {80: 163, 89: 99, 90: 227}                                 # KB of shared memory


@pytest.mark.parametrize("capability, dtype, widths, spills", TARGETS.values(), ids=TARGETS.keys())
def test_every_configuration_compiles_within_its_limits(capability, dtype, widths, spills):
    command = [sys.executable, "-m", "deltanet_edu.bench.ahead_of_time", str(capability), dtype,
               *map(str, widths)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env={**os.environ, "TRITON_INTERPRET": "0"},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    chunkwise = {"inverse_kernel", "forward_kernel", "strengths_kernel", "sweeps_kernel", "gradients_kernel",
                 "segment_kernel", "scan_kernel"}
    recurrent = {"recurrent_kernel", "recurrent_reverse_kernel", "recurrent_replay_kernel"}
    expected = chunkwise | recurrent if capability == 90 else chunkwise
    grouped = {64, 128} & set(widths) if capability == 90 and dtype != "float32" else ()
    assert {(row["kernel"], row["width"]) for row in rows} == {
        *itertools.product(expected, widths), *itertools.product(["group_gradients_kernel"], grouped)}
    for row in rows:
        allowed = spills.get((row["kernel"], row["width"]), 0)
        assert row["stack"] <= allowed, f"spills more than {allowed} bytes: {row}"
        assert not row["lost"], f"products are missing: {row}"
        # 32 and spills: ptxas gave up
        assert row["registers"] <= 255 and (row["registers"] > 32 or not row["stack"]), row
        assert row["shared"] <= PER_PROGRAM[capability] * 1024, row
