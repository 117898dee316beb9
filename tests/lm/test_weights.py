"""fla's weights, read and written: names, shapes, the trap of eps, and every refusal by name.

The names and shapes below are those of its 0.6.0, written down by hand: the judge knows nothing of lm/weights.py.
"""

import json

import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from deltanet_edu.cli import app
from deltanet_edu.layers import DeltaNet
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.model import LanguageModel
from deltanet_edu.lm.tokenizer import Tokenizer
from deltanet_edu.lm.weights import (WeightsError, config_from_fla, config_to_fla, from_fla, load_fla, meta_model,
                                     read_safetensors, save_fla, to_fla)

D, H, VOCAB, LAYERS = 32, 2, 300, 4
SETTINGS = dict(model_type="delta_net", hidden_size=D, num_heads=H, num_hidden_layers=LAYERS, vocab_size=VOCAB,
                intermediate_size=48, norm_eps=1e-6, fuse_norm=True)
SLIDING = dict(layers=[1, 3], num_heads=4, num_kv_heads=2, qkv_bias=False, window_size=5, rope_theta=1000.0)
GLOBAL = dict(layers=[2], num_heads=2, num_kv_heads=2, qkv_bias=False, window_size=None, rope_theta=10000.0)
CASES = {"plain": {}, "gate": dict(use_gate=True), "widths": dict(expand_k=0.5, expand_v=2.0),
         "no convolution": dict(use_short_conv=False), "ablation": dict(qk_norm="sum", qk_activation="elu"),
         "negative eigenvalues": dict(allow_neg_eigval=True, conv_size=3), "sliding": dict(attn=SLIDING),
         "both": dict(attn=[dict(SLIDING, layers=[1]), GLOBAL])}


def shapes_of_fla(s):
    """{name: shape} of DeltaNetForCausalLM with these settings."""
    D, H, F_ = s["hidden_size"], s["num_heads"], s["intermediate_size"]
    K, V, taps = int(D * s.get("expand_k", 1)), int(D * s.get("expand_v", 1)), s.get("conv_size", 4)
    found = {"model.embeddings.weight": (s["vocab_size"], D), "model.norm.weight": (D,),
             "lm_head.weight": (s["vocab_size"], D)}
    specs = [s["attn"]] if isinstance(s.get("attn"), dict) else s.get("attn") or []
    spec_of = {layer: spec for spec in specs for layer in spec["layers"]}
    for i in range(s["num_hidden_layers"]):
        if i in spec_of:
            G = spec_of[i]["num_kv_heads"] * D // spec_of[i]["num_heads"]
            layer = {"q_proj.weight": (D, D), "k_proj.weight": (G, D), "v_proj.weight": (G, D), "o_proj.weight": (D, D)}
        else:
            layer = {"q_proj.weight": (K, D), "k_proj.weight": (K, D), "v_proj.weight": (V, D), "b_proj.weight": (H, D),
                     "o_norm.weight": (V // H,), "o_proj.weight": (D, V)}
            if s.get("use_short_conv", True):
                layer |= {"q_conv1d.weight": (K, 1, taps), "k_conv1d.weight": (K, 1, taps),
                          "v_conv1d.weight": (V, 1, taps)}
            if s.get("use_gate"):
                layer |= {"g_proj.weight": (V, D)}
        found |= {f"model.layers.{i}.attn.{name}": shape for name, shape in layer.items()}
        found |= {f"model.layers.{i}.{name}": shape for name, shape in {
            "attn_norm.weight": (D,), "mlp_norm.weight": (D,), "mlp.gate_proj.weight": (F_, D),
            "mlp.up_proj.weight": (F_, D), "mlp.down_proj.weight": (D, F_)}.items()}
    return found


def random_weights(settings, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=g, dtype=torch.float64).mul(0.1).add("norm" in name).to(dtype)
            for name, shape in shapes_of_fla(settings).items()}


# -- what fla computes, in its own order and conventions ---------------------------------------------------------------

def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def rotated(x, theta):
    half = x.shape[-1] // 2
    inv_freq = 1.0 / theta ** (torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(x.shape[1], dtype=torch.float64)[:, None, None] * inv_freq
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def fla_attention(x, w, spec):
    heads, groups = spec["num_heads"], spec["num_kv_heads"]
    q = rotated((x @ w["q_proj.weight"].T).unflatten(-1, (heads, -1)), spec["rope_theta"])
    k = rotated((x @ w["k_proj.weight"].T).unflatten(-1, (groups, -1)), spec["rope_theta"])
    v = (x @ w["v_proj.weight"].T).unflatten(-1, (groups, -1))
    k, v = (z.repeat_interleave(heads // groups, 2) for z in (k, v))
    scores = torch.einsum("bthk,bshk->bhts", q, k) / q.shape[-1] ** 0.5
    t = torch.arange(x.shape[1])
    seen = t[:, None] >= t
    if spec["window_size"]:
        seen &= t[:, None] - t <= spec["window_size"] - 1                # window_size=(w - 1, 0) of flash_attn
    o = torch.einsum("bhts,bshv->bthv", scores.masked_fill(~seen, -torch.inf).softmax(-1), v)
    return o.flatten(2) @ w["o_proj.weight"].T


def fla_delta_net(x, w, s):
    def projected(name, silu):
        z = x @ w[f"{name}_proj.weight"].T
        if s.get("use_short_conv", True):
            taps = w[f"{name}_conv1d.weight"]
            z = F.conv1d(F.pad(z.mT, (taps.shape[-1] - 1, 0)), taps, groups=len(taps)).mT
        return (F.silu(z) if silu else z).unflatten(-1, (s["num_heads"], -1))
    silu = s.get("qk_activation", "silu") == "silu"
    q, k, v = projected("q", silu), projected("k", silu), projected("v", True)
    if not silu:
        q, k = F.elu(q) + 1, F.elu(k) + 1
    if s.get("qk_norm", "l2") == "l2":
        q, k = (z * torch.rsqrt(z.square().sum(-1, keepdim=True) + 1e-6) for z in (q, k))
    else:
        q, k = F.normalize(q, p=1, dim=-1, eps=1e-6), F.normalize(k, p=1, dim=-1, eps=1e-6)
    beta = (x @ w["b_proj.weight"].T).sigmoid() * (2 if s.get("allow_neg_eigval") else 1)
    S, o = q.new_zeros(len(x), s["num_heads"], q.shape[-1], v.shape[-1]), []             # (B, H, K, V)  as fla keeps it
    for t in range(x.shape[1]):
        error = v[:, t] - torch.einsum("bhkv,bhk->bhv", S, k[:, t])
        S = S + torch.einsum("bhk,bhv->bhkv", k[:, t], beta[:, t, :, None] * error)
        o.append(torch.einsum("bhkv,bhk->bhv", S, q[:, t] * q.shape[-1] ** -0.5))
    o = rms_norm(torch.stack(o, 1), w["o_norm.weight"], s["norm_eps"])
    if s.get("use_gate"):
        o = o * F.silu((x @ w["g_proj.weight"].T).unflatten(-1, (s["num_heads"], -1)))
    return o.flatten(2) @ w["o_proj.weight"].T


def fla_logits(tokens, weights, s):
    specs = [s["attn"]] if isinstance(s.get("attn"), dict) else s.get("attn") or []
    spec_of = {layer: spec for spec in specs for layer in spec["layers"]}
    x = weights["model.embeddings.weight"][tokens]
    for i in range(s["num_hidden_layers"]):
        w = {name.removeprefix(f"model.layers.{i}."): z for name, z in weights.items()
             if name.startswith(f"model.layers.{i}.")}
        own = {name.removeprefix("attn."): z for name, z in w.items() if name.startswith("attn.")}
        y = rms_norm(x, w["attn_norm.weight"], s["norm_eps"])
        x = x + (fla_attention(y, own, spec_of[i]) if i in spec_of else fla_delta_net(y, own, s))
        y = rms_norm(x, w["mlp_norm.weight"], s["norm_eps"])
        hidden = F.silu(y @ w["mlp.gate_proj.weight"].T) * (y @ w["mlp.up_proj.weight"].T)
        x = x + hidden @ w["mlp.down_proj.weight"].T
    return rms_norm(x, weights["model.norm.weight"], s["norm_eps"]) @ weights["lm_head.weight"].T


# -- models ------------------------------------------------------------------------------------------------------------

@pytest.fixture(params=CASES)
def settings(request):
    return SETTINGS | CASES[request.param]


def ours(settings, weights):
    model = LanguageModel(config_from_fla(settings)).double()
    model.load_state_dict(from_fla(weights, model))
    return model


def test_the_model_that_is_read_gives_fla_s_logits(settings):
    weights, tokens = random_weights(settings), torch.randint(VOCAB, (2, 21))
    with torch.no_grad():
        logits = ours(settings, weights)(tokens)[0]
    wanted = fla_logits(tokens, weights, settings)
    # fla divides by max(|x|_1, 1e-6); here it is sqrt(|x|_1^2 + 1e-6), whose slope is bounded.
    assert (logits - wanted).abs().max() <= (1e-4 if settings.get("qk_norm") == "sum" else 1e-10)
    assert wanted.std() > 0.1


def test_without_its_own_eps_the_output_norm_would_be_wrong():
    weights, tokens = random_weights(SETTINGS), torch.randint(VOCAB, (1, 21))
    for name in weights:
        if name.endswith("v_proj.weight"):
            weights[name] *= 0.01                                        # small values: then eps counts
    model = ours(SETTINGS, weights)
    wanted = fla_logits(tokens, weights, SETTINGS)
    assert (model(tokens)[0] - wanted).abs().max() <= 1e-9
    for block in model.blocks:
        assert abs(block.mixer.out_norm.eps - 1e-6 * D / H) < 1e-12
        block.mixer.out_norm.eps = 1e-6                                  # copied as it stands
    assert (model(tokens)[0] - wanted).abs().max() > 0.01


def test_there_and_back_changes_no_bit(settings):
    weights = random_weights(settings, torch.bfloat16)
    model = meta_model(config_from_fla(settings))
    model.load_state_dict(from_fla(weights, model), assign=True)
    back = to_fla(model)
    assert back.keys() == weights.keys() == shapes_of_fla(settings).keys()
    for name, weight in weights.items():
        assert back[name].dtype == weight.dtype and torch.equal(back[name], weight), name
    again = from_fla(back, model)
    assert all(torch.equal(again[name], weight) for name, weight in model.state_dict().items())


def test_configurations_there_and_back(settings):
    config = config_from_fla(settings)
    theirs = config_to_fla(config)
    assert config_from_fla(theirs) == config and theirs["model_type"] == "delta_net"
    for name, value in settings.items():
        if name == "attn":
            value = [value] if isinstance(value, dict) else value
        assert theirs[name] == value, name


def test_a_layer_alone():
    weights = {name.removeprefix("model.layers.0.attn."): w for name, w in random_weights(SETTINGS).items()
               if name.startswith("model.layers.0.attn.")}
    layer = DeltaNet(D, H, out_eps=1e-6 * D / H).double()
    layer.load_state_dict(from_fla(weights, layer))
    x = torch.randn(2, 9, D, dtype=torch.float64)
    torch.testing.assert_close(layer(x)[0], fla_delta_net(x, weights, SETTINGS), rtol=0, atol=1e-10)
    assert all(torch.equal(w, weights[name]) for name, w in to_fla(layer).items())


def test_the_published_model_fits():
    """fla-hub/delta_net-1.3B-100B has the defaults of DeltaNetConfig. Nothing is allocated."""
    config = config_from_fla({"model_type": "delta_net"})
    assert (config.d_model, config.heads, config.layers, config.vocab) == (2048, 16, 24, 32000)
    model = meta_model(config)
    assert sum(p.numel() for p in model.parameters()) == 1_365_677_056
    full = dict(SETTINGS, hidden_size=2048, num_heads=16, num_hidden_layers=24, vocab_size=32000,
                intermediate_size=config.mlp_hidden)
    weights = {name: torch.empty(shape, device="meta", dtype=torch.bfloat16)
               for name, shape in shapes_of_fla(full).items()}
    found = from_fla(weights, model)
    assert {name: w.shape for name, w in found.items()} == {name: w.shape for name, w in model.state_dict().items()}
    assert abs(model.blocks[0].mixer.out_norm.eps - 128e-6) < 1e-12


@pytest.mark.parametrize("change, says", [
    (dict(model_type="gla"), "model_type: got 'gla'"), (dict(use_beta=False), "use_beta: got False, expected True"),
    (dict(attnres_block_size=2), "attnres_block_size: got 2"), (dict(hidden_act="powlu"), "hidden_act: got 'powlu'"),
    (dict(conv_bias=True), "conv_bias: got True"), (dict(qk_norm="l3"), "qk_norm: got 'l3', expected one of 'l2', 'su"),
    (dict(attn=dict(GLOBAL, qkv_bias=True)), "attn.qkv_bias: got True"),
    (dict(attn=[SLIDING, dict(SLIDING, layers=[2], window_size=7)]), "attn: got two kinds of layers with sliding"),
])
def test_what_cannot_be_represented_is_named(change, says):
    with pytest.raises(WeightsError, match=says):
        config_from_fla(SETTINGS | change)


def test_weights_that_do_not_fit_are_named():
    weights, model = random_weights(SETTINGS), meta_model(config_from_fla(SETTINGS))
    missing = {name: w for name, w in weights.items() if name != "model.layers.2.attn.k_conv1d.weight"}
    with pytest.raises(WeightsError, match=r"model.layers.2.attn.k_conv1d.weight: it is missing"):
        from_fla(missing, model)
    with pytest.raises(WeightsError, match=r"model.layers.1.attn.g_proj.weight: there is no such weight"):
        from_fla(weights | {"model.layers.1.attn.g_proj.weight": torch.zeros(D, D)}, model)
    with pytest.raises(WeightsError, match=r"lm_head.weight: got shape \(3, 32\) together, expected \(300, 32\)"):
        from_fla(weights | {"lm_head.weight": torch.zeros(3, D)}, model)


@pytest.mark.parametrize("options, says", [
    (dict(mixer="gla"), "blocks.0.mixer: got GLA, expected DeltaNet or attention"),
    (dict(), "out_eps: got 1e-05, expected norm_eps . K = 0.00016"),
    (dict(options=dict(norm="none", out_eps=16e-5)), "norm: got 'none', expected one of 'l2', 'l1'"),
    (dict(options=dict(beta_max=1.5, out_eps=16e-5)), "beta_max: got 1.5, expected one of 1, 2"),
])
def test_what_fla_cannot_represent_is_named(options, says):
    with pytest.raises(WeightsError, match=says):
        config_to_fla(Config(vocab=256, layers=1, d_model=D, heads=H, **options))


# -- folders -----------------------------------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("safetensors", reason="the optional dependency that reads what is published")
    from safetensors.torch import save_file

    settings = SETTINGS | CASES["sliding"] | dict(torch_dtype="bfloat16", flavor="new", tie_word_embeddings=False)
    weights = {name: w.bfloat16() for name, w in random_weights(settings).items()}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    half = len(weights) // 2
    for n, part in enumerate((list(weights)[:half], list(weights)[half:]), 1):
        save_file({name: weights[name] for name in part}, tmp_path / f"model-0000{n}-of-00002.safetensors")
    return tmp_path


def test_a_folder_is_read_and_described(folder):
    lines = []
    config, model = load_fla(folder, say=lines.append)
    assert model.head.weight.dtype == torch.float32 and config.mixers == ["delta", "sliding"] * 2
    assert "'new' is not known here" in lines[0] and "in bfloat16; 2 layers of delta, 2 layers of sliding" in lines[1]
    settings = json.loads((folder / "config.json").read_text())
    tokens = torch.randint(VOCAB, (1, 15))
    wanted = fla_logits(tokens, {name: w.double() for name, w in read_safetensors(folder).items()}, settings)
    torch.testing.assert_close(model(tokens)[0].double(), wanted, rtol=0, atol=1e-4)
    save_fla(model, config, folder / "back")
    again_config, again = load_fla(folder / "back")
    assert again_config == config
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), model.state_dict().values()))


def test_a_tied_head_is_copied(folder):
    from safetensors.torch import save_file

    weights = read_safetensors(folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors")
    settings = json.loads((folder / "config.json").read_text()) | dict(tie_word_embeddings=True)
    (folder / "config.json").write_text(json.dumps(settings))
    lines = []
    _, model = load_fla(folder, say=lines.append)
    assert torch.equal(model.head.weight, model.embed.weight) and "shares its weight" in "".join(lines)


def test_the_command_says_what_it_found_and_keeps_it(folder, tmp_path):
    run = CliRunner().invoke
    done = run(app, ["import-fla", str(folder)])
    assert done.exit_code == 0 and "2 layers of delta" in done.output and "--run NAME" in done.output
    (folder / "tokenizer.json").write_text(Tokenizer.train(["a b c d " * 9], 260).to_json())
    done = run(app, ["import-fla", str(folder), "--run", "theirs", "--runs", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    assert run(app, ["import-fla", str(folder), "--run", "theirs", "--runs", str(tmp_path / "runs")]).exit_code == 1
    written = run(app, ["generate", str(tmp_path / "runs" / "theirs"), "--prompt", "a b", "--tokens", "3"])
    assert written.exit_code == 0 and written.output.startswith("a b")


@pytest.mark.parametrize("spoil, says", [
    (lambda f: (f / "config.json").write_text("{"), "this is not JSON"),
    (lambda f: (f / "config.json").unlink(), "config.json: No such file"),
    (lambda f: (f / "model-00002-of-00002.safetensors").unlink(), "it is missing among"),
    (lambda f: [p.unlink() for p in f.glob("*.safetensors")], "there is no *.safetensors in it"),
    (lambda f: (f / "model-00001-of-00002.safetensors").write_bytes(b"nothing"), "cannot be read as safetensors"),
])
def test_a_spoiled_folder_is_named_in_one_line(folder, spoil, says):
    spoil(folder)
    done = CliRunner().invoke(app, ["import-fla", str(folder)])
    assert done.exit_code == 1 and says in done.output and "Traceback" not in done.output
