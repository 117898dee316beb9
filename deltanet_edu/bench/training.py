"""How fast models train: tokens a second, how much of the device they use, and memory; ours beside what others have.

Every model takes the same step: AdamW in one kernel, gradients clipped to 1, products in bfloat16 by autocast, next
tokens of random texts. `deltanet-edu bench training` times them one after the other on one device, in one process.
"""

import contextlib
import gc
import statistics
import time

import torch

from ..lm.config import Config
from ..lm.model import LanguageModel, parameters
from ..lm.speed import peak_of

OTHERS = ("fla", "llama")


def of_ours(mixer, config):
    """(model, its loss on (B, T + 1) tokens) of this package, with the mixer of this name."""
    settings = config.to_dict() | {"mixer": mixer, "options": {}}
    model = LanguageModel(Config(**settings))
    return model, model.loss


def of_fla(config):
    """The same for flash-linear-attention's DeltaNet, with its own fused kernels, of the same sizes."""
    from fla.models import DeltaNetConfig, DeltaNetForCausalLM

    return of_hugging_face(DeltaNetForCausalLM(DeltaNetConfig(
        hidden_size=config.d_model, num_heads=config.heads, num_hidden_layers=config.layers, vocab_size=config.vocab,
        intermediate_size=config.mlp_hidden, tie_word_embeddings=False)))


def of_llama(config):
    """The same for Llama of transformers, softmax attention by PyTorch."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return of_hugging_face(LlamaForCausalLM(LlamaConfig(
        hidden_size=config.d_model, num_attention_heads=config.heads, num_hidden_layers=config.layers,
        vocab_size=config.vocab, intermediate_size=config.mlp_hidden, max_position_embeddings=2**16,
        tie_word_embeddings=False, attn_implementation="sdpa")))


def of_hugging_face(model):
    """These cut the targets out of the tokens themselves; (B, T + 1) tokens would be one token more work."""
    return model, lambda tokens: model(input_ids=tokens[:, :-1], labels=tokens[:, :-1], use_cache=False).loss


def build(name, config):
    return {"fla": of_fla, "llama": of_llama}[name](config) if name in OTHERS else of_ours(name, config)


def measure(name, config, shape, place, compiled=False, steps=10, warmup=4):
    """{"tokens_per_second", "milliseconds", "utilisation", "peak_bytes", "first_seconds", ...} of a model and a shape.

    The median of `steps` steps after `warmup`, each from before the batch to after the weights have changed.
    """
    (B, T), device = shape, place.device
    torch.manual_seed(0)
    model, loss_of = build(name, config)
    model.to(device)
    loss_of = torch.compile(loss_of) if compiled else loss_of
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), fused=True)
    batches = torch.randint(config.vocab, (2, B, T + 1), device=device)
    on_gpu, seconds, losses = device.type == "cuda", [], []
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    for n in range(warmup + steps):
        started = time.perf_counter()
        with place.autocast():
            loss = loss_of(batches[n % 2])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())                                       # waits for all that was asked of the device
        seconds.append(time.perf_counter() - started)
    usual, n = statistics.median(seconds[warmup:]), parameters(model)
    counted = n - sum(p.numel() for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters())
    peak = peak_of(place)
    return {"model": name, "batch": B, "length": T, "compiled": compiled, "parameters": n,
            "tokens_per_second": round(B * T / usual), "milliseconds": round(1000 * usual, 2),
            "utilisation": round(6 * counted * B * T / usual / peak, 4) if peak else None,
            "peak_bytes": torch.cuda.max_memory_allocated(device) if on_gpu else None,
            "first_seconds": round(seconds[0], 1), "losses": [round(losses[0], 3), round(losses[-1], 3)]}


def measured(names, config, shapes, place, ways, progress=lambda row: None, **how):
    """A row for each model, shape and way; {"error"} where it could not run."""
    rows = []
    for shape in shapes:
        for name in names:
            for compiled in ways:
                try:
                    row = measure(name, config, shape, place, compiled, **how)
                except Exception as error:                               # not installed, no memory: the rest goes on
                    row = {"model": name, "batch": shape[0], "length": shape[1], "compiled": compiled,
                           "error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
                torch.compiler.reset()
                gc.collect()
                with contextlib.suppress(AssertionError, RuntimeError):
                    torch.cuda.empty_cache()
                rows.append(row)
                progress(row)
    return rows


def line(row):
    said = f"{row['model']:<12}{row['batch']:>4} x {row['length']:<7}{'compiled' if row['compiled'] else 'eager':<10}"
    if "error" in row:
        return said + row["error"]
    used = f"{row['utilisation']:8.1%} of peak" if row["utilisation"] else ""
    memory = f"{row['peak_bytes'] / 1e9:8.1f} GB" if row["peak_bytes"] else ""
    return said + f"{row['tokens_per_second']:>10,} tokens/s{used}{memory}"
