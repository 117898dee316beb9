"""Exercise 16.18: stage 6 of the build, the training loop."""

import torch
import torch.nn.functional as F
from torch import nn

from ...tutor import Case, Mistake, exercise
from ..common import alone_and_paired
from .loss import loss_of
from .steps import groups, rate

# -- solutions ---------------------------------------------------------------------------------------------------------


def fit(model, text, starts, T, lr, decay, clip, warmup):
    optimizer = torch.optim.AdamW(groups(list(model.named_parameters()), decay), lr=lr, betas=(0.9, 0.95))
    losses = []
    for step in range(1, len(starts) + 1):
        for group in optimizer.param_groups:
            group["lr"] = lr * rate(step, len(starts), warmup)
        loss = loss_of(model, text, starts[step - 1], T)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses


def fit_with_scheduler(model, text, starts, T, lr, decay, clip, warmup):
    optimizer = torch.optim.AdamW(groups(list(model.named_parameters()), decay), lr, (0.9, 0.95), foreach=False)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: rate(n + 1, len(starts), warmup))
    losses = []
    for begin in starts:
        losses.append(loss_of(model, text, begin, T))
        losses[-1].backward()
        nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return torch.stack(losses).tolist()


def fit_by_hand(model, text, starts, T, lr, decay, clip, warmup):
    """AdamW written out."""
    parts = [(p, group["weight_decay"]) for group in groups(list(model.named_parameters()), decay)
             for p in group["params"]]
    mean = [torch.zeros_like(p) for p, _ in parts]
    square = [torch.zeros_like(p) for p, _ in parts]
    losses = []
    for step, begin in enumerate(starts, 1):
        loss = loss_of(model, text, begin, T)
        gradients = torch.autograd.grad(loss, [p for p, _ in parts])
        norm = torch.stack([dp.norm() for dp in gradients]).norm()
        size = lr * rate(step, len(starts), warmup)
        with torch.no_grad():
            for (p, weight_decay), dp, m, s in zip(parts, gradients, mean, square):
                dp = dp * min(1.0, clip / (norm.item() + 1e-6))
                m.lerp_(dp, 0.1)
                s.lerp_(dp * dp, 0.05)
                p *= 1 - size * weight_decay
                p -= size * (m / (1 - 0.9**step)) / ((s / (1 - 0.95**step)).sqrt() + 1e-8)
        losses.append(loss.item())
    return losses


# -- mistakes: the right loop with one part exchanged ------------------------------------------------------------------

def clipped(parameters, clip):
    nn.utils.clip_grad_norm_(parameters, clip)


def adamw(grouped, lr, betas=(0.9, 0.95), **more):
    return torch.optim.AdamW(grouped, lr=lr, betas=betas, **more)


def fit_with(make=adamw, grouped=groups, share=rate, loss=loss_of, clipping=clipped, zero="before", renew=False,
             late_rate=False, stepping=True, compound=False, peak=lambda lr: lr, asked=None, told=None,
             which=None, early=False, twice=False, groups_set=2, scaled=False, flat=False, count=len):
    """A mutant. make(groups, lr), grouped(named, decay), share(step, steps, warmup), loss(...), clipping(p, clip);
    zero: when gradients are zeroed, "before" backward, "between" it and the step, or "never"; renew: a new optimizer
    each step; told(losses); which(step, steps): which windows; early: a step before `backward`; count(starts): how many
    steps the schedule is told."""
    def f(model, text, starts, T, lr, decay, clip, warmup):
        steps, losses = len(starts), []
        optimizer = make(grouped(list(model.named_parameters()), decay), lr)
        for step in range(1, steps + 1):
            if renew:
                optimizer = make(grouped(list(model.named_parameters()), decay), lr)
            size = share(step, count(starts), warmup) * (optimizer.param_groups[0]["lr"] if compound else peak(lr))
            if not late_rate:
                set_rate(optimizer, size, groups_set)
            row = starts.flatten()[step - 1:step] if flat else starts[which(step, steps) if which else step - 1]
            cost = loss(model, text, row, T)
            if early:
                optimizer.step()
            if zero == "before":
                optimizer.zero_grad()
            (cost / steps if scaled else cost).backward()
            if zero == "between":
                optimizer.zero_grad(set_to_none=False)
            clipping(list(model.parameters()), clip)
            if stepping and not early:
                optimizer.step()
            if twice:
                optimizer.step()
            if late_rate:
                set_rate(optimizer, size)
            losses.append((asked(model, text, starts[step - 1], T) if asked else cost).item())
        return told(losses) if told else losses
    return f


def set_rate(optimizer, size, how_many=2):
    for group in optimizer.param_groups[:how_many]:
        group["lr"] = size


def swapped_rate(step, steps, warmup):
    return rate(step, warmup, steps)


def by_value(parameters, clip):
    nn.utils.clip_grad_value_(parameters, clip)


def each_on_its_own(parameters, clip):
    for p in parameters:
        nn.utils.clip_grad_norm_([p], clip)


def to_length(parameters, clip):
    """Every gradient gets the length `clip`, the short ones as well."""
    norm = torch.stack([p.grad.norm() for p in parameters]).norm()
    for p in parameters:
        p.grad.mul_(clip / norm)


def weights_clipped(parameters, clip):
    with torch.no_grad():
        norm = torch.stack([p.norm() for p in parameters]).norm()
        for p in parameters:
            p.mul_(min(1.0, clip / norm.item()))


def plain_sgd(grouped, lr):
    return torch.optim.SGD(grouped, lr=lr)


def with_momentum(grouped, lr):
    return torch.optim.SGD(grouped, lr=lr, momentum=0.9)


def adam(grouped, lr):
    return torch.optim.Adam(grouped, lr=lr, betas=(0.9, 0.95))


def ungrouped(weight_decay):
    """One group for all, with this decay; as it is given if True."""
    def grouped(named, decay):
        return [dict(params=[p for _, p in named], weight_decay=decay if weight_decay is True else weight_decay)]
    return grouped


def only_matrices(named, decay):
    return groups(named, decay)[:1]


def turned_round(named, decay):
    first, second = groups(named, decay)
    return [dict(first, weight_decay=0.0), dict(second, weight_decay=decay)]


def unshifted(model, text, starts, T):
    tokens = text[starts[:, None] + torch.arange(T)]
    return F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())


def summed(model, text, starts, T):
    return loss_of(model, text, starts, T) * len(starts) * T


def of_the_first_window(model, text, starts, T):
    return loss_of(model, text, starts[:1], T)


def of_half_the_length(model, text, starts, T):
    return loss_of(model, text, starts, max(1, T // 2))


def fit_window_by_window(model, text, starts, T, lr, decay, clip, warmup):
    optimizer, losses = adamw(groups(list(model.named_parameters()), decay), lr), []
    for step, row in enumerate(starts, 1):
        set_rate(optimizer, lr * rate(step, len(starts), warmup))
        losses.append(0.0)
        for start in row:
            optimizer.zero_grad()
            cost = loss_of(model, text, start[None], T)
            cost.backward()
            clipped(model.parameters(), clip)
            optimizer.step()
            losses[-1] += cost.item() / len(row)
    return losses


def running_means(losses):
    return [sum(losses[:i + 1]) / (i + 1) for i in range(len(losses))]


def means_of_means(losses):
    told = []
    for x in losses:
        told.append((sum(told) + x) / (len(told) + 1))
    return told


SLIPS = {
    "never zeroes the gradients": Mistake(dict(zero="never"),
        "`backward` *adds* to what is in `grad`: without `optimizer.zero_grad()` in the loop every step follows all "
        "gradients so far."),
    "zeroes the gradients before the step": Mistake(dict(zero="between"),
        "Between `backward` and `step` the gradients are wanted. Zero them before `backward`, or after `step`.",
        next="What does the optimizer see?"),
    "takes steps that are not clipped": Mistake(dict(clipping=lambda parameters, clip: None),
        "A gradient whose norm is above `clip` must be shortened to it by `nn.utils.clip_grad_norm_`, between "
        "`backward` and `step`: before, there is none to clip; afterwards is too late. One wild batch can undo "
        "a hundred steps."),
    "clips each number": Mistake(dict(clipping=by_value),
        "`clip_grad_value_` cuts every number on its own and so changes the direction. The *norm* of all together is "
        "limited: `clip_grad_norm_`."),
    "clips each parameter on its own": Mistake(dict(clipping=each_on_its_own),
        "The norm of *all* gradients together is limited, so that their direction stays: one call with all "
        "parameters."),
    "clips the first parameter only": Mistake(dict(clipping=lambda parameters, clip: clipped(parameters[:1], clip)),
        "Only the first parameter's gradient is shortened, and the others are as long as before. One call with all "
        "parameters."),
    "gives all gradients one length": Mistake(dict(clipping=to_length),
        "Only gradients longer than `clip` are shortened. Yours lengthens the others."),
    "clips the weights": Mistake(dict(clipping=weights_clipped), "The gradients are clipped, not the weights."),
    "clips at 1, whatever is asked": Mistake(dict(clipping=lambda parameters, clip: clipped(parameters, 1.0)),
        "The largest norm is an argument, `clip`."),
    "keeps the rate constant": Mistake(dict(share=lambda step, steps, warmup: 1.0),
        "The learning rate is that of the schedule: set `group[\"lr\"] = lr * rate(step, ...)` in each group, at every "
        "step."),
    "sets the rate of the step before": Mistake(dict(share=lambda step, steps, warmup: rate(step - 1, steps, warmup)),
        "Steps count from 1, so the first has the rate `rate(1, ...)`, which is not 0."),
    "sets the rate of the next step": Mistake(
        dict(share=lambda step, steps, warmup: rate(step + 1, steps, warmup)),
        "Step 1 has the rate `rate(1, ...)`. Yours is one step ahead."),
    "sets the rate after the step": Mistake(dict(late_rate=True),
        "The first step is taken with the full rate, and each with that of the step before. Set the rate before "
        "`step`."),
    "forgets the peak": Mistake(dict(peak=lambda lr: 1.0),
        "`rate` is a share of the peak: the rate is `lr * rate(...)`."),
    "multiplies the rates": Mistake(dict(compound=True),
        "Each step multiplies the last one's rate, which shrinks to nothing. It is a share of the *peak*: "
        "`lr * rate(...)`."),
    "decays everything": Mistake(dict(grouped=ungrouped(True)),
        "Norms and taps should not be pulled to 0: two groups, as in stage 5."),
    "decays nothing": Mistake(dict(grouped=ungrouped(0.0)), "The matrices decay: two groups, as in stage 5."),
    "decays by PyTorch's own strength": Mistake(dict(grouped=ungrouped(0.01)),
        "Without groups AdamW decays everything by 0.01. Give it `groups(list(model.named_parameters()), decay)`."),
    "decays the others": Mistake(dict(grouped=turned_round),
        "The matrices decay, the others do not: yours is the other way round."),
    "trains the matrices only": Mistake(dict(grouped=only_matrices),
        "What is in no group stays as it is: norms, taps and W_β are never trained."),
    "adds the decay to the gradient": Mistake(dict(make=adam),
        "`Adam` adds the decay to the gradient, and then divides it away. `AdamW` shrinks the weights directly."),
    "takes PyTorch's betas": Mistake(dict(make=lambda grouped, lr: adamw(grouped, lr, (0.9, 0.999))),
        "betas=(0.9, 0.95) is asked for. With 0.999 a short run never forgets its first, large gradients."),
    "takes plain SGD": Mistake(dict(make=plain_sgd),
        "SGD gives all weights one rate. AdamW divides each weight's step by the usual size of its gradient."),
    "takes SGD with momentum": Mistake(dict(make=with_momentum),
        "AdamW is asked for: it divides each weight's step by the usual size of its gradient."),
    "makes a new optimizer at every step": Mistake(dict(renew=True),
        "A new optimizer has forgotten its means, so that every number moves by the whole rate. Make one, before the "
        "loop."),
    "steps before it goes backward": Mistake(dict(early=True),
        "The gradients of this batch are made by `backward`. A step before it takes those of the batch before, and "
        "the first takes none."),
    "learns nothing": Mistake(dict(stepping=False),
        "No weight has changed. Is `optimizer.step()` missing, or does `zero_grad` stand between `backward` and "
        "`step`, so that the step finds no gradients?"),
    "takes every step twice": Mistake(dict(twice=True), "One step a batch: `optimizer.step()` is called once."),
    "sets the rate of one group only": Mistake(dict(groups_set=1),
        "There are two groups, and each has a rate of its own: set it in every `group` of `optimizer.param_groups`."),
    "confuses steps and warmup": Mistake(dict(share=lambda step, steps, warmup: swapped_rate(step, steps, warmup)),
        "The order is `rate(step, steps, warmup)`: all steps first, then those of the warmup."),
    "takes all windows for the steps": Mistake(dict(count=torch.numel),
        "`starts` has a row for each step: `len(starts)` steps. With all its windows the rate falls too slowly."),
    "divides the loss by the steps": Mistake(dict(scaled=True),
        "The gradient is that of the loss itself. Divided by the number of steps it is hardly ever clipped."),
    "reads one window a step": Mistake(
        dict(loss=loss_of, flat=True),
        "`starts` has a row for each step, `starts[n - 1]`, with B beginnings. Yours takes a single one."),
    "trains on the first batch again and again": Mistake(dict(which=lambda step, steps: 0),
        "Step n reads the windows of `starts[n - 1]`."),
    "skips the first batch": Mistake(dict(which=lambda step, steps: min(step, steps - 1)),
        "Step 1 reads the windows of `starts[0]`: the steps count from 1, rows from 0."),
    "reads the batch of the next step": Mistake(dict(which=lambda step, steps: step % steps),
        "Step n reads the windows of `starts[n - 1]`: the steps count from 1, rows from 0."),
    "goes through the batches backwards": Mistake(dict(which=lambda step, steps: steps - step),
        "Step n reads the windows of `starts[n - 1]`."),
    "asks for what it has just read": Mistake(dict(loss=unshifted),
        "Inputs and targets are the same tokens. The loss of stage 3 asks for the *next* one.", "eq. 16.1"),
    "adds up the losses of a batch": Mistake(dict(loss=summed),
        "The loss is a mean over all predictions. A sum makes long gradients, which clipping then cuts."),
    "reads one window of each batch": Mistake(dict(loss=of_the_first_window),
        "A batch has B windows, `starts[n - 1]` their B beginnings."),
    "reads windows of half the length": Mistake(dict(loss=of_half_the_length), "Windows have T predictions each."),
    "measures after the step": Mistake(dict(asked=loss_of),
        "The loss of a step is the one that its gradient comes from. Measured after it on the same windows, it is too "
        "good: those have just been learned."),
    "tells the last loss only": Mistake(dict(told=lambda losses: losses[-1:]), "A loss for each step is asked for."),
    "tells the mean so far": Mistake(dict(told=running_means),
        "The loss of each step is asked for, not the mean up to it."),
    "tells means of means": Mistake(dict(told=means_of_means),
        "The loss of each step is asked for, not a mean; and yours averages the means that came before."),
    "tells the losses backwards": Mistake(dict(told=lambda losses: losses[::-1]), "The first step comes first."),
    "leaves the first loss out": Mistake(dict(told=lambda losses: losses[1:]),
        "A loss for each step: the first is the one before anything was learned."),
    "gives bits": Mistake(dict(told=lambda losses: [x / 0.6931471805599453 for x in losses]),
        "That is in bits. The loss is in nats here."),
}


# -- cases -------------------------------------------------------------------------------------------------------------

class Small(nn.Module):
    """A small causal model in float64, with matrices, a norm and taps; it equals another with the same weights."""

    def __init__(self, g, vocab, D):
        super().__init__()
        self.embed, self.head = (nn.Parameter(drawn(g, vocab, D)) for _ in range(2))
        self.norm, self.taps = nn.Parameter(1 + drawn(g, D)), nn.Parameter(drawn(g, 2, D))

    def forward(self, tokens):
        x = self.embed[tokens]                                           # (B, T, D)
        x = self.taps[1] * x + self.taps[0] * F.pad(x, (0, 0, 1, 0))[:, :-1]
        return F.rms_norm(x, x.shape[-1:], self.norm, 1e-5) @ self.head.T

    def __eq__(self, other):
        both = zip(self.parameters(), other.parameters())
        return all(p.shape == q.shape and torch.allclose(p, q, 1e-6, 1e-8) for p, q in both)

    __hash__ = nn.Module.__hash__

    def __str__(self):
        length = torch.stack([p.norm() for p in self.parameters()]).norm()
        return f"a model of {len(self.embed)} tokens, all its weights together of length {length:.9g}"


def drawn(g, *shape):
    return torch.randn(shape, generator=g, dtype=torch.float64)


def fit_cases(g):
    for vocab, D, B, T, steps, lr, decay, clip, warmup in (
            (9, 2, 1, 2, 2, 0.1, 0.5, 0.2, 1), (9, 3, 2, 3, 5, 0.1, 1.0, 0.5, 2), (12, 4, 3, 5, 4, 0.1, 0.1, 100.0, 2)):
        text = torch.randint(vocab, (60,), generator=g)
        starts = torch.randperm(60 - T - 1, generator=g)[:steps * B].view(steps, B)
        yield Case((Small(g, vocab, D), text, starts, T, lr, decay, clip, warmup),
                   f"{steps} steps, B = {B}, T = {T}, clip = {clip:g}, warmup {warmup}")


TOGETHER = ("never zeroes the gradients", "takes steps that are not clipped", "keeps the rate constant",
            "decays everything")

exercise(
    id="16.18", title="Build, stage 6: the loop", kind="code", stars=3, minutes=20,
    reference=fit, alternatives=(fit_with_scheduler, fit_by_hand), cases=fit_cases,
    mutants=alone_and_paired(fit_with, SLIPS, TOGETHER) | {
        "takes a step for each window": Mistake(fit_window_by_window,
            "A step reads its B windows together, and follows the gradient of their mean. Yours takes B steps."),
    },
    hints=("Before the loop: an optimizer with the two groups. In it: rate, loss, zero, backward, clip, step.",
           "`torch.optim.AdamW(groups(list(model.named_parameters()), decay), lr=lr, betas=(0.9, 0.95))`; in each "
           "`group` of `optimizer.param_groups`: `group[\"lr\"] = lr * rate(step, len(starts), warmup)`.",
           "`loss = loss_of(model, text, starts[step - 1], T)`, `optimizer.zero_grad()`, `loss.backward()`, "
           "`nn.utils.clip_grad_norm_(model.parameters(), clip)`, `optimizer.step()`, `losses.append(loss.item())`."),
)
