"""What a model makes of held-out text: bits per character, and what any continuation of any context costs it."""

import math

import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from .device import device_of

CONTEXT, SCORED = 128, 128                                               # tokens read before a window, and scored in it


def context_of(length):
    """How many tokens to read before a window: as many as in training stand before its last ones, at least 128."""
    return max(CONTEXT, length - SCORED)


def windows(part, context=CONTEXT, scored=SCORED):
    """Cut one held-out text into (tokens, how many of the last are scored): every held-out token is scored once.

    Each window is read from an empty memory: `context` tokens to know where we are, then `scored` tokens that count.
    The first window's context is the end of the training part of the same book.
    """
    before = part.before[-context:]
    text = torch.cat([before, part.tokens])
    for start in range(len(before), len(text), scored):
        stop = min(start + scored, len(text))
        yield text[max(0, start - context) : stop], stop - start


@torch.no_grad()
def nats(model, tokens, scored):
    """tokens: (B, n). Negative log-probabilities of the last `scored` tokens, given all before: (B, scored)."""
    tokens = tokens.to(device_of(model))
    logits, _ = model(tokens[:, :-1])                                    # (B, n - 1, vocab)
    logits, targets = logits[:, -scored:], tokens[:, -scored:]
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")


def bits_per_character(model, held_out, share=1.0, batch=32, context=CONTEXT):
    """Bits per character over all of `held_out` (a sequence of HeldOut), or over a `share` of its windows.

    Total bits over total characters (eq. 16.2). With share < 1 the windows are evenly spread, and the characters are
    those of the scored tokens on average.
    """
    groups, total, every = {}, 0.0, max(1, round(1 / share))
    all_tokens, chars = sum(len(p.tokens) for p in held_out), sum(p.chars for p in held_out)
    cut = [window for part in held_out for window in windows(part, context)]
    for tokens, scored in cut[::every]:
        groups.setdefault((len(tokens), scored), []).append(tokens)      # those of one shape go through it together
    count = 0
    for (_, scored), rows in groups.items():
        for i in range(0, len(rows), batch):
            loss = nats(model, torch.stack(rows[i : i + batch]), scored)
            total, count = total + loss.double().sum().item(), count + loss.numel()
    return total / math.log(2) / (chars * count / all_tokens)


def by_part(model, data, share=1.0, progress=iter):
    """A dict for each held-out part, and one for all of them: its size, and what it costs.

    A perplexity, e^(mean loss of a token), compares models with the same tokens only.    progress: wraps the parts.
    """
    rows, named = [], {}
    for part in data.held_out:                                           # a file of many documents is one
        named.setdefault(part.name, []).append(part)
    for name, parts in progress(named.items()):
        size = sum(len(data.tokenizer.decode(part.tokens).encode()) for part in parts)
        chars, tokens = (sum(numbers) for numbers in zip(*((part.chars, len(part.tokens)) for part in parts)))
        rows.append(cost(name, chars, size, tokens, bits_per_character(model, parts, share, context=data.context)))
    chars, size, tokens = (sum(row[name] for row in rows) for name in ("characters", "bytes", "tokens"))
    bits = sum(row["bits per character"] * row["characters"] for row in rows)
    return [*rows, cost("all", chars, size, tokens, bits / chars)]


def cost(name, chars, size, tokens, bits):
    return {"part": name, "characters": chars, "bytes": size, "tokens": tokens, "bits per character": bits,
            "bits per byte": bits * chars / size, "perplexity of a token": 2 ** (bits * chars / tokens)}


@torch.no_grad()
def by_position(model, held_out, length, times=8, progress=iter):
    """Bits per character by the position of a token in a text that is read from its beginning, up to times * length.

    The held-out parts are cut into windows so long, or half so long until one fits. Returns a dict for each stretch,
    [0, length / 4), [length / 4, length / 2), [length / 2, length), [length, 2 length), ...: from, to, bits per
    character, its standard error over the windows, and their number. Empty if no part is longer than length.
    """
    while times >= 1 and all(len(part.tokens) <= times * length for part in held_out):
        times //= 2
    if times < 1:
        return []
    T, chars = times * length, sum(p.chars for p in held_out) / sum(len(p.tokens) for p in held_out)
    cut = [part.tokens[i : i + T + 1] for part in held_out for i in range(0, len(part.tokens) - T, T)]
    batch = max(1, 2**24 // (T * model.head.out_features))               # so that the scores take 64 MB
    losses = torch.cat([nats(model, torch.stack(cut[i : i + batch]), T).double().cpu()
                        for i in progress(range(0, len(cut), batch))])   # (windows, T)
    edges = sorted({0, length // 4, length // 2, *(length * 2**i for i in range(times.bit_length()))})
    rows = []
    for start, stop in zip(edges, edges[1:]):
        each = losses[:, start:stop].mean(1) / math.log(2) / chars       # (windows,)
        error = each.std().item() / math.sqrt(len(each)) if len(each) > 1 else None
        rows.append({"from": start, "to": stop, "bits per character": each.mean().item(), "standard error": error,
                     "windows": len(each)})
    return rows


# -- continuations -----------------------------------------------------------------------------------------------------

def continuation(tokenizer, context, text):
    """(tokens of context + text, how many of the last are the text's). Where both meet in one token, it is the text's.

    An empty context becomes a new paragraph: the first token needs something to follow.
    """
    context = context or "\n\n"
    before, whole = tokenizer.encode(context), tokenizer.encode(context + text)
    n = min(len(before), len(whole))
    same = int((before[:n] == whole[:n]).long().cumprod(0).sum())
    return whole, len(whole) - max(1, same)


@torch.no_grad()
def score(model, rows, batch=16, progress=iter):
    """rows: a list of (tokens, n). Returns for each (the losses of its last n tokens in nats, is each the likeliest?).

    Rows of like length go through the model together, padded at their ends, which nothing before them sees.
    """
    device, found = device_of(model), [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    for start in progress(range(0, len(rows), batch)):
        chosen = order[start : start + batch]
        tokens = pad_sequence([rows[i][0] for i in chosen], batch_first=True).to(device)         # (B, T + 1)
        Q = max(rows[i][1] for i in chosen)
        ends = torch.tensor([len(rows[i][0]) for i in chosen], device=device)
        asked = (ends[:, None] - 1 - Q + torch.arange(Q, device=device)).clamp(min=0)            # (B, Q)
        logits, targets = model(tokens[:, :-1], asked=asked)[0].float(), tokens.gather(1, asked + 1)
        losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").cpu()        # (B, Q)
        likeliest = (logits.argmax(-1) == targets).cpu()
        for i, loss, right in zip(chosen, losses, likeliest):
            n = rows[i][1]
            found[i] = loss[Q - n:], bool(right[Q - n:].all())
    return found


@torch.no_grad()
def cost_of_long(model, tokens, scored, piece=1024):
    """The loss of the last `scored` tokens in nats, all together. The model reads in pieces and keeps only its states,
    so that a long text needs no more memory than a short one."""
    device, states, total = device_of(model), None, 0.0
    for start in range(0, len(tokens) - 1, piece):
        part = tokens[start : start + piece + 1].to(device)
        logits, states = model(part[None, :-1], states)                  # (1, up to piece, vocab)
        losses = F.cross_entropy(logits[0].float(), part[1:], reduction="none")
        total += losses[max(0, len(tokens) - scored - start - 1):].double().sum().item()
    return total
