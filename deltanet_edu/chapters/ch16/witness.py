"""Who sees a model at work, whatever trains it: what it read, and its weights before (exercise 16.19)."""

import copy

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from ...tutor.rendering import in_notebook


class Line:
    """How far a training is, in one line that is written over and gone at the end; in a notebook only, and if there is
    something to say."""

    def __init__(self, what, steps):
        self.what, self.steps, self.handle = what, steps, None
        if what and in_notebook():
            from IPython.display import display

            self.handle = display(self.text(), raw=True, display_id=True)

    def text(self, step=None):
        return {"text/plain": f"{self.what}: step {step} of {self.steps}" if step else ""}

    def show(self, step):
        if self.handle and (step % 10 == 0 or step == self.steps):
            self.handle.update(self.text(step if step < self.steps else None), raw=True)


class Witness:
    """Sees a model at work, whatever trains it: its weights before it was first called, and what it was called with."""

    def __init__(self, what="", steps=0):
        self.before, self.known, self.model, self.read, self.line = {}, set(), None, [], Line(what, steps)

    def __enter__(self):
        self.hook = register_module_forward_pre_hook(self.see)
        return self

    def __exit__(self, *error):
        self.hook.remove()

    def see(self, module, args):
        if id(module) not in self.known:
            self.known |= {id(m) for m in module.modules()}
            self.before |= {id(p): p.detach().clone() for p in module.parameters()}
            self.model = self.model or module                            # the first to be called is the outermost
        if module is self.model:
            self.read.append(args[0].detach() if args and isinstance(args[0], torch.Tensor) else None)
            self.line.show(len(self.read))

    def at_the_start(self, model):
        """A copy of the model as it was before it was first called."""
        with torch.no_grad():
            start = copy.deepcopy(model)
            for p, now in zip(start.parameters(), model.parameters()):
                p.copy_(self.before.get(id(now), now))
        return start
