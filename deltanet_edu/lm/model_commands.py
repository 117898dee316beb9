"""`deltanet-edu evaluate` and `generate`: what is done with a trained model."""

import functools
import sys
from pathlib import Path
from typing import Annotated

import typer

from .commands import Device, Folder, Threads, clear_errors

MEASURES = ("text", "cloze", "recall", "positions")
Best = Annotated[bool, typer.Option("--best", help="Take the weights that measured best: of train --keep-best.")]


def register(app):
    app.command("evaluate", short_help="Measure a trained model on text it has not seen.")(evaluate_command)
    app.command("generate", short_help="Let a trained model write, or chat with it.")(generate_command)


# -- evaluate ----------------------------------------------------------------------------------------------------------

def evaluate_command(
    run: Folder,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(MEASURES)}; may be repeated.",
                                                   show_default="all")] = None,
    tasks: Annotated[Path | None, typer.Option(help="Instead: a YAML task of lm-eval, or a folder of them.",
                                               show_default=False)] = None,
    corpus: Annotated[str | None, typer.Option(help="Text to measure on, as for train.",
                                               show_default="the run's own")] = None,
    share: Annotated[float, typer.Option(help="Of the held-out text, for a quick look.")] = 1.0,
    most: Annotated[int, typer.Option(min=1, help="Passages, documents or examples of each kind, at most.")] = 200,
    output: Annotated[Path | None, typer.Option(help="Write all of it to this JSON file, whole or not at all.")] = None,
    best: Best = False,
    threads: Threads = 1,
    device: Device = "auto",
):
    """Measure a trained model on the held-out text it was not trained on.

    \b
    text       bits per character, book by book; every token once, in windows of 128, each after 128 of context,
               or as many more as it was trained with
    cloze      is the missing last word of a passage, said a few sentences before, the likeliest?
    recall     facts listed in a document, from Wikipedia and from your packages: can it go on where one begins again?
    positions  bits per character by position, up to eight times the length it was trained on

    \b
    deltanet-edu evaluate runs/novels --output novels.json
    deltanet-edu evaluate runs/novels --only text --share 0.1
    deltanet-edu evaluate runs/novels --tasks my_tasks/
    """
    with clear_errors():
        from ..checks import one_of

        for name in only or []:
            one_of("only", name, MEASURES)
        if not 0 < share <= 1:
            raise ValueError(f"share: got {share}, expected a number above 0, at most 1.")
        import torch

        from ..records import write_result
        from .train import load_run

        torch.set_num_threads(threads)
        config, model, tokenizer, step = load_run(run, device, best)
        if tasks:
            from .harness import run_tasks

            found = {"tasks": run_tasks(model, tokenizer, tasks, most, bar("examples"))}
            show_tasks(found["tasks"])
        else:
            found = measure(run, config, model, tokenizer, corpus, only or MEASURES, share, most)
            typer.echo(f"after {step:,} steps")
        if output:
            write_result(output, {"run": run.name, "settings": config.to_dict(), "steps": step, **found})
            typer.echo(f"written to {output}")


def bar(description):
    """A wrapper that shows how far a loop is, in a terminal."""
    from tqdm import tqdm

    return functools.partial(tqdm, desc=description, leave=False, disable=None, dynamic_ncols=True)


def measure(run, config, model, tokenizer, source, wanted, share, most):
    """All that is wanted, shown as it becomes known. Returns a dict."""
    from .evaluate import by_part, by_position

    corpus, data, found = held_out_text(run, config, tokenizer, source)
    if "text" in wanted:
        from .leakage import shares

        rows = by_part(model, data, share, bar("text"))
        for row, seen in zip(rows, shares(corpus.texts) if corpus.texts else ()):
            row |= {"part": row["part"] or corpus.name, "runs of 50 characters also in training": seen}
        show_text(rows)
        found["text"] = rows
    if "cloze" in wanted:
        from .cloze import cloze

        texts = [tokenizer.decode(part.tokens) for part in data.held_out]
        found["cloze"] = cloze(model, tokenizer, texts, most, bar("cloze"))
        show_cloze(found["cloze"])
    if "recall" in wanted:
        from .facts import SOURCES, Missing, recall

        found["recall"] = {}
        for source in SOURCES:
            try:
                found["recall"][source] = recall(model, tokenizer, source, most, progress=bar("recall"))
            except Missing as missing:
                found["recall"][source] = {"missing": str(missing)}
        show_recall(found["recall"])
    if "positions" in wanted:
        found["positions"] = by_position(model, data.held_out, config.length, progress=bar("positions"))
        show_positions(found["positions"], config.length)
    return found


def held_out_text(run, config, tokenizer, source):
    """(corpus, data, what to write down about them). The run's own text must still be the one it was trained on."""
    from .corpus import Corpus, load_corpus, shown
    from .data import Data
    from .evaluate import context_of
    from .run_folder import RunError, load_checkpoint
    from .token_folder import is_token_folder, open_tokens

    trained_on, place = load_checkpoint(run)["corpus"], source or config.corpus
    if is_token_folder(place):
        corpus, data = Corpus(shown(Path(place).name), ()), open_tokens(place, config.vocab)
        if data.tokenizer.to_json() != tokenizer.to_json():
            raise RunError(f"{run}: its tokens are not those of {shown(place)}. Measure it on text: --corpus my.txt")
    else:
        corpus = load_corpus(place)
        data = Data.prepare(corpus, tokenizer=tokenizer, context=context_of(config.length))
    own = data.fingerprint == trained_on
    if not own and source is None and trained_on is not None:
        raise RunError(f"{run}: its text, corpus {config.corpus!r}, is no longer what it was trained on, "
                       f"so what is held out now may have been seen.")
    if not own:
        typer.echo(f"Measured on {corpus.name}, which is not what this run was trained on here. "
                   "Whether the model has seen it is not known.")
    return corpus, data, {"corpus": corpus.name, "fingerprint": data.fingerprint, "held out of its training": own}


def show_text(rows):
    seen = "runs of 50 characters also in training"                      # not looked for in a text that lies on disk
    typer.echo(f"{'held-out text':<24}{'characters':>12}{'bits per character':>20}{'per byte':>10}{'perplexity':>12}"
               + f"{'seen':>8}" * (seen in rows[0]))
    for row in rows:
        typer.echo(f"{row['part']:<24}{row['characters']:>12,}{row['bits per character']:>20.3f}"
                   f"{row['bits per byte']:>10.3f}{row['perplexity of a token']:>12.2f}"
                   + (f"{row[seen]:>8.1%}" if seen in row else ""))


def show_cloze(row):
    typer.echo("\nlast word of a passage")
    if not row["passages"]:
        typer.echo("  no sentence here ends in a word said before")
        return
    typer.echo(f"  {row['passages']} passages: {row['accuracy']:.1%} right; the passage's most frequent word would be "
               f"{row['accuracy of a guess']:.1%}; perplexity of the word {row['perplexity of the word']:.1f}")


def show_recall(rows):
    typer.echo("\nfacts told in a document")
    for name, row in rows.items():
        if "missing" in row:
            typer.echo(f"  {name:<12}{row['missing']}")
            continue
        typer.echo(f"  {name:<12}{row['documents']} documents of {row['facts in each']} facts: {row['exact']:.1%} word "
                   f"for word; {row['bits per character']:.2f} bits per character of the answer, "
                   f"{row['bits per character without the fact']:.2f} without the fact")


def show_positions(rows, length):
    typer.echo(f"\nposition in the text (trained on {length})")
    if not rows:
        typer.echo(f"  no held-out part is longer than {length} tokens")
    for row in rows:
        error = "" if row["standard error"] is None else f" ± {row['standard error']:.3f}"
        typer.echo(f"  {row['from']:>7,} to {row['to']:>7,}  {row['bits per character']:.3f}{error} bits per character")


def show_tasks(results):
    for task, metrics in results.items():
        for name, value in metrics.items():
            if isinstance(value, float):
                typer.echo(f"{task:<24}{name:<32}{value:>10.4f}")


# -- generate ----------------------------------------------------------------------------------------------------------

def generate_command(
    run: Folder,
    prompt: Annotated[str, typer.Option(help="The text to continue; - reads it from the standard input.",
                                        show_default="a new paragraph")] = "\n\n",
    tokens: Annotated[int, typer.Option(min=1, help="How many tokens to write, at most.")] = 200,
    temperature: Annotated[float, typer.Option(min=0, help="0: the likeliest token. 1: as the model believes.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=1, help="Draw from this many of the likeliest tokens.")] = 40,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest that together have this probability.")] = 1.0,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text; may be repeated. \\n is a new line.",
                                                   show_default="none")] = None,
    seed: Annotated[int, typer.Option(help="The same seed writes the same text.")] = 0,
    chat: Annotated[bool, typer.Option("--chat", help="Talk with the model, a line a turn; Ctrl-D ends.")] = False,
    best: Best = False,
    device: Device = "auto",
):
    """Let a trained model write. The text appears token by token; a memory of the delta rule never grows.

    \b
    deltanet-edu generate runs/novels --prompt "The captain" --stop "\\n\\n"
    cat letter.txt | deltanet-edu generate runs/novels --prompt -
    deltanet-edu import-fla FOLDER --run theirs && deltanet-edu generate runs/theirs --chat
    """
    with clear_errors():
        import torch

        from .generate import Chat, generate
        from .model import state_bytes
        from .train import load_run

        torch.set_num_threads(1)
        _, model, tokenizer, _ = load_run(run, device, best)
        how = dict(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
        if chat:
            talk(Chat(model, tokenizer, tokens, **how))
            return
        if prompt == "-":
            prompt = sys.stdin.read()
        kept = []
        stops = tuple(text.replace("\\n", "\n") for text in stop or ())
        pieces = generate(model, tokenizer, prompt, tokens, stop=stops, **how,
                          watch=lambda states: kept.append(state_bytes(states)))
        first = next(pieces, "")                                         # before the prompt is shown: it may be refused
        typer.echo(prompt + first, nl=False)
        whole = write(pieces)
        typer.echo()
        typer.echo(f"[{len(kept):,} tokens; what was kept of the past: {kept[0]:,} bytes at the first, "
                   f"{kept[-1]:,} at the last]", err=True)
        if not whole:
            raise typer.Exit(130)


def write(pieces):
    """Show pieces of text as they come, until Ctrl-C. Did all of them come?"""
    try:
        for piece in pieces:
            typer.echo(piece, nl=False)
    except KeyboardInterrupt:
        return False
    return True


def talk(chat):
    """A line, a reply, until the input ends. Ctrl-C ends a reply, and at an empty prompt the conversation."""
    from .model import state_bytes

    typer.echo("Talk with the model. Ctrl-C stops a reply, Ctrl-D ends.", err=True)
    while True:
        try:
            said = input("You: ")
        except (EOFError, KeyboardInterrupt):
            typer.echo()
            break
        if said.strip():
            write(chat.reply(said.strip()))
            typer.echo()
    if chat.states is not None:
        typer.echo(f"[the whole conversation was kept in {state_bytes(chat.states):,} bytes]", err=True)
