"""What a run looks like while it runs: a bar in a terminal, a growing curve in a notebook."""

import sys
import time

from tqdm import tqdm


def can_write(stream):
    """Is there anybody to show a bar to? Without a terminal a program may have no stderr, or one that is closed."""
    try:
        stream.write("")
        stream.flush()
        return True
    except (AttributeError, OSError, ValueError):
        return False


class TerminalProgress:
    """A bar with the loss of the last step and the last figure on what is held out, in `unit`."""

    def __init__(self, config, unit="bits/char"):
        self.total, self.unit, self.bar = config.steps, unit, None

    def __call__(self, entry):
        if self.bar is None:                                             # not before the first step: that may fail
            self.bar = tqdm(total=self.total, initial=entry["step"] - 1, unit="step", dynamic_ncols=True,
                            disable=not can_write(sys.stderr))
        if "held_out" in entry:
            self.bar.set_postfix_str(f"loss {entry['loss']:.3f}, held-out {entry['held_out']:.3f} {self.unit}")
        self.bar.update(entry["step"] - self.bar.n)

    def say(self, line):
        """Show a line above the bar."""
        tqdm.write(line)

    def close(self):
        if self.bar is not None:
            self.bar.close()


class NotebookProgress:
    """A figure redrawn in place every few seconds; the last drawing stays in the notebook."""

    def __init__(self, config, lines=None, every=4.0):
        from IPython.display import display

        self.config, self.lines, self.every = config, lines or {}, every
        self.entries, self.drawn = [], time.perf_counter()
        self.handle = display(self.draw(), display_id=True)

    def __call__(self, entry):
        self.entries.append(entry)
        if time.perf_counter() - self.drawn > self.every or entry["step"] == self.config.steps:
            self.handle.update(self.draw())
            self.drawn = time.perf_counter()

    def close(self):
        self.handle.update(self.draw())

    def draw(self):
        import matplotlib.pyplot as plt

        from ..figures.language import training_curves

        figure = training_curves(self.entries, self.lines, self.config.steps)
        plt.close(figure)                                                # shown by its handle, not again by the cell
        return figure
