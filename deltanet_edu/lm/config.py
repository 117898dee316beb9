"""All that decides what a training run computes: two runs with equal configurations and texts give equal weights."""

import math
from dataclasses import asdict, dataclass, field, fields
from numbers import Real

# Nothing heavy is imported here: the command line makes its options from these fields before it knows what it will do.

BYTES = 256
WIDTH_OF_MLP = "Width inside the MLP; 8D / 3, rounded up to a multiple of 64, if None; 0: no MLP."


def setting(default, help, ok=lambda value: True, expected=""):
    """A field of Config, with the help that the command line shows, and what its value must be."""
    about = dict(help=help, ok=ok, expected=expected)
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=about)
    return field(default=default, metadata=about)


def count(default, help):
    return setting(default, help, lambda n: n >= 1, "a positive integer")


def positive(default, help):
    return setting(default, help, lambda x: 0 < x < math.inf, "a positive number")


@dataclass(frozen=True)
class Config:
    # the text
    corpus: str = setting("auto", '"books", "addresses", "books+addresses", "stories", "auto" (the books if they are '
                                  'there), or a UTF-8 file, a folder of *.txt, or what "prepare" has made of them.')
    vocab: int = setting(1024, "Size of the vocabulary; 256 is one token a byte.",
                         lambda n: n >= BYTES, f"at least {BYTES}, one token for each byte")
    # the model
    mixer: str = setting("delta", 'What looks back in time: a name, or one for each layer, "delta,linear"; if there '
                                  'are more layers they start over. "delta+sliding" and "delta+global" are hybrids.')
    options: dict = setting({}, "An option of a mixer, such as beta_max=2, or of one of several: delta.beta_max=2.")
    layers: int = count(2, "Layers of the model.")
    d_model: int = count(128, "D, the width of the model.")
    heads: int = count(2, "H, the heads of a layer.")
    mlp_hidden: int | None = setting(None, WIDTH_OF_MLP, lambda n: n is None or n >= 0, "None or an integer, 0 or more")
    norm_eps: float = positive(1e-5, "What the norms of the model add to the mean square.")
    dropout: float = setting(0.0, "Share of what each mixer and MLP adds that is dropped in training.",
                             lambda x: 0 <= x < 1, "a share, in [0, 1)")
    bpe_dropout: float = setting(0.0, "Share of the merged tokens that training reads as the two they were merged "
                                      "from, at first; it falls to 0 with the steps.", lambda x: 0 <= x < 1,
                                 "a share, in [0, 1)")
    # the training
    steps: int = count(1200, "Training steps.")
    batch: int = count(8, "B, windows a step.")
    length: int = count(128, "T, tokens a window.")
    optimizer: str = setting("muon", '"muon": Muon for the matrices of the blocks, AdamW for all else; or "adamw".',
                             lambda name: name in ("muon", "adamw"), "'muon' or 'adamw'")
    lr: float = positive(0.02, "Peak learning rate of Muon.")
    adam_lr: float = positive(0.003, "Peak learning rate of AdamW.")
    warmup: float = setting(0.05, "Share of the steps in which the rates rise; then they fall along a cosine.",
                            lambda x: 0 <= x < 1, "a share of the steps, in [0, 1)")
    weight_decay: float = setting(0.1, "Weight decay of the matrices.", lambda x: 0 <= x < math.inf,
                                  "a number of at least 0")
    clip: float = positive(1.0, "Largest norm of the gradient.")
    average: float = setting(0.0, "Decay of a moving average of the weights, over some 1 / (1 - decay) steps, which "
                                  "is then the model that is measured and kept; 0: none.",
                             lambda x: 0 <= x < 1, "a number in [0, 1)")
    seed: int = setting(0, "Two runs with equal settings give equal weights.",
                        lambda n: 0 <= n < 2**31, "an integer from 0 to 2147483647")

    def __post_init__(self):
        if isinstance(self.mixer, (list, tuple)) and all(isinstance(name, str) for name in self.mixer):
            object.__setattr__(self, "mixer", ",".join(self.mixer))
        for f in fields(self):
            value = getattr(self, f.name)
            check_type(f.name, value, f.type)
            if not f.metadata["ok"](value):
                raise ValueError(f"{f.name}: got {value!r}, expected {f.metadata['expected']}.")
        check_mixers(self)

    @property
    def mixers(self):
        """The name of each layer's mixer, from the first layer to the last."""
        base, plus, kind = self.mixer.partition("+")
        if plus:
            return hybrid(base, kind, self.layers)
        names = self.mixer.split(",")
        return [names[i % len(names)] for i in range(self.layers)]

    def options_for(self, name):
        """What a mixer of this name is given of `options`: those it has, and those that are said to be its own."""
        from ..layers.mixer import MIXERS, options_of

        own = {key.removeprefix(f"{name}."): value for key, value in self.options.items() if key.startswith(f"{name}.")}
        return {key: value for key, value in self.options.items() if key in options_of(MIXERS[name])} | own

    def build_mixer(self, name):
        """A mixer of this model. It has the model's heads, unless an option says otherwise: attention.heads=8."""
        from ..layers.mixer import MIXERS

        return MIXERS[name](self.d_model, **{"heads": self.heads} | self.options_for(name))

    def build_head(self):
        """What turns the outputs of the last block into scores for every token: (B, T, D) -> (B, T, vocab)."""
        from .loss import Head

        return Head(self.d_model, self.vocab)

    def to_dict(self):
        return asdict(self)


def hybrid(base, kind, layers):
    """The paper's two hybrids (section 3.4), with layers counted from 1. "sliding": attention in a sliding window in
    every second layer, 2, 4, ... "global": attention to everything in layer 2 and in layer layers / 2 + 1."""
    attention, where = {"sliding": ("sliding", range(2, layers + 1, 2)),
                        "global": ("attention", (2, layers // 2 + 1))}[kind]
    return [attention if layer in where else base for layer in range(1, layers + 1)]


def check_type(name, value, wanted):
    types = {int: int, float: Real, str: str, dict: dict, int | None: (int, type(None))}
    wants = {int: "an integer", float: "a number", str: "a string", dict: "a dict", int | None: "an integer or None"}
    if not isinstance(value, types[wanted]) or isinstance(value, bool):
        raise TypeError(f"{name}: got {value!r}, expected {wants[wanted]}.")


def check_mixers(config):
    """Raise unless mixers and options are known and fit together. What an option may be, the mixers know themselves."""
    import torch

    from ..layers.mixer import MIXERS, options_of

    names, plus, kind = config.mixer.partition("+")
    if plus and (kind not in ("sliding", "global") or config.layers < 2):
        raise ValueError(f"mixer: got {config.mixer!r} with {config.layers} layers, expected +sliding or +global after "
                         "the name of a mixer, and at least 2 layers.")
    names = names.split(",") + [name for name in config.mixers if plus]
    for name in names:
        if name not in MIXERS:
            raise ValueError(f"mixer: got {name!r}, expected one of {', '.join(map(repr, MIXERS))}.")
    for key in config.options:
        owner, _, option = key.rpartition(".")
        if not any(option in options_of(MIXERS[name]) and owner in ("", name) or key == f"{name}.heads"
                   for name in names):
            known = sorted({option for name in names for option in options_of(MIXERS[name])})
            raise ValueError(f"options: got {key!r}, which {config.mixer!r} does not have, "
                             f"expected one of {', '.join(map(repr, known))}.")
    with torch.device("meta"):                                           # builds nothing, but asks every question
        for name in dict.fromkeys(names):
            config.build_mixer(name)
