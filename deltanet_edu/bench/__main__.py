"""python -m deltanet_edu.bench delta-rule ...: the benchmarks without the rest of
the command line and what that needs installed."""

from .commands import bench

bench(prog_name="python -m deltanet_edu.bench")
