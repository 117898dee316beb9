"""`deltanet-edu train` and `import-fla`, and what the commands of other files share."""

import errno
import inspect
import json
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from .config import Config

# Everything heavy is imported inside the commands, so that --help answers at once.

RUNS = Path("runs")
FLAGS = {"options": (list[str], "--option"), "difficulty": (list[str], "--difficulty"),
         "test_difficulty": (list[str], "--test-difficulty")}                      # how dicts are given


def register(app):
    app.command("train")(with_settings(train_command, Config))
    app.command("import-fla", short_help="Read a DeltaNet trained with flash-linear-attention.")(import_command)


def with_settings(command, kind, without=()):
    """Give a command an option for every field of a Config, in place of its **settings: declared once, there."""
    own = inspect.signature(command)
    parameters = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for f in fields(kind):
        if f.name in without:
            continue
        type_, *flags = FLAGS.get(f.name, (f.type,))
        shown = "none" if type_ is not f.type else str(f.default)
        option = typer.Option(*flags, help=f.metadata["help"], show_default=shown)
        parameters.append(inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=None,
                                            annotation=Annotated[type_ | None, option]))

    def with_all(**given):
        return command(**given)
    with_all.__doc__, with_all.__name__ = command.__doc__, command.__name__
    with_all.__signature__ = own.replace(parameters=parameters)
    return with_all


Threads = Annotated[int, typer.Option(min=1, help="CPU threads. More than one helps only if nothing else is running.")]
Folder = Annotated[Path, typer.Argument(metavar="RUN", show_default=False, help="A run folder, such as runs/novels.")]
Device = Annotated[str, typer.Option(help='"auto" (the GPU if there is one), "cpu", "cuda", "cuda:1".')]


def train_command(
    *,
    run: Annotated[str, typer.Option(help="Name of the run; it is kept in runs/NAME.")] = "novels",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run from its last checkpoint.")] = False,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after so many.", show_default="no limit")] = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help='Of matrix products: "auto", "float32", "bfloat16".')] = "auto",
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    threads: Threads = 1,
    runs: Annotated[Path, typer.Option(help="Where runs are kept.")] = RUNS,
    **settings,
):
    """Train a small language model and keep it in runs/NAME.

    What is not given has the value of chapter 16, or of the run that is resumed. Stop with Ctrl-C at any moment.

    \b
    deltanet-edu train                                    the model of chapter 16: a few minutes on a laptop
    deltanet-edu train --run mine --corpus my.txt         learn from your own text
    deltanet-edu train --run mine --resume                go on after an interruption
    deltanet-edu train --run mine --resume --steps 3000   train longer
    deltanet-edu train --run additive --mixer linear      the same model with a memory that only adds
    """
    if Path(run).name != run or run in ("", "..", "."):
        raise typer.BadParameter(f"{run!r} is not a name. Runs are kept in {runs}/NAME; --runs chooses another place.",
                                 param_hint="--run")
    go_on = ["deltanet-edu", "train", "--run", run, *(["--runs", str(runs)] if runs != RUNS else []), "--resume"]
    with clear_errors():
        given = {name: value for name, value in settings.items() if value is not None}
        if "options" in given:
            given["options"] = dict(map(parse_option, given["options"]))
        run_training(runs / run, given, resume, threads, shlex.join(go_on),
                     dict(seconds=seconds, device=device, precision=precision, save_every=save_every))


def parse_option(text):
    """beta_max=2.0 as ("beta_max", 2.0): numbers, true, false and null as in JSON, all else as it stands."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"option: got {text!r}, expected NAME=VALUE, such as beta_max=2.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def run_training(folder, given, resume, threads, go_on, how):
    import torch

    from .device import find_place
    from .evaluate import bits_per_character
    from .model import parameters
    from .progress import TerminalProgress
    from .run_folder import SETTINGS, read_settings
    from .train import train

    torch.set_num_threads(threads)
    if resume and (folder / SETTINGS).is_file():
        given = read_settings(folder) | given
    config = Config(**given)
    typer.echo(f"Training on: {find_place(how['device'], how['precision'])}")
    bar = TerminalProgress(config)
    try:
        done = train(config, folder, resume=resume, progress=bar, say=bar.say, **how)
    except KeyboardInterrupt:
        bar.close()
        typer.echo(f"\nStopped. Go on with: {go_on}")
        raise typer.Exit(130) from None
    finally:
        bar.close()
    bits = bits_per_character(done.model, done.data.held_out)
    typer.echo(f"{parameters(done.model):,} parameters, {done.steps:,} steps: "
               f"{bits:.3f} bits per character on held-out text.")
    if done.steps < config.steps:
        typer.echo(f"Go on with: {go_on}")
    typer.echo(f"kept in {folder}; try: {shlex.join(['deltanet-edu', 'generate', str(folder)])}")


def import_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False,
                                           help="It holds config.json and *.safetensors.")],
    run: Annotated[str | None, typer.Option(help="Keep the model as runs/NAME.", show_default="only look")] = None,
    runs: Annotated[Path, typer.Option(help="Where runs are kept.")] = RUNS,
):
    """Read a Hugging Face folder with a DeltaNetForCausalLM of flash-linear-attention, and say what it is.

    What this package cannot represent is refused, by name. With --run it is kept, with its tokenizer, for `generate`.
    """
    with clear_errors():
        import torch

        from .run_folder import RunFolder
        from .tokenizer import Tokenizer
        from .weights import load_fla

        config, model = load_fla(folder, say=typer.echo)
        if run is None:
            typer.echo("All of it can be represented. Keep it with --run NAME.")
            return
        tokenizer = Tokenizer.from_json(Path(folder, "tokenizer.json").read_text(encoding="utf-8"))
        files = RunFolder(runs / run)
        try:
            files.open(config, resume=False)
            files.start(config, 0)
            files.save(config=config.to_dict(), corpus=None, tokenizer=tokenizer.to_json(), step=0, seconds=0.0,
                       model=model.state_dict(), rng=torch.get_rng_state(), optimizers=[])
        finally:
            files.close()
        typer.echo(f"kept in {runs / run}; try: {shlex.join(['deltanet-edu', 'generate', str(runs / run)])}")


FIXES = {
    errno.ENOSPC: "Make room on the disk; the last checkpoint is whole, and --resume continues from it.",
    errno.EFBIG: "No larger file is allowed; the last checkpoint is whole. Raise the limit (ulimit -f), then --resume.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ENOTDIR: "A file stands where a folder should be: move it away, or choose another place with --runs.",
    errno.EEXIST: "A file stands where a folder should be: move it away, or choose another place with --runs.",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS),
                    "You may not read or write it: change its permissions, or choose another place with --runs."),
}
FIXES[getattr(errno, "EDQUOT", errno.ENOSPC)] = FIXES[errno.ENOSPC]


class clear_errors:
    """Say in one line what is wrong, without a traceback: these errors are about the input, not about the program."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, OSError) and error.errno is not None:
            where = f"{error.filename}: " if error.filename else ""
            error = f"{where}{error.strerror}. {FIXES.get(error.errno, 'Look at the file, and try again.')}"
        elif not isinstance(error, (ValueError, TypeError, FileNotFoundError, IsADirectoryError, FloatingPointError)):
            return
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
