"""`deltanet-edu bench decode`."""

from typing import Annotated

import typer

from ..lm.commands import Device, Threads, clear_errors
from .group import Output, Rounds, bench


def register(app):
    """Add the command to the `bench` group, which `bench.commands` adds to `app`."""
    bench.command("decode", short_help="Writing text: tokens a second and bytes kept.")(decode_command)


def decode_command(
    mixer: Annotated[list[str] | None, typer.Option(help="May be repeated; hybrids as for train.",
                                                    show_default="delta and attention")] = None,
    context: Annotated[list[int] | None, typer.Option(min=2, help="Tokens read before; may be repeated.",
                                                      show_default="256, 1024 and 4096")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Texts at a time.")] = 8,
    d_model: Annotated[int, typer.Option(min=1, help="D, the width of the models.")] = 256,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the models.")] = 4,
    heads: Annotated[int, typer.Option(min=1, help="H, the heads of a layer.")] = 4,
    vocab: Annotated[int, typer.Option(min=256, help="Size of the vocabulary.")] = 1024,
    rounds: Rounds = 15,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help='"auto", "float32", "bfloat16": of weights and products.')] = "auto",
    threads: Threads = 1,
    output: Output = None,
):
    """One token after another: how fast does a fresh model write, and what does it keep, by how much it has read?

    On a GPU a step is one CUDA graph. The attention models have a cache of fixed length, allocated before.

    \b
    deltanet-edu bench decode
    deltanet-edu bench decode --batch 32 --d-model 1024 --layers 24 --heads 8 --vocab 32000 --context 16384
    """
    with clear_errors():
        import torch
        from tqdm import tqdm

        from ..lm.device import find_place
        from ..records import write_result
        from .decode import compare, describe

        torch.set_num_threads(threads)
        place = find_place(device, precision)
        typer.echo(f"Writing on: {place}")
        typer.echo(f"{'mixer':<16}{'context':>10}{'batch':>7}{'parameters':>15}{'bytes kept':>17}{'tokens/s':>15}"
                   f"{'slower':>10}")
        size = dict(d_model=d_model, layers=layers, heads=heads, vocab=vocab)
        rows, first = [], None
        mixers = mixer or ["delta", "attention"]
        for row in compare(mixers, context or [256, 1024, 4096], batch, *place, rounds,
                           lambda keys: tqdm(keys, leave=False, disable=None), **size):
            first = row if row["mixer"] == mixers[0] else first
            tqdm.write(describe(row, first))
            rows.append(row)
        if output:
            write_result(output, {"place": str(place), **size, "rows": rows})
            typer.echo(f"written to {output}")
