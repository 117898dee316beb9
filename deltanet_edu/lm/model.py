"""A language model: embed, a stack of blocks, one score for every possible next token."""

import torch
import torch.nn as nn
import torch.nn.functional as F

from ..layers import Block, DeltaNet, LinearAttention

MIXERS = {"delta": DeltaNet, "linear": LinearAttention}


class LanguageModel(nn.Module):
    """logits_t = W_head norm(blocks(W_embed x_t)): scores for token t + 1 from tokens up to t.

    There are no positions: the recurrence knows the order.
    """

    def __init__(self, config):
        super().__init__()
        self.embed = nn.Embedding(config.vocab, config.d_model)
        self.blocks = nn.ModuleList(Block(config.d_model, build_mixer(config), config.mlp_hidden) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.d_model, eps=1e-5)
        self.head = nn.Linear(config.d_model, config.vocab, bias=False)
        self.apply(init_weights)

    def forward(self, tokens, states=None):
        """tokens: (B, T), and one State a block (None: nothing seen yet). Returns logits: (B, T, vocab) and the next states."""
        x, after = self.embed(tokens), []                                # (B, T, D)
        for block, state in zip(self.blocks, states or [None] * len(self.blocks)):
            x, state = block(x, state)                                   # (B, T, D)
            after.append(state)
        return self.head(self.norm(x)), after                            # (B, T, vocab)

    def loss(self, tokens, states=None):
        """tokens: (B, T + 1). The mean negative log-probability of tokens 1 to T, each given those before it, in nats."""
        logits, _ = self(tokens[:, :-1], states)                         # (B, T, vocab)
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def build_mixer(config):
    shared = dict(conv_size=config.conv_size, feature_map=config.feature_map, norm=config.norm)
    if config.mixer == "delta":
        shared["beta_max"] = config.beta_max
    return MIXERS[config.mixer](config.d_model, config.heads, **shared)


def init_weights(module):
    """Small normal weights, as in the paper's models: at the first step all tokens are about equally likely, a loss of ln(vocab)."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def state_bytes(states):
    """What the model carries from one token to the next."""
    return sum(part.numel() * part.element_size() for state in states for part in state if part is not None)
