"""Writing text, one token at a time: how fast, and what is kept, DeltaNet beside attention of equal size.

The context is read once and its state copied for every text of the batch. Then one step is timed again and again, at
that very context: every block updates what it keeps, in place, and the likeliest token comes next.
"""

import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..layers.attention import Attention, Cache
from ..lm.config import Config
from ..lm.model import LanguageModel, parameters, state_bytes


class FixedCache(nn.Module):
    """An Attention with a cache that was allocated at its full length: nothing is copied as a token comes in.

    Every token takes the last place. (`Attention` itself makes a new cache for each token, so that the old one can be
    returned to; a comparison with that would flatter DeltaNet.)
    """

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, x, cache, cu_seqlens=None):
        """x: (B, 1, D). The last place of the cache, (B, context, G, K), is written anew. Returns y: (B, 1, D)."""
        a, at = self.attention, cache.seen[:, None]
        q = a.to_q(x).unflatten(-1, (a.heads, -1))                       # (B, 1, H, K)
        k, v = a.to_kv(x).unflatten(-1, (2, a.groups, -1)).unbind(2)     # (B, 1, G, K) each
        cache.k[:, -1:].copy_(a.rotate(k, at))
        cache.v[:, -1:].copy_(v)
        heads_first = (z.transpose(1, 2) for z in (a.rotate(q, at), cache.k, cache.v))
        o = F.scaled_dot_product_attention(*heads_first, enable_gqa=a.groups < a.heads)
        return a.to_out(o.transpose(1, 2).flatten(-2)), cache


def wide(state, batch):
    """The state of one text as that of `batch` equal ones; a cache with room for one more token."""
    parts = [None if part is None else part.repeat_interleave(batch, 0) for part in state]
    if isinstance(state, Cache):
        parts[:2] = (F.pad(part, (0, 0, 0, 0, 0, 1)) for part in parts[:2])
    return type(state)(*parts)


class Decoder:
    """A model that has read `context` - 1 tokens in each of `batch` texts: step() writes token number `context`."""

    @torch.inference_mode()
    def __init__(self, config, context, batch, device="cpu", dtype=torch.float32):
        torch.manual_seed(0)
        self.model = LanguageModel(config).to(device, dtype).eval()
        self.parameters = parameters(self.model)
        text = torch.randint(config.vocab, (1, context - 1), device=device)
        _, states = self.model(text, asked=torch.tensor([[context - 2]], device=device))         # scores of the last
        self.states = []
        while states:                                                    # one at a time: all together may be large
            self.states.append(wide(states.pop(0), batch))
        for block in self.model.blocks:
            if type(block.mixer) is Attention:
                block.mixer = FixedCache(block.mixer)
        self.token = text[:, -1:].repeat(batch, 1)                       # (B, 1)

    @torch.inference_mode()
    def step(self):
        logits, after = self.model(self.token, self.states)
        for old, new in zip(self.states, after):
            for part, changed in zip(old, new):
                if part is not changed:
                    part.copy_(changed)
        self.token.copy_(logits[:, -1].argmax(-1, keepdim=True))


def measure(config, context, batch, device, dtype, rounds=15):
    """A dict: parameters, bytes kept, milliseconds of a step and tokens per second, of all texts together.

    On a GPU also those of a step as one CUDA graph, which the host need not launch kernel by kernel.
    """
    decoder = Decoder(config, context, batch, device, dtype)
    found = {"mixer": config.mixer, "context": context, "batch": batch, "parameters": decoder.parameters,
             "bytes kept": state_bytes(decoder.states)}
    if device.type == "cuda":
        from .timing import graph, milliseconds

        times = {"": milliseconds(decoder.step), " as a graph": milliseconds(graph(decoder.step).replay)}
    else:
        times = {"": median_of_steps(decoder.step, rounds)}
    for how, ms in times.items():
        found |= {f"milliseconds{how}": ms, f"tokens per second{how}": 1e3 * batch / ms}
    return found


def median_of_steps(step, rounds):
    """Milliseconds on a CPU, the median of so many steps."""
    step()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def compare(mixers, contexts, batch, device, dtype, rounds=15, progress=iter, **size):
    """A row for each mixer and context; one that does not fit into memory says so."""
    for mixer, context in progress([(mixer, context) for context in contexts for mixer in mixers]):
        config = Config(mixer=mixer, **size)
        try:
            yield measure(config, context, batch, device, dtype, rounds)
        except torch.OutOfMemoryError:
            yield {"mixer": mixer, "context": context, "batch": batch, "out of memory": True}


def fastest(row):
    """Tokens per second, as a graph where there is one; None if it did not fit."""
    return row.get("tokens per second as a graph", row.get("tokens per second"))


def describe(row, first):
    """One line of the table; `first` is the row of the first mixer at this context."""
    said = f"{row['mixer']:<16}{row['context']:>10,}{row['batch']:>7}"
    if fastest(row) is None:
        return f"{said}   does not fit into memory"
    times = fastest(first) / fastest(row) if fastest(first) else float("nan")
    return f"{said}{row['parameters']:>15,}{row['bytes kept']:>17,}{fastest(row):>15,.0f}{times:>10.2f}"
