"""`deltanet-edu bench measuring`: the experiments of chapter 13 on the GPU at hand."""

from typing import Annotated

import typer

from .gpu_commands import Fresh, Output, echo, need_gpu, progress


def measuring_command(
    context: typer.Context, output: Output = None, fresh: Fresh = False,
    only: Annotated[str, typer.Option(help="Names of experiments, separated by spaces; all if empty.")] = "",
):
    """Clocks that lie, caches, noise, heat; then hosts, tiles, precision, segments: what chapter 13 shows. Minutes.

    \b
    deltanet-edu bench measuring --output results/measuring_h200.json
    deltanet-edu bench measuring --only "waiting cache"
    """
    from . import measuring
    from .delta_rule import failure
    from .stored import Measurements, as_typed

    known = {f.__name__: f for f in measuring.EXPERIMENTS}
    if unknown := [name for name in only.split() if name not in known]:
        raise typer.BadParameter(f"--only: got {unknown[0]!r}, expected some of {', '.join(known)}.")
    need_gpu()
    kept, failed = Measurements(output, as_typed(context), fresh, dtype="bfloat16"), []

    def measure(name):
        try:
            return known[name]()
        except Exception as error:                                       # the others are measured all the same
            failed.append(name)
            return {"failure": failure(error)}
    kept.measure("experiments", only.split() or known, measure, lambda key, row: echo([f"{key}: {row}"]),
                 progress("experiments"))
    if failed:
        echo([f"These could not be measured: {', '.join(failed)}"])
        raise typer.Exit(1)
