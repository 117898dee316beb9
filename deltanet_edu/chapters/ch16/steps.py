"""Exercises 16.16 and 16.17: stages 4 and 5 of the build, how large a step is and what decays."""

import math

import torch

from ...tutor import Case, Mistake, exercise
from ..common import alone_and_paired

# -- 16.16 Stage 4: the schedule ---------------------------------------------------------------------------------------

def rate(step, steps, warmup):
    if step <= warmup:
        return step / warmup
    done = (step - warmup) / (steps - warmup)                            # 0 to 1
    return 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2


def rate_by_half_angle(step, steps, warmup):
    done = min(1, max(0, step - warmup) / (steps - warmup))
    return min(step / warmup, 1) * (1 - 0.95 * math.sin(math.pi / 2 * done)**2)


def rate_from_a_table(step, steps, warmup):
    rising = torch.arange(1, warmup + 1, dtype=torch.float64) / warmup
    turned = torch.linspace(0, math.pi, steps - warmup + 1, dtype=torch.float64)[1:]
    return torch.cat([rising, 1 - 0.475 * (1 - turned.cos())])[step - 1]


def rate_with(up=lambda step, warmup: step / warmup, fall=None, done=None):
    """A mutant: up(step, warmup), then fall(done), where done(step, steps, warmup) goes from 0 to 1."""
    def f(step, steps, warmup):
        if step <= warmup:
            return up(step, warmup)
        share = done(step, steps, warmup) if done else (step - warmup) / (steps - warmup)
        return fall(share) if fall else 0.05 + 0.95 * (1 + math.cos(math.pi * share)) / 2
    return f


def half_cosine(done):
    return (1 + math.cos(math.pi * done)) / 2


SLIPS_OF_THE_RATE = {
    "starts at the peak": Mistake(dict(up=lambda step, warmup: 1.0),
        "The warmup is missing: the first gradients are the wildest, and AdamW has not yet seen how large they are."),
    "waits during the warmup": Mistake(dict(up=lambda step, warmup: 0.0),
        "At step 0 the rate would be 0; step 1 already has 1 / warmup of the peak."),
    "begins the warmup at 0": Mistake(dict(up=lambda step, warmup: (step - 1) / warmup),
        "Steps count from 1: the first has 1 / warmup of the peak, and step `warmup` has all of it. A first step of "
        "size 0 teaches nothing."),
    "begins the warmup at the floor": Mistake(dict(up=lambda step, warmup: 0.05 + 0.95 * step / warmup),
        "The warmup rises from 0 along a line: step / warmup. The twentieth is where the *fall* ends."),
    "does not reach the peak": Mistake(dict(up=lambda step, warmup: step / (warmup + 1)),
        "At step `warmup` the rate is at its peak: step / warmup."),
    "warms up along a cosine": Mistake(dict(up=lambda step, warmup: (1 - math.cos(math.pi * step / warmup)) / 2),
        "The warmup rises along a line: step / warmup."),
    "never falls": Mistake(dict(fall=lambda done: 1.0),
        "After the warmup the rate falls along half a cosine: the last steps must be small, or the weights keep "
        "jumping about the minimum."),
    "falls to 0": Mistake(dict(fall=half_cosine), "The fall ends at a twentieth of the peak, not at 0."),
    "ends at a tenth": Mistake(dict(fall=lambda done: 0.1 + 0.9 * half_cosine(done)),
        "A twentieth is 0.05: from 1 down to 0.05."),
    "ends at a fifth": Mistake(dict(fall=lambda done: 0.2 + 0.8 * half_cosine(done)),
        "A twentieth is 0.05: from 1 down to 0.05."),
    "ends at a half": Mistake(dict(fall=lambda done: 0.5 + 0.5 * half_cosine(done)),
        "A twentieth is 0.05: from 1 down to 0.05."),
    "falls along a line": Mistake(dict(fall=lambda done: 1 - 0.95 * done),
        "Half a cosine is asked for: slow at first, steep in the middle, slow at the end."),
    "falls along a line to 0": Mistake(dict(fall=lambda done: 1 - done),
        "Half a cosine is asked for, and it ends at a twentieth."),
    "goes through a whole cosine": Mistake(
        dict(fall=lambda done: 0.05 + 0.95 * (1 + math.cos(2 * math.pi * done)) / 2),
        "A whole cosine falls and rises again. Half of one, from 0 to π, ends at the bottom."),
    "stops in the middle of the cosine": Mistake(
        dict(fall=lambda done: 0.05 + 0.95 * (1 + math.cos(math.pi / 2 * done)) / 2),
        "A quarter of a cosine ends half way down. Half of one goes from 0 to π."),
    "takes a quarter of a cosine": Mistake(dict(fall=lambda done: 0.05 + 0.95 * math.cos(math.pi / 2 * done)),
        "A quarter of a cosine falls steepest at the end. Half of one is (1 + cos(π done)) / 2."),
    "takes the cosine of degrees": Mistake(dict(fall=lambda done: 0.05 + 0.95 * (1 + math.cos(180 * done)) / 2),
        "`math.cos` takes radians: half a turn is π, not 180."),
    "goes below 0": Mistake(dict(fall=lambda done: math.cos(math.pi * done)),
        "cos(π done) goes from 1 to −1, and with a negative rate the model unlearns. Half of 1 + cos goes from 1 to 0.",
        next="Which rate has the last step?"),
    "doubles the peak": Mistake(dict(fall=lambda done: 0.05 + 0.95 * (1 + math.cos(math.pi * done))),
        "1 + cos goes from 2 to 0. Half of it is meant, or the rate jumps to nearly twice the peak after the warmup."),
    "rises along the cosine": Mistake(dict(fall=lambda done: 0.05 + 0.95 * (1 - half_cosine(done))),
        "1 − cos rises. The fall is 1 + cos."),
    "adds the floor to the whole cosine": Mistake(dict(fall=lambda done: 0.05 + half_cosine(done)),
        "With the floor added the rate jumps to 1.05 after the warmup. The cosine spans what is above the floor: "
        "0.95 of the peak."),
    "cuts the cosine off at the floor": Mistake(dict(fall=lambda done: max(0.05, half_cosine(done))),
        "The whole cosine is squeezed between 1 and 0.05; yours goes towards 0 and is cut off."),
    "takes a sine": Mistake(dict(fall=lambda done: 0.05 + 0.95 * (1 + math.sin(math.pi * done)) / 2),
        "The sine begins in the middle. The cosine goes from 1 to −1 on its way from 0 to π."),
    "falls exponentially": Mistake(dict(fall=lambda done: 0.05**done),
        "That falls steeply at once. Half a cosine stays near the peak at first."),
    "measures the fall against all steps": Mistake(dict(done=lambda step, steps, warmup: (step - warmup) / steps),
        "The fall has only the steps after the warmup: it must be complete at step `steps`, so divide by "
        "steps − warmup."),
    "begins the fall with the warmup": Mistake(dict(done=lambda step, steps, warmup: step / steps),
        "The cosine begins where the warmup ends. Yours is on its way already, and the rate jumps."),
    "ends one step too late": Mistake(dict(done=lambda step, steps, warmup: (step - warmup - 1) / (steps - warmup)),
        "The fall begins with the first step after the warmup, and is complete at step `steps`."),
    "begins the fall one step late": Mistake(
        dict(done=lambda step, steps, warmup: (step - warmup - 1) / max(1, steps - warmup - 1)),
        "Step `warmup` is at the peak, and the next one is already below it: done = (step − warmup) / (steps − "
        "warmup)."),
    "ends one step too early": Mistake(
        dict(done=lambda step, steps, warmup: min(1, (step - warmup) / (steps - warmup - 1))),
        "The fall is complete at step `steps`, not before: divide by steps − warmup."),
    "stops one step short of the floor": Mistake(
        dict(done=lambda step, steps, warmup: (step - warmup) / (steps - warmup + 1)),
        "The fall is complete at step `steps`: divide by steps − warmup."),
    "falls step by step of the warmup": Mistake(dict(done=lambda step, steps, warmup: (step - warmup) / warmup),
        "The fall lasts for the steps after the warmup, not for as long as the warmup: divide by steps − warmup."),
}


def rate_cases(g):
    for step, steps, warmup in ((1, 6, 2), (3, 6, 2), (4, 6, 2), (6, 6, 2), (1, 200, 20), (13, 200, 20), (19, 200, 20),
                                (21, 200, 20), (77, 200, 20), (110, 200, 20), (200, 200, 20), (50, 100, 40),
                                (30, 100, 40)):                          # not where the one ends and the other begins
        yield Case((step, steps, warmup), f"step {step} of {steps}, warmup {warmup}")


exercise(
    id="16.16", title="Build, stage 4: the schedule", kind="code", stars=2, minutes=10,
    reference=rate, alternatives=(rate_by_half_angle, rate_from_a_table), cases=rate_cases,
    mutants={
        **alone_and_paired(rate_with, SLIPS_OF_THE_RATE, ("starts at the peak", "begins the warmup at 0", "falls to 0",
                                                         "falls along a line", "goes below 0",
                                                         "measures the fall against all steps",
                                                         "begins the fall with the warmup")),
        "has no warmup": Mistake(
            lambda step, steps, warmup: 0.05 + 0.95 * half_cosine((step - 1) / (steps - 1)),
            "The rate rises first, step / warmup, up to step `warmup`. Yours falls from the first step on."),
        "has no warmup, and is below the peak at once": Mistake(
            lambda step, steps, warmup: 0.05 + 0.95 * half_cosine(step / steps),
            "The rate rises first, step / warmup, up to step `warmup`. Yours falls from the first step on."),
        "rises for ever": Mistake(lambda step, steps, warmup: step / warmup,
            "The rate rises until step `warmup` only; then it falls."),
        "counts steps from 0": Mistake(lambda step, steps, warmup: rate(step - 1, steps, warmup),
            "Steps count from 1: the first has 1 / warmup of the peak, the last a twentieth. Yours is one step late."),
        "multiplies warmup and fall": Mistake(
            lambda step, steps, warmup: min(1, step / warmup) * (0.05 + 0.95 * half_cosine(step / steps)),
            "The fall goes on during the warmup, so the peak is never reached. First one, then the other."),
        "falls with the root of the steps": Mistake(
            lambda step, steps, warmup: step / warmup if step <= warmup else (warmup / step)**0.5,
            "That is the schedule of the first transformers, which never ends. Half a cosine is asked for."),
        "goes in per cent": Mistake(lambda step, steps, warmup: 100 * rate(step, steps, warmup),
            "A share of the peak is asked for, from 0 to 1."),
    },
    hints=("Two cases: up to step `warmup`, and after it.",
           "After it, `done = (step - warmup) / (steps - warmup)` goes from 0 to 1, and (1 + cos(π done)) / 2 from 1 "
           "to 0.",
           "The cosine spans what is above the floor: `0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2`."),
)


# -- 16.17 Stage 5: what decays ----------------------------------------------------------------------------------------

def groups(named, decay):
    matrices = [p for _, p in named if p.ndim == 2 and len(p) > 8]
    others = [p for _, p in named if not (p.ndim == 2 and len(p) > 8)]
    return [dict(params=matrices, weight_decay=decay), dict(params=others, weight_decay=0.0)]


def groups_by_loop(named, decay):
    made = {"params": [], "weight_decay": decay}, {"params": [], "weight_decay": 0}
    for name, p in named:
        made[0 if p.dim() == 2 and p.shape[0] >= 9 else 1]["params"].append(p)
    return list(made)


def groups_by_names(named, decay):
    by_name = dict(named)
    large = {name for name, p in named if p.ndim == 2 and p.size(0) > 8}
    return ({"weight_decay": decay, "params": [by_name[name] for name in by_name if name in large]},
            {"weight_decay": 0.0, "params": [p for name, p in by_name.items() if name not in large]})


def is_matrix(p):
    return p.ndim == 2 and len(p) > 8


def grouped(large=lambda name, p: is_matrix(p), finish=None, strength=None):
    """A mutant: what counts as a matrix, and what is done with the two groups."""
    def f(named, decay):
        chosen = [large(name, p) for name, p in named]
        first = [p for (_, p), yes in zip(named, chosen) if yes]
        rest = [p for (_, p), yes in zip(named, chosen) if not yes]
        made = [dict(params=first, weight_decay=strength(decay) if strength else decay),
                dict(params=rest, weight_decay=0.0)]
        return finish(made, named, decay) if finish else made
    return f


def with_names(made, named, decay):
    by_id = {id(p): name for name, p in named}
    return [dict(group, params=[by_id[id(p)] for p in group["params"]]) for group in made]


def with_pairs(made, named, decay):
    names = {id(p): name for name, p in named}
    return [dict(group, params=[(names[id(p)], p) for p in group["params"]]) for group in made]


def sorted_by_size(made, named, decay):
    return [dict(group, params=sorted(group["params"], key=lambda p: -p.numel())) for group in made]


def group_cases(g):
    def named(**shapes):
        return [(name.replace("_at_", "."), torch.randn(shape, generator=g, dtype=torch.float64).requires_grad_())
                for name, shape in shapes.items()]
    yield Case((named(W_at_weight=(9, 1), norm=(2,), taps=(2, 3)), 2), "a matrix, a norm, taps")
    yield Case((named(conv_at_weight=(12, 1, 4), W_at_weight=(10, 2), norm=(3,)), 0.3), "taps of three dimensions")
    yield Case((named(embed_at_weight=(11, 2), norm_at_weight=(10,), taps=(4, 12), W_beta_at_weight=(3, 5)), 0.2),
               "an embedding, a norm, taps, W_β")
    yield Case((named(W_beta_at_weight=(8, 9), W_O_at_weight=(9, 9), head_norm=(4,), norm_at_weight=(9,)), 0.05),
               "8 heads, D = 9")
    yield Case((named(embed_at_weight=(12, 10), qkv=(30, 10), taps=(4, 30), beta_at_weight=(2, 10), inner=(5,),
                      W_O_at_weight=(10, 10), norm_at_weight=(10,), up_at_weight=(40, 10), down_at_weight=(10, 20),
                      last_at_weight=(10,), head_at_weight=(12, 10)), 0.1), "a small model")


exercise(
    id="16.17", title="Build, stage 5: what decays", kind="code", stars=2, minutes=10,
    reference=groups, alternatives=(groups_by_loop, groups_by_names),
    cases=group_cases,
    mutants={
        "decays everything": Mistake(grouped(lambda name, p: True),
            "Norms begin at 1 and the last tap too, and decay pulls them to 0. Only matrices decay.",
            next="What does weight decay do to the weight of a norm?"),
        "decays nothing": Mistake(grouped(lambda name, p: False), "The matrices decay: the first group is theirs."),
        "gives every parameter the decay": Mistake(
            grouped(finish=lambda made, named, decay: [dict(group, weight_decay=decay) for group in made]),
            "Two groups, but both decay. The second has `weight_decay=0.0`."),
        "turns the two round": Mistake(
            grouped(finish=lambda made, named, decay: [dict(made[0], weight_decay=0.0),
                                                       dict(made[1], weight_decay=decay)]),
            "It is the matrices that decay, and the others that do not."),
        "puts what does not decay first": Mistake(grouped(finish=lambda made, named, decay: made[::-1]),
            "The groups are right, but the matrices come first."),
        "leaves the second group to PyTorch": Mistake(
            grouped(finish=lambda made, named, decay: [made[0], dict(params=made[1]["params"])]),
            "A group without `weight_decay` gets the optimizer's own, and AdamW's is 0.01, not 0. Say "
            "`weight_decay=0.0`."),
        "leaves the rest out": Mistake(grouped(finish=lambda made, named, decay: made[:1]),
            "What is in no group is not trained at all. The norms, taps and W_β form the second group."),
        "puts the matrices into both groups": Mistake(
            grouped(finish=lambda made, named, decay: [made[0], dict(made[1], params=[p for _, p in named])]),
            "Each parameter belongs into one group; PyTorch refuses one that is in two."),
        "decays whatever has two dimensions": Mistake(grouped(lambda name, p: p.ndim == 2),
            "The taps have two dimensions as well, and so has W_β: a few rows each. Only what has more than 8 rows "
            "decays."),
        "decays whatever has more than one dimension": Mistake(grouped(lambda name, p: p.ndim > 1 and len(p) > 8),
            "Two dimensions are asked for. The taps of an `nn.Conv1d` have three, and more than 8 rows."),
        "sorts the parameters": Mistake(grouped(finish=sorted_by_size),
            "The right parameters are in each group, but the largest stand first. They keep the order in which they "
            "come."),
        "turns the order round": Mistake(grouped(finish=lambda made, named, decay: [
                dict(group, params=group["params"][::-1]) for group in made]),
            "The right parameters are in each group, the last ones first. They keep the order in which they come."),
        "looks at the rows alone": Mistake(grouped(lambda name, p: len(p) > 8),
            "A norm with D > 8 weights has as many rows. Matrices have two dimensions."),
        "looks at the columns": Mistake(grouped(lambda name, p: p.ndim == 2 and p.shape[1] > 8),
            "Rows are dimension 0, `len(p)` or `p.shape[0]`. The taps have many columns and few rows."),
        "looks at the longer side": Mistake(grouped(lambda name, p: p.ndim == 2 and max(p.shape) > 8),
            "The taps are long, but have few rows. Rows are dimension 0, `len(p)`."),
        "looks at the shorter side": Mistake(grouped(lambda name, p: p.ndim == 2 and min(p.shape) > 8),
            "A matrix with many rows decays, however narrow it is. Rows are dimension 0, `len(p)`."),
        "takes one of the two conditions": Mistake(grouped(lambda name, p: p.ndim == 2 or len(p) > 8),
            "Two dimensions *and* more than 8 rows. With `or` the taps and the long norms decay as well."),
        "goes by the word norm": Mistake(grouped(lambda name, p: "norm" not in name),
            "Names differ from one model to the next, and taps and W_β are no norms. Look at the shape."),
        "counts numbers, not rows": Mistake(grouped(lambda name, p: p.numel() > 8),
            "`numel` counts all entries. More than 8 *rows* are asked for, and two dimensions."),
        "counts numbers of matrices, not rows": Mistake(grouped(lambda name, p: p.ndim == 2 and p.numel() > 8),
            "`numel` counts all entries. More than 8 *rows* are asked for."),
        "decays matrices of 8 rows": Mistake(grouped(lambda name, p: p.ndim == 2 and len(p) >= 8),
            "*More* than 8 rows: 8 heads are not yet a matrix."),
        "decays what should not": Mistake(grouped(lambda name, p: not is_matrix(p)),
            "The first group is that of the matrices. Yours has all the others in it."),
        "decays vectors": Mistake(grouped(lambda name, p: p.ndim == 1),
            "Vectors, such as the weights of a norm, do not decay. Matrices do."),
        "leaves the second group empty": Mistake(
            grouped(finish=lambda made, named, decay: [made[0], dict(made[1], params=[])]),
            "What is in no group is not trained at all. All that does not decay belongs into the second."),
        "spares the embedding": Mistake(grouped(lambda name, p: is_matrix(p) and not name.startswith("embed")),
            "The embedding is a matrix with more than 8 rows: it decays like the others."),
        "spares the embedding and the head": Mistake(
            grouped(lambda name, p: is_matrix(p) and not name.startswith(("embed", "head"))),
            "Embedding and head are matrices with more than 8 rows: they decay like the others."),
        "goes by the word weight": Mistake(grouped(lambda name, p: name.endswith("weight")),
            "The weights of a norm are called `weight` as well. Look at the shape: names differ from one model to the "
            "next."),
        "goes by the word weight, among matrices": Mistake(
            grouped(lambda name, p: name.endswith("weight") and p.ndim == 2),
            "Names differ from one model to the next, and W_β is called `weight` as well. Count the rows."),
        "gives names": Mistake(grouped(finish=with_names),
            "An optimizer needs the parameters themselves, not what they are called."),
        "gives pairs": Mistake(grouped(finish=with_pairs),
            "Each entry of `named` is a pair, a name and a parameter. The group has the parameters only."),
        "decays with the strength 1": Mistake(grouped(strength=lambda decay: 1.0),
            "How strongly is given: `decay`."),
        "decays with PyTorch's strength": Mistake(grouped(strength=lambda decay: 0.01),
            "0.01 is what AdamW takes by itself. How strongly is given: `decay`."),
        "pushes weights away from 0": Mistake(grouped(strength=lambda decay: -decay),
            "A negative decay makes weights grow. The optimizer subtracts it by itself."),
    },
    hints=("Which parameters of your model have two dimensions and more than 8 rows? Which have not?",
           "`p.ndim == 2 and len(p) > 8`.",
           "`[dict(params=[p for _, p in named if ...], weight_decay=decay), dict(params=[...], weight_decay=0.0)]`."),
)
