"""Weights of flash-linear-attention's DeltaNet, read into this project's models and written back.

The names and shapes are those of fla 0.6.0: a state dict of its layer `DeltaNet` or of `DeltaNetForCausalLM`, hybrids
with attention included, and the Hugging Face folder in which such a model is published (config.json, *.safetensors).

One number is not the same: fla multiplies q by K^-1/2 before its output norm, so what that norm adds to the mean
square, norm_eps, weighs K times as much as it would here. Our `out_eps` is norm_eps * K, and outputs agree.
"""

import json
from pathlib import Path

import torch

from ..layers import Attention, DeltaNet
from ..records import whole_file
from .config import Config
from .model import meta_model

FEATURE_MAPS = {"silu": "silu", "relu": "relu", "elu": "elu+1", "identity": "identity"}
NORMS = {"l2": "l2", "sum": "l1"}

# {our name: its names there, whose rows stand one above the other here}
DELTA = {"to_qkv.weight": ("q_proj.weight", "k_proj.weight", "v_proj.weight"),
         "conv.weight": ("q_conv1d.weight", "k_conv1d.weight", "v_conv1d.weight"),
         "to_beta.weight": ("b_proj.weight",), "to_gate.weight": ("g_proj.weight",),
         "out_norm.weight": ("o_norm.weight",), "to_out.weight": ("o_proj.weight",)}
ATTENTION = {"to_q.weight": ("q_proj.weight",), "to_kv.weight": ("k_proj.weight", "v_proj.weight"),
             "to_out.weight": ("o_proj.weight",)}
BLOCK = {"mixer_norm.weight": ("attn_norm.weight",), "mlp_norm.weight": ("mlp_norm.weight",),
         "mlp.to_hidden.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
         "mlp.to_out.weight": ("mlp.down_proj.weight",)}
TOP = {"embed.weight": ("model.embeddings.weight",), "norm.weight": ("model.norm.weight",),
       "head.weight": ("lm_head.weight",)}


class WeightsError(ValueError):
    """Weights cannot be represented here. The message names what, and what came."""


# -- state dicts -------------------------------------------------------------------------------------------------------

def names(module):
    """{our name: fla's names} for the weights of a DeltaNet, an Attention or a LanguageModel of them."""
    if isinstance(module, (DeltaNet, Attention)):
        known = ATTENTION if isinstance(module, Attention) else DELTA
    else:
        known = dict(TOP)
        for i, block in enumerate(module.blocks):
            if not isinstance(block.mixer, (DeltaNet, Attention)):
                raise WeightsError(f"blocks.{i}.mixer: got {type(block.mixer).__name__}, expected DeltaNet or "
                                   "attention: fla's DeltaNetForCausalLM has no other.")
            mixer = {f"mixer.{ours}": tuple(f"attn.{part}" for part in theirs)
                     for ours, theirs in names(block.mixer).items()}
            known |= {f"blocks.{i}.{ours}": tuple(f"model.layers.{i}.{part}" for part in theirs)
                      for ours, theirs in (mixer | BLOCK).items()}
    return {ours: known[ours] for ours in module.state_dict()}


def rows(module, ours, parts, weight):
    """How many rows each of the parts of one of our weights has. Those of q, k and v differ, halves do not."""
    if parts < 3:
        return len(weight) // parts
    return (module.blocks[int(ours.split(".")[1])].mixer if ours.startswith("blocks.") else module).widths


def from_fla(weights, module):
    """The state dict of `module`, a DeltaNet or a LanguageModel, from fla's. Raises WeightsError for a weight that is
    missing, left over, or of another shape. The numbers and their dtypes stay what they were.

    weights: {name: tensor}.    module: may lie on the meta device; only its names and shapes are looked at.
    """
    used, found, own = set(), {}, module.state_dict()
    for ours, theirs in names(module).items():
        missing = [name for name in theirs if name not in weights]
        if missing:
            raise WeightsError(f"{missing[0]}: it is missing among the {len(weights)} weights, and the model needs it.")
        parts = [weights[name].squeeze(1) if "conv1d" in name else weights[name] for name in theirs]     # (rows, ...)
        joined = torch.cat(parts) if len(parts) > 1 else parts[0]
        joined = joined.T.contiguous() if "conv1d" in theirs[0] else joined              # taps are rows here
        if joined.shape != own[ours].shape:
            raise WeightsError(f"{' + '.join(theirs)}: got shape {tuple(joined.shape)} together, "
                               f"expected {tuple(own[ours].shape)}.")
        found[ours], used = joined, used | set(theirs)
    left = sorted(weights.keys() - used)
    if left:
        raise WeightsError(f"{left[0]}: there is no such weight here, so the model would be another one"
                           + (f" ({len(left)} such weights)." if len(left) > 1 else "."))
    return found


def to_fla(module):
    """fla's state dict of a DeltaNet or a LanguageModel: the inverse of `from_fla`, bit for bit."""
    found, own = {}, module.state_dict()
    for ours, theirs in names(module).items():
        weight = own[ours].T if "conv1d" in theirs[0] else own[ours]
        for name, part in zip(theirs, weight.split(rows(module, ours, len(theirs), weight))):
            found[name] = (part[:, None] if "conv1d" in name else part).contiguous()
    return found


# -- configurations ----------------------------------------------------------------------------------------------------

DEFAULTS = dict(hidden_size=2048, num_heads=16, num_hidden_layers=24, expand_k=1.0, expand_v=1.0, use_short_conv=True,
                conv_size=4, use_gate=False, qk_norm="l2", qk_activation="silu", allow_neg_eigval=False, norm_eps=1e-6,
                hidden_ratio=4, intermediate_size=None, vocab_size=32000, tie_word_embeddings=False, attn=None)
# What has one value that can be represented here.
ONLY = {"model_type": "delta_net", "use_beta": True, "use_output_norm": True, "conv_bias": False, "hidden_act": "swish",
        "attnres_block_size": None, "quantization_config": None}
# What changes how fla computes, or what others need to know, but not what is computed.
WITHOUT_EFFECT = {"attn_mode", "use_cache", "fuse_norm", "fuse_swiglu", "fuse_cross_entropy", "use_l2warp",
                  "fuse_linear_cross_entropy", "max_position_embeddings", "initializer_range", "architectures",
                  "dtype", "torch_dtype", "transformers_version", "pad_token_id", "bos_token_id", "eos_token_id"}


def config_from_fla(settings):
    """The Config of a model like that of a config.json, given as a dict. Raises WeightsError naming the setting that
    cannot be represented. Settings of training are those of Config."""
    for name, only in ONLY.items():
        if settings.get(name, only) != only:
            raise WeightsError(f"{name}: got {settings[name]!r}, expected {only!r}: nothing else can be represented.")
    s = DEFAULTS | settings
    width = s["intermediate_size"]
    if width is None:
        width = -(-int(s["hidden_size"] * (s["hidden_ratio"] or 4) * 2 / 3) // 256) * 256
    for name, known in (("qk_activation", FEATURE_MAPS), ("qk_norm", NORMS)):
        if s[name] not in known:
            raise WeightsError(f"{name}: got {s[name]!r}, expected one of {', '.join(map(repr, known))}.")
    K = s["hidden_size"] * s["expand_k"] / s["num_heads"]
    delta = dict(conv_size=s["conv_size"] if s["use_short_conv"] else 0, feature_map=FEATURE_MAPS[s["qk_activation"]],
                 norm=NORMS[s["qk_norm"]], expand_k=s["expand_k"], expand_v=s["expand_v"], output_gate=s["use_gate"],
                 beta_max=2.0 if s["allow_neg_eigval"] else 1.0, out_eps=s["norm_eps"] * K)
    mixers, options = ["delta"] * s["num_hidden_layers"], {f"delta.{name}": value for name, value in delta.items()}
    for spec in [s["attn"]] if isinstance(s["attn"], dict) else s["attn"] or []:
        name, own = attention_from_fla(spec)
        if any(options.get(key, value) != value for key, value in own.items()):
            raise WeightsError(f"attn: got two kinds of layers with {name} attention, expected one.")
        options |= own
        for layer in spec["layers"]:
            mixers[layer] = name
    if "delta" not in mixers:
        options = {key: value for key, value in options.items() if not key.startswith("delta.")}
    return Config(mixer=",".join(mixers), options=options, vocab=s["vocab_size"], layers=s["num_hidden_layers"],
                  d_model=s["hidden_size"], heads=s["num_heads"], mlp_hidden=width, norm_eps=s["norm_eps"])


def attention_from_fla(spec):
    """("attention" or "sliding", its options) of an entry of config.json's attn."""
    for name in ("qkv_bias", "qk_norm"):
        if spec.get(name):
            raise WeightsError(f"attn.{name}: got {spec[name]!r}, expected False: there are no such weights here.")
    name = "sliding" if spec.get("window_size") else "attention"
    own = dict(heads=spec["num_heads"], groups=spec.get("num_kv_heads") or spec["num_heads"],
               rope_theta=spec.get("rope_theta", 10_000.0), window=spec.get("window_size"))
    return name, {f"{name}.{key}": value for key, value in own.items()}


def config_to_fla(config):
    """A config.json, as a dict, of which fla makes the model of this Config."""
    model = meta_model(config)
    names(model)                                                         # raises for mixers that fla's model has not
    deltas = [block.mixer for block in model.blocks if isinstance(block.mixer, DeltaNet)]
    settings = dict(model_type="delta_net", architectures=["DeltaNetForCausalLM"], hidden_size=config.d_model,
                    num_heads=config.heads, num_hidden_layers=config.layers, vocab_size=config.vocab,
                    intermediate_size=model.blocks[0].mlp.to_out.in_features, norm_eps=config.norm_eps,
                    tie_word_embeddings=False, fuse_cross_entropy=True, fuse_norm=True)
    if deltas:
        settings |= delta_to_fla(deltas[0], config)
    specs = {}
    for i, block in enumerate(model.blocks):
        if isinstance(block.mixer, Attention):
            m = block.mixer
            spec = specs.setdefault(type(m), dict(layers=[], num_heads=m.heads, num_kv_heads=m.groups, qkv_bias=False,
                                                  window_size=m.window, rope_theta=float(m.rope_theta)))
            spec["layers"].append(i)
    return settings | {"attn": list(specs.values()) or None}


def delta_to_fla(layer, config):
    """The settings of fla's layer that computes what a DeltaNet does."""
    options = {"feature_map": "silu", "norm": "l2", "expand_k": 1.0, "expand_v": 1.0} | config.options_for("delta")
    eps = config.norm_eps * layer.K
    if abs(layer.out_norm.eps - eps) > 1e-9 * eps:
        raise WeightsError(f"out_eps: got {layer.out_norm.eps:g}, expected norm_eps * K = {eps:g}: fla has one eps for "
                           "all norms. Train with options={'out_eps': norm_eps * K} to export.")
    for name, value, there in (("beta_max", layer.beta_max, (1, 2)), ("norm", options["norm"], NORMS.values())):
        if value not in there:
            raise WeightsError(f"{name}: got {value!r}, expected one of {', '.join(map(repr, there))}, as in fla.")
    theirs = {ours: there for there, ours in (FEATURE_MAPS | NORMS).items()}
    return dict(expand_k=options["expand_k"], expand_v=options["expand_v"], use_gate=layer.to_gate is not None,
                use_short_conv=layer.conv is not None, conv_size=len(layer.conv.weight) if layer.conv else 4,
                qk_activation=theirs[options["feature_map"]], qk_norm=theirs[options["norm"]],
                allow_neg_eigval=layer.beta_max == 2, use_beta=True)


# -- folders -----------------------------------------------------------------------------------------------------------

def load_fla(folder, dtype=torch.float32, say=lambda line: None):
    """(config, model) of a Hugging Face folder with a DeltaNetForCausalLM of fla: config.json, *.safetensors.

    dtype: of the model; None keeps that of the files.    say: called with each line about what was found.
    """
    folder = Path(folder)
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise WeightsError(f"{folder / 'config.json'}: this is not JSON ({error}).") from None
    config = config_from_fla(settings)
    for name in sorted(settings.keys() - DEFAULTS.keys() - ONLY.keys() - WITHOUT_EFFECT):
        say(f"config.json: {name} = {settings[name]!r} is not known here, and was not looked at.")
    weights = read_safetensors(folder)
    if settings.get("tie_word_embeddings"):
        say("The head shares its weight with the embedding. Here it has a copy: equal logits, but trained apart.")
        weights["lm_head.weight"] = weights["model.embeddings.weight"]
    kinds = {name: config.mixers.count(name) for name in dict.fromkeys(config.mixers)}
    dtypes = ", ".join(sorted({str(w.dtype).removeprefix("torch.") for w in weights.values()}))
    model = meta_model(config)
    model.load_state_dict(from_fla(weights, model), assign=True)
    say(f"{sum(p.numel() for p in model.parameters()):,} parameters in {dtypes}; "
        f"{', '.join(f'{n} layers of {name}' for name, n in kinds.items())}; D = {config.d_model}, "
        f"H = {config.heads}, vocabulary {config.vocab:,}.")
    return config, model if dtype is None else model.to(dtype)


def save_fla(model, config, folder):
    """Write config.json and model.safetensors, which fla's DeltaNetForCausalLM.from_pretrained reads."""
    settings, weights = config_to_fla(config), safetensors().save(to_fla(model), metadata={"format": "pt"})
    with whole_file(Path(folder, "model.safetensors"), "wb") as file:
        file.write(weights)
    with whole_file(Path(folder, "config.json")) as file:
        json.dump(settings, file, indent=1)


def read_safetensors(folder):
    """All tensors of the *.safetensors in a folder."""
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise WeightsError(f"{folder}: there is no *.safetensors in it. Save the model with safe_serialization=True.")
    load_file, weights = safetensors().load_file, {}
    for file in files:
        try:
            weights |= load_file(file)
        except Exception as error:                                       # the library's own class, or a broken header
            raise WeightsError(f"{file}: it cannot be read as safetensors ({error}).") from None
    return weights


def safetensors():
    try:
        import safetensors.torch
    except ImportError:
        raise WeightsError("safetensors: it is not installed. Install it with: pip install safetensors") from None
    return safetensors.torch
