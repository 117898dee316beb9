"""Answers to the build of chapter 16, exercises 16.13 to 16.19, as readers write them."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deltanet_edu import delta_rule
from deltanet_edu.chapters.ch16.loop import fit
from deltanet_edu.chapters.ch16.loss import loss_of
from deltanet_edu.chapters.ch16.mixing import mixer
from deltanet_edu.chapters.ch16.model import MyModel
from deltanet_edu.chapters.ch16.steps import groups, rate
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.optimizer import rate as rate_of_the_package
from deltanet_edu.tutor import registry
from deltanet_edu.tutor.grading import grade

from .answers import assert_verdict, cases

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
ONE_FORMULA = FIT + """
def rate(step, steps, warmup):
    return min(1, step / warmup) * (0.525 + 0.475 * math.cos(math.pi * max(0, step - warmup) / (steps - warmup)))
"""
RUN = """
def train_mine(text, vocab, starts):
    model = MyModel(vocab, 32, 2, 2)
    return model, fit(model, text, starts, 64, 0.01, 0.1, 1.0, max(1, len(starts) // 10))
"""


def written(code, *changes):
    """The last function or class of some code, with some of its text changed: (before, after)."""
    for before, after in changes:
        assert before in code, before
        code = code.replace(before, after)
    names = dict(math=math, torch=torch, F=F, nn=nn, delta_rule=delta_rule, mixer=mixer, MyModel=MyModel, fit=fit,
                 loss_of=loss_of, groups=groups, rate=rate)
    exec(code, names)
    last = [line.split()[1].split("(")[0] for line in code.splitlines() if line.startswith(("def ", "class "))][-1]
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
        "wraps the convolution around": [[
            ("    z = torch.cat([torch.zeros(B, 3, 3 * D, dtype=x.dtype), z], 1)\n", ""),
            ("taps[0] * z[:, :T] + taps[1] * z[:, 1:T + 1] + taps[2] * z[:, 2:T + 2] + taps[3] * z[:, 3:]",
             "sum(taps[3 - back] * torch.roll(z, back, 1) for back in range(4))")]],
        "leaves the values out of the convolution": [[("    y = F.silu(y)", "    y[..., 2 * D:] = z[:, 3:, 2 * D:]\n"
                                                                            "    y = F.silu(y)")]],
        "carries the memory from text to text": [[("    o, S = delta_rule(q, k, v, beta)", '''
    S, rows = torch.zeros(1, H, D // H, D // H, dtype=x.dtype), []
    for b in range(B):
        o, S = delta_rule(q[b:b + 1], k[b:b + 1], v[b:b + 1], beta[b:b + 1], initial_state=S)
        rows.append(o)
    o = torch.cat(rows)''')]],
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
        "uses one block in all layers": [[("Layer(D, H) for _ in range(layers)]", "Layer(D, H)] * layers")]],
        "makes another number of blocks": [[("range(layers)", "range(layers - 1)")]],
        "begins with PyTorch's own weights": [[("        self.apply(self.start)\n", "")]],
        "begins with an embedding of size 1": [[("(nn.Linear, nn.Embedding)", "nn.Linear")]],
        "begins with matrices of another size": [[("0.02", "0.2")]],
        "begins with taps that do not pass the present through": [[("self.taps[3] = 1", "pass")],
                                                                  [("self.taps[3] = 1", "self.taps[0] = 1")]],
        "puts the product of both halves through SiLU": [[("F.silu(self.g(y)) * self.u(y)",
                                                           "F.silu(self.g(y) * self.u(y))")]],
        "replaces the stream by its norm before the MLP": [[("return x + self.d(", "return y + self.d(")]],
        "takes LayerNorms": [[("class Layer(nn.Module)", '''
class Norm(nn.Module):
    def __init__(self, D, eps):
        super().__init__()
        self.w, self.eps = nn.Parameter(torch.ones(D)), eps

    def forward(self, x):
        x = x - x.mean(-1, keepdim=True)
        return x / (x.square().mean(-1, keepdim=True) + self.eps).sqrt() * self.w


class Layer(nn.Module)'''), ("nn.RMSNorm", "Norm")]],
        "has another size than it was given": [[("nn.Embedding(vocab, D)", "nn.Embedding(52, D)"),
                                                ("nn.Linear(D, vocab", "nn.Linear(D, 52")]],
        "gates with a ReLU": [[("F.silu(self.g", "F.relu(self.g")]],
        "is random in training": [[("self.d(F.silu", "F.dropout(self.d(F.silu"),
                                   ("* self.u(y))", "* self.u(y)), 0.1, self.training)")]],
    }),
    "16.15": (LOSS, {
        "right": [[]],
        "asks for what it has just read": [[("text[s + 1:s + 1 + T]", "text[s:s + T]")]],
        "takes the numbers of the starts for the starts": [[("for s in starts]", "for s in range(len(starts))]")]],
        "begins one token too late": [[("text[s + 1:s + 1 + T]", "text[s + 2:s + 2 + T]"),
                                       ("text[s:s + T]", "text[s + 1:s + 1 + T]")]],
        "adds up instead of averaging": [[("y.reshape(-1))", "y.reshape(-1), reduction='sum')")]],
        "pairs logits with the wrong targets": [[("y.reshape(-1))", "y.T.reshape(-1))")]],
        "softmaxes twice": [[("logits = model(x)", "logits = model(x).softmax(-1)")]],
        "returns a loss without its gradient": [[("y.reshape(-1))", "y.reshape(-1)).item()")],
                                                [("y.reshape(-1))", "y.reshape(-1)).detach()")]],
    }),
    "16.16": (RATE, {
        "right": [[]],
        "falls to 0": [[("0.05 + 0.5 * (1 - 0.05)", "0.5")]],
        "adds the floor to the whole cosine": [[("0.5 * (1 - 0.05)", "0.5")]],
        "begins the fall with the warmup": [[("(step - warmup) / (steps - warmup)", "step / steps")]],
        "goes through a whole cosine": [[("math.pi * t", "2 * math.pi * t")]],
        "begins the fall one step late": [[("(step - warmup) / (steps - warmup)",
                                            "(step - warmup - 1) / max(1, steps - warmup - 1)")]],
        "has no warmup": [[("    if step < warmup:\n        return step / warmup\n", ""),
                           ("(step - warmup) / (steps - warmup)", "(step - 1) / (steps - 1)")]],
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
        "goes by the word weight, among matrices": [[("p.dim() == 2 and p.size(0) > 8",
                                                      "'weight' in name and p.dim() == 2")]],
        "spares the embedding": [[("p.dim() == 2", "'embed' not in name and p.dim() == 2")]],
        "leaves the second group empty": [[("            small.append(p)", "            pass")]],
        "decays whatever has more than one dimension": [[("p.dim() == 2", "p.dim() >= 2")]],
    }),
    "16.18": (FIT, {
        "right": [[], [("losses.append(loss.item())", "losses.append(loss.detach())")]],
        "never zeroes the gradients": [[("        opt.zero_grad()\n", "")]],
        "zeroes the gradients before the step": [[("        opt.zero_grad()\n", ""),
                                                  ("        opt.step()", "        opt.zero_grad(set_to_none=False)\n"
                                                                         "        opt.step()")]],
        "clips the first parameter only": [[("_(model.parameters(), clip)", "_(next(model.parameters()), clip)")]],
        "takes steps that are not clipped": [
            [("        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)\n", "")],
            [("        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)\n", ""),
             ("        opt.step()", "        opt.step()\n"
              "        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)")]],
        "clips each number": [[("clip_grad_norm_", "clip_grad_value_")]],
        "sets the rate of the step before": [[("rate(n, steps", "rate(n - 1, steps")]],
        "forgets the peak": [[("lr * rate", "rate")]],
        "keeps the rate constant": [[("lr * rate(n, steps, warmup)", "lr")]],
        "takes PyTorch's betas": [[(", betas=(0.9, 0.95)", "")]],
        "adds the decay to the gradient": [[("AdamW", "Adam")]],
        "decays by PyTorch's own strength": [[("groups(list(model.named_parameters()), decay)", "model.parameters()")]],
        "learns nothing": [[("        opt.step()\n", "")],
                           [("        opt.zero_grad()\n", ""),
                            ("loss.backward()", "loss.backward(); opt.zero_grad()")]],
        "confuses steps and warmup": [[("steps, warmup)", "warmup, steps)")]],
        "sets the rate of one group only": [[("in opt.param_groups:", "in opt.param_groups[:1]:"),
                                             ("decay), betas", "decay), lr=lr, betas")]],
        "takes all windows for the steps": [[("rate(n, steps, warmup)", "rate(n, starts.numel(), warmup)")]],
        "takes a step for each window": [[
            ("        opt.zero_grad()\n        loss = loss_of(model, text, starts[n - 1], T)\n        loss.backward()\n"
             "        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)\n        opt.step()\n"
             "        losses.append(loss.item())\n",
             "        told = []\n        for i in starts[n - 1]:\n            opt.zero_grad()\n"
             "            loss = loss_of(model, text, i.view(1), T)\n            loss.backward()\n"
             "            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)\n            opt.step()\n"
             "            told.append(loss.item())\n        losses.append(sum(told) / len(told))\n")]],
        "skips the first batch": [[("starts[n - 1]", "starts[min(n, steps - 1)]")]],
        "tells the losses backwards": [[("return losses", "return losses[::-1]")]],
    }),
    "16.19": (RUN, {
        "right": [[], [("def train_mine", ONE_FORMULA + "def train_mine")]],
        "begins with another loss": [[("return model, fit(", "told = fit("),
                                      ("// 10))", "// 10))\n    return model, [64 * x for x in told]")]],
        "reads windows of another length": [[("64", "16")], [("64", "100")]],
        "reads other windows": [[("text, starts, 64", "text, torch.randint(len(text) - 64, starts.shape), 64")],
                                [("text, starts, 64", "text, starts + 1, 64")]],
        "returns other losses than the book's loop": [[("0.01", "0.03")]],
        "reads windows of 32 tokens": [[("64", "32")]],
        "rounds the warmup up": [[("max(1, len(starts) // 10)", "max(1, (len(starts) + 9) // 10)")],
                                 [("len(starts) // 10", "round(len(starts) / 10)")]],
        "takes a tenth of the windows of a step": [[("len(starts) // 10", "starts.shape[1] // 10")]],
        "has no warmup, at least in a short run": [[("max(1, len(starts) // 10)", "len(starts) // 10")]],
        "takes a tenth of the windows": [
            [("max(1, len(starts) // 10)", "max(1, min(len(starts) * starts.shape[1] // 10, len(starts) - 1))")]],
        "warms up for ten steps, if there are as many": [
            [("max(1, len(starts) // 10)", "max(1, min(10, len(starts) - 1))")]],
        "sorts the windows": [[("text, starts, 64", "text, starts.reshape(-1).sort()[0].reshape(starts.shape), 64")]],
        "trains on the first batch again and again": [[("text, starts, 64", "text, starts[[0] * len(starts)], 64")]],
        "tells the mean so far": [[("return model, fit(", "told = fit("), ("// 10))", "// 10))\n    return model, "
                                   "[sum(told[:n]) / n for n in range(1, len(told) + 1)]")]],
        "warms up for one step, or a twentieth": [[("// 10", "// 20")]],
        "warms up for ten steps": [[("max(1, len(starts) // 10)", "10")]],
        "has a tenth of the rate": [[("0.01", "0.001")]],
        "has ten times the rate": [[("0.01", "0.1")]],
        "clips at 0.1": [[("0.1, 1.0", "0.1, 0.1")]],
        "decays with 0.01": [[("0.1, 1.0", "0.01, 1.0")]],
        "reads windows of 63 tokens": [[("64", "63")]],
        "exchanges decay and clipping": [[("0.1, 1.0", "1.0, 0.1")]],
        "decays nothing": [[("0.01, 0.1", "0.01, 0.0")]],
        "reads the windows in another order": [[("text, starts, 64", "text, starts.flip(0), 64")]],
        "returns another model than it has trained": [[("return model,", "return MyModel(vocab, 32, 2, 2),")]],
        "never zeroes the gradients": [
            [("def train_mine", FIT.replace("        opt.zero_grad()\n", "") + "def train_mine")]],
        "makes another number of blocks": [[("32, 2, 2", "32, 2, 1")]],
        "has another size than it was given": [[("32, 2, 2", "64, 2, 2")], [("32, 2, 2", "32, 4, 2")],
                                               [("MyModel(vocab", "MyModel(len(set(text.tolist()))")]],
    }),
}
BUILT = {id: {name: [written(code, *changes) for changes in answers] for name, answers in names.items()}
         for id, (code, names) in BUILD.items()}


@cases(BUILT)
def test_verdicts(id, answer, name):
    assert_verdict(id, answer, name)


def test_the_schedule_is_the_packages():
    config = Config(steps=50, warmup=0.2)
    steps = range(1, 51)
    assert [rate(n, 50, 10) for n in steps] == pytest.approx([rate_of_the_package(n, config) for n in steps])


def test_a_right_case_with_fewer_results_than_a_wrong_one():
    """The first loss is right whatever the gradient; a run of two steps may be right, one of five is wrong at [2]."""
    verdict = grade(registry.find("exercise", "16.18"), written(FIT, ("loss.backward()", "(loss / 3).backward()")))
    assert verdict.state == "fail" and not verdict.mistake


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


@pytest.mark.parametrize("divisor, apart", [("(u.square().sum(-1, keepdim=True) + 1e-6).sqrt()", 1e-3),
                                            ("(u.norm(dim=-1, keepdim=True) + 1e-8)", 0.3)])
def test_a_curve_is_right_whatever_the_epsilon_of_a_key(divisor, apart):
    """An ε of another form parts two runs as float32 does; the usual one has a book's model of its own."""
    mine = MIXER.replace("F.normalize(q, dim=-1), F.normalize(k, dim=-1)", f"(u / {divisor} for u in (q, k))")
    exercise = registry.find("exercise", "16.19")
    torch.manual_seed(1)
    judged = exercise.prepare(written(mine + MODEL + RUN))
    assert exercise.prepare.objection(judged) is None
    mine, book = judged.curves
    assert (mine - book).abs().max() < apart


@pytest.mark.parametrize("returned, said", [
    ("fit(model, text, starts, 64, 0.01, 0.1, 1.0, max(1, len(starts) // 10)), model", "the model first"),
    ("model, fit(model, text, starts, 64, 0.01, 0.1, 1.0, max(1, len(starts) // 10))[-1]", "a list of the losses")])
def test_what_is_returned_is_named_in_words(returned, said):
    answer = written("def train_mine(text, vocab, starts):\n    model = MyModel(vocab, 32, 2, 2)\n"
                     f"    return {returned}\n")
    assert said in grade(registry.find("exercise", "16.19"), answer).headline


def test_a_changed_model_is_seen_to_differ():
    """The case shown shows the difference, also where it is in the later weights only."""
    verdict = grade(registry.find("exercise", "16.18"), written(FIT, ("        opt.zero_grad()\n", "")))
    block = next(part.text for part in verdict.parts if "expected" in part.text)
    expected, yours = (line.split(None, 1)[1] for line in block.splitlines() if line.startswith(("expected", "yours")))
    assert expected != yours and "length" in expected
