"""A training step as one CUDA graph, for models so small that starting their kernels takes longer than running them."""

import torch

from .optimizer import Average


class GraphedStep:
    """Takes the place of `training_step` on a GPU, with the same arguments: AdamW only, and batches of one shape.

    The first steps run as always, on a stream of their own, so that everything is allocated and compiled. The next is
    recorded, and from then on a step is: copy the batch and the rate to where the graph reads them, and replay it.
    """

    EAGER = 3

    def __init__(self):
        self.steps, self.graph, self.stream = 0, None, torch.cuda.Stream()

    def __call__(self, model, optimizers, batches, rate, clip, autocast):
        if len(batches) > 1:
            raise ValueError(f"accumulate: got {len(batches)}, but a graph holds one part. Use 1, or no graph.")
        self.steps, (batch,) = self.steps + 1, batches
        if self.steps == 1:
            self.prepare(optimizers, batch)
        for mine, given in zip(self.batch, batch, strict=True):
            mine.copy_(given)
        for lr, peak in self.rates:
            lr.fill_(rate * peak)
        if self.steps <= self.EAGER:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                self.loss = self.step(model, optimizers, clip, autocast)
            torch.cuda.current_stream().wait_stream(self.stream)
        elif self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.loss = self.step(model, optimizers, clip, autocast)
            self.graph.replay()
        else:
            self.graph.replay()
        loss = self.loss.item()
        if loss != loss or abs(loss) == float("inf"):
            raise FloatingPointError(f"The loss is {loss}: training has diverged. Use a smaller adam_lr.")
        return loss

    def prepare(self, optimizers, batch):
        if any(not isinstance(optimizer, (torch.optim.AdamW, Average)) for optimizer in optimizers):
            raise ValueError('optimizer: a graph holds AdamW only. Use optimizer="adamw", or no graph.')
        self.batch, self.rates = [x.clone() for x in batch], []
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["capturable"] = True
                group["lr"] = torch.tensor(group["peak"], device=batch[0].device)
                self.rates.append((group["lr"], group["peak"]))

    def step(self, model, optimizers, clip, autocast):
        for optimizer in optimizers:
            optimizer.zero_grad()
        with autocast:
            loss = model.loss(*self.batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        for optimizer in optimizers:
            optimizer.step()
        return loss.detach()
