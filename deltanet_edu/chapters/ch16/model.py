"""Block and model, stage 2 of the build: solutions, and the judge, who gives every model the same weights."""

import inspect
import itertools
from collections import Counter

import torch
import torch.nn.functional as F
from torch import nn

from ...layers import Block, DeltaNet
from ...tutor import AnswerError, Case, Mistake
from .mixing import mixer

# -- solutions ---------------------------------------------------------------------------------------------------------


class MyBlock(nn.Module):
    def __init__(self, D, H):
        super().__init__()
        self.norm_1, self.norm_2 = nn.RMSNorm(D, eps=1e-5), nn.RMSNorm(D, eps=1e-5)
        self.W_qkv, self.W_O = nn.Linear(D, 3 * D, bias=False), nn.Linear(D, D, bias=False)
        self.W_beta = nn.Linear(D, H, bias=False)
        self.taps = nn.Parameter(torch.cat([0.1 * torch.randn(3, 3 * D), torch.ones(1, 3 * D)]))
        self.weight = nn.Parameter(torch.ones(D // H))
        self.up, self.down = nn.Linear(D, 4 * D, bias=False), nn.Linear(2 * D, D, bias=False)

    def forward(self, x):
        x = x + mixer(self.norm_1(x), self.W_qkv.weight, self.taps, self.W_beta.weight, self.weight, self.W_O.weight)
        gate, value = self.up(self.norm_2(x)).chunk(2, -1)               # (B, T, 2D) each
        return x + self.down(F.silu(gate) * value)


class MyModel(nn.Module):
    def __init__(self, vocab, D, H, layers):
        super().__init__()
        self.embed = nn.Embedding(vocab, D)
        self.blocks = nn.ModuleList(MyBlock(D, H) for _ in range(layers))
        self.norm, self.head = nn.RMSNorm(D, eps=1e-5), nn.Linear(D, vocab, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens):
        x = self.embed(tokens)                                           # (B, T, D)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))                                   # (B, T, vocab)


class ByParameters(nn.Module):
    """Plain parameters throughout; the two halves of the MLP's first matrix are two matrices."""

    def __init__(self, vocab, D, H, layers):
        super().__init__()

        def normal(*shape):
            return nn.Parameter(0.02 * torch.randn(*shape))

        def taps():
            return nn.Parameter(torch.cat([torch.zeros(3, 3 * D), torch.ones(1, 3 * D)]))
        self.layers = nn.ModuleList(nn.ParameterList(
            [nn.Parameter(torch.ones(D)), normal(3 * D, D), taps(), normal(H, D), nn.Parameter(torch.ones(D // H)),
             normal(D, D), nn.Parameter(torch.ones(D)), normal(2 * D, D), normal(2 * D, D), normal(D, 2 * D)])
            for _ in range(layers))
        self.W_head, self.weight, self.W_embed = normal(vocab, D), nn.Parameter(torch.ones(D)), normal(vocab, D)

    def forward(self, tokens):
        def rms(x, weight):
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight
        x = self.W_embed[tokens]
        for first, W_qkv, taps, W_beta, head, W_O, second, W_gate, W_up, W_down in self.layers:
            x = x + mixer(rms(x, first), W_qkv, taps, W_beta, head, W_O)
            y = rms(x, second)
            x = x + (F.silu(y @ W_gate.T) * (y @ W_up.T)) @ W_down.T
        return rms(x, self.weight) @ self.W_head.T


class PackagesOwn(nn.Sequential):
    """The package's block and layer."""

    def __init__(self, vocab, D, H, layers):
        super().__init__(nn.Embedding(vocab, D), *(Block(D, DeltaNet(D, H), 2 * D) for _ in range(layers)),
                         nn.RMSNorm(D, eps=1e-5), nn.Linear(D, vocab, bias=False))
        for p in self.parameters():
            if p.ndim == 2 and len(p) != 4:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens):
        for module in self:
            tokens = module(tokens)[0] if isinstance(module, Block) else module(tokens)
        return tokens


# -- the judge ---------------------------------------------------------------------------------------------------------

class Unlawful(ValueError):
    """A law that a model does not keep; the message is its name, and perhaps more behind a colon."""


LAWS = {
    "hides its blocks in a list":
        "PyTorch does not look into Python lists: the blocks' weights are no parameters of the model, and no optimizer "
        "would change them. `nn.ModuleList` is a list that it knows.",
    "ties the head to the embedding":
        "One (vocab, D) matrix for both is common in small models, but here embedding and head have one each.",
    "has biases": "No biases anywhere: `bias=False`, and an RMSNorm, not a LayerNorm, which has a bias too.",
    "has too few norms": "Two RMSNorms a block and one before the head, each with D weights of its own.",
    "makes another number of blocks": "There should be as many blocks as `layers` says, each with weights of its own.",
    "uses one block in all layers":
        "One and the same block stands in the list several times, as in `[block] * layers`, so the layers share its "
        "weights. Make each anew: `[MyBlock(D, H) for _ in range(layers)]`.",
    "has another size than it was given": "Vocabulary, width and number of heads are those that it is made with.",
    "has other parameters than the model of the book":
        "Compare the shapes with those in the text. A tensor of a model's counts only as an `nn.Parameter`.",
    "leaves weights unused":
        "These weights get no gradient, so the output does not depend on them. Is a block, a norm or a matrix skipped, "
        "or another used twice?",
    "remembers the text before":
        "Called twice with the same tokens it answers differently: something of the first text is kept. Every call "
        "begins with an empty memory.",
    "is random in training": "A dropout that nobody asked for: in training mode it answers differently from one call "
                             "to the next.",
    "begins with PyTorch's own weights":
        "`nn.Linear` and `nn.Embedding` come with weights of another size, the embedding's of size 1. Draw all "
        "matrices anew, `nn.init.normal_(weight, std=0.02)`.",
    "begins with an embedding of size 1": "PyTorch draws embeddings with the standard deviation 1. Draw it anew, with "
                                          "0.02, like the other matrices.",
    "begins with matrices of another size": "All matrices begin normal with the standard deviation 0.02, embedding and "
                                            "head included.",
    "begins with zeros": "A matrix of zeros gets no gradient through another one of zeros. All matrices begin normal "
                         "with the standard deviation 0.02.",
    "begins with taps that do not pass the present through":
        "The last tap begins at 1, the three before it near 0 (0.1 `randn`): then the convolution at first changes "
        "little.",
    "begins with norms that are not 1": "The weights of a norm begin at 1.",
}


def shapes(vocab, D, H, layers):
    """How many parameters of each shape the model has."""
    block = [(3 * D, D), (4, 3 * D), (H, D), (D // H,), (D, D), (4 * D, D), (D, 2 * D), (D,), (D,)]
    return Counter(block * layers) + Counter([(vocab, D), (D,), (vocab, D)])


def shapes_of(model, D):
    """How many parameters of each shape a learner's model has; two halves of the MLP count as the whole."""
    found = Counter(tuple(p.shape) for p in model.parameters())
    for shape in ((2 * D, D), (2 * D,)):
        halves = found.pop(shape, 0)
        found[2 * shape[0], *shape[1:]] += halves // 2
    return +found


def check_shapes(model, vocab, D, H, layers):
    expected, found = shapes(vocab, D, H, layers), shapes_of(model, D)
    if found == expected:
        return
    blocks = {shape: n for shape, n in expected.items() if n % layers == 0 and shape not in ((D,), (vocab, D))}
    if not any(found[shape] for shape in blocks) and any(
            isinstance(x, list) and any(isinstance(y, nn.Module) for y in x) for x in vars(model).values()):
        raise Unlawful("hides its blocks in a list")
    times = {found[shape] * layers / n for shape, n in blocks.items()}
    if len(times) == 1 and times != {layers} and not found - shapes(vocab, D, H, max(layers, int(max(times)))):
        raise Unlawful("uses one block in all layers" if found == shapes(vocab, D, H, 1) and in_several_places(model)
                       else "makes another number of blocks")
    if other := other_size(model, vocab, D, H, layers):
        raise Unlawful(f"has another size than it was given: {other}")
    matrices = all(found[shape] == n for shape, n in expected.items() if len(shape) == 2)
    biases = any(len(shape) == 1 and shape[0] in (vocab, 3 * D, 4 * D, H) for shape in found)
    if matrices and (biases or found[(D,)] > expected[(D,)]):
        raise Unlawful("has biases")
    rest = {shape: n for shape, n in (expected - found).items()}
    if rest == {(vocab, D): 1} and not found - expected:
        raise Unlawful("ties the head to the embedding")
    if rest.keys() == {(D,)} and not found - expected:
        raise Unlawful("has too few norms")
    many = [f"{found[s]} of {s} instead of {expected[s]}" for s in {**expected, **found} if found[s] != expected[s]]
    raise Unlawful(f"has other parameters than the model of the book: for vocab = {vocab}, D = {D}, H = {H} and "
                   f"{layers} blocks it has {', '.join(many)}")


def in_several_places(model):
    """Whether a module with weights stands in a list more than once."""
    lists = [m for m in model.modules() if isinstance(m, (nn.ModuleList, nn.Sequential))]
    return any(len(m) > len(set(m)) and any(True for _ in m.parameters()) for m in lists)


def other_size(model, vocab, D, H, layers):
    """Of a model that would be the book's if vocab, D or H were others: which and how large; else ""."""
    rows = {}
    for p in model.parameters():
        if p.ndim == 2:
            rows.setdefault(p.shape[1], set()).add(len(p))
    for width, sizes in rows.items():
        found = shapes_of(model, width)
        for tokens, heads in itertools.product(sizes, sizes):
            if width % heads == 0 and found == shapes(tokens, width, heads, layers):
                pairs = ("vocab", tokens, vocab), ("D", width, D), ("H", heads, H)
                return ", ".join(f"{name} = {its} instead of {given}" for name, its, given in pairs if its != given)
    return ""


def like_ours(model, vocab, D, H, layers):
    """Give a learner's model the weights that ours gets: those of one shape are equal, so their order is free.

    The two halves of the MLP's first matrix are equal, too: which of them is the gate is free as well.
    """
    check_shapes(model, vocab, D, H, layers)
    for p in model.parameters():
        rows, columns = 2 * D if p.shape == (4 * D, D) else len(p), p.shape[1:]
        g = torch.Generator().manual_seed(1000 * rows + sum(columns))
        weights = torch.randn(rows, *columns, generator=g, dtype=torch.float64)
        weights = 1 + 0.3 * weights if p.ndim == 1 else 0.02 * weights if rows == vocab else weights
        p.data = weights if rows == len(p) else weights.repeat(2, 1)
    return model


def check_use(model, logits):
    """Every weight has a say in the logits."""
    g = torch.Generator().manual_seed(0)
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad((logits * torch.randn(logits.shape, generator=g, dtype=logits.dtype)).sum(),
                                    list(named.values()), allow_unused=True)
    idle = [name for name, dp in zip(named, gradients) if dp is None or not dp.any()]
    if idle:
        raise Unlawful(f"leaves weights unused: {', '.join(idle[:4])}" + (", ..." if len(idle) > 4 else ""))


def check_start(model, vocab):
    """What the matrices, taps and norms of a new model are."""
    for p in model.parameters():
        if p.ndim == 1 and not (p == 1).all():
            raise Unlawful("begins with norms that are not 1")
        if p.ndim == 2 and len(p) == 4 and not ((p[3] - 1).abs().mean() < 0.3 and p[:3].abs().mean() < 0.3):
            raise Unlawful("begins with taps that do not pass the present through")
    spread = [(p, p.square().mean().sqrt().item()) for p in model.parameters() if p.ndim == 2 and len(p) != 4]
    astray = [p for p, size in spread if not abs(size / 0.02 - 1) < 0.05 + 4 / p.numel()**0.5]
    if any(not p.any() for p, _ in spread):
        raise Unlawful("begins with zeros")
    if astray:
        large = {len(p) == vocab and size > 0.8 for p, size in spread if any(p is q for q in astray)}
        raise Unlawful("begins with an embedding of size 1" if large == {True} else
                       "begins with PyTorch's own weights" if large == {True, False} else
                       "begins with matrices of another size")


class Judge:
    """From a class to what is compared: logits with the weights of the book, or how it begins."""

    def __call__(self, answer):
        if isinstance(answer, nn.Module) or not callable(answer):
            raise AnswerError("give the class itself, not a model made of it")

        def run(vocab, D, H, layers, tokens):
            model = answer(vocab, D, H, layers)
            if not isinstance(model, nn.Module):
                raise ValueError("it should be a class of models, a subclass of torch.nn.Module")
            if tokens is None:
                check_shapes(model, vocab, D, H, layers)
                check_start(model, vocab)
                return sum(p.numel() for p in model.parameters())
            logits = logits_of(like_ours(model, vocab, D, H, layers), tokens, vocab)
            if layers > 1:                                               # once is enough
                check_use(model, logits)
                check_memory(model, vocab)
            return logits.detach()

        run.__signature__ = inspect.signature(run)
        run.__wrapped__ = getattr(answer, "forward", answer)             # lines in a traceback are the learner's
        return run

    def mistake(self, error):
        """(name, Mistake) of a law that is broken; else None."""
        name, _, more = str(error).partition(": ")
        return (name, Mistake(None, f"{LAWS[name]} Here: {more}." if more else LAWS[name])) \
            if isinstance(error, Unlawful) else None


def logits_of(model, tokens, vocab):
    logits = model(tokens)
    if not (isinstance(logits, torch.Tensor) and logits.shape == (*tokens.shape, vocab)):
        what = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"forward should return logits of shape {(*tokens.shape, vocab)}, got {what}")
    return logits


def check_memory(model, vocab):
    """A model says the same of the same text, whatever it has read before, and in training as well."""
    tokens = torch.arange(10).view(2, 5) % vocab
    with torch.no_grad():
        trained = model.train()(tokens)
        once, _, again = model.eval()(tokens), model((tokens + 1) % vocab), model(tokens)
    if not torch.allclose(once, again, atol=1e-6):
        raise Unlawful("remembers the text before")
    if not torch.allclose(trained, again, atol=1e-6):
        raise Unlawful("is random in training")


def model_cases(g):
    for vocab, D, H, layers, B, T in ((5, 4, 2, 1, 1, 2), (7, 6, 3, 2, 2, 5), (11, 8, 2, 1, 1, 4)):
        yield Case((vocab, D, H, layers, torch.randint(vocab, (B, T), generator=g)),
                   f"logits, {layers} block{'s' * (layers > 1)}, T = {T}, D = {D}, vocab = {vocab}")
    yield Case((51, 32, 2, 2, None), "what it begins with, D = 32, vocab = 51")
