"""Against flash-linear-attention and transformers, where somebody has installed them: same weights, same numbers.

    pip install flash-linear-attention==0.6.0, on a machine with a GPU: python -m pytest tests/lm/test_fla.py
"""

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu.layers import GLA, DeltaNet, Mamba, RetNet
from deltanet_edu.lm.generate import generate_tokens
from deltanet_edu.lm.model import LanguageModel
from deltanet_edu.lm.weights import config_from_fla, from_fla, load_fla, to_fla

D, H = 128, 2
gpu = pytest.mark.gpu


@pytest.fixture(autouse=True)
def exact_products():
    """float32 means float32: no TF32 in matrix products."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture
def fla(monkeypatch):
    Autotuner = pytest.importorskip("triton.runtime.autotuner").Autotuner
    tuned = Autotuner.__init__

    def untuned(self, fn, arg_names, configs, *more, **how):             # to look for the fastest takes minutes
        tuned(self, fn, arg_names, configs[:1], *more, **how)
    monkeypatch.setattr(Autotuner, "__init__", untuned)
    fla = pytest.importorskip("fla", reason="the yardstick is not installed")
    attn = pytest.importorskip("fla.layers.attn")
    pytest.importorskip("fla.models")

    if attn.flash_attn_func is None:                                     # its hybrids need flash-attn: a stand-in
        def flash_attn_func(q, k, v, causal, window_size):
            t = torch.arange(q.shape[1], device=q.device)
            far = t[:, None] - t
            seen = (far >= 0) & (far <= window_size[0] if window_size[0] >= 0 else True)
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
            return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True).transpose(1, 2)
        monkeypatch.setattr(attn, "flash_attn_func", flash_attn_func)
    return fla


def close(actual, expected, tolerance, name=""):
    error = (actual.float() - expected.float()).norm() / expected.float().norm()
    print(f"{name}: relative error {error:.2e}")
    assert error <= tolerance, f"{name}: {error:.2e}"


# -- layers ------------------------------------------------------------------------------------------------------------

def same_weights(ours, theirs):
    """Copy theirs into ours: a name of ours stands for some of theirs, one above the other."""
    own = theirs.state_dict()
    if isinstance(ours, DeltaNet):
        ours.load_state_dict(from_fla(own, ours))
        return
    parts = {"to_qkv.weight": ("q_proj.weight", "k_proj.weight", "v_proj.weight"),
             "to_gate.weight": ("g_proj.weight",), "to_out.weight": ("o_proj.weight",),
             "out_norm.weight": ("g_norm_swish_gate.weight",),
             "to_alpha.0.weight": ("gk_proj.0.weight",), "to_alpha.1.weight": ("gk_proj.1.weight",),
             "to_alpha.1.bias": ("gk_proj.1.bias",)}
    ours.load_state_dict({name: torch.cat([own[part] for part in parts[name]]) for name in ours.state_dict()})


def layers(fla, name):
    from fla.layers import DeltaNet as Delta
    from fla.layers import GatedLinearAttention, MultiScaleRetention

    half = dict(expand_k=0.5, expand_v=1.0, hidden_size=D, num_heads=H)
    made = {"delta": lambda: (DeltaNet(D, H, out_eps=1e-5 * D / H), Delta(hidden_size=D, num_heads=H)),
            "gla": lambda: (GLA(D, H, out_eps=1e-5 * D / H / 2), GatedLinearAttention(**half)),
            "retnet": lambda: (RetNet(D, H, out_eps=1e-5 * D / H / 2), MultiScaleRetention(**half))}
    torch.manual_seed(0)
    ours, theirs = (layer.cuda() for layer in made[name]())
    same_weights(ours, theirs)
    return ours, theirs


# fla has no chunks in float32 for the delta rule: up to 64 tokens it takes the recurrence. Its RetNet always takes
# chunks if there are gradients, and multiplies in TF32.
@gpu
@pytest.mark.parametrize("name, T, dtype, tolerance", [
    ("delta", 60, torch.float32, 1e-4), ("delta", 500, torch.bfloat16, 1e-2), ("gla", 60, torch.float32, 1e-4),
    ("gla", 500, torch.bfloat16, 1e-2), ("retnet", 500, torch.bfloat16, 1e-2), ("retnet", 60, torch.float32, 1e-2)])
def test_layers_give_the_same_outputs_and_gradients(fla, name, T, dtype, tolerance):
    ours, theirs = layers(fla, name)
    x = torch.randn(2, T, D, device="cuda")
    found = []
    for layer in (ours, theirs):
        inputs = x.clone().requires_grad_()
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            y = layer(inputs)[0]
        y.float().square().sum().backward()
        found.append((y, inputs.grad, layer.to_out.weight.grad if layer is ours else layer.o_proj.weight.grad,
                      layer.to_qkv.weight.grad if layer is ours else
                      torch.cat([layer.q_proj.weight.grad, layer.k_proj.weight.grad, layer.v_proj.weight.grad])))
    for part, actual, expected in zip(("y", "dx", "dW_out", "dW_qkv"), *found):
        close(actual, expected, tolerance * (1 if part == "y" else 2), f"{name} T={T} {dtype} {part}")


@gpu
@pytest.mark.parametrize("name", ["delta", "gla", "retnet"])
def test_layers_give_the_same_outputs_without_gradients_in_float32(fla, name):
    ours, theirs = layers(fla, name)
    x = torch.randn(2, 60, D, device="cuda")
    with torch.no_grad():
        close(ours(x)[0], theirs(x)[0], 1e-4, name)


# -- models ------------------------------------------------------------------------------------------------------------

SPECS = {"plain": None, "global": dict(layers=[1, 2], num_heads=4, num_kv_heads=2),
         "sliding": dict(layers=[1, 3], num_heads=2, window_size=9)}


def small_model(fla, attn, **options):
    from fla.models import DeltaNetConfig, DeltaNetForCausalLM

    torch.manual_seed(0)
    config = DeltaNetConfig(hidden_size=D, num_heads=H, num_hidden_layers=4, vocab_size=300, attn=attn,
                            intermediate_size=256, fuse_cross_entropy=False, **options)
    model = DeltaNetForCausalLM(config).cuda()
    for p in model.parameters():                                         # as initialized, all logits are almost 0
        p.data.mul_(3 if p.ndim > 1 else 1)
    return model


@gpu
@pytest.mark.parametrize("attn", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("options", [{}, dict(use_gate=True, allow_neg_eigval=True, expand_v=2.0)], ids=["", "options"])
def test_a_model_saved_by_fla_gives_its_logits_and_gradients(fla, attn, options, tmp_path):
    theirs = small_model(fla, attn, **options)
    theirs.save_pretrained(tmp_path)
    config, ours = load_fla(tmp_path)
    ours = ours.cuda()
    tokens = torch.randint(300, (2, 61), device="cuda")
    logits, wanted = ours(tokens[:, :-1])[0], theirs(tokens[:, :-1]).logits
    assert (logits - wanted).abs().max() <= 1e-4 * max(1, wanted.abs().max())
    for each in (logits, wanted):
        F.cross_entropy(each.flatten(0, 1).float(), tokens[:, 1:].flatten()).backward()
    theirs_by_name = {name: p.grad for name, p in theirs.named_parameters()}
    ours_by_name = {name: p.grad for name, p in ours.named_parameters()}
    converted = from_fla(theirs_by_name, ours)                           # gradients are laid out as the weights are
    for name, grad in ours_by_name.items():
        close(grad, converted[name], 1e-3, name)


@gpu
def test_there_and_back_is_equal_bit_for_bit(fla):
    theirs = small_model(fla, SPECS["global"])
    weights = theirs.state_dict()
    ours = LanguageModel(config_from_fla(theirs.config.to_dict())).cuda()
    ours.load_state_dict(from_fla(weights, ours))
    back = to_fla(ours)
    assert back.keys() == weights.keys() and all(torch.equal(back[name], w) for name, w in weights.items())
    theirs.load_state_dict(back)


@gpu
def test_both_write_the_same_text(fla):
    theirs = small_model(fla, None)
    ours = LanguageModel(config_from_fla(theirs.config.to_dict())).cuda()
    ours.load_state_dict(from_fla(theirs.state_dict(), ours))
    prompt = torch.randint(300, (20,))
    made = torch.stack([t for t, _ in generate_tokens(ours, prompt, 40, temperature=0)])
    with torch.no_grad():
        wanted = theirs(torch.cat([prompt, made[:-1]])[None].cuda()).logits[0, -40:].argmax(-1)
    assert torch.equal(made.cpu(), wanted.cpu())


# -- Mamba -------------------------------------------------------------------------------------------------------------

def test_mamba_is_that_of_transformers():
    """Its slow path, written in PyTorch, which it takes without the kernels of mamba-ssm; on any machine."""
    modeling = pytest.importorskip("transformers.models.mamba.modeling_mamba", reason="the yardstick is not installed")
    from transformers import MambaConfig

    torch.manual_seed(0)
    theirs = modeling.MambaMixer(MambaConfig(hidden_size=48, state_size=8, conv_kernel=4, expand=2), layer_idx=0)
    ours, own = Mamba(48, width=96, state_size=8), theirs.state_dict()
    K, R = 8, 3
    delta_k_q = own["x_proj.weight"]
    ours.load_state_dict({
        "to_v.weight": own["in_proj.weight"], "conv.weight": own["conv1d.weight"][:, 0].T,
        "conv_bias": own["conv1d.bias"], "to_scan.weight": delta_k_q, "delta_weight": own["dt_proj.weight"],
        "delta_bias": own["dt_proj.bias"], "A_log": own["A_log"], "skip": own["D"],
        "to_out.weight": own["out_proj.weight"]})
    assert ours.parts == (R, K, K) and len(delta_k_q) == R + 2 * K
    x, found = torch.randn(2, 33, 48), []
    for layer, run in ((ours, lambda x: ours(x)[0]), (theirs, getattr(theirs, "slow_forward", theirs.eval()))):
        inputs = x.clone().requires_grad_()
        y = run(inputs)
        y.square().sum().backward()
        found.append((y, inputs.grad))
    for name, actual, expected in zip(("y", "dx"), *found):
        close(actual, expected, 1e-4, f"mamba {name}")
