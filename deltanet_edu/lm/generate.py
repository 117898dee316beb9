"""Text from a model, one token at a time, with a memory that never grows."""

import math

import torch

from .device import device_of

USER, MODEL = "User: ", "\nAssistant:"                                   # how a chat is written down as a text
PIECE = 1024                                                             # tokens of a long prompt that are read at once


def choose(logits, temperature, top_k, generator, top_p=1.0):
    """logits: (vocab,). A token: the likeliest at temperature 0, else a draw from the top_k likeliest (all if None).

    Of those, only the likeliest are drawn that together have a probability of top_p, at this temperature.
    """
    if temperature == 0:
        return logits.argmax()
    if top_k and top_k < len(logits):
        smallest = logits.topk(top_k).values[-1]
        logits = logits.masked_fill(logits < smallest, -torch.inf)
    scores = (logits.double() - logits.max()) / temperature              # at most 0, however small the temperature
    p = scores.softmax(-1)
    if top_p < 1:
        sorted_p, order = p.sort(descending=True)
        p[order[sorted_p.cumsum(0) - sorted_p >= top_p]] = 0             # the likelier ones are enough without these
    return torch.multinomial(p, 1, generator=generator)[0]


@torch.inference_mode()
def generate_tokens(model, prompt, count, *, temperature=0.8, top_k=40, top_p=1.0, seed=0, states=None):
    """Yield (token, states) `count` times. The prompt, (T,) tokens, is read in pieces, so that a long one takes no more
    memory than a short one; then each token costs the same, because all that is kept of the past is `states`: those of
    everything before the token. Others may be given, of what the prompt goes on from."""
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature: got {temperature}, expected 0 (always the likeliest) or a finite number; "
                         "1 draws from the model as it is.")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: got {top_k}, expected a positive integer, or None for all tokens.")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p: got {top_p}, expected a probability in (0, 1]; 1 leaves all tokens in the draw.")
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed: got {seed}, expected an integer from 0 to {2**63 - 1}.")
    generator, device = torch.Generator().manual_seed(seed), device_of(model)
    for piece in prompt.split(PIECE):
        logits, states = model(piece[None].to(device), states)           # (1, up to PIECE, vocab)
    for _ in range(count):
        token = choose(logits[0, -1].cpu(), temperature, top_k, generator, top_p)
        yield token, states
        logits, states = model(token.view(1, 1).to(device), states)      # (1, 1, vocab)


def generate(model, tokenizer, prompt="\n\n", tokens=200, *, stop=(), watch=lambda states: None, **options):
    """Yield the continuation of a prompt in pieces of text, as soon as each is known.

    Args:
        stop: strings at which to end; they are not part of the text. A token that ends a text ends it, too.
        watch: called with the states before every token, for those who want to see how large they are.
        options: temperature, top_k, top_p, seed, states: see `generate_tokens`.
    """
    if not prompt:
        raise ValueError('prompt: it is empty; the model needs something to continue. A new paragraph is "\\n\\n".')
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"prompt: character {error.start} is not text in UTF-8. "
                         "Set the terminal to UTF-8, or give the prompt without it.") from None
    if not all(stop):
        raise ValueError("stop: one of the strings is empty; every text would end before it begins.")
    return until(stop, decoded(model, tokenizer, prompt, tokens, watch, options))


def decoded(model, tokenizer, prompt, tokens, watch, options):
    """The pieces of text of so many tokens, each of whole characters."""
    made, shown = [], 0                                                  # tokens, and how many of them are written out

    def piece():                                                         # some decoders drop the blank in front of all
        near = max(0, shown - 4)
        return tokenizer.decode(made[near:])[len(tokenizer.decode(made[near:shown])):]

    read = tokenizer.encode(prompt, begin=options.get("states") is None)
    for token, states in generate_tokens(model, read, tokens, **options):
        watch(states)
        if int(token) in tokenizer.ends:
            break
        made.append(token)
        if not piece().endswith("\ufffd"):                               # a character of several bytes may be cut
            yield piece()
            shown = len(made)
    if shown < len(made):
        yield piece()


def until(stop, pieces):
    """The pieces up to the first of the stop strings. What may be the beginning of one waits for what follows."""
    held = ""
    for piece in pieces:
        held += piece
        found = [held.index(string) for string in stop if string in held]
        if found:
            if min(found):
                yield held[: min(found)]
            return
        wait = max((n for string in stop for n in range(1, len(string)) if held.endswith(string[:n])), default=0)
        if sure := held[: len(held) - wait]:
            yield sure
        held = held[len(sure):]
    if held:
        yield held


class Chat:
    """A conversation with a model, whose whole past is its states: a turn costs the same after ten as after none."""

    def __init__(self, model, tokenizer, tokens=200, **options):
        self.model, self.tokenizer, self.tokens, self.options, self.states = model, tokenizer, tokens, options, None

    def reply(self, said):
        """Yield the reply in pieces. However much of it was taken, the conversation goes on after that."""
        turn, before, taken = f"{USER}{said}{MODEL}", self.states, []
        try:
            for piece in generate(self.model, self.tokenizer, turn, self.tokens, stop=("\n" + USER.strip(),),
                                  states=before, **self.options):
                taken.append(piece)
                yield piece
        finally:                                                         # read what was said, without what was cut off
            with torch.inference_mode():
                tokens = self.tokenizer.encode(turn + "".join(taken).rstrip() + "\n", begin=before is None)
                self.states = self.model(tokens[None].to(device_of(self.model)), before)[1]
