"""Answers to the exercises of chapter 16, as readers write them."""

import inspect
import math

import torch
import torch.nn.functional as F
from torch import nn

from deltanet_edu import delta_rule
from deltanet_edu.tutor import registry

from .answers import assert_verdict, cases


def moved(cache, z):
    return torch.cat([cache[:, 1:], z[:, None]], 1)


def prepared(shape=lambda x: F.normalize(F.silu(x), dim=-1), beta=torch.sigmoid):
    return lambda q, k, b: (shape(q), shape(k), beta(b))


def like_the_layer(x):
    x = F.silu(x)
    return x / (x.square().sum(-1, keepdim=True) + 1e-6).sqrt()


def over_sum(square, size):
    def shape(x):
        x = F.silu(x)
        return x / size(square(x).sum(-1, keepdim=True))
    return shape


def decoded(norm, write=lambda v, old, b: b * (v - old), summed=False):
    def decode_step(q, k, v, beta, S):
        old = torch.einsum("hvk,hk->hv", S, k)
        written = torch.einsum("hv,hk->hvk", write(v, old, beta[:, None]), k)
        S = S + (written.sum(0) if summed else written)
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


def masked_with_zero(tokens, cu_seqlens):
    targets = torch.cat([tokens[1:], torch.tensor([-100])])
    for end in cu_seqlens[1:-1]:
        targets[end - 1] = 0
    return targets


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
        "divides by the squared length": [prepared(over_sum(lambda x: x * x, lambda size: size + 1e-6))],
        "divides by the squared length, zeros too": [prepared(over_sum(lambda x: x * x, lambda size: size))],
        "divides by the root of the mean square": [
            prepared(over_sum(lambda x: x * x / x.shape[-1], lambda size: (size + 1e-6).sqrt()))],
        "takes σ(x) for SiLU": [prepared(lambda x: F.normalize(1 / (1 + torch.exp(-x)), dim=-1))],
        "doubles β": [prepared(beta=lambda b: 2 * b.sigmoid())],
        "leaves SiLU out, and lets β be any number": [prepared(lambda x: F.normalize(x, dim=-1), lambda b: b)],
    },
    "16.4": {
        "right": [decoded(lambda o: F.rms_norm(o, o.shape[-1:], eps=1e-5))],
        "leaves ε out": [decoded(lambda o: F.rms_norm(o, o.shape[-1:]))],
        "takes an ε of 10⁻⁶": [decoded(lambda o: F.rms_norm(o, o.shape[-1:], eps=1e-6))],
        "divides by the 2-norm, without ε": [decoded(lambda o: F.normalize(o, dim=-1))],
        "fades the whole memory": [faded],
        "adds what all heads write to each": [decoded(
            lambda o: F.rms_norm(o, o.shape[-1:], eps=1e-5), summed=True)],
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
             "counts half of what attention keeps": [74], "compares with the layer's weights": [264],
             "forgets the convolution, and stops where both are equal": [32]},
    "16.7": {
        "right": [chosen(lambda logits, smallest: logits >= smallest)],
        "strikes out the last of the best": [chosen(lambda logits, smallest: logits > smallest)],  # `<=` strikes it out
        "keeps the best one only": [chosen(lambda logits, smallest: logits == logits.max())],
        "leaves the temperature without effect": [
            lambda logits, temperature, top_k: (p := chosen(lambda x, smallest: x >= smallest)(logits, 1.0, top_k)
                                                / temperature) / p.sum()],
        "returns the best only": [
            lambda logits, temperature, top_k: (logits.topk(top_k).values / temperature).softmax(-1)],
        "takes a softmax of probabilities": [
            lambda logits, temperature, top_k: chosen(lambda x, smallest: x >= smallest)(
                chosen(lambda x, smallest: x >= smallest)(logits, 1.0, top_k), temperature, top_k)],
        "ignores top-k and temperature": [lambda logits, temperature, top_k: logits.softmax(0)],
    },
    "16.8": {
        "right": [lambda bits, chars, tokens: math.pow(2, bits * chars / tokens),
                  lambda bits, chars, tokens: torch.tensor(2.0, dtype=torch.float64) ** (bits * chars / tokens)],
        "is the perplexity of a character": [lambda bits, chars, tokens: math.exp(bits * math.log(2))],
        "takes bits for nats": [lambda bits, chars, tokens: math.e ** (bits / tokens * chars)],
        "is the perplexity of the whole text": [lambda bits, chars, tokens: (2.0 ** bits) ** chars],
        "gives the probability of a token": [lambda bits, chars, tokens: 1 / 2.0 ** (bits * chars / tokens)],
        "stops at the cost of a token": [lambda bits, chars, tokens: bits / (tokens / chars)],
    },
    "16.9": {
        "right": [masked(lambda ends: ends[1:] - 1), masked(lambda ends: ends - 1)],  # -1, the last, is an end as well
        "predicts across the borders": [lambda tokens, cu_seqlens: F.pad(tokens[1:], (0, 1), value=-100)],
        "masks the first token of each text": [masked(lambda ends: ends[:-1])],
        "asks for token 0 between texts": [masked_with_zero],
        "predicts the token it has just read, but for the first": [
            lambda tokens, cu_seqlens: tokens.index_fill(0, cu_seqlens[:-1], -100)],
        "masks one too late": [masked(lambda ends: ends[1:-1])],
    },
    "16.10": {
        "right": [looked_up()],
        "cuts both into pieces": [lambda train, held_out, n: looked_up(n, n)(train, held_out, n)],
        "cuts the training text into pieces": [lambda train, held_out, n: looked_up(1, n)(train, held_out, n)],
        "counts each different run once": [looked_up(unique=True)],
        "asks for the tokens of a run one by one": [
            lambda train, held_out, n: torch.isin(held_out, train).unfold(0, n, 1).all(-1).double().mean()],
        "forgets the last run of each text": [
            lambda train, held_out, n: looked_up()(train[:-1], held_out[:-1], n)],
        "compares sums": [lambda train, held_out, n: torch.isin(
            held_out.unfold(0, n, 1).sum(-1), train.unfold(0, n, 1).sum(-1)).double().mean()],
        "says only whether there is a leak": [lambda train, held_out, n: float(looked_up()(train, held_out, n) > 0)],
        "looks up digits": [lambda train, held_out, n: sum(
            "".join(map(str, run)) in "".join(map(str, train.tolist())) for run in held_out.unfold(0, n, 1).tolist())
            / (len(held_out) - n + 1)],
    },
    "16.11": {"right": [521, 521.0112, 521.5], "counts in mebibytes": [496.9], "serves one text": [26.05],
              "keeps everything in two bytes": [269.35], "forgets the convolution": [503.3],
              "multiplies by the length": [8.536e6], "counts numbers": [134.7],
              "keeps four inputs of the convolution": [526.9], "exchanges the two dtypes": [287.05]},
    "16.12": {
        "right": [welch(lambda a, b: (a.std() ** 2 / len(a) + b.std() ** 2 / len(b)) ** 0.5)],
        "divides by the spread of single runs": [welch(lambda a, b: math.hypot(a.std(), b.std()))],
        "forgets that n − 1 are free": [
            welch(lambda a, b: math.sqrt(a.numpy().var() / len(a) + b.numpy().var() / len(b)))],
        "does not divide": [welch(lambda a, b: 1)],
        "divides by n − 1 twice": [welch(lambda a, b: math.hypot(a.std() / (len(a) - 1) ** 0.5,
                                                                 b.std() / (len(b) - 1) ** 0.5))],
        "compares the best runs": [lambda a, b: (max(b) - max(a)) / math.sqrt(a.var() / len(a) + b.var() / len(b))],
    },
}


@cases(ANSWERS)
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
