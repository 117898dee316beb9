"""The tutor's part of the command line. What is heavy is imported inside the commands: --help answers at once."""

import re
from pathlib import Path
from typing import Annotated

import typer

from . import desk, storage
from .rerun import ANSWER_SECONDS, NotebookError, find_notebook, run_notebook


def register(app):
    """Add the commands to the application."""
    app.command("doctor", short_help="Say what this machine can run.")(show_doctor)
    app.command("next", short_help="Say what comes next.")(show_next)
    app.command("start", short_help="Copy a problem set to a notebook of your own.")(run_start)
    app.command("list", short_help="List the exercises and how each stands.")(show_list)
    app.command("check")(run_check)
    app.command("watch", short_help="Check a notebook whenever it is saved.")(run_watch)
    app.command("hint")(show_hint)
    app.command("progress")(show_progress)
    app.command("reset")(run_reset)


def show_doctor():
    """Say what this machine can run, and what to do about what it cannot.

    ✓ fine   ○ missing, but most of the book works without   ✗ broken and needed (then the exit status is 1)
    """
    from . import doctor

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
OneChapter = Annotated[int, typer.Argument(metavar="CHAPTER", help="Its number: 5 or 05.", min=0, max=99,
                                           show_default=False)]
What = Annotated[str, typer.Argument(metavar="CHAPTER|ID|NOTEBOOK", show_default=False,
                                     help="5, 5.2, or the path of a notebook.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The exercise, such as 5.2.", show_default=False)]
IdOrChapter = Annotated[str | None, typer.Argument(metavar="[ID|CHAPTER]", show_default=False,
                                                   help="An exercise such as 5.2, or a chapter such as 5.")]
Limit = Annotated[float, typer.Option("--limit", min=1, help="Seconds that an answer may take to be checked.")]
All = Annotated[bool, typer.Option("--all", help="Forget everything.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Folder = Annotated[Path | None, typer.Option("--to", help="The folder to copy it to.", show_default="exercises/")]


def show_list(chapter: Chapter = None):
    """List the exercises with stars, minutes and state: ✓ solved, ✗ tried, ○ open.

    \b
    deltanet-edu list          every exercise
    deltanet-edu list 5        those of chapter 5
    """
    from .registry import all_exercises, unavailable_chapters

    done = storage.read()["exercises"]
    exercises = [e for e in all_exercises() if chapter is None or e.chapter == chapter]
    for number in sorted({e.chapter for e in exercises}):
        typer.echo(heading(number))
        for e in (e for e in exercises if e.chapter == number):
            mark = {"solved": "✓", "tried": "✗", "open": "○"}[storage.state(done.get(e.id, {}))]
            typer.echo(f"  {mark} {e.id:<5} {e.title:<52} {'★' * e.stars}{'☆' * (5 - e.stars)} {e.minutes:>4} min")
    for number, reason in unavailable_chapters().items():
        if chapter in (None, number):
            typer.echo(f"Chapter {number}: not on this machine, {reason}.")
            exercises.append(number)
    if not exercises:
        stop(f"There are no exercises in chapter {chapter}.")


def heading(number):
    """The first sentence of the chapter's lesson.py: "Chapter 5: the WY representation". While nobody has written one,
    "Chapter 5"."""
    from .registry import load_chapter

    written = getattr(getattr(load_chapter(number), "lesson", None), "__doc__", None)
    sentence = re.match(r".*?[.?](?=\s)", written or "", re.S)
    return sentence[0].rstrip(".") if sentence else f"Chapter {number}"


def show_next():
    """Say what comes next: the exercise to try, and where it stands.

    \b
    deltanet-edu next          where you are, and which exercise to try
    """
    from .registry import all_exercises

    exercises, done = all_exercises(), storage.read()["exercises"]
    e = desk.next_exercise(exercises, done)
    if e is None:
        typer.echo("Every exercise of the book is solved. `deltanet-edu reset 5` takes a chapter back.")
        return
    typer.echo(f"Next: {e.id} {e.title}   {'★' * e.stars}{'☆' * (5 - e.stars)}   about {e.minutes} minutes")
    for line in desk.whereabouts(e, exercises, done):
        typer.echo(f"      {line}")


def run_start(chapter: OneChapter, folder: Folder = None):
    """Copy the problem set of a chapter to a notebook of your own, and say where. Nothing is overwritten.

    \b
    deltanet-edu start 5                  exercises/my_05_exercises_wy_representation.ipynb
    deltanet-edu start 5 --to ~/deltanet  into a folder of yours
    """
    try:
        copied, path = desk.start(chapter, folder)
    except (NotebookError, OSError) as error:
        stop(str(error))
    typer.echo(f"Your copy: {path}" if copied else f"You have begun it already: {path}")
    name = desk.shortest(path, chapter)
    typer.echo(f"Open it in JupyterLab. `deltanet-edu watch {name}` checks it whenever you save.")


def run_check(what: What, limit: Limit = ANSWER_SECONDS):
    """Run your notebook and say how each exercise stands. Your file is only read.

    The notebook of chapter 5 is exercises/05_*.ipynb or exercises/my_05_*.ipynb, here or in a folder above.
    The exit status is 1 if an answer is wrong.

    \b
    deltanet-edu check 5                             every exercise of chapter 5
    deltanet-edu check 5.2                           one exercise
    deltanet-edu check exercises/my_05_wy.ipynb      a notebook under another name
    """
    try:
        fine = check_once(*notebook_of(what), limit)
    except NotebookError as error:
        stop(str(error))
    except KeyboardInterrupt:
        typer.echo("\nStopped. What is said above stands.")
        raise typer.Exit(130) from None
    if not fine:
        raise typer.Exit(1)


def check_once(path, wanted, limit):
    """Run a notebook and show what concerns the exercise `wanted`, or all of it; whether all is well."""
    typer.echo(f"Running {path} ...")
    shown = []

    def show(event):
        if wanted in (None, event.id) or not event.id:
            shown.append(event)
            typer.echo(event.text)

    run_notebook(path, show, limit, wanted)
    if not any(event.id for event in shown):
        typer.echo(f"No check{f'({wanted!r}, ...)' if wanted else ''} was run in {path}.")
        return False
    return all(event.state != "fail" for event in shown)


def notebook_of(what):
    """(path, id of an exercise or None) for "5", "5.2" or the path of a notebook."""
    if what.endswith(".ipynb"):
        return Path(what).expanduser(), None
    if number := re.fullmatch(r"(\d{1,2})(\.\d+)?", what):
        return find_notebook(int(number[1])), what if number[2] else None
    if re.match(r"\d+\.", what):
        stop(f'There is no exercise "{what}". An id looks like "5.2".')
    stop(f'"{what}" is no chapter, exercise or notebook. Examples: 5, 5.2, exercises/05_wy.ipynb')


def run_watch(what: What, limit: Limit = ANSWER_SECONDS):
    """Check a notebook now, and again whenever it is saved, until you press Ctrl-C.

    \b
    deltanet-edu watch 5             the notebook of chapter 5 that was saved last
    deltanet-edu watch 5.2           one exercise of it
    """
    try:
        path, wanted = notebook_of(what)
        for _ in desk.saves(path):
            check_once(path, wanted, limit)
            typer.echo(f"\nWatching {path}. Ctrl-C ends it.\n")
    except NotebookError as error:
        stop(str(error))
    except KeyboardInterrupt:
        typer.echo("\nNo longer watching.")


def show_hint(id: Id):
    """Show the next hint of an exercise. There are three, of growing strength.

    \b
    deltanet-edu hint 5.2
    """
    from . import notebook
    from .registry import ChapterUnavailable, UnknownId, find

    try:
        find("exercise", id)
    except (UnknownId, ChapterUnavailable) as error:
        stop(str(error))
    notebook.hint(id)


def show_progress():
    """Show what is solved, chapter by chapter."""
    from . import notebook

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
