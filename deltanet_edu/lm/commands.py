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
from .presets import settings_of

# Everything heavy is imported inside the commands, so that --help answers at once.

RUNS = Path("runs")
FLAGS = {"options": (list[str], "--option"), "difficulty": (list[str], "--difficulty"),
         "test_difficulty": (list[str], "--test-difficulty")}                      # how dicts are given


def register(app):
    app.command("train")(with_settings(train_command, Config, preset=settings_of("cpu")))
    app.command("prepare", short_help="Cut a text larger than memory into tokens, once.")(prepare_command)
    app.command("import-fla", short_help="Read a DeltaNet trained with flash-linear-attention.")(import_command)


def with_settings(command, kind, without=(), preset=None):
    """Give a command an option for every field of a Config, in place of its **settings: declared once, there.

    preset: what the help shows as the defaults, {name: value}, where it differs from those of the Config.
    """
    own = inspect.signature(command)
    parameters = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for f in fields(kind):
        if f.name in without:
            continue
        type_, *flags = FLAGS.get(f.name, (f.type,))
        shown = "none" if type_ is not f.type else str((preset or {}).get(f.name, f.default))
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
    preset: Annotated[str | None, typer.Option(
        help="What all settings start from: cpu (if none is given), small, medium, 340m, 1.3b.",
        show_default=False)] = None,
    run: Annotated[str, typer.Option(help="Name of the run; it is kept in runs/NAME.")] = "novels",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run from its last checkpoint.")] = False,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after so many.", show_default="no limit")] = None,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help='Of matrix products: "auto", "float32", "bfloat16".')] = "auto",
    compile: Annotated[bool | None, typer.Option(
        help="Compile the training step, which takes a minute at first.",
        show_default="on a GPU, from 10 million parameters on, unless sharded")] = None,
    accumulate: Annotated[int, typer.Option(min=1, help="Parts that a process computes its batch in, one after the "
                                                        "other: more of them need less memory.")] = 1,
    shard: Annotated[bool, typer.Option("--shard", help="Under torchrun: cut model and optimizer into parts, one for "
                                                        "each process (fully_shard).")] = False,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    evaluate_every: Annotated[int, typer.Option(min=1, help="Steps between measurements on held-out text.")] = 200,
    keep_best: Annotated[bool, typer.Option("--keep-best", help="Also keep the weights that measured best.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write what TensorBoard shows.")] = False,
    threads: Threads = 1,
    runs: Annotated[Path, typer.Option(help="Where runs are kept.")] = RUNS,
    **settings,
):
    """Train a language model and keep it in runs/NAME.

    What is not given has the value of the preset, or of the run that is resumed. The defaults below are those of cpu,
    the model of chapter 16. Stop with Ctrl-C at any moment.

    \b
    deltanet-edu train                                    the model of chapter 16: a few minutes on a laptop
    deltanet-edu train --run mine --corpus my.txt         learn from your own text
    deltanet-edu train --run mine --resume                go on after an interruption
    deltanet-edu train --run mine --resume --steps 3000   train longer
    deltanet-edu train --run additive --mixer linear      the same model with a memory that only adds
    deltanet-edu train --preset small --keep-best         27 million parameters: minutes on one GPU
    torchrun --nproc-per-node 8 -m -- deltanet_edu train --preset 340m --accumulate 4 --run large --corpus FOLDER
                                                          eight GPUs, one model (FOLDER: see deltanet-edu prepare)
    """
    if Path(run).name != run or run in ("", "..", "."):
        raise typer.BadParameter(f"{run!r} is not a name. Runs are kept in {runs}/NAME; --runs chooses another place.",
                                 param_hint="--run")
    go_on = ["deltanet-edu", "train", "--run", run, *(["--runs", str(runs)] if runs != RUNS else []), "--resume"]
    with clear_errors():
        given = {name: value for name, value in settings.items() if value is not None}
        if "options" in given:
            given["options"] = dict(map(parse_option, given["options"]))
        run_training(runs / run, preset, given, resume, threads, shlex.join(go_on), tensorboard, dict(
            seconds=seconds, device=device, precision=precision, compile=compile, accumulate=accumulate, shard=shard,
            save_every=save_every, evaluate_every=evaluate_every, keep_best=keep_best))


def parse_option(text):
    """beta_max=2.0 as ("beta_max", 2.0): numbers, true, false and null as in JSON, all else as it stands."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"option: got {text!r}, expected NAME=VALUE, such as beta_max=2.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


COMPILED_FROM = 10_000_000                                               # parameters: smaller models are done sooner


def worth_compiling(config, device="auto"):
    """Is a minute of compiling paid back? Mamba's kernels are its own, and the compiler would not use them."""
    from .device import find_place
    from .model import meta_model, parameters

    return (find_place(device).device.type == "cuda" and "mamba" not in config.mixers
            and parameters(meta_model(config)) >= COMPILED_FROM)


def run_training(folder, preset, given, resume, threads, go_on, tensorboard, how):
    import torch

    from .device import find_place
    from .distributed import is_first
    from .interruption import Terminated
    from .model import meta_model, parameters
    from .progress import TensorBoardProgress, TerminalProgress
    from .run_folder import SETTINGS, read_settings
    from .train import train

    torch.set_num_threads(threads)
    start = read_settings(folder) if resume and (folder / SETTINGS).is_file() else {}
    if preset or not start:
        start |= settings_of(preset or "cpu")
    config = Config(**start | given)
    size, place = parameters(meta_model(config)), find_place(how["device"], how["precision"])
    if how["compile"] is None:
        how["compile"] = worth_compiling(config, how["device"]) and not how["shard"]
    if not is_first():                                                   # of several: works, and says nothing
        train(config, folder, resume=resume, say=lambda line: None, **how)
        return
    typer.echo(f"Training on: {place}{', compiled' if how['compile'] else ''}")
    bar = TerminalProgress(config)
    shown = [bar, *([TensorBoardProgress(folder / "tensorboard")] if tensorboard else [])]

    def progress(entry):
        for show in shown:
            show(entry)
    try:
        done = train(config, folder, resume=resume, progress=progress, say=bar.say, **how)
    except (KeyboardInterrupt, Terminated) as error:
        bar.close()
        typer.echo(f"\nStopped. Go on with: {go_on}")
        raise typer.Exit(error.code if isinstance(error, Terminated) else 130) from None
    finally:
        for show in shown:
            show.close()
    bits = done.data.measure(done.model)
    typer.echo(f"{size:,} parameters, {done.steps:,} steps: {bits:.3f} bits per character on held-out text.")
    if done.steps < config.steps:
        typer.echo(f"Go on with: {go_on}")
    typer.echo(f"kept in {folder}; try: {shlex.join(['deltanet-edu', 'generate', str(folder)])}")


def prepare_command(
    text: Annotated[Path, typer.Argument(metavar="TEXT", show_default=False,
                                         help="A UTF-8 text file of any size, or a folder of *.txt.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", show_default=False, help="Where the tokens go.")],
    vocab: Annotated[int, typer.Option(help="Size of the vocabulary, which is learned from the text.")] = 32_000,
    separator: Annotated[str | None, typer.Option(help="What stands between documents, such as <|endoftext|>.",
                                                  show_default="each file is a document")] = None,
):
    """Cut a text into tokens once, and keep them on disk. Training then reads a batch at a time, so that the text may
    be larger than the memory; documents in one batch do not see each other.

    \b
    deltanet-edu prepare my_texts my_tokens --vocab 16384
    deltanet-edu train --preset medium --corpus my_tokens
    """
    with clear_errors():
        import sys

        from tqdm import tqdm

        from .progress import can_write
        from .token_folder import prepare

        with tqdm(unit="B", unit_scale=True, disable=not can_write(sys.stderr)) as bar:
            about = prepare(text, folder, vocab, separator, lambda done: bar.update(done - bar.n))
        typer.echo(f"{about['tokens']:,} tokens of {about['documents']:,} documents, {about['held_out']:,} more held "
                   f"out; kept in {folder}")
        words = ["deltanet-edu", "train", "--vocab", str(vocab), "--corpus", str(folder)]
        typer.echo(f"try: {shlex.join(words)}")


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
                       model=model.state_dict(), optimizers=[])
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
        elif kind is not None and kind.__name__ == "OutOfMemoryError":
            error = "the device's memory is full. Compute each batch in more parts, --accumulate 2, 4, ..."
        elif not isinstance(error, (ValueError, TypeError, FileNotFoundError, IsADirectoryError, FloatingPointError)):
            return
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
