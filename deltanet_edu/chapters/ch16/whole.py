"""Exercise 16.19: stage 7 of the build, the model trained, and its curve beside the book's."""

import copy
import inspect
import itertools
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn

from ...lm.stories import stories
from ...tutor import Case, Mistake, exercise
from ...tutor.verdict import Part
from .loop import SLIPS as SLIPS_OF_THE_LOOP
from .loop import fit, fit_by_hand, fit_with
from .mixing import mixing_with, packages
from .model import LAWS as LAWS_OF_THE_MODEL
from .model import ByParameters, MyModel, Unlawful, check_memory, check_shapes, check_start
from .model_mistakes import LAWLESS, model_with
from .model_mistakes import SLIPS as SLIPS_OF_THE_MODEL
from .steps import rate
from .witness import Witness

T, D, H, LAYERS = 64, 32, 2, 2
STEPS, BATCH = 120, 8                                                    # of the run whose curve is compared
SEEN = 4                                                                 # steps of a short run that are compared

# -- solutions ---------------------------------------------------------------------------------------------------------


def train_mine(text, vocab, starts):
    model = MyModel(vocab, D=32, H=2, layers=2)
    losses = fit(model, text, starts, T=64, lr=0.01, decay=0.1, clip=1.0, warmup=max(1, len(starts) // 10))
    return model, losses


def trained(make=MyModel, fit=fit, T=64, **more):
    """Another solution, or a mutant: another model, another loop or other settings."""
    def f(text, vocab, starts):
        model = make(vocab, D, H, LAYERS)
        how = dict(T=T, lr=0.01, decay=0.1, clip=1.0, warmup=max(1, len(starts) // 10)) | more
        return model, fit(model, text, starts, **how)
    return f


# -- what a run is, and what is seen of it -----------------------------------------------------------------------------

@contextmanager
def in_float64():
    """New models are in float64: so exact that two right loops agree, where rounding grows a hundredfold in a run."""
    outside = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(outside)


def exact(model):
    """Whether all of a model is in float64, as it is unless it insists on another dtype."""
    return all(p.dtype == torch.float64 for p in model.parameters())


@cache
def story_tokens():
    """60,000 characters of stories as tokens, one a character, and how many different ones there are."""
    text = stories(0, 60_000)
    alphabet = {c: i for i, c in enumerate(sorted(set(text)))}
    return torch.tensor([alphabet[c] for c in text]), len(alphabet)


def beginnings(steps, batch, seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(len(story_tokens()[0]) - T, (steps, batch), generator=g)


def outcome(answer, starts, witness, unseen=0):
    """The model and the losses of an answer, if they have the form of both; `unseen` tokens never occur in the text."""
    text, vocab = story_tokens()
    with witness:
        result = answer(text, vocab + unseen, starts)
    if isinstance(result, (tuple, list)) and len(result) == 2 and isinstance(result[1], nn.Module):
        raise ValueError("it should return the model first, then the losses")
    if not (isinstance(result, (tuple, list)) and len(result) == 2 and isinstance(result[0], nn.Module)):
        raise ValueError("it should return two things, the model and the losses")
    model, losses = result
    if not hasattr(losses, "__iter__") or getattr(losses, "ndim", 1) != 1:
        raise ValueError("its second result should be a list of the losses, one for each step")
    losses = [float(x) for x in losses]
    if len(losses) != len(starts):
        raise ValueError(f"it returns {len(losses)} losses for {len(starts)} steps")
    return model, losses


# -- the laws ----------------------------------------------------------------------------------------------------------

LIKELY = ("never zeroes the gradients", "takes steps that are not clipped", "keeps the rate constant", "learns nothing",
          "asks for what it has just read", "measures after the step", "decays everything", "takes plain SGD",
          "trains on the first batch again and again", "tells the mean so far")
LAWS = {
    "sees the future":
        "Logits change with a token that comes after them: no prediction. Does the convolution look ahead? The memory?",
    "computes something else than the model of the book":
        "It has the book's parameters, and with the same weights it gives other logits. "
        "`check(\"16.14\", MyModel)` says more.",
    "returns other losses than the book's loop":
        "From its own first weights the loop of stage 6, with the settings of the text, gives other losses. Check "
        "`check(\"16.18\", fit)`, the settings, and what becomes of the losses before they are returned.",
    "begins with another loss":
        "Its first loss is not the mean of the windows at `starts[0]`, 64 predictions each, with the weights it began "
        "with. Is the loss another, or has it learned before?",
    "reads other windows":
        "Those that begin at `starts[0]` are never read. Step n reads the windows that begin at `starts[n - 1]`, "
        "and none that you draw yourself: two runs are only comparable if they read the same.",
    "reads windows of another length": "T = 64: so many tokens are read in each window.",
    "returns another model than it has trained":
        "The model that came back was never called: its weights are those it was made with. Return the one that `fit` "
        "has trained.",
    **LAWS_OF_THE_MODEL,
    **{name: SLIPS_OF_THE_LOOP[name].diagnosis for name in LIKELY},
}
SETTINGS = {                                                            # name: (what is set otherwise, diagnosis)
    "has no warmup, at least in a short run": (dict(warmup=0),
        "A tenth of the steps, rounded down, but at least one: of four steps the warmup takes one."),
    "warms up for one step, or a twentieth": (dict(warmup=1),
        "Of 27 steps the warmup takes two, a tenth rounded down. Yours is over after one."),
    "takes a tenth of the windows of a step": (dict(warmup=lambda starts: max(1, starts.shape[1] // 10)),
        "The warmup is a tenth of the *steps*, `len(starts)`. `starts.shape[1]` is how many windows each step reads."),
    "rounds the warmup up": (dict(warmup=lambda starts: -(-len(starts) // 10)),
        "Of 27 steps the warmup takes two, a tenth rounded *down*. `round` and `ceil` make three of 2.7."),
    "takes a tenth of the windows": (dict(warmup=lambda starts: max(1, min(starts.numel() // 10, len(starts) - 1))),
        "The warmup is a tenth of the *steps*, `len(starts)`, and not of all their windows."),
    "warms up for ten steps": (dict(warmup=10), "The warmup is a *tenth* of the steps, however many they are."),
    "warms up for ten steps, if there are as many": (dict(warmup=lambda starts: min(10, len(starts) - 1)),
        "The warmup is a *tenth* of the steps, however many they are."),
    "reads windows of 32 tokens": (dict(T=32), "T = 64: so many tokens are read in each window."),
    "has a tenth of the rate": (dict(lr=0.001), "The peak rate is 0.01."),
    "has ten times the rate": (dict(lr=0.1), "The peak rate is 0.01."),
    "clips at 0.1": (dict(clip=0.1), "Clipping is at 1."),
    "decays with 0.01": (dict(decay=0.01), "Weight decay is 0.1. 0.01 is what AdamW takes by itself."),
    "reads windows of 63 tokens": (dict(T=63),
        "T = 64 tokens are read, and after each the next one is asked for: a window has 65 tokens, and `fit` knows."),
    "exchanges decay and clipping": (dict(decay=1.0, clip=0.1), "Weight decay is 0.1, clipping at 1."),
    "decays nothing": (dict(decay=0.0), "The matrices decay, with 0.1."),
    "reads the windows in another order": (dict(starts=lambda starts: starts.flip(0)),
        "Step n reads the windows that begin at `starts[n - 1]`. Yours begins with the last row."),
    "sorts the windows": (dict(starts=lambda starts: starts.flatten().sort().values.view_as(starts)),
        "Step n reads the windows that begin at `starts[n - 1]`, in the order in which they come."),
}
LAWS |= {name: said for name, (_, said) in SETTINGS.items()}
ABOVE, BELOW = "ends above the book's curve", "falls below the book's curve"
CURVES = {
    ABOVE: "Its first steps are those of the book's model with the same weights, and later it learns less. Does "
           "something end too early there, or is the schedule of a longer run another?",
    BELOW: "Its first steps are those of the book's model with the same weights, and later its loss is smaller. Does "
           "each step read its own windows, or some of them again and again?",
}


def check_causal(model, vocab):
    tokens = story_tokens()[0][None, :12]
    with torch.no_grad():
        changed = torch.cat([tokens[:, :-1], (tokens[:, -1:] + 1) % vocab], 1)
        if not torch.allclose(model(tokens)[:, :-1], model(changed)[:, :-1], atol=1e-5):
            raise Unlawful("sees the future")


def with_epsilon(x):
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


BOOKS = MyModel, model_with(mix=mixing_with(key=with_epsilon, rule=packages))   # keys as in equation 16.5, or with an ε


def twin(start, vocab):
    """(the book's model with the weights of a learner's, whether it computes the same but for rounding in float64).

    Weights are told apart by their shapes, and those of one shape by their order. Which of two (vocab, D) is the
    head, which half of the MLP is the gate and whether the length of a key has an ε, the logits must say. `Unlawful`
    if there is none that computes nearly the same.
    """
    tokens, found = story_tokens()[0][:24].view(2, 12), []
    pools = {}
    for p in start.parameters():
        pools.setdefault(tuple(p.shape), []).append(p.detach())
    ends, split = pools.pop((vocab, D)), pools.pop((2 * D, D), [])
    for make, turned_ends, turned_halves in itertools.product(BOOKS, (False, True), (False, True)):
        book = make(vocab, D, H, LAYERS)
        pairs = [pair[::-1] if turned_halves else pair for pair in zip(split[::2], split[1::2])]
        pairs = pairs or [p.chunk(2)[::-1] if turned_halves else p.chunk(2) for p in pools[4 * D, D]]
        supply = {shape: iter(weights) for shape, weights in pools.items()}
        supply[vocab, D], supply[4 * D, D] = iter(ends[::-1] if turned_ends else ends), map(torch.cat, pairs)
        with torch.no_grad():
            for p in book.parameters():
                p.copy_(next(supply[tuple(p.shape)]))
            found.append(((book(tokens) - start(tokens)).abs().max().item(), book))
    apart, book = min(found, key=lambda pair: pair[0])
    if not apart < 1e-4:
        raise Unlawful("computes something else than the model of the book")
    return book, apart < 1e-11


def check_windows(read, starts):
    """`Unlawful` if the windows of the first step are never read, or all that is read is shorter or longer."""
    if not read or any(x is None or x.is_floating_point() or x.ndim != 2 or not x.shape[1] for x in read):
        return
    windows = story_tokens()[0][starts[0][:, None] + torch.arange(T)]
    if not any((row[:T] == windows[:, :len(row)]).all(1).any() for x in read for row in x):
        raise Unlawful("reads other windows")
    widths = sorted({x.shape[1] for x in read})
    if widths[-1] < T or widths[0] > T + 1:
        raise Unlawful(f"reads windows of another length: of {widths[0]} tokens")


def check_loop(start, losses, starts, read, name_it):
    """The losses are those of the book's loop from the same start; else which slip or setting makes them.

    The first few tell them all apart in float64; of a model that insists on float32, rounding hides which it is.
    """
    def gap(seen=SEEN, lr=0.01, decay=0.1, clip=1.0, warmup=max(1, len(starts) // 10), T=T, starts=lambda x: x, **slip):
        warmup = warmup(all_starts) if callable(warmup) else warmup

        def share(step, _, warmup):
            return rate(step, len(losses), warmup)                       # of the whole run
        begin, how = starts(all_starts)[:seen], dict(share=share) | slip
        theirs = fit_with(**how)(copy.deepcopy(start), story_tokens()[0], begin, T, lr, decay, clip, warmup)
        return max(abs(a - b) for a, b in zip(theirs, losses))

    all_starts = starts
    if gap() < (1e-5 if exact(start) else 1e-3):
        return
    known = {name: how for name, (how, _) in SETTINGS.items()} | {n: SLIPS_OF_THE_LOOP[n].answer for n in LIKELY}
    slips = (name for name, how in known.items()
             if name_it and exact(start) and all(gap(seen=n, **how) < 1e-6 for n in (2, SEEN)))
    first = gap(seen=1) > (1e-6 if exact(start) else 1e-3)
    if not (name := next(slips, "")) and first:
        check_windows(read, starts)
    raise Unlawful(name or ("begins with another loss" if first else "returns other losses than the book's loop"))


# -- the curve ---------------------------------------------------------------------------------------------------------

def curve(losses):
    """The mean loss of each tenth of a run."""
    return torch.tensor(losses).view(10, -1).mean(1)


class Whole:
    """The judge (`prepare`): short runs, in which each law is looked at; at last a run whose curve is compared.

    Both curves start from the same weights, so only rounding parts them. In float32 it grows: products in another order
    moved a tenth of a run of 120 steps by 0.02 to 0.1 (six runs); an ε of another form in the length of a key did so by
    0.01 to 0.07 (ten runs, in float64). In float64 and with the same ε nothing is seen of it.
    """

    steps, tolerance, tolerance_if_rounded = STEPS, 0.1, 0.3

    def __call__(self, answer):
        def run(steps, batch, seed, unseen):
            starts, vocab, witness = beginnings(steps, batch, seed), story_tokens()[1] + unseen, Witness()
            model, losses = outcome(answer, starts, witness, unseen)
            if witness.before and not any(id(p) in witness.before for p in model.parameters()):
                raise Unlawful("returns another model than it has trained")
            start = witness.at_the_start(model)
            check_shapes(model, vocab, D, H, LAYERS)
            check_start(start, vocab)
            if steps > 2:                                               # once is enough
                check_causal(model, vocab)
                check_memory(model, vocab)
                twin(start, vocab)
            check_loop(start, losses, starts, witness.read, name_it=steps > 2)
            return {"parameters": sum(p.numel() for p in model.parameters()), "losses": len(losses)}

        run = in_float64()(run)
        run.__signature__ = inspect.signature(run)
        run.__wrapped__ = run.answer = answer                            # lines in a traceback are the learner's
        return run

    def mistake(self, error):
        """(name, Mistake) of a law that is broken; else None."""
        name, _, more = str(error).partition(": ")
        return (name, Mistake(None, f"{LAWS[name]} Here: {more}." if more else LAWS[name])) \
            if isinstance(error, Unlawful) else None

    def objection(self, f):
        """(headline, parts, name) if a run of 27 steps, long enough for a warmup and for decay to be seen, breaks a
        law; or if the curves are too far apart, the answer's and that of the book's model from the same weights."""
        try:
            f(27, 2, 3, 0)
        except Unlawful as error:
            name, mistake = self.mistake(with_many_windows(f, error))
            return f"it {name}", (Part(mistake.diagnosis),), name
        (text, vocab), starts = story_tokens(), beginnings(self.steps, BATCH, 16)
        witness = Witness("your model", self.steps)
        with in_float64():
            model, losses = outcome(f.answer, starts, witness)
            book, same = twin(witness.at_the_start(model), vocab)
            with Witness("the book's", self.steps):
                theirs = fit(book, text, starts, T, 0.01, 0.1, 1.0, self.steps // 10)
        f.curves = mine, book = curve(losses), curve(theirs)
        apart, allowed = mine - book, self.tolerance if same else self.tolerance_if_rounded
        if not apart.isfinite().all() or apart.abs().max() > allowed:
            name = BELOW if apart.min() < -allowed else ABOVE
            return f"it {name}", (Part(CURVES[name]), Part(drawn(mine, book), "learner", True)), name
        return None

    def remarks(self, f):
        """What became of the run. No loss of its own: its digits are others on another machine."""
        apart = (f.curves[0] - f.curves[1]).abs().max()
        how = "are the same" if apart < 1e-3 else f"are never more than {apart:.1g} nats a letter apart"
        return [f"In {self.steps} steps from the same weights, your curve and the book's {how}."]


def with_many_windows(f, error):
    """What four steps of 20 windows say, if it is the windows that are counted; else the error."""
    try:
        f(4, 20, 4, 0)
    except Unlawful as other:
        return other if str(other) == "takes a tenth of the windows of a step" else error
    return error


def drawn(mine, book):
    """Both curves as a table."""
    rows = [("tenth of the run", *map(str, range(1, 11))), ("yours", *(f"{x:.2f}" for x in mine.tolist())),
            ("the book's", *(f"{x:.2f}" for x in book.tolist()))]
    return "\n".join(f"{row[0]:<17}" + "".join(f"{x:>6}" for x in row[1:]) for row in rows)


# -- the exercise ------------------------------------------------------------------------------------------------------

def from_loop(name):
    return trained(fit=fit_with(**SLIPS_OF_THE_LOOP[name].answer))


def with_slip(name):
    return trained(model_with(**SLIPS_OF_THE_MODEL[name].answer))


def looped(**slip):
    return trained(fit=fit_with(**slip))


# Those of the model's other laws that are broken in 16.14 are named here as well, and other settings: see
# `Whole.mistake`. A wrong answer is compared with every mutant, and each of these is trained.
MUTANTS = {
    "sees the future": with_slip("looks one token ahead"),
    "computes something else than the model of the book": with_slip("leaves out the residual connection of the mixer"),
    "remembers the text before": trained(model_with(**LAWLESS["remembers the text before"])),
    ABOVE: looped(share=lambda step, steps, warmup: rate(step, steps, warmup) * (step < 6)),
    BELOW: looped(which=lambda step, steps: min(step - 1, 5)),
    "returns other losses than the book's loop": trained(lr=0.003),
    "takes steps that are not clipped": looped(**SLIPS_OF_THE_LOOP["takes steps that are not clipped"].answer),
}

exercise(
    id="16.19", title="Build, stage 7: the curve", kind="open", stars=3, minutes=15, equations=("16.1", "16.8"),
    reference=train_mine, alternatives=(trained(ByParameters), trained(fit=fit_by_hand)),
    cases=lambda g: [Case((4, 1, 0, 0), "4 steps"), Case((2, 1, 1, 0), "2 steps"),
                     Case((2, 1, 2, 1), "2 steps, a token that never occurs")],
    prepare=Whole(),
    mutants={name: Mistake(answer, (LAWS | CURVES)[name]) for name, answer in MUTANTS.items()},
    hints=("Two lines: your model of stage 2 with the sizes of the text, and your loop of stage 6 with its settings.",
           "`model = MyModel(vocab, 32, 2, 2)`.",
           "`losses = fit(model, text, starts, 64, 0.01, 0.1, 1.0, max(1, len(starts) // 10))`."),
)
