"""Bits per character on held-out text: the one number by which models with different tokens compare."""

import math

import torch
import torch.nn.functional as F

from .device import device_of

CONTEXT, SCORED = 128, 128                                               # tokens read before a window, and scored in it


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


def bits_per_character(model, held_out, share=1.0, batch=32):
    """Bits per character over all of `held_out` (a sequence of HeldOut), or over a `share` of its windows.

    Total bits over total characters (eq. 16.2). With share < 1 the windows are evenly spread, and the characters are
    those of the scored tokens on average.
    """
    groups, total, every = {}, 0.0, max(1, round(1 / share))
    all_tokens, chars = sum(len(p.tokens) for p in held_out), sum(p.chars for p in held_out)
    cut = [window for part in held_out for window in windows(part)]
    for tokens, scored in cut[::every]:
        groups.setdefault((len(tokens), scored), []).append(tokens)      # those of one shape go through it together
    count = 0
    for (_, scored), rows in groups.items():
        for i in range(0, len(rows), batch):
            loss = nats(model, torch.stack(rows[i : i + batch]), scored)
            total, count = total + loss.double().sum().item(), count + loss.numel()
    return total / math.log(2) / (chars * count / all_tokens)
