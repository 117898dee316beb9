"""Answers to the exercises of chapter 16, as readers write them."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deltanet_edu import delta_rule
from deltanet_edu.chapters.ch16.loop import fit
from deltanet_edu.chapters.ch16.loss import loss_of
from deltanet_edu.chapters.ch16.mixing import mixer
from deltanet_edu.chapters.ch16.model import MyBlock, MyModel
from deltanet_edu.chapters.ch16.steps import groups, rate
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.optimizer import rate as rate_of_the_package
from deltanet_edu.tutor import registry
from deltanet_edu.tutor.grading import grade

from .answers import assert_verdict, cases


def moved(cache, z):
    return torch.cat([cache[:, 1:], z[:, None]], 1)


def prepared(shape=lambda x: F.normalize(F.silu(x), dim=-1), beta=torch.sigmoid):
    return lambda q, k, b: (shape(q), shape(k), beta(b))


def like_the_layer(x):
    x = F.silu(x)
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def decoded(norm, write=lambda v, old, b: b * (v - old)):
    def decode_step(q, k, v, beta, S):
        old = torch.einsum("hvk,hk->hv", S, k)
        S = S + torch.einsum("hv,hk->hvk", write(v, old, beta[:, None]), k)
        return norm(torch.einsum("hvk,hk->hv", S, q)), S
    return decode_step


def faded(q, k, v, beta, S):
    S = (1 - beta)[:, None, None] * S + beta[:, None, None] * v[:, :, None] * k[:, None]
    return F.rms_norm(torch.einsum("hvk,hk->hv", S, q), v.shape[-1:], eps=1e-5), S


def chosen(keep):
    """16.7 with another choice of the tokens that stay: keep(logits, smallest)."""
    def chances(logits, temperature, top_k):
        smallest = logits.topk(top_k).values[-1]
        return (logits.masked_fill(~keep(logits, smallest), -torch.inf) / temperature).softmax(-1)
    return chances


def loss(scores, targets):
    """16.5 with other pairs."""
    def next_token_loss(logits, tokens):
        return F.cross_entropy(logits[:, scores].flatten(0, 1), tokens[:, targets].flatten())
    return next_token_loss


EARLIER, LATER = slice(None, -1), slice(1, None)


def masked(where):
    """16.9 with -100 at other places."""
    def packed_targets(tokens, cu_seqlens):
        targets = F.pad(tokens[1:], (0, 1), value=-100)
        targets[where(cu_seqlens)] = -100
        return targets
    return packed_targets


def looked_up(held_out_step=1, train_step=1, unique=False):
    """16.10 with strings in place of tuples, and other runs."""
    def leaked(train, held_out, n):
        def runs(tokens, step):
            return [str(tokens[i : i + n].tolist()) for i in range(0, len(tokens) - n + 1, step)]
        seen, mine = set(runs(train, train_step)), runs(held_out, held_out_step)
        mine = list(dict.fromkeys(mine)) if unique else mine
        return sum(run in seen for run in mine) / len(mine)
    return leaked


def welch(error):
    return lambda a, b: float((b.mean() - a.mean()) / error(a, b))

ANSWERS = {
    "16.1": {
        "right": [lambda nats, chars: nats.sum() / (chars.sum() * math.log(2)),          # equation 16.2, literally
                  lambda nats, chars: float(nats.sum()) / math.log(2) / int(chars.sum()),
                  lambda nats, chars: torch.log2(nats.exp()).sum() / chars.sum()],
        "divides by the tokens as well": [lambda nats, chars: nats.mean() / chars.sum() / math.log(2)],
        "is the mean loss of a token": [lambda nats, chars: nats.mean()],
        "adds up the ratio of each token": [lambda nats, chars: (nats / chars).sum() / math.log(2)],
    },
    "16.2": {
        "takes the present for the oldest": [
            lambda z, cache, w: ((w * torch.cat([z[:, None], cache], 1)).sum(1), moved(cache, z))],
        "applies SiLU": [
            lambda z, cache, w: (F.silu((w[:3] * cache).sum(1) + w[3] * z), moved(cache, z))],
        "meets the taps in the wrong order, and puts the present in front": [
            lambda z, cache, w: ((w[1:].flip(0) * cache).sum(1) + w[0] * z, torch.cat([z[:, None], cache[:, :2]], 1))],
    },
    "16.3": {
        "right": [prepared(), prepared(like_the_layer), prepared(lambda x: F.normalize(F.silu(x), dim=-1, eps=1e-6))],
        "normalizes along the heads": [prepared(lambda x: F.normalize(F.silu(x)))],  # its default is dim=1
        "normalizes along the tokens": [prepared(lambda x: F.normalize(F.silu(x), dim=0))],
        "divides by the length of everything": [prepared(lambda x: F.silu(x) / F.silu(x).norm())],
        "doubles β": [prepared(beta=lambda b: 2 * b.sigmoid())],
        "leaves SiLU out, and lets β be any number": [prepared(lambda x: F.normalize(x, dim=-1), lambda b: b)],
    },
    "16.4": {
        "right": [decoded(lambda o: F.rms_norm(o, o.shape[-1:], eps=1e-5))],
        "leaves ε out": [decoded(lambda o: F.rms_norm(o, o.shape[-1:]))],
        "takes an ε of 10⁻⁶": [decoded(lambda o: F.rms_norm(o, o.shape[-1:], eps=1e-6))],
        "divides by the 2-norm, without ε": [decoded(lambda o: F.normalize(o, dim=-1))],
        "fades the whole memory": [faded],
        "only adds, and forgets the RMSNorm": [decoded(lambda o: o, lambda v, old, b: b * v)],
    },
    "16.5": {
        "right": [loss(EARLIER, LATER), lambda logits, tokens: F.cross_entropy(logits[:, :-1].mT, tokens[:, 1:])],
        "drops the first of both": [loss(LATER, LATER)],                                   # both shifted: still aligned
        "drops the last of both": [loss(EARLIER, EARLIER)],
        "predicts the token before": [loss(LATER, EARLIER)],
        "shifts across the borders of texts": [
            lambda logits, tokens: F.cross_entropy(logits.reshape(-1, logits.shape[-1])[:-1], tokens.reshape(-1)[1:])],
    },
    "16.6": {"right": [37, torch.tensor(37), 37.0], "does not round up": [36.5],
             "counts half of what attention keeps": [74],
             "forgets the convolution, and stops where both are equal": [32]},
    "16.7": {
        "right": [chosen(lambda logits, smallest: logits >= smallest)],
        "strikes out the last of the best": [chosen(lambda logits, smallest: logits > smallest)],  # `<=` strikes it out
        "keeps the best one only": [chosen(lambda logits, smallest: logits == logits.max())],
        "returns the best only": [
            lambda logits, temperature, top_k: (logits.topk(top_k).values / temperature).softmax(-1)],
        "ignores top-k and temperature": [lambda logits, temperature, top_k: logits.softmax(0)],
    },
    "16.8": {
        "right": [lambda bits, chars, tokens: math.pow(2, bits * chars / tokens),
                  lambda bits, chars, tokens: torch.tensor(2.0, dtype=torch.float64) ** (bits * chars / tokens)],
        "is the perplexity of a character": [lambda bits, chars, tokens: math.exp(bits * math.log(2))],
        "takes bits for nats": [lambda bits, chars, tokens: math.e ** (bits / tokens * chars)],
        "stops at the cost of a token": [lambda bits, chars, tokens: bits / (tokens / chars)],
    },
    "16.9": {
        "right": [masked(lambda ends: ends[1:] - 1), masked(lambda ends: ends - 1)],  # -1, the last, is an end as well
        "predicts across the borders": [lambda tokens, cu_seqlens: F.pad(tokens[1:], (0, 1), value=-100)],
        "masks the first token of each text": [masked(lambda ends: ends[:-1])],
        "masks one too late": [masked(lambda ends: ends[1:-1])],
    },
    "16.10": {
        "right": [looked_up()],
        "cuts both into pieces": [lambda train, held_out, n: looked_up(n, n)(train, held_out, n)],
        "cuts the training text into pieces": [lambda train, held_out, n: looked_up(1, n)(train, held_out, n)],
        "counts each different run once": [looked_up(unique=True)],
    },
    "16.11": {"right": [416.8, 416.80896, 417], "counts in mebibytes": [397.5], "serves one text": [13.025],
              "keeps everything in two bytes": [215.48], "forgets the convolution": [402.65]},
    "16.12": {
        "right": [welch(lambda a, b: (a.std() ** 2 / len(a) + b.std() ** 2 / len(b)) ** 0.5)],
        "divides by the spread of single runs": [welch(lambda a, b: math.hypot(a.std(), b.std()))],
        "forgets that n − 1 are free": [
            welch(lambda a, b: math.sqrt(a.numpy().var() / len(a) + b.numpy().var() / len(b)))],
        "does not divide": [welch(lambda a, b: 1)],
    },
}


# -- the build, 16.13 to 16.19, as readers write it --------------------------------------------------------------------

MIXER = """
def mixer(x, W_qkv, taps, W_beta, weight, W_O):
    B, T, D = x.shape
    H = W_beta.shape[0]
    z = x @ W_qkv.T
    z = torch.cat([torch.zeros(B, 3, 3 * D, dtype=x.dtype), z], 1)
    y = taps[0] * z[:, :T] + taps[1] * z[:, 1:T + 1] + taps[2] * z[:, 2:T + 2] + taps[3] * z[:, 3:]
    y = F.silu(y)
    q, k, v = y.split(D, -1)
    q, k, v = q.view(B, T, H, -1), k.view(B, T, H, -1), v.view(B, T, H, -1)
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    beta = torch.sigmoid(x @ W_beta.T)
    o, S = delta_rule(q, k, v, beta)
    o = o / torch.sqrt((o ** 2).mean(-1, keepdim=True) + 1e-5) * weight
    return o.reshape(B, T, D) @ W_O.T
"""
MODEL = """
class Layer(nn.Module):
    def __init__(self, D, H):
        super().__init__()
        self.a, self.b = nn.RMSNorm(D, eps=1e-5), nn.RMSNorm(D, eps=1e-5)
        self.qkv = nn.Linear(D, 3 * D, bias=False)
        self.taps = nn.Parameter(torch.zeros(4, 3 * D))
        self.beta = nn.Linear(D, H, bias=False)
        self.w = nn.Parameter(torch.ones(D // H))
        self.out = nn.Linear(D, D, bias=False)
        self.g, self.u = nn.Linear(D, 2 * D, bias=False), nn.Linear(D, 2 * D, bias=False)
        self.d = nn.Linear(2 * D, D, bias=False)
        with torch.no_grad():
            self.taps[3] = 1

    def forward(self, x):
        x = x + mixer(self.a(x), self.qkv.weight, self.taps, self.beta.weight, self.w, self.out.weight)
        y = self.b(x)
        return x + self.d(F.silu(self.g(y)) * self.u(y))


class MyModel(nn.Module):
    def __init__(self, vocab, D, H, layers):
        super().__init__()
        self.head = nn.Linear(D, vocab, bias=False)
        self.embed = nn.Embedding(vocab, D)
        self.layers = nn.Sequential(*[Layer(D, H) for _ in range(layers)])
        self.last = nn.RMSNorm(D, eps=1e-5)
        self.apply(self.start)

    def start(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.weight.data.normal_(0, 0.02)

    def forward(self, tokens):
        return self.head(self.last(self.layers(self.embed(tokens))))
"""
LOSS = """
def loss_of(model, text, starts, T):
    x = torch.stack([text[s:s + T] for s in starts])
    y = torch.stack([text[s + 1:s + 1 + T] for s in starts])
    logits = model(x)
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
"""
RATE = """
def rate(step, steps, warmup):
    if step < warmup:
        return step / warmup
    t = (step - warmup) / (steps - warmup)
    return 0.05 + 0.5 * (1 - 0.05) * (1 + math.cos(math.pi * t))
"""
GROUPS = """
def groups(named, decay):
    big, small = [], []
    for name, p in named:
        if p.dim() == 2 and p.size(0) > 8:
            big.append(p)
        else:
            small.append(p)
    return [{"params": big, "weight_decay": decay}, {"params": small, "weight_decay": 0.0}]
"""
FIT = """
def fit(model, text, starts, T, lr, decay, clip, warmup):
    opt = torch.optim.AdamW(groups(list(model.named_parameters()), decay), betas=(0.9, 0.95))
    steps = len(starts)
    losses = []
    for n in range(1, steps + 1):
        for g in opt.param_groups:
            g["lr"] = lr * rate(n, steps, warmup)
        opt.zero_grad()
        loss = loss_of(model, text, starts[n - 1], T)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        opt.step()
        losses.append(loss.item())
    return losses
"""
RUN = """
def train_mine(text, vocab, starts):
    model = MyModel(vocab, 32, 2, 2)
    return model, fit(model, text, starts, 64, 0.01, 0.1, 1.0, max(1, len(starts) // 10))
"""


def written(code, *changes):
    """The last function or class of some code, with some of its text changed: (before, after), each once at least."""
    for before, after in changes:
        assert before in code, before
        code = code.replace(before, after)
    names = dict(math=math, torch=torch, F=F, nn=nn, delta_rule=delta_rule, mixer=mixer, MyModel=MyModel, fit=fit,
                 loss_of=loss_of, groups=groups, rate=rate, MyBlock=MyBlock)
    given = set(names)
    exec(code, names)
    last = [line.split()[1].split("(")[0] for line in code.splitlines() if line.startswith(("def ", "class "))][-1]
    assert last in given or last in names
    return names[last]


BUILD = {
    "16.13": (MIXER, {
        "right": [[], [("o, S = delta_rule(q, k, v, beta)", "o = delta_rule(q, k, v, beta, form='recurrent')[0]")]],
        "cuts head by head": [[("y.split(D, -1)", "y.view(B, T, H, -1).chunk(3, -1)"),
                               ("q, k, v = q.view(B, T, H, -1), k.view(B, T, H, -1), v.view(B, T, H, -1)", "pass")]],
        "takes keys for queries": [[("q, k, v = y.split", "k, q, v = y.split")]],
        "normalizes along the tokens": [[("F.normalize(q, dim=-1), F.normalize(k, dim=-1)",
                                          "F.normalize(q), F.normalize(k)")]],
        "divides by the length": [[(".mean(-1, keepdim=True)", ".sum(-1, keepdim=True)")]],
        "hands the rule strengths without a sigmoid": [[("torch.sigmoid(x @ W_beta.T)", "x @ W_beta.T")]],
        "hands the rule keys that are too long": [[("F.normalize(q, dim=-1), F.normalize(k, dim=-1)", "q, k")]],
        "looks at later tokens": [[("torch.cat([torch.zeros(B, 3, 3 * D, dtype=x.dtype), z], 1)",
                                    "torch.cat([z, torch.zeros(B, 3, 3 * D, dtype=x.dtype)], 1)"),
                                   ("taps[0] * z[:, :T]", "taps[3] * z[:, :T]"),
                                   ("taps[1] * z[:, 1:", "taps[2] * z[:, 1:"),
                                   ("taps[2] * z[:, 2:", "taps[1] * z[:, 2:"),
                                   ("taps[3] * z[:, 3:]", "taps[0] * z[:, 3:]")]],
        "leaves the weights of the norm out": [[("+ 1e-5) * weight", "+ 1e-5)")]],
        "leaves SiLU out": [[("y = F.silu(y)", "y = y")]],
        "multiplies by W_O from the wrong side": [[("@ W_O.T", "@ W_O")]],
        "scales what is read": [[("(q, k, v, beta)", "(q, k, v, beta, scale=q.shape[-1]**-0.5)")]],
    }),
    "16.14": (MODEL, {
        "right": [[]],
        "leaves out the residual connection of the mixer": [[("x = x + mixer", "x = mixer")]],
        "leaves out the residual connection of the MLP": [[("return x + self.d", "return self.d")]],
        "adds to the normalized stream": [[("x = x + mixer(self.a(x),", "x = self.a(x)\n        x = x + mixer(x,"),
                                           ("y = self.b(x)", "y = x = self.b(x)")]],
        "leaves weights unused": [[("self.last(self.layers", "(self.layers")], [("y = self.b(x)", "y = self.a(x)")],
                                  [("self.layers(self.embed(tokens))", "self.layers[0](self.embed(tokens))")]],
        "leaves ε out": [[("nn.RMSNorm(D, eps=1e-5)", "nn.RMSNorm(D)")]],
        "has biases": [[("nn.Linear(D, vocab, bias=False)", "nn.Linear(D, vocab)")], [("RMSNorm", "LayerNorm")]],
        "ties the head to the embedding": [[("        self.apply", "        self.head.weight = self.embed.weight\n"
                                             "        self.apply")]],
        "hides its blocks in a list": [[("nn.Sequential(*[Layer(D, H) for _ in range(layers)])",
                                         "[Layer(D, H) for _ in range(layers)]"),
                                        ("self.head(self.last(self.layers(self.embed(tokens))))",
                                         "self.head(self.last(self.layers[0](self.embed(tokens))))")]],
        "begins with PyTorch's own weights": [[("        self.apply(self.start)\n", "")]],
        "begins with an embedding of size 1": [[("(nn.Linear, nn.Embedding)", "nn.Linear")]],
        "begins with matrices of another size": [[("0.02", "0.2")]],
        "begins with taps that do not pass the present through": [[("self.taps[3] = 1", "pass")],
                                                                  [("self.taps[3] = 1", "self.taps[0] = 1")]],
        "gates with a ReLU": [[("F.silu(self.g", "F.relu(self.g")]],
        "is random in training": [[("self.d(F.silu", "F.dropout(self.d(F.silu"),
                                   ("* self.u(y))", "* self.u(y)), 0.1, self.training)")]],
    }),
    "16.15": (LOSS, {
        "right": [[]],
        "asks for what it has just read": [[("text[s + 1:s + 1 + T]", "text[s:s + T]")]],
        "begins one token too late": [[("text[s + 1:s + 1 + T]", "text[s + 2:s + 2 + T]"),
                                       ("text[s:s + T]", "text[s + 1:s + 1 + T]")]],
        "adds up instead of averaging": [[("y.reshape(-1))", "y.reshape(-1), reduction='sum')")]],
        "pairs logits with the wrong targets": [[("y.reshape(-1))", "y.T.reshape(-1))")]],
        "softmaxes twice": [[("logits = model(x)", "logits = model(x).softmax(-1)")]],
    }),
    "16.16": (RATE, {
        "right": [[]],
        "falls to 0": [[("0.05 + 0.5 * (1 - 0.05)", "0.5")]],
        "adds the floor to the whole cosine": [[("0.5 * (1 - 0.05)", "0.5")]],
        "begins the fall with the warmup": [[("(step - warmup) / (steps - warmup)", "step / steps")]],
        "goes through a whole cosine": [[("math.pi * t", "2 * math.pi * t")]],
        "counts steps from 0": [[("    if step", "    step = step - 1\n    if step")]],
    }),
    "16.17": (GROUPS, {
        "right": [[], [("p.size(0) > 8", "p.shape[0] >= 9")]],
        "decays whatever has two dimensions": [[(" and p.size(0) > 8", "")]],
        "decays matrices of 8 rows": [[("> 8", ">= 8")]],
        "turns the two round": [[("big, \"weight_decay\": decay", "big, \"weight_decay\": 0.0"),
                                 ("small, \"weight_decay\": 0.0", "small, \"weight_decay\": decay")]],
        "gives pairs": [[("append(p)", "append((name, p))")]],
        "looks at the columns": [[("p.size(0)", "p.size(1)")]],
    }),
    "16.18": (FIT, {
        "right": [[], [("losses.append(loss.item())", "losses.append(loss.detach())")]],
        "never zeroes the gradients": [[("        opt.zero_grad()\n", "")]],
        "zeroes the gradients before the step": [[("        opt.zero_grad()\n", ""),
                                                  ("        opt.step()", "        opt.zero_grad(set_to_none=False)\n"
                                                                         "        opt.step()")]],
        "does not clip": [[("        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)\n", "")]],
        "clips each number": [[("clip_grad_norm_", "clip_grad_value_")]],
        "sets the rate of the step before": [[("rate(n, steps", "rate(n - 1, steps")]],
        "forgets the peak": [[("lr * rate", "rate")]],
        "keeps the rate constant": [[("lr * rate(n, steps, warmup)", "lr")]],
        "takes PyTorch's betas": [[(", betas=(0.9, 0.95)", "")]],
        "adds the decay to the gradient": [[("AdamW", "Adam")]],
        "decays by PyTorch's own strength": [[("groups(list(model.named_parameters()), decay)", "model.parameters()")]],
        "never steps": [[("        opt.step()\n", "")]],
        "skips the first batch": [[("starts[n - 1]", "starts[min(n, steps - 1)]")]],
        "tells the losses backwards": [[("return losses", "return losses[::-1]")]],
    }),
    "16.19": (RUN, {
        "right": [[]],
        "is trained otherwise": [[("64", "32")]],
        "makes another number of blocks": [[("32, 2, 2", "32, 2, 1")]],
    }),
}
BUILT = {id: {name: [written(code, *changes) for changes in answers] for name, answers in names.items()}
         for id, (code, names) in BUILD.items()}


@cases(ANSWERS | BUILT)
def test_verdicts(id, answer, name):
    assert_verdict(id, answer, name)


def test_solutions_run_with_what_the_notebook_imports():
    """What `solution` shows needs no constant of the chapter's own, only what the problem set imports and what earlier
    solutions of it define."""
    mine = [e for e in registry.all_exercises() if e.chapter == 16 and e.cases is not None]
    assert len(mine) == 17
    names = {"math": math, "torch": torch, "F": F, "nn": nn, "delta_rule": delta_rule}
    for exercise in mine:
        for source in exercise.sources or (exercise.reference,):
            exec(inspect.getsource(source), names)
        assert_verdict(exercise.id, names[exercise.reference.__name__], "right")


def test_the_schedule_is_the_packages():
    config = Config(steps=50, warmup=0.2)
    steps = range(1, 51)
    assert [rate(n, 50, 10) for n in steps] == pytest.approx([rate_of_the_package(n, config) for n in steps])


def test_a_stage_that_is_not_done_is_said():
    def fit(model, text, starts, T, lr, decay, clip, warmup):
        raise NotImplementedError("16.17")

    verdict = grade(registry.find("exercise", "16.18"), fit)
    assert verdict.state == "open" and "16.17" in verdict.headline


def test_a_curve_is_compared_from_the_learners_own_weights():
    """Head and embedding in another order, and two halves for the MLP: the book's model still starts where it did."""
    exercise = registry.find("exercise", "16.19")
    judged = exercise.prepare(written(MODEL.replace("class MyModel", "class Mine") + RUN.replace("MyModel", "Mine")))
    assert exercise.prepare.objection(judged) is None
    mine, book = judged.curves
    assert (mine - book).abs().max() < 1e-3
