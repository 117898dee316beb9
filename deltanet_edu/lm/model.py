"""A language model: embed, a stack of blocks, one score for every possible next token."""

import torch
import torch.nn as nn

from ..layers import Block


class LanguageModel(nn.Module):
    """logits_t = W_head norm(blocks(W_embed x_t)): scores for token t + 1 from tokens up to t.

    There are no positions here: a recurrence knows the order, and mixers that do not bring their own.
    """

    def __init__(self, config):
        super().__init__()
        self.embed = nn.Embedding(config.vocab, config.d_model)
        self.blocks = nn.ModuleList(Block(config.d_model, config.build_mixer(name), config.mlp_hidden, config.norm_eps,
                                          config.dropout) for name in config.mixers)
        self.norm = nn.RMSNorm(config.d_model, eps=config.norm_eps)
        self.head = config.build_head()
        self.apply(init_weights)

    def forward(self, tokens, states=None, cu_seqlens=None, asked=None, scored=True):
        """tokens: (B, T), and a state for each block (None: nothing seen yet). Returns logits: (B, T, vocab), states.

        With cu_seqlens, (N + 1,) integers [0, c_1, ..., T], N texts are packed in one row and none sees another.
        asked: (B, Q), positions, if only theirs are wanted; then logits: (B, Q, vocab). scored=False leaves out the
        last product: then (B, T or Q, D).
        """
        if states is not None and len(states) != len(self.blocks):
            raise ValueError(f"states: got {len(states)}, expected {len(self.blocks)}, one for each block: "
                             "the list that an earlier call has returned.")
        x, after = self.embed(tokens), []                                # (B, T, D)
        for block, state in zip(self.blocks, states or [None] * len(self.blocks)):
            x, state = block(x, state, cu_seqlens)                       # (B, T, D)
            after.append(state)
        if asked is not None:
            x = x.gather(1, asked[..., None].expand(-1, -1, x.shape[2]))     # (B, Q, D)
        x = self.norm(x)
        return (self.head(x) if scored else x), after                    # (B, T or Q, vocab)

    def loss(self, tokens, targets=None, asked=None, cu_seqlens=None):
        """Mean negative log-probability of the targets, in nats.

        tokens: (B, T + 1); the targets are tokens 1 to T, each given those before it. Or tokens: (B, T) and targets:
        (B, T), what should be said after each token, -100 where nothing is asked. asked: (B, Q), the positions that
        can be asked, if they are few. cu_seqlens: as in `forward`.
        """
        if targets is None:
            tokens, targets = tokens[:, :-1], tokens[:, 1:]              # (B, T) both
        x, _ = self.forward(tokens, cu_seqlens=cu_seqlens, asked=asked, scored=False)    # (B, T or Q, D)
        targets = targets if asked is None else targets.gather(1, asked)
        return self.head.loss(x, targets)


def init_weights(module):
    """Small normal weights, as in the paper: at first all tokens are about equally likely, the loss is ln(vocab)."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)


def meta_model(config):
    """The model without its numbers: names and shapes."""
    with torch.device("meta"):
        return LanguageModel(config)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def state_bytes(states):
    """What the model carries from one token to the next."""
    return sum(state.nbytes for state in states)
