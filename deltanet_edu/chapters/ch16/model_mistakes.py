"""Exercise 16.14: the mistakes of block and model."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ...tutor import Mistake, exercise
from ..common import alone_and_paired
from .mixing import SLIPS as SLIPS_OF_THE_MIXER
from .mixing import layer_norm, mixer, mixing_with
from .model import LAWS, ByParameters, Judge, MyBlock, MyModel, PackagesOwn, model_cases

# -- mistakes: the right model with one part exchanged -----------------------------------------------------------------

def model_with(block=None, mlp=None, mix=mixer, embed=None, final=None, start=None, build=None, forward=None, eps=1e-5,
               norm=None):
    """A mutant. block(x, norm_1, mix, norm_2, mlp), mlp(gate, value), embed(x), final(model, x), start(model),
    norm(x, weight)."""
    class Changed(MyBlock):
        def forward(self, x):
            def mixed(x):
                return mix(x, self.W_qkv.weight, self.taps, self.W_beta.weight, self.weight, self.W_O.weight)

            def local(x):
                gate, value = self.up(x).chunk(2, -1)
                return self.down((mlp or swiglu)(gate, value))
            return (block or pre_norm)(x, self.norm_1, mixed, self.norm_2, local)

    class Model(MyModel):
        def __init__(self, vocab, D, H, layers):
            super().__init__(vocab, D, H, layers)
            self.blocks = nn.ModuleList(Changed(D, H) for _ in range(layers))
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=0.02)
                if isinstance(module, nn.RMSNorm):
                    module.eps = eps
                    if norm:
                        module.forward = partial(normed, norm, module)
            for change in (build, start):
                if change:
                    change(self)

        def forward(self, tokens):
            if forward:
                return forward(self, tokens)
            x = self.embed(tokens)
            x = embed(x) if embed else x
            for layer in self.blocks:
                x = layer(x)
            return final(self, x) if final else self.head(self.norm(x))
    return Model


def normed(norm, module, x):
    return norm(x, module.weight)


def swiglu(gate, value):
    return F.silu(gate) * value


def pre_norm(x, norm_1, mix, norm_2, mlp):
    x = x + mix(norm_1(x))
    return x + mlp(norm_2(x))


def post_norm(x, norm_1, mix, norm_2, mlp):
    x = norm_1(x + mix(x))
    return norm_2(x + mlp(x))


def rescaled_stream(x, norm_1, mix, norm_2, mlp):
    x = norm_1(x)
    x = x + mix(x)
    x = norm_2(x)
    return x + mlp(x)


def side_by_side(x, norm_1, mix, norm_2, mlp):
    return x + mix(norm_1(x)) + mlp(norm_2(x))


def only_weighed(x, norm_1, mix, norm_2, mlp):
    x = x + mix(norm_1(x))
    return x + mlp(x * norm_2.weight)


def one_stream(x, norm_1, mix, norm_2, mlp):
    return x + mlp(norm_2(x + mix(norm_1(x))))


def reading_the_same(x, norm_1, mix, norm_2, mlp):
    y = norm_1(x)
    return x + mix(y) + mlp(norm_2(y))


def from_the_norm(x, norm_1, mix, norm_2, mlp):
    x = norm_1(x)
    x = x + mix(x)
    return x + mlp(norm_2(x))


def norm_before_the_mlp(x, norm_1, mix, norm_2, mlp):
    x = norm_2(x + mix(norm_1(x)))
    return x + mlp(x)


def doubled(x, norm_1, mix, norm_2, mlp):
    x = x + mix(norm_1(x))
    return 2 * x + mlp(norm_2(x))


def mlp_first(x, norm_1, mix, norm_2, mlp):
    x = x + mlp(norm_2(x))
    return x + mix(norm_1(x))


def of_a_running_text(model, tokens):
    """The tokens of the last call stand in front."""
    before = vars(model).get("before", tokens[:, :0])
    model.before = tokens
    return MyModel.forward(model, torch.cat([before, tokens], 1))[:, before.shape[1]:]


def of_equal_blocks(model, tokens):
    x = model.embed(tokens)
    for _ in model.blocks:
        x = model.blocks[0](x)
    return model.head(model.norm(x))


def of_the_last_block(model, tokens):
    y = [block(model.embed(tokens)) for block in model.blocks]
    return model.head(model.norm(y[-1]))


def of_one_block(model):
    model.blocks = nn.ModuleList([model.blocks[0]] * len(model.blocks))


def of_positions(x):
    return x + 0.1 * torch.arange(x.shape[1], dtype=x.dtype)[:, None]


def hidden(model):
    model.__dict__["rows"], model.blocks = [*model.blocks], nn.ModuleList()


def from_rows(model, tokens):
    x = model.embed(tokens)
    for block in model.rows:
        x = block(x)
    return model.head(model.norm(x))


def without_second_norms(model):
    for block in model.blocks:
        block.norm_2 = block.norm_1


def tied(model):
    model.head.weight = model.embed.weight


def biased(model):
    model.head = nn.Linear(*model.head.weight.shape[::-1])
    nn.init.normal_(model.head.weight, std=0.02)


def of_one_more_token(model):
    vocab, D = model.embed.weight.shape
    model.embed, model.head = nn.Embedding(vocab + 1, D), nn.Linear(D, vocab + 1, bias=False)


def of_one_more_block(model):
    model.blocks.append(model.blocks[0].__class__(model.embed.weight.shape[1], len(model.blocks[0].W_beta.weight)))


def without_dropout_switch(model, tokens):
    x = F.dropout(model.embed(tokens), 0.1, model.training)
    for block in model.blocks:
        x = block(x)
    return model.head(model.norm(x))


def matrices(model):
    return [m.weight for m in model.modules() if isinstance(m, (nn.Linear, nn.Embedding))]


def each(change, wanted=matrices):
    """A start: change(weight) done to each matrix, or to those that are wanted."""
    def start(model):
        for weight in wanted(model):
            change(weight.data)
    return start


def pytorchs(model):
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            module.reset_parameters()


def embedding(model):
    return [model.embed.weight]


def all_taps(model):
    return [block.taps for block in model.blocks]


def all_norms(model):
    return [m.weight for m in model.modules() if isinstance(m, nn.RMSNorm)]


def mixer_slip(name):
    slip = SLIPS_OF_THE_MIXER[name]
    return Mistake(dict(mix=mixing_with(**slip.answer)), f"It is the mixer: {slip.diagnosis}", slip.equation)


SLIPS = {
    "leaves out both residual connections": Mistake(
        dict(block=lambda x, norm_1, mix, norm_2, mlp: mlp(norm_2(mix(norm_1(x))))),
        "Mixer and MLP *add* to the stream: x + mixer(norm(x)), then x + mlp(norm(x))."),
    "leaves out the residual connection of the mixer": Mistake(
        dict(block=lambda x, norm_1, mix, norm_2, mlp: (y := mix(norm_1(x))) + mlp(norm_2(y))),
        "The mixer adds to the stream, x + mixer(norm(x)). Yours replaces it, and the token itself is forgotten."),
    "leaves out the residual connection of the MLP": Mistake(
        dict(block=lambda x, norm_1, mix, norm_2, mlp: mlp(norm_2(x + mix(norm_1(x))))),
        "The MLP adds to the stream, x + mlp(norm(x)). Yours replaces it."),
    "lets the MLP start from the old stream": Mistake(dict(block=side_by_side),
        "Mixer and MLP run side by side. The MLP should see what the mixer has added: one after the other."),
    "adds the MLP's output to the old stream": Mistake(dict(block=one_stream),
        "The MLP sees what the mixer has added, but its output is added to the stream before that: what the mixer said "
        "is lost from the stream."),
    "lets the MLP read what the mixer has read": Mistake(dict(block=reading_the_same),
        "The second norm is of the stream *after* the mixer has added to it. Yours normalizes once more what the mixer "
        "has read."),
    "replaces the stream by its norm": Mistake(dict(block=from_the_norm),
        "The mixer's output is added to the stream itself, not to its norm: x + mixer(norm(x))."),
    "replaces the stream by its norm before the MLP": Mistake(dict(block=norm_before_the_mlp),
        "The MLP's output is added to the stream itself, not to its norm: x + mlp(norm(x))."),
    "doubles the stream": Mistake(dict(block=doubled),
        "x + mlp(norm(x)): the stream is there once. Is x added a second time?"),
    "puts the MLP before the mixer": Mistake(dict(block=mlp_first), "First the mixer, then the MLP."),
    "normalizes after adding": Mistake(dict(block=post_norm),
        "That is post-norm, norm(x + mixer(x)). Here the norm stands before: x + mixer(norm(x)), and the stream itself "
        "is never rescaled."),
    "adds to the normalized stream": Mistake(dict(block=rescaled_stream),
        "Your norm changes the stream itself: x = norm(x), and then x + ... Only what the mixer *reads* is "
        "normalized."),
    "only weighs what the MLP reads": Mistake(dict(block=only_weighed),
        "The second norm's weights are there, but nothing is divided by the root of the mean square."),
    "leaves the MLP without SiLU": Mistake(dict(mlp=lambda gate, value: gate * value),
        "One half goes through SiLU before it multiplies the other."),
    "puts both halves through SiLU": Mistake(dict(mlp=lambda gate, value: F.silu(gate) * F.silu(value)),
        "Only one half goes through SiLU, the gate."),
    "puts the product of both halves through SiLU": Mistake(dict(mlp=lambda gate, value: F.silu(gate * value)),
        "SiLU is of one half alone, the gate; then it multiplies the other: SiLU(g) u."),
    "adds the halves of the MLP": Mistake(dict(mlp=lambda gate, value: F.silu(gate) + value),
        "The gate *multiplies* the other half."),
    "gates with a sigmoid": Mistake(dict(mlp=lambda gate, value: gate.sigmoid() * value),
        "The gate of a SwiGLU is SiLU, x σ(x), not σ(x)."),
    "gates with a ReLU": Mistake(dict(mlp=lambda gate, value: F.relu(gate) * value),
        "The gate of a SwiGLU is SiLU, x σ(x)."),
    "gates with a GELU": Mistake(dict(mlp=lambda gate, value: F.gelu(gate) * value),
        "The gate of a SwiGLU is SiLU, x σ(x)."),
    "applies a softmax to the logits": Mistake(dict(final=lambda model, x: model.head(model.norm(x)).softmax(-1)),
        "Scores are asked for. The loss applies the softmax."),
    "returns logarithms of probabilities": Mistake(
        dict(final=lambda model, x: model.head(model.norm(x)).log_softmax(-1)),
        "The loss would be the same, but scores are asked for: the loss applies the softmax."),
    "scales the embeddings": Mistake(dict(embed=lambda x: x * x.shape[-1]**0.5),
        "Nothing multiplies the embeddings here; some models have a √D there."),
    "adds positions": Mistake(dict(embed=of_positions),
        "A recurrence knows the order of its tokens. The model has no positions."),
    "normalizes the embeddings": Mistake(dict(embed=lambda x: F.rms_norm(x, x.shape[-1:], eps=1e-5)),
        "The stream begins with the embedding as it is. Each reader of it has a norm of its own."),
    "takes LayerNorms": Mistake(dict(norm=layer_norm),
        "A LayerNorm subtracts the mean first. An RMSNorm only divides by the root of the mean square."),
    "divides by the length in the norms": Mistake(
        dict(norm=lambda x, weight: x / (x.square().sum(-1, keepdim=True) + 1e-5).sqrt() * weight),
        "Divide by the root of the *mean* square: then the entries are about 1, and not the length."),
    "forgets the root in the norms": Mistake(
        dict(norm=lambda x, weight: x / (x.square().mean(-1, keepdim=True) + 1e-5) * weight),
        "Divide by the *root* of the mean square."),
    "has another ε": Mistake(dict(eps=1e-6), "The ε of the norms is 10⁻⁵. With small embeddings it is noticed."),
    "leaves ε out": Mistake(dict(eps=None),
        "`nn.RMSNorm(D)` takes a far smaller ε by itself: `nn.RMSNorm(D, eps=1e-5)`."),
    **{name: mixer_slip(name) for name in ("looks at later tokens", "looks one token ahead", "only adds",
                                           "adds its input", "leaves the convolution out", "leaves W_O out",
                                           "leaves SiLU out")},
}
TOGETHER = ("leaves out the residual connection of the mixer", "normalizes after adding", "leaves the MLP without SiLU",
            "applies a softmax to the logits")

LAWLESS = {
    "hides its blocks in a list": dict(build=hidden, forward=from_rows),
    "ties the head to the embedding": dict(build=tied),
    "has biases": dict(build=biased),
    "has too few norms": dict(build=without_second_norms),
    "makes another number of blocks": dict(build=of_one_more_block),
    "uses one block in all layers": dict(build=of_one_block),
    "has another size than it was given": dict(build=of_one_more_token),
    "leaves weights unused": dict(forward=of_equal_blocks),
    "remembers the text before": dict(forward=of_a_running_text),
    "is random in training": dict(forward=without_dropout_switch),
    "begins with PyTorch's own weights": dict(start=pytorchs),
    "begins with an embedding of size 1": dict(start=each(lambda w: w.normal_(), embedding)),
    "begins with matrices of another size": dict(start=each(lambda w: w.normal_(std=0.2))),
    "begins with zeros": dict(start=each(lambda w: w.zero_())),
    "begins with taps that do not pass the present through": dict(start=each(lambda w: w.normal_(std=0.02), all_taps)),
    "begins with norms that are not 1": dict(start=each(lambda w: w.zero_(), all_norms)),
}


exercise(
    id="16.14", title="Build, stage 2: block and model", kind="code", stars=4, minutes=30, equations=("16.8",),
    reference=MyModel, sources=(MyBlock, MyModel), alternatives=(ByParameters, PackagesOwn), cases=model_cases,
    prepare=Judge(), tolerance=1e-4,
    mutants={**alone_and_paired(model_with, SLIPS, TOGETHER),
             **{name: Mistake(model_with(**how), LAWS[name]) for name, how in LAWLESS.items()}},
    hints=("The block: `x = x + mixer(norm_1(x), ...)`, then x plus the MLP of `norm_2(x)`. The model: embed, blocks, "
           "norm, head.",
           "The MLP: `gate, value = up(x).chunk(2, -1)`, then `down(F.silu(gate) * value)`. Blocks belong in an "
           "`nn.ModuleList`. The mixer's weights are `nn.Linear(..., bias=False).weight` and `nn.Parameter(...)`.",
           "At the end of `__init__`, for each module that is an `nn.Linear` or an `nn.Embedding`: "
           "`nn.init.normal_(module.weight, std=0.02)`. The taps are a parameter of their own: "
           "`torch.cat([0.1 * torch.randn(3, 3 * D), torch.ones(1, 3 * D)])`."),
)
