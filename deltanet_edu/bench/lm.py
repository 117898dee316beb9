"""`deltanet-edu bench lm`, `lm-references` and `training`: the stored measurements of chapter 16."""

from pathlib import Path
from typing import Annotated

import typer

from ..lm.commands import RUNS, Device, Threads, clear_errors, parse_option, settings_of, with_settings
from ..lm.config import Config
from .group import Output, bench

PROTOCOL = ("bits per character over all held-out characters (the last 5 % of each of nine novels), in windows of 128 "
            "tokens, each read from an empty memory after {} tokens of context; total bits over total characters")
SAVE_EVERY = 500                                                         # steps: a checkpoint takes a second or two

REFERENCE_PROTOCOL = {
    "n-grams": "interpolated Witten-Bell over characters, counted on all training text, "
               "scored on every held-out character",
    "compressors": "bits by which the compressed training text grows when the held-out text is appended, "
                   "per held-out character",
}


def register(app):
    """Add the commands to the `bench` group, which `bench.commands` adds to `app`."""
    bench.command("lm", short_help="Language models under equal conditions: the finale.")(
        with_settings(lm_command, Config, without=("mixer", "options", "seed"), preset=settings_of("cpu")))
    bench.command("lm-references", short_help="What n-grams and compressors make of the same text.")(references_command)
    bench.command("training", short_help="How fast models train, ours beside others'.")(training_command)


def lm_command(
    output: Output = None,
    model: Annotated[list[str] | None, typer.Option(
        help='A mixer, with what differs for it: "delta norm=l1". May be repeated.',
        show_default="delta and linear")] = None,
    over: Annotated[list[str] | None, typer.Option(
        help="A setting to sweep, such as lr=0.01, once for each value: every model is reported at its best.",
        show_default=False)] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, 2, ...")] = 3,
    preset: Annotated[str, typer.Option(help="What all settings start from: cpu, small, ...")] = "cpu",
    measure: Annotated[list[str] | None, typer.Option(
        help="Besides bits per character: cloze, recall, positions. See evaluate.", show_default="none")] = None,
    most: Annotated[int, typer.Option(min=1, help="Passages or documents of each kind, at most.")] = 200,
    run: Annotated[str, typer.Option(help="Name; kept in runs/NAME. A second start goes on where it stopped.")] = "lm",
    runs: Annotated[Path, typer.Option(help="Where runs are kept.")] = RUNS,
    processes: Annotated[int, typer.Option(min=1, help="Runs at a time, on one device.")] = 1,
    seconds: Annotated[float | None, typer.Option(help="Stop a run after so many.", show_default="no limit")] = None,
    device: Device = "cpu",
    compile: Annotated[bool | None, typer.Option(help="Compile the training step.",
                                                 show_default="as train decides")] = None,
    threads: Threads = 1,
    **settings,
):
    """Train models under equal conditions: same text, tokens, schedule, seeds, and as many parameters, but for 2 %.

    \b
    deltanet-edu bench lm --output results/lm_seeds.json
    deltanet-edu bench lm --preset small --device cuda --model gla --model attention --over lr=0.01 --over lr=0.02
    """
    from tqdm import tqdm

    from ..checks import one_of
    from ..lm.data import load_data
    from ..records import write_result
    from .language_models import MEASURES, compare, summary

    with clear_errors():
        for name in measure or []:
            one_of("measure", name, MEASURES)
        given = {name: value for name, value in settings.items() if value is not None}
        base, varied = Config(**{"corpus": "books"} | settings_of(preset) | given), {}
        for name, value in map(parse_option, over or []):
            varied.setdefault(name, []).append(value)
        data = load_data(base)
        with tqdm(unit="run") as bar:
            def show(rows):
                bar.update(len(rows) - bar.n)
                if output:                                               # after every run: a stop loses nothing
                    write_result(output, {"protocol": PROTOCOL.format(data.context), "corpus": data.fingerprint,
                                          "over": varied, "results": summary(rows, varied)})
            rows = compare(model or ["delta", "linear"], base, varied, seeds, runs / run, data, on_row=show,
                           measures=measure or (), most=most, processes=processes, threads=threads, seconds=seconds,
                           device=device, compile=compile, save_every=SAVE_EVERY)
    for name, row in summary(rows, varied).items():
        typer.echo(f"{name:<24}{row['parameters']:>12,} parameters   mean {row['mean']:.4f} bits per character   "
                   + "   ".join(f"seed {seed}: {bits:.4f}" for seed, bits in row["seeds"].items()))
    if output:
        typer.echo(f"written to {output}")


def references_command(
    output: Output = None,
):
    """What the held-out text costs an n-gram model and three compressors that know the training text.

    Example: deltanet-edu bench lm-references --output results/lm_references.json
    """
    from ..lm.corpus import load_corpus
    from ..lm.references import compressors, witten_bell
    from ..records import write_result

    corpus = load_corpus("books")
    ngrams = {str(n): round(bits, 4) for n, bits in enumerate(witten_bell(corpus))}
    programs = {name: round(bits, 4) for name, bits in compressors(corpus).items()}
    for n, bits in ngrams.items():
        typer.echo(f"n-gram, {n} characters of context  {bits:7.4f} bits per character")
    for name, bits in programs.items():
        typer.echo(f"{name:<32}{bits:7.4f} bits per character")
    if output:
        measured = {"corpus": corpus.fingerprint, "held_out_characters": corpus.held_out_chars, "n-grams": ngrams,
                    "compressors": programs, "protocol": REFERENCE_PROTOCOL}
        write_result(output, measured, f"deltanet-edu bench lm-references --output {output}")
        typer.echo(f"written to {output}")


def training_command(
    output: Output = None,
    preset: Annotated[str, typer.Option(help="The sizes of the model.")] = "340m",
    models: Annotated[str, typer.Option(help="Names of mixers, and fla and llama, which must be installed.")] = "delta",
    shapes: Annotated[str, typer.Option(help="Batches, as sequences x tokens.")] = "8x2048 4x4096 2x8192 1x16384",
    ways: Annotated[str, typer.Option(help='"eager", "compiled" or both.')] = "eager compiled",
    device: Annotated[str, typer.Option(help='"auto" (the GPU if there is one), "cpu", "cuda".')] = "auto",
    steps: Annotated[int, typer.Option(min=1, help="Steps, of which the median counts.")] = 10,
):
    """How fast models train: tokens a second, utilisation of the device, peak memory. One process, one device.

    \b
    deltanet-edu bench training --models "delta fla llama" --output results/training_h100.json
    """
    from ..lm.device import find_place
    from ..records import write_result
    from .training import line, measured

    config, place = Config(**settings_of(preset) | {"corpus": "stories"}), find_place(device)
    typer.echo(f"{preset} on {place}")
    pairs = [tuple(map(int, shape.split("x"))) for shape in shapes.split()]
    rows = []

    def show(row):
        rows.append(row)
        typer.echo(line(row))
        if output:                                                       # after every row: a stop loses nothing
            write_result(output, {"preset": preset, "settings": config.to_dict(), "rows": rows})
    measured(models.split(), config, pairs, place, [way == "compiled" for way in ways.split()], show, steps=steps)
    if output:
        typer.echo(f"written to {output}")
