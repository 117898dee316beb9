"""`deltanet-edu bench lm`, `lm-references` and `training`: the stored measurements of chapter 16."""

from dataclasses import replace
from typing import Annotated

import typer

from .group import Output, bench

PROTOCOL = ("bits per character over all held-out characters (the last 5 % of each of nine novels), in windows of 128 "
            "tokens, each read from an empty memory after 128 tokens of context; total bits over total characters")

REFERENCE_PROTOCOL = {
    "n-grams": "interpolated Witten-Bell over characters, counted on all training text, "
               "scored on every held-out character",
    "compressors": "bits by which the compressed training text grows when the held-out text is appended, "
                   "per held-out character",
}


def register(app):
    """Add the commands to the `bench` group, which `bench.commands` adds to `app`."""
    bench.command("lm", short_help="DeltaNet against linear attention: the finale.")(lm_command)
    bench.command("lm-references", short_help="What n-grams and compressors make of the same text.")(references_command)
    bench.command("training", short_help="How fast models train, ours beside others'.")(training_command)


def compare(configs, seeds, data, progress=None):
    """Train every configuration with every seed.
    {name: {"parameters", "seeds": {seed: bits}, "mean", "curves", ...}}."""
    import statistics
    import time

    from ..lm.evaluate import bits_per_character
    from ..lm.model import parameters
    from ..lm.train import train

    results = {name: {"config": config.to_dict(), "seeds": {}, "cpu_seconds": {}, "curves": {}}
               for name, config in configs.items()}
    for seed in seeds:                                        # seed by seed, so that a drifting machine slows all alike
        for name, config in configs.items():
            started = time.process_time()
            run = train(replace(config, seed=seed), data=data, progress=progress, device="cpu")
            row = results[name]
            row["cpu_seconds"][seed] = round(time.process_time() - started, 1)
            row["parameters"] = parameters(run.model)
            row["seeds"][seed] = round(bits_per_character(run.model, data.held_out), 4)
            row["curves"][seed] = [[entry["step"], round(entry["held_out"], 4)]
                                   for entry in run.log if "held_out" in entry]
            row["mean"] = round(statistics.mean(row["seeds"].values()), 4)
    return results


def lm_command(
    output: Output = None,
    steps: Annotated[int | None, typer.Option(
        min=1, help="Training steps; as in chapter 16 if not given.", show_default=False)] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds: 0, 1, 2, ...")] = 3,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of the matrices; as in chapter 16 if not given.",
                                             show_default=False)] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
):
    """DeltaNet against linear attention: same text, same parameters but beta's, same training, several seeds.

    Example: deltanet-edu bench lm --output results/lm_seeds.json
    """
    import torch
    from tqdm import tqdm

    from ..lm.config import Config
    from ..lm.corpus import load_corpus
    from ..lm.data import Data
    from ..records import write_result

    torch.set_num_threads(threads)
    given = {name: value for name, value in dict(steps=steps, lr=lr).items() if value is not None}
    config = Config(corpus="books", **given)
    data = Data.prepare(load_corpus(config.corpus), config.vocab)
    with tqdm(total=2 * seeds * config.steps, unit="step") as bar:
        both = {"delta": config, "linear": replace(config, mixer="linear")}
        results = compare(both, range(seeds), data, lambda entry: bar.update())
    for name, row in results.items():
        typer.echo(f"{name:<8}{row['parameters']:>10,} parameters   mean {row['mean']:.4f} bits per character   "
                   + "   ".join(f"seed {seed}: {bits:.4f}" for seed, bits in row["seeds"].items()))
    if output:
        options = "".join(f" --{name} {value}" for name, value in given.items())
        command = f"deltanet-edu bench lm{options} --seeds {seeds} --threads {threads} --output {output}"
        write_result(output, {"protocol": PROTOCOL, "corpus": data.fingerprint, "results": results}, command)
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
    from ..lm.config import Config
    from ..lm.device import find_place
    from ..lm.presets import settings_of
    from ..records import write_result
    from .training import line, measured

    config, place = Config(**settings_of(preset) | {"corpus": "stories"}), find_place(device)
    typer.echo(f"{preset} on {place}")
    pairs = [tuple(map(int, shape.split("x"))) for shape in shapes.split()]
    rows = measured(models.split(), config, pairs, place, [way == "compiled" for way in ways.split()],
                    lambda row: typer.echo(line(row)), steps=steps)
    if output:
        write_result(output, {"preset": preset, "settings": config.to_dict(), "rows": rows})
        typer.echo(f"written to {output}")
