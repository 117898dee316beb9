"""The commands that need a GPU: `deltanet-edu tune`, and delta-rule, lengths and verify of `deltanet-edu bench`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from .group import Rounds, bench

Output = Annotated[Path | None, typer.Option(
    help="Write to this JSON file, whole after every measurement; what it holds already of this machine, these "
         "versions and options is kept.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure anew what the output file holds already.")]
CompileFirst = Annotated[bool, typer.Option(
    "--compile-first", help="Compile everything in processes side by side before measuring: minutes less where the "
                            "library searches its configurations.")]
Shapes = Annotated[str, typer.Option(help='Which shapes, as "B,T,H,K" with K = V, separated by spaces; all if empty.')]


def need_gpu():
    """Ends the command, saying what is missing, unless the kernels can run on a GPU here."""
    import torch

    from ..kernels import interpreted, why_not

    if not torch.cuda.is_available():
        reason = "PyTorch sees no CUDA device. The tests, make test, run the kernels in Triton's interpreter instead."
    elif interpreted():
        reason = "TRITON_INTERPRET is set, which runs kernels in the interpreter. Unset it."
    else:
        reason = why_not("cuda", torch.bfloat16)
    if reason:
        typer.echo(f"This needs a GPU: {reason}", err=True)
        raise typer.Exit(1)


def progress(description):
    from tqdm import tqdm

    return lambda keys, total=None: tqdm(keys, description, total, leave=False, disable=None)


def echo(lines):
    """Print without tearing a progress bar apart."""
    from tqdm import tqdm

    for line in lines:
        tqdm.write(line)


@bench.command("verify", short_help="Are the kernels right on this GPU?")
def verify_command(
    context: typer.Context,
    output: Annotated[
        Path | None, typer.Option(help="Write all errors to this JSON file, whole or not at all.")] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes side by side: most of the time goes into compiling.")] = 1,
):
    """Are the kernels right on this GPU? Outputs, final states and all gradients against the float64 recurrence.

    Every configuration in the table, every dtype, K and V apart, odd lengths, repeated and zero keys, beta up to 2,
    variable lengths, every option. The exit status is 1 if anything is wrong.

    \b
    deltanet-edu bench verify --processes 8
    """
    need_gpu()
    from ..records import write_result
    from . import verify
    from .stored import as_typed, versions

    chosen = list(verify.cases())
    typer.echo(f"  {'row':<12}{'dtype':<10}{'K':>4}{'V':>5}{'T':>6}  {'form, inputs, options':<49}"
               f"{'largest error of':<21}{'allowed':>10}")
    results = []
    for case, result in zip(chosen, verify.run_all(chosen, processes, progress("cases"))):
        echo([verify.describe(case, result)])
        results.append(result)
    failed = sum(not result["passed"] for result in results)
    if output:
        write_result(output, {"versions": versions(), "cases": len(results), "failed": failed, "results": results},
                     as_typed(context))
    typer.echo(f"{len(results) - failed} of {len(results)} cases are right."
               + (f" Wrong: {failed}, see ✗ above." if failed else ""))
    if failed:
        raise typer.Exit(1)


@bench.command("delta-rule", short_help="The kernels on a GPU, against other libraries.")
def delta_rule(
    context: typer.Context,
    output: Output = None,
    shapes: Shapes = "",
    rounds: Rounds = 3,
    accuracy: Annotated[bool, typer.Option(help="Compare outputs and gradients with float64 as well.")] = True,
    recurrent: Annotated[bool, typer.Option(help="Measure the recurrent kernels, too.")] = True,
    graphs: Annotated[
        bool, typer.Option("--graphs", help="Measure the chunkwise forms and attention as CUDA graphs, too.")] = False,
    host: Annotated[bool, typer.Option(help="Measure how long one small call keeps the host.")] = True,
    first_call: Annotated[str, typer.Option(
        help="Shapes at which to time the first call of all, compiler cache empty, in a new process. "
             "The library takes minutes.")] = "",
    fla_env: Annotated[str, typer.Option(
        help='Settings of flash-linear-attention, such as "FLA_USE_TMA=1 FLA_TRIL_PRECISION=tf32".')] = "",
    compile_first: CompileFirst = False,
    fresh: Fresh = False,
):
    """The kernels on one GPU against the libraries that are installed and softmax attention: speed, memory, errors.

    The libraries are flash-linear-attention (pip install fla-core) and FlashQLA (pip install flash-qla; Hopper, head
    width 128). Times are medians in milliseconds and nanoseconds per token and head; the last columns say how many
    times longer than the chunkwise kernels each candidate takes, forward and in both passes. Can be interrupted and
    continued.

    \b
    deltanet-edu bench delta-rule --graphs --compile-first --output results/delta_rule.json
    deltanet-edu bench delta-rule --shapes "4,4096,64,128 1,65536,8,128"
    """
    chosen, first, environment = parse_shapes(shapes), parse_shapes(first_call), parse_environment(fla_env)
    need_gpu()
    os.environ.update(environment)                                       # before the library is imported: it looks once
    from . import delta_rule as measure
    from . import fresh as processes
    from . import report, timing
    from .stored import Measurements, as_typed

    chosen = {measure.label(shape): shape for shape in chosen or measure.SHAPES}
    found, missing = measure.candidates(recurrent=recurrent)
    for package, why in missing.items():
        typer.echo(f"not measured: {package} ({why}). To compare with it: pip install {package}")
    kept = Measurements(output, as_typed(context), fresh, dtype="bfloat16", rounds=rounds, graphs=graphs,
                        recurrent=recurrent, environment=environment)
    if compile_first:
        typer.echo("compiling ...")
        todo = [shape for label, shape in chosen.items() if label not in kept.get("shapes", {})]
        echo(processes.compile_all(list(found), todo + [*measure.ACCURACY] * accuracy + [measure.HOST] * host))
    kept.measure("ceilings", timing.CEILINGS, lambda key: timing.CEILINGS[key]())
    # first, so that what the library searches for is the best at these shapes and not at the small ones that follow
    kept.measure("shapes", chosen, lambda key: measure.time_shape(chosen[key], found, rounds, graphs),
                 lambda key, rows: echo(["", *report.table(key, rows)]), progress("shapes"))
    if accuracy:
        kinds = {f"{measure.label(shape)}{' repeated keys, beta up to 2' if kind else ''}": (shape, kind)
                 for shape in measure.ACCURACY for kind in ({}, dict(repeated=True, beta_max=2.0))}
        kept.measure("errors", kinds, lambda key: measure.errors(kinds[key][0], found, **kinds[key][1]),
                     lambda key, rows: echo([report.largest_errors(key, rows)]), progress("errors"))
    if host:
        kept.measure("host us", [measure.label(measure.HOST)], lambda key: measure.host(measure.HOST, found),
                     lambda key, rows: echo([report.host_microseconds(key, rows)]))
    ours_and_theirs = [name for name in ("chunkwise", "fla chunk") if name in found]
    kept.measure("first call s", map(measure.label, first),
                 lambda key: processes.first_calls(ours_and_theirs, report.shape_of(key)),
                 lambda key, rows: echo([f"first call at {key}, seconds: {rows}"]), progress("first calls"))
    echo(["", *report.summary(kept["shapes"])])


@bench.command("lengths", short_help="Chunkwise against one token at a time on a GPU.")
def lengths_command(context: typer.Context, output: Output = None, compile_first: CompileFirst = False,
                    fresh: Fresh = False):
    """The paper's figure: chunkwise against one token at a time, forward and backward, by length and head width.

    Eighteen points of 16,384 tokens and model width 2,048 each. Can be interrupted and continued.

    \b
    deltanet-edu bench lengths --compile-first --output results/lengths.json
    """
    need_gpu()
    from . import fresh as processes
    from . import lengths
    from .stored import Measurements, as_typed

    shapes, found = {lengths.label(shape): shape for shape in lengths.SHAPES}, lengths.forms()
    kept = Measurements(output, as_typed(context), fresh, dtype="bfloat16", passes="forward + backward")
    if compile_first:
        typer.echo("compiling ...")
        todo = [shape for label, shape in shapes.items() if label not in kept.get("points", {})]
        echo(processes.compile_all(list(found), todo))
    typer.echo(f"{'B,T,H,K':<18}{'chunkwise ms':>14}{'recurrent ms':>14}{'fla recurrent':>14}{'speed-up':>10}")
    kept.measure("points", shapes, lambda key: lengths.measure(shapes[key], found),
                 lambda key, row: echo([lengths.describe(shapes[key], row)]), progress("points"))


def parse_shapes(text):
    """[(B, T, H, K), ...] of "B,T,H,K B,T,H,K"."""
    try:
        shapes = [tuple(map(int, shape.split(","))) for shape in text.split()]
        if any(len(shape) != 4 or min(shape) < 1 for shape in shapes):
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f'got {text!r}, expected shapes such as "4,4096,64,128 1,65536,8,128": '
                                 "B, T, H, K = V.") from None
    return shapes


def parse_environment(text):
    """{"A": "1", "B": "x"} of "A=1 B=x"."""
    if wrong := [setting for setting in text.split() if "=" not in setting]:
        raise typer.BadParameter(f"got {wrong[0]!r}, expected settings such as "
                                 '"FLA_USE_TMA=1 FLA_TRIL_PRECISION=tf32".')
    return dict(setting.split("=", 1) for setting in text.split())


@bench.command("tune", hidden=True)                                     # for python -m deltanet_edu.bench
def tune_command(
    context: typer.Context,
    shapes: Annotated[str, typer.Option(
        help='Tune for these shapes, "B,T,H,K" with K = V, separated by spaces; if empty, for few and for many heads '
             "of each width, as this GPU counts few and many.")] = "",
    dtype: Annotated[str, typer.Option(help="Of q, k and v.")] = "bfloat16",
    processes: Annotated[int, typer.Option(
        min=1, help="Processes that compile side by side, before anything is timed.")] = os.cpu_count() or 1,
    output: Annotated[Path | None, typer.Option(
        help="Write the table here, where the kernels do not look, and not into your data folder.")] = None,
    fresh: Fresh = False,
):
    """Find the fastest configurations of the kernels on your GPU and keep them: a table of your own.

    The kernels come with a table that was made on an H100 and an H200; yours goes before it, on this GPU, until the
    kernels change. Takes minutes a row and can be interrupted: rows that are done are kept. Delete the file to return
    to the table that came along.

    \b
    deltanet-edu tune
    deltanet-edu tune --shapes "8,2048,16,64"
    """
    chosen = parse_shapes(shapes)
    need_gpu()
    import torch

    from ..kernels import configs, own, why_not
    if reason := why_not("cuda", getattr(torch, dtype, dtype)):
        raise typer.BadParameter(f"--dtype {dtype}: {reason}")
    from . import tune
    from .stored import Measurements, as_typed

    name = torch.cuda.get_device_name()
    gpu = configs.Device(*configs.device(0)[:2])                         # nameless: with the table that came along
    path = output or own.path(name)
    groups, plans = {}, {}
    for shape in chosen or tune.usual_shapes(gpu.multiprocessors):
        B, _, H, D = shape
        key = own.key(dtype, configs.width_of(D, D), B * H, D, gpu.multiprocessors)
        groups.setdefault(key, []).append(shape)
        plans[key] = configs.plan(D, D, getattr(torch, dtype), B * H, gpu)

    def measure(key):
        if processes > 1:
            tune.compile_ahead(groups[key], dtype, plans[key], processes, progress(f"{key}, compiling"))
        return tune.row(plans[key], tune.measure(groups[key], dtype, plans[key], progress(f"{key}, timing")))
    kept = Measurements(path, as_typed(context, ()), fresh)
    kept.measure("rows", groups, measure, lambda key, row: echo(tune.describe(key, row)))
    typer.echo(f"written to {path}")
