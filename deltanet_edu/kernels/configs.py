"""Which tile sizes, warps and pipeline depths the kernels run with: a table, so that nobody waits for a search.

A row is chosen by what an input asks for (dtype, head width, number of heads) and by what the device has. A test
compiles every row for its devices and holds registers, spills and shared memory against what is promised here.
"""

from functools import cache
from typing import NamedTuple

import torch

from . import own


class Device(NamedTuple):
    shared: int             # bytes of shared memory that one program may have
    multiprocessors: int
    name: str = ""          # of its GPU; the reader may have measured configurations for it, see own.py


class Config(NamedTuple):
    v_tile: int             # rows of the memory, which are columns of V, that a program holds at a time
    warps: int
    stages: int             # depth of the pipeline that fetches chunks ahead of their use
    registers: int = 255    # a thread's, at most. 255 is the hardware's own limit: without one, ptxas gives up on a
                            # kernel that spills and leaves it 32

    def options(self):
        return dict(num_warps=self.warps, num_stages=self.stages, maxnreg=self.registers)


class Plan(NamedTuple):
    C: int                  # chunk length
    group: int              # chunks of which the sweeps leave one memory for the gradients, if there are enough; 1: all
    forward: Config         # forward_kernel
    saving: Config          # the same, if it also stores S and X for the backward pass
    both: Config | None     # sweeps_kernel, both sweeps in one launch; None: one launch after the other
    sweep: Config           # sweeps_kernel, the forward sweep alone
    back: Config            # sweeps_kernel, the backward sweep alone
    gradients: Config       # gradients_kernel, for single chunks
    groups: Config | None = None     # group_gradients_kernel, for groups
    segment: Config | None = None    # segment_kernel; None: as forward_kernel


RECURRENT, STEP, SCAN = Config(32, 4, 1), Config(16, 1, 1), Config(16, 4, 3)
INVERSE = Config(0, 1, 2)                                # has no V; one warp, which waits for no other
INVERSE_UNIT = Config(0, 2, 1)                           # the same where it makes q and k unit vectors; one spills

# Half precision, at least 227 KB of shared memory: Hopper and its successors in data centers. Two plans per width. FEW
# programs sit alone on their multiprocessors: 64 rows each or fewer, so that there are more of them. MANY hold up to
# 128 rows, so that fewer read the same keys. A head of 256 does not fit in 255 registers a thread; some spill, and two
# sweeps in one launch spill more.
FEW = {
    64: Plan(64, 16, Config(32, 4, 3), Config(64, 4, 3), Config(64, 4, 3), Config(64, 4, 3), Config(64, 4, 3),
             Config(64, 4, 1), Config(64, 4, 2)),
    128: Plan(64, 16, Config(64, 4, 3), Config(64, 4, 3), Config(64, 4, 3), Config(64, 4, 3), Config(64, 4, 3),
              Config(32, 4, 4), Config(128, 8, 2)),
    256: Plan(64, 1, Config(32, 8, 3), Config(32, 8, 2), Config(64, 4, 2), Config(32, 8, 3), Config(32, 8, 3),
              Config(32, 4, 4)),
}
MANY = {
    64: Plan(64, 16, Config(64, 4, 2), Config(64, 4, 2), None, Config(64, 4, 3), Config(64, 4, 3),
             Config(64, 4, 1), Config(64, 4, 2), Config(64, 4, 3)),
    128: Plan(64, 16, Config(128, 8, 3), Config(64, 4, 2), None, Config(128, 8, 3), Config(128, 8, 3),
              Config(32, 4, 4), Config(128, 8, 2), Config(64, 4, 3)),
    256: Plan(64, 1, Config(128, 8, 2), Config(32, 8, 2), None, Config(128, 8, 3), Config(128, 8, 2), Config(32, 4, 4),
              segment=Config(128, 8, 3)),
}
# Half precision with 99 KB: every other GPU from Ampere on. No wgmma there, so 32 rows a tile are as good as 64.
NARROW = {width: Plan(64, 1, *[Config(32, 8, 2)] * 5, Config(32, 8, 1)) for width in (64, 128, 256)}
NARROW[256] = NARROW[256]._replace(saving=Config(16, 8, 2))    # with more rows, what is saved has no room
# float32, anywhere: for exact results, not for speed. Products come as three of tf32 or on the ordinary units.
FLOAT32 = {width: Plan(C, 1, *[Config(16, 8, 1)] * 6) for width, C in ((64, 32), (128, 16), (256, 16))}


@cache
def device(index):
    """What the GPU of this index has; None is the interpreter, which can imitate anything."""
    if index is None:
        return Device(shared=227 * 1024, multiprocessors=132)
    properties = torch.cuda.get_device_properties(index)
    return Device(properties.shared_memory_per_block_optin, properties.multi_processor_count, properties.name)


def width_of(K, V):
    """The row of the table for these head widths."""
    width = next((w for w in (64, 128, 256) if max(K, V) <= w), None)
    if width is None:
        raise ValueError(f"q, v: head widths K = {K} and V = {V}, expected at most 256: "
                         "a memory must fit into the registers.")
    return width


def inverse(q, C, normalize, gpu):
    """The configuration of inverse_kernel, and how many of its programs lie on a Device at a time: 8 warps fit in the
    65,536 registers of a multiprocessor, with 256 a thread; in shared memory a program has a tile of keys and 2 KB."""
    config = INVERSE_UNIT if normalize else INVERSE
    needs = C * width_of(q.shape[3], q.shape[3]) * q.element_size() + 2048
    return config, gpu.multiprocessors * max(1, min(8 // config.warps, gpu.shared // needs))


@cache
def plan(K, V, dtype, heads, gpu):
    """The plan for `heads` memories of V x K on a Device. C depends on K, V, dtype and device alone, never on `heads`;
    so does `group` in the tables."""
    width = width_of(K, V)
    if gpu.shared < 99 * 1024:
        raise ValueError(f"device: {gpu.shared // 1024} KB of shared memory for a program, expected 99 or more. "
                         "Use deltanet_edu.ops there.")
    if row := own.rows(gpu.name).get(own.key(dtype, width, heads, V, gpu.multiprocessors)):
        return Plan(**{field: Config(*value) if isinstance(value, list) else value for field, value in row.items()})
    if dtype == torch.float32:
        return FLOAT32[width]
    if gpu.shared < 227 * 1024:
        return NARROW[width]
    return (FEW if own.few(heads, V, gpu.multiprocessors) else MANY)[width]
