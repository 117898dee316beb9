"""The tutor's part of the command line: doctor, list, check, hint, progress, reset."""

from pathlib import Path
from typing import Annotated

import typer

from . import doctor, notebook, storage
from .registry import ChapterUnavailable, UnknownId, all_exercises, find, load_chapter, unavailable_chapters
from .rendering import verdict_text
from .rerun import NotebookError, find_notebook, run_notebook


def register(app):
    """Add the commands to the application."""
    app.command("doctor", short_help="Say what this machine can run.")(show_doctor)
    app.command("list", short_help="List the exercises and how each stands.")(show_list)
    app.command("check")(run_check)
    app.command("hint")(show_hint)
    app.command("progress")(show_progress)
    app.command("reset")(run_reset)


def show_doctor():
    """Say what this machine can run, and what to do about what it cannot.

    ✓ fine   ○ missing, but most of the book works without   ✗ broken and needed (then the exit status is 1)
    """
    findings = []
    for finding in doctor.examine():
        findings.append(finding)
        typer.echo(doctor.report([finding]))
    if any(f.state == "✗" for f in findings):
        typer.echo("\nSomething the book needs is broken: see ✗ above.")
        raise typer.Exit(1)
    begin = " Open notebooks/00 to begin." if Path("notebooks").is_dir() and not storage.read()["exercises"] else ""
    typer.echo(f"\nReady.{begin}")


Chapter = Annotated[int | None, typer.Argument(help="Only this chapter.", min=0, max=99, show_default=False)]
What = Annotated[str, typer.Argument(metavar="CHAPTER|ID|NOTEBOOK", show_default=False,
                                     help="5, 5.2, or the path of a notebook.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The exercise, such as 5.2.", show_default=False)]
IdOrChapter = Annotated[str | None, typer.Argument(metavar="[ID|CHAPTER]", show_default=False,
                                                   help="An exercise such as 5.2, or a chapter such as 5.")]
All = Annotated[bool, typer.Option("--all", help="Forget everything.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def show_list(chapter: Chapter = None):
    """List the exercises with stars, minutes and state: ✓ solved, ✗ tried, ○ open.

    \b
    deltanet-edu list          every exercise
    deltanet-edu list 5        those of chapter 5
    """
    done = storage.read()["exercises"]
    exercises = [e for e in all_exercises() if chapter is None or e.chapter == chapter]
    for number in sorted({e.chapter for e in exercises}):
        typer.echo(heading(number))
        for e in (e for e in exercises if e.chapter == number):
            record = done.get(e.id, {})
            mark = "✓" if record.get("solved") else "✗" if record.get("attempts") else "○"
            typer.echo(f"  {mark} {e.id:<5} {e.title:<52} {'★' * e.stars}{'☆' * (5 - e.stars)} {e.minutes:>4} min")
    for number, reason in unavailable_chapters().items():
        if chapter in (None, number):
            typer.echo(f"Chapter {number}: not on this machine, {reason}.")
            exercises.append(number)
    if not exercises:
        stop(f"There are no exercises in chapter {chapter}.")


def heading(number):
    """The first sentence of the chapter module: "Chapter 5: the WY representation"."""
    return load_chapter(number).__doc__.strip().splitlines()[0].split(". ")[0].rstrip(".")


def run_check(what: What):
    """Run your notebook and say how each exercise stands. Your file is only read.

    The notebook of chapter 5 is exercises/05_*.ipynb, here or in a folder above.
    The exit status is 1 if an answer is wrong.

    \b
    deltanet-edu check 5                             every exercise of chapter 5
    deltanet-edu check 5.2                           one exercise
    deltanet-edu check exercises/my_05_wy.ipynb      a notebook under another name
    """
    try:
        wanted, path = (None, what) if what.endswith(".ipynb") else (what, find_notebook(chapter_of(what)))
        typer.echo(f"Running {path} ...")
        verdicts, errors = run_notebook(path)
    except NotebookError as error:
        stop(str(error))
    whole_chapter = wanted is None or "." not in wanted
    shown = [v for v in verdicts if whole_chapter or v.id == wanted]
    for verdict in shown:
        typer.echo(verdict_text(verdict))
    for error in errors:
        typer.echo(f"✗ cell {error.cell} stopped: {error.message}")
    if not shown:
        typer.echo(f"No check{'' if whole_chapter else f'({wanted!r}, ...)'} was run in {path}.")
    if errors or not shown or any(v.state == "fail" for v in shown):
        raise typer.Exit(1)


def chapter_of(what):
    """The chapter of "5" or "5.2"."""
    try:
        return find("exercise", what).chapter if "." in what else int(what)
    except (UnknownId, ChapterUnavailable) as error:
        stop(str(error))
    except ValueError:
        stop(f'"{what}" is no chapter, exercise or notebook. Examples: 5, 5.2, exercises/05_wy.ipynb')


def show_hint(id: Id):
    """Show the next hint of an exercise. There are three, of growing strength.

    \b
    deltanet-edu hint 5.2
    """
    try:
        find("exercise", id)
    except (UnknownId, ChapterUnavailable) as error:
        stop(str(error))
    notebook.hint(id)


def show_progress():
    """Show what is solved, chapter by chapter."""
    notebook.progress()


def run_reset(what: IdOrChapter = None, everything: All = False, yes: Yes = False):
    """Forget recorded progress, after asking. Notebooks are not touched, and a copy of the record is kept.

    \b
    deltanet-edu reset 5.2          one exercise
    deltanet-edu reset 5            chapter 5, predictions included
    deltanet-edu reset --all        everything
    """
    if (what is None) != everything:
        stop("Say what to forget: an exercise (5.2), a chapter (5), or --all.")
    data = storage.read()
    recorded = [*data["exercises"], *data["predictions"]]
    ids = [id for id in recorded if everything or id == what or id.split(".")[0] == what]
    if not ids:
        typer.echo("Nothing is recorded for that, so there is nothing to forget.")
        return
    label = "everything" if everything else ", ".join(sorted(set(ids)))
    if not yes and not typer.confirm(f"Forget what is recorded for {label}?"):
        typer.echo("Nothing was changed.")
        return
    copy = storage.backup()
    storage.forget(set(ids))
    typer.echo(f"Forgotten: {label}. The record as it was is kept in {copy}.")


def stop(message):
    """End with a message on the error stream and exit status 2."""
    typer.echo(message, err=True)
    raise typer.Exit(2)
