"""A small language model on the kernels and on PyTorch: one training, one way of decoding, two backends."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from packaging.version import Version

from deltanet_edu import functional, kernels
from deltanet_edu.layers import Block, DeltaNet, LinearAttention
from deltanet_edu.layers.retnet import RetNet
from deltanet_edu.lm import loss
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.model import LanguageModel

from ..kernels.judge import DEVICE

pytestmark = pytest.mark.skipif(not kernels.HAS_TRITON, reason="needs Triton")


CONFIG = dict(vocab=256, layers=2, d_model=32, heads=2)


def small_model(backend="auto", **options):
    torch.manual_seed(0)
    model = LanguageModel(Config(**CONFIG | options)).to(DEVICE)
    for block in model.blocks:
        block.mixer.how["backend"] = backend
    return model


def tokens(B=2, T=22, seed=0):
    return torch.randint(256, (B, T), generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def gradients(model, loss):
    return torch.autograd.grad(loss, list(model.parameters()))


def test_a_training_step_runs_on_the_kernels(ran):
    losses, grads = [], []
    for backend in ("auto", "torch"):
        model = small_model(backend)
        losses.append(model.loss(tokens()))
        grads.append(gradients(model, losses[-1]))
    assert [name for name, _ in ran] == ["delta_rule_chunkwise"] * 2     # once a layer
    assert (losses[0] - losses[1]).abs() <= 1e-5
    for a, e in zip(*grads, strict=True):
        assert (a - e).norm() <= 1e-4 * e.norm()


def test_decoding_runs_on_the_recurrent_kernel(ran):
    model, text = small_model(), tokens(B=1, T=12)
    with torch.inference_mode():
        everything, _ = small_model("torch")(text)
        logits, states = model(text[:, :9])
        for t in range(9, 12):
            assert (logits[0, -1] - everything[0, t - 1]).abs().max() <= 1e-5
            logits, states = model(text[:, t:t + 1], states)
    assert [name for name, _ in ran] == ["delta_rule_chunkwise"] * 2 + ["delta_rule_recurrent"] * 6
    assert all(state.S.dtype == torch.float32 for state in states)


@pytest.mark.filterwarnings("error:Mismatch dtype between input and weight")           # nn.RMSNorm would be slow
@pytest.mark.parametrize("conv_size", [4, 0])
def test_under_autocast_the_kernels_get_half_precision_and_a_float32_state(conv_size, monkeypatch):
    seen = []

    def spy(q, k, v, beta, *, initial_state=None, **options):
        seen.append([x.dtype for x in (q, k, v)] + [None if initial_state is None else initial_state.dtype])
        return v, q.new_zeros(len(q), q.shape[2], v.shape[3], q.shape[3], dtype=torch.float32)
    monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    monkeypatch.setattr(kernels, "why_not", lambda device, dtype: "")
    monkeypatch.setattr(kernels, "delta_rule_chunkwise", spy)
    monkeypatch.setattr(kernels, "delta_rule_recurrent", spy)
    model = small_model(layers=1, options=dict(conv_size=conv_size))
    with torch.autocast(DEVICE, torch.bfloat16):
        _, states = model(tokens())
        model(tokens(T=1), states)
    assert seen == [[torch.bfloat16] * 3 + [None], [torch.bfloat16] * 3 + [torch.float32]]


def test_a_training_step_compiles_without_graph_breaks(ran, monkeypatch):
    monkeypatch.setattr(loss, "SCORES", 6000)                            # the head in chunks, as for large vocabularies
    model = small_model(layers=1)
    compiled = torch.compile(model.loss, fullgraph=True, backend="inductor" if DEVICE == "cuda" else "aot_eager")
    for a, e in zip(gradients(model, compiled(tokens())), gradients(model, model.loss(tokens())), strict=True):
        assert (a - e).norm() <= 1e-4 * e.norm()


def test_a_compiler_meets_the_kernels_of_convolution_and_mlp_too(ran, monkeypatch):
    monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    model, met = small_model(layers=1), set()

    def spy(graph, inputs):
        met.update(str(node.target) for node in graph.graph.nodes)
        return graph.forward
    for a, e in zip(gradients(model, torch.compile(model.loss, fullgraph=True, backend=spy)(tokens())),
                    gradients(model, model.loss(tokens())), strict=True):
        assert (a - e).norm() <= 1e-4 * e.norm()
    for name in ("short_convolution", "swiglu_projection", "chunkwise"):
        assert any(f"deltanet_edu.{name}" in target for target in met), name


@pytest.mark.parametrize("options, where", [(dict(), "convolution"), (dict(conv_size=0), "rule"), (dict(norm="l1"), ""),
                                            (dict(feature_map="relu"), "rule")], ids=str)
def test_queries_and_keys_are_normalized_once(options, where, monkeypatch):
    """By the kernel that has them in its registers already; where none has, by PyTorch."""
    from deltanet_edu.kernels import convolution

    units, normalize, run = [], [], kernels.delta_rule_chunkwise
    monkeypatch.setattr(convolution, "short_convolution",
                        lambda *z, f=convolution.short_convolution: units.append(z[-1]) or f(*z))
    monkeypatch.setattr(kernels, "delta_rule_chunkwise",
                        lambda *z, **o: normalize.append(o.get("normalize", False)) or run(*z, **o))
    layer, x = DeltaNet(32, 2, **options).to(DEVICE), torch.randn(2, 9, 32, device=DEVICE)
    (expected, _), (y, _) = (monkeypatch.setattr(functional, "compiled_on", lambda device: kernels_run) or layer(x)
                             for kernels_run in (False, True))
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    assert units == ([] if "conv_size" in options else [16 if where == "convolution" else 0])
    assert normalize == [where == "rule"]


class Even(DeltaNet):
    """As in lesson 16."""
    def rule(self, x, q, k, v, S, cu_seqlens=None):
        return super().rule(torch.ones_like(x), q, k, v, S, cu_seqlens)


class Scaled(DeltaNet):
    def normalized(self, q, k):
        q, k = super().normalized(q, k)
        return 3 * q, 0.5 * k


class Rolled(LinearAttention):
    def normalized(self, q, k):
        return self.normalize(q), self.normalize(k + k.roll(1, -1))


@pytest.mark.parametrize("T", [2, 9])                                    # shorter than the convolution, and longer
@pytest.mark.parametrize("cls", [Even, Scaled, Rolled])
def test_a_norm_or_a_rule_of_one_s_own_means_the_same_on_kernels(cls, T, monkeypatch):
    layer, x = cls(32, 2).to(DEVICE), torch.randn(2, T, 32, device=DEVICE)
    (expected, _), (y, _) = (monkeypatch.setattr(functional, "compiled_on", lambda device: kernels_run) or layer(x)
                             for kernels_run in (False, True))
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_a_hook_of_the_convolution_sees_what_is_not_yet_normalized(monkeypatch):
    layer, x = DeltaNet(32, 2).to(DEVICE), torch.randn(2, 9, 32, device=DEVICE)
    layer.conv.register_forward_hook(lambda conv, x, y: ((y[0][0], y[0][1] * torch.arange(32).to(x[0]), y[0][2]), y[1]))
    (expected, _), (y, _) = (monkeypatch.setattr(functional, "compiled_on", lambda device: kernels_run) or layer(x)
                             for kernels_run in (False, True))
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("d_model, ends", [(264, None), (256, [0, 30, 70])])       # no kernel, one in half precision
def test_under_autocast_a_layer_casts_once_also_where_no_kernel_fits(d_model, ends, monkeypatch):
    """In PyTorch's form nothing inside is cast again, which its operations in place refuse. Packed, q is float32, and
    wider chunks fit in half precision."""
    monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    layer = DeltaNet(d_model, 1, chunk_size=64, backend="triton" if ends else "auto").to(DEVICE)
    x, ends = torch.randn(1, 70, d_model, device=DEVICE), ends and torch.tensor(ends, device=DEVICE)
    exact = copy.deepcopy(layer).double()
    exact.how["backend"] = "torch"
    expected, _ = exact(x.double(), cu_seqlens=ends)
    with torch.autocast(DEVICE, torch.float16):
        y, _ = layer(x, cu_seqlens=ends)
    y.float().sum().backward()
    assert (y - expected).norm() <= 5e-3 * expected.norm()


TRANSFORMS = {
    "grad": lambda f, x: torch.func.grad(lambda x: f(x).square().sum())(x),
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (x,)),
    "vmap": lambda f, x: torch.vmap(f)(torch.stack([x, 2 * x])),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("mixer", [RetNet, DeltaNet])
def test_transforms_see_through_a_block_also_where_it_is_compiled(mixer, name, compiled, monkeypatch):
    """To forward-mode differentiation an operator is a constant: what it knows nothing of, it leaves out."""
    if compiled and name == "jvp" and Version(torch.__version__) < Version("2.12"):
        pytest.skip("torch 2.11 does not compile the forward derivative of its own RMSNorm")
    torch._dynamo.reset()
    monkeypatch.setattr(functional, "compiled_on", lambda device: DEVICE == "cuda")
    block = Block(8, mixer(8, 2, conv_size=4), 12).to(DEVICE)
    x = torch.randn(2, 6, 8, device=DEVICE)

    def transform(x):
        return TRANSFORMS[name](lambda x: block(x)[0], x)
    expected = transform(x)
    monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    actual = (torch.compile(transform, backend="aot_eager") if compiled else transform)(x)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_a_compiled_layer_has_a_forward_derivative(monkeypatch):
    """It was 0, without a word: in a block PyTorch's norm breaks the graph, and the mixer is not compiled with it."""
    torch._dynamo.reset()
    monkeypatch.setattr(functional, "compiled_on", lambda device: True)
    layer, x = DeltaNet(8, 2).to(DEVICE), torch.randn(2, 6, 8, device=DEVICE)

    def derivative(x):
        return torch.func.jvp(lambda x: layer(x)[0], (x,), (x,))[1]
    torch.testing.assert_close(torch.compile(derivative, backend="aot_eager")(x), derivative(x))


TWO_PROCESSES = """
import os
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from deltanet_edu import kernels
from tests.layers.test_backends import small_model, tokens

rank, meeting = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
used, chunkwise = [], kernels.delta_rule_chunkwise
kernels.delta_rule_chunkwise = lambda *args, **options: used.append(1) or chunkwise(*args, **options)
model = small_model("triton")


class Loss(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = model

    def forward(self, text):
        return self.model.loss(text)


alone = torch.autograd.grad(model.loss(tokens(B=4)), list(model.parameters()))
shared = DistributedDataParallel(Loss())
shared(tokens(B=4)[2 * rank:2 * rank + 2]).backward()
assert len(used) == 4, used
for p, g in zip(model.parameters(), alone, strict=True):
    assert (p.grad - g).norm() <= 1e-4 * g.norm()
del shared
dist.barrier()
dist.destroy_process_group()
os._exit(0)                                                              # what PyTorch leaves running may abort Python
"""


def test_two_processes_share_a_batch(tmp_path):
    """DistributedDataParallel: each takes half, and the averaged gradients are those of the whole."""
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": loopback, "OMP_NUM_THREADS": "1"}
    commands = [[sys.executable, "-c", TWO_PROCESSES, str(rank), str(tmp_path / "meeting")] for rank in range(2)]
    started = [subprocess.Popen(command, env=environment, text=True, cwd=Path(__file__).parents[2],
                                stderr=subprocess.PIPE) for command in commands]
    try:
        said = [process.communicate(timeout=120)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], said[0] + said[1]


def test_lengths_are_rounded_once():
    """Normalized in bfloat16, a unit key would be off by up to 2^-8, all entries alike; rounded last, errors cancel."""
    layer = DeltaNet(128, 1)
    x = torch.randn(1000, 128).bfloat16()
    lengths = layer.normalize(x).double().norm(dim=-1)
    assert layer.normalize(x).dtype == torch.bfloat16 and (lengths - 1).abs().max() < 2e-3


@pytest.mark.gpu
@pytest.mark.parametrize("autocast, tolerance", [(torch.bfloat16, 0.1), (None, 1e-3)], ids=str)
@pytest.mark.parametrize("d_model, heads", [(256, 2), (256, 4)])
def test_two_steps_on_a_gpu(autocast, tolerance, d_model, heads, monkeypatch):
    """Both backends take the same two steps from the same start, up to rounding."""
    used, chunkwise = [], kernels.delta_rule_chunkwise

    def spy(q, *args, **options):
        used.append(q.dtype)
        return chunkwise(q, *args, **options)
    monkeypatch.setattr(kernels, "delta_rule_chunkwise", spy)
    start, after, losses = small_model(d_model=d_model, heads=heads), {}, {}
    for backend in ("auto", "torch"):
        model, losses[backend] = copy.deepcopy(start), []
        for block in model.blocks:
            block.mixer.how["backend"] = backend
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for step in range(2):
            with torch.autocast("cuda", autocast or torch.bfloat16, enabled=autocast is not None):
                loss = model.loss(tokens(B=4, T=201, seed=step))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses[backend].append(loss.item())
        pairs = zip(model.named_parameters(), start.parameters())
        after[backend] = [(name, (p - p0).detach()) for (name, p), p0 in pairs]
    assert used == [autocast or torch.float32] * 4                       # two layers, two steps, and none with "torch"
    assert max(abs(a - e) for a, e in zip(losses["auto"], losses["torch"])) <= 0.1 * tolerance
    for (name, a), (_, e) in zip(after["auto"], after["torch"]):
        assert (a - e).norm() <= tolerance * e.norm(), name
