"""Every row of the table is compiled for the GPUs it is meant for, and uses no more of them than it may. No GPU is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# what is compiled, and how many bytes a thread may spill where: width -> bytes; gradients_kernel holds more tiles than the others
TARGETS = {
    "Hopper, bfloat16": (90, "bfloat16", (64, 128, 256), {64: 0, 128: 0, 256: 400}, {64: 0, 128: 400, 256: 100}),
    "Ada, bfloat16": (89, "bfloat16", (64, 256), {64: 0, 256: 0}, {64: 300, 256: 200}),
    "Ampere, bfloat16": (80, "bfloat16", (128,), {128: 0}, {128: 0}),
    "Hopper, float32": (90, "float32", (64, 128, 256), {64: 0, 128: 100, 256: 2000}, {64: 0, 128: 0, 256: 700}),
}
PER_PROGRAM, PER_MULTIPROCESSOR, RESERVED = {80: 163, 89: 99, 90: 227}, 228, 1                           # KB of shared memory


@pytest.mark.parametrize("capability, dtype, widths, spills, gradient_spills", TARGETS.values(), ids=TARGETS.keys())
def test_every_configuration_compiles_within_its_limits(capability, dtype, widths, spills, gradient_spills):
    command = [sys.executable, "-m", "tests.kernels.ahead_of_time", str(capability), dtype, *map(str, widths)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env={**os.environ, "TRITON_INTERPRET": "0"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    chunkwise = {"inverse_kernel", "forward_kernel", "sweeps_kernel", "gradients_kernel"}
    recurrent = {"recurrent_kernel", "recurrent_reverse_kernel", "recurrent_replay_kernel"} if capability == 90 else set()
    assert {(row["kernel"], row["width"]) for row in rows} == {(kernel, width) for kernel in chunkwise | recurrent for width in widths}
    for row in rows:
        allowed = (gradient_spills if row["kernel"] == "gradients_kernel" else spills)[row["width"]] if row["kernel"] in chunkwise else 0
        assert row["stack"] <= allowed, f"spills more than {allowed} bytes: {row}"
        assert 32 < row["registers"] <= 255, row
        assert row["shared"] <= PER_PROGRAM[capability] * 1024, row
        if row.get("programs") == "many" and row["kernel"] in ("forward_kernel", "sweeps_kernel") and row["width"] < 256:
            assert 2 * (row["shared"] + RESERVED * 1024) <= PER_MULTIPROCESSOR * 1024, f"two programs do not fit: {row}"
