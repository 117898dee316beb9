"""Text from a model, one token at a time, with a memory that never grows."""

import math

import torch

from .device import device_of


def choose(logits, temperature, top_k, generator):
    """logits: (vocab,). A token: the likeliest at temperature 0, else a draw from the top_k likeliest (all if None)."""
    if temperature == 0:
        return logits.argmax()
    if top_k and top_k < len(logits):
        smallest = logits.topk(top_k).values[-1]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    scores = (logits.double() - logits.max()) / temperature              # at most 0, however small the temperature
    return torch.multinomial(scores.softmax(-1), 1, generator=generator)[0]


@torch.inference_mode()
def generate_tokens(model, prompt, count, *, temperature=0.8, top_k=40, seed=0):
    """Yield (token, states) `count` times. The prompt, (T,) tokens, is read at once; then each token costs the same,
    because all that is kept of the past is `states`."""
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature: got {temperature}, expected 0 (always the likeliest) or a finite number; "
                         "1 draws from the model as it is.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: got {top_k}, expected a positive integer, or None for all tokens.")
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed: got {seed}, expected an integer from 0 to {2**63 - 1}.")
    generator, device = torch.Generator().manual_seed(seed), device_of(model)
    logits, states = model(prompt[None].to(device))                      # (1, T, vocab)
    for _ in range(count):
        token = choose(logits[0, -1].cpu(), temperature, top_k, generator)
        yield token, states
        logits, states = model(token.view(1, 1).to(device), states)      # (1, 1, vocab)


def generate(model, tokenizer, prompt="\n\n", tokens=200, **options):
    """Yield the continuation of a prompt in pieces of text, as soon as each is known.

    Options: temperature, top_k, seed.
    """
    if not prompt:
        raise ValueError('prompt: it is empty; the model needs something to continue. A new paragraph is "\\n\\n".')
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"prompt: character {error.start} is not text in UTF-8. "
                         "Set the terminal to UTF-8, or give the prompt without it.") from None
    pending = []
    for token, _ in generate_tokens(model, tokenizer.encode(prompt), tokens, **options):
        pending.append(token)
        piece = tokenizer.decode(pending)
        if not piece.endswith("\ufffd"):                                 # a character of several bytes may be cut
            yield piece
            pending = []
    if pending:
        yield tokenizer.decode(pending)
