"""`deltanet-edu train`, `evaluate` and `generate`."""

from pathlib import Path
from typing import Annotated

import typer

# Everything heavy is imported inside the commands, so that --help answers at once. For that, it repeats what `Config` says the defaults
# are; a test compares them.


def register(app):
    app.command("train")(train_command)
    app.command("evaluate", short_help="Measure a trained model on text it has not seen.")(evaluate_command)
    app.command("generate")(generate_command)


Threads = Annotated[int, typer.Option(min=1, help="CPU threads. More than one helps only if nothing else is running.")]
Folder = Annotated[Path, typer.Argument(metavar="RUN", show_default=False, help="A run folder, such as runs/novels.")]


def train_command(
    run: Annotated[str, typer.Option(help="Name of the run; it is kept in runs/NAME.")] = "novels",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was stopped, from its last checkpoint.")] = False,
    corpus: Annotated[str | None, typer.Option(help='"books", "stories", "auto" (books if there) or a UTF-8 file.', show_default="auto")] = None,
    mixer: Annotated[str | None, typer.Option(help='"delta" or "linear".', show_default="delta")] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.", show_default="1200")] = None,
    vocab: Annotated[int | None, typer.Option(help="Size of the vocabulary; 256 is one token a byte.", show_default="1024")] = None,
    layers: Annotated[int | None, typer.Option(help="Layers of the model.", show_default="2")] = None,
    d_model: Annotated[int | None, typer.Option(help="Width of the model.", show_default="128")] = None,
    heads: Annotated[int | None, typer.Option(help="Heads of a layer.", show_default="2")] = None,
    batch: Annotated[int | None, typer.Option(help="Windows a step.", show_default="8")] = None,
    length: Annotated[int | None, typer.Option(help="Tokens a window.", show_default="128")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of the matrices.", show_default="0.02")] = None,
    seed: Annotated[int | None, typer.Option(help="Two runs with equal settings give equal weights.", show_default="0")] = None,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    threads: Threads = 1,
    runs: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
):
    """Train a small language model and keep it in runs/NAME.

    What is not given has the value of chapter 16, or of the run that is resumed. Stop with Ctrl-C at any moment.

    \b
    deltanet-edu train                                    the model of chapter 16: a few minutes on a laptop
    deltanet-edu train --run mine --corpus my.txt         learn from your own text
    deltanet-edu train --run mine --resume                go on after an interruption
    deltanet-edu train --run additive --mixer linear      the same model with a memory that only adds
    """
    if Path(run).name != run or run in ("", "..", "."):
        raise typer.BadParameter(f"{run!r} is not a name. Runs are kept in {runs}/NAME; --runs chooses another place.", param_hint="--run")
    given = dict(corpus=corpus, mixer=mixer, steps=steps, vocab=vocab, layers=layers, d_model=d_model, heads=heads, batch=batch,
                 length=length, lr=lr, seed=seed)
    with clear_errors():
        run_training(runs / run, {name: value for name, value in given.items() if value is not None}, resume, save_every, threads)


def run_training(folder, given, resume, save_every, threads):
    import json

    import torch

    from .config import Config
    from .evaluate import bits_per_character
    from .model import parameters
    from .progress import TerminalProgress
    from .train import train

    torch.set_num_threads(threads)
    settings = folder / "config.json"
    if resume and settings.is_file():
        given = json.loads(settings.read_text(encoding="utf-8")) | given
    config = Config(**given)
    bar = TerminalProgress(config)
    try:
        done = train(config, folder, resume=resume, progress=bar, save_every=save_every)
    except KeyboardInterrupt:
        typer.echo(f"\nStopped. Go on with: deltanet-edu train --run {folder.name} --resume")
        raise typer.Exit(130) from None
    finally:
        bar.close()
    bits = bits_per_character(done.model, done.data.held_out)
    typer.echo(f"{parameters(done.model):,} parameters, {config.steps:,} steps: {bits:.3f} bits per character on held-out text.")
    typer.echo(f"kept in {folder}; try: deltanet-edu generate {folder}")


def evaluate_command(run: Folder, threads: Threads = 1):
    """Measure a trained model on the held-out text it was not trained on, book by book.

    Every held-out token is scored once, in windows of 128 tokens, each after 128 tokens of context.
    """
    with clear_errors():
        import torch

        from .corpus import load_corpus
        from .data import Data
        from .evaluate import bits_per_character
        from .checkpoint import RunError, load_checkpoint
        from .train import load_run

        torch.set_num_threads(threads)
        config, model, tokenizer, step = load_run(run)
        data = Data.prepare(load_corpus(config.corpus), tokenizer=tokenizer)
        if data.fingerprint != load_checkpoint(run)["corpus"]:
            raise RunError(f"{run}: its text, corpus {config.corpus!r}, is no longer what it was trained on, "
                           f"so what is held out now may have been seen.")
        for part in data.held_out:
            typer.echo(f"{part.name:<24}{part.chars:>9,} characters{bits_per_character(model, [part]):>9.3f} bits per character")
        typer.echo(f"{'all':<24}{sum(p.chars for p in data.held_out):>9,} characters{bits_per_character(model, data.held_out):>9.3f}"
                   f" bits per character, after {step:,} steps")


def generate_command(
    run: Folder,
    prompt: Annotated[str, typer.Option(help="The text to continue.", show_default="a new paragraph")] = "\n\n",
    tokens: Annotated[int, typer.Option(min=1, help="How many tokens to write.")] = 200,
    temperature: Annotated[float, typer.Option(min=0.0, help="0: always the likeliest token. 1: as the model believes.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=1, help="Draw from this many of the likeliest tokens.")] = 40,
    seed: Annotated[int, typer.Option(help="The same seed writes the same text.")] = 0,
):
    """Let a trained model write. The text appears token by token; the memory it needs never grows.

    Example: deltanet-edu generate runs/novels --prompt "The captain"
    """
    with clear_errors():
        import torch

        from .generate import generate
        from .train import load_run

        torch.set_num_threads(1)
        _, model, tokenizer, _ = load_run(run)
        typer.echo(prompt, nl=False)
        for piece in generate(model, tokenizer, prompt, tokens, temperature=temperature, top_k=top_k, seed=seed):
            typer.echo(piece, nl=False)
        typer.echo()


class clear_errors:
    """Say what is wrong in one line, without a traceback: these errors are about the input, not about the program."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, (ValueError, TypeError, FileNotFoundError, IsADirectoryError, FloatingPointError)):
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from None
