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
    """A bar with the time left, the loss, the last figure on what is held out, in `unit`, and the speed."""

    def __init__(self, config, unit="bits/char"):
        self.total, self.unit, self.bar, self.held_out = config.steps, unit, None, ""

    def __call__(self, entry):
        if self.bar is None:                                             # not before the first step: that may fail
            self.bar = tqdm(total=self.total, initial=entry["step"] - 1, unit="step", dynamic_ncols=True,
                            disable=not can_write(sys.stderr))
        if "held_out" in entry:
            self.held_out = f", held-out {entry['held_out']:.3f} {self.unit}"
        speed = f", {entry['tokens_per_second']:,} tokens/s"
        peak = f" ({entry['utilisation']:.0%} of peak)" if "utilisation" in entry else ""
        self.bar.set_postfix_str(f"loss {entry['loss']:.3f}{self.held_out}{speed}{peak}", refresh=False)
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

        figure = training_curves(self.entries, self.lines, self.config.steps, self.config.mixer)
        plt.close(figure)                                                # shown by its handle, not again by the cell
        return figure


class TensorBoardProgress:
    """What the log says, for TensorBoard: tensorboard --logdir runs."""

    def __init__(self, folder):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError("tensorboard: it is not installed. Install it with: pip install tensorboard") from None
        self.folder, self.open, self.writer = folder, SummaryWriter, None

    def __call__(self, entry):
        if self.writer is None:                                          # not before the first step: that may fail
            self.writer = self.open(self.folder, purge_step=entry["step"])       # what was lost is done again
        for name in entry.keys() - {"step"}:
            self.writer.add_scalar(name, entry[name], entry["step"])

    def close(self):
        if self.writer is not None:
            self.writer.close()
