"""Training: the same every time, even when killed; and a run refuses to be continued as another."""

import math
import os
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from deltanet_edu.lm import optimizer as optimizer_module
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.data import Batches, Data
from deltanet_edu.lm.device import Place, find_place
from deltanet_edu.lm.distributed import Team
from deltanet_edu.lm.model import LanguageModel, parameters
from deltanet_edu.lm.optimizer import Muon, build_optimizers, orthogonal, rate
from deltanet_edu.lm.run_folder import FORMAT, RunError, load_checkpoint
from deltanet_edu.lm.speed import Speed, peak_of
from deltanet_edu.lm.train import load_run, train


def weights(run):
    return torch.cat([p.detach().flatten() for p in run.model.parameters()])


@pytest.mark.parametrize("mixer", ["delta", "linear"])
def test_learning(tiny, data, mixer):
    """The first loss is that of a guess among all tokens; the last is far below that of the token frequencies."""
    run = train(replace(tiny, mixer=mixer, adam_lr=0.02), data=data, evaluate_every=30)
    losses = [entry["loss"] for entry in run.log]
    assert abs(losses[0] - math.log(tiny.vocab)) < 0.1
    frequencies = torch.bincount(data.train, minlength=tiny.vocab) / len(data.train)
    unigram = torch.special.entr(frequencies).sum().item()
    assert sum(losses[-5:]) / 5 < unigram - 0.5, f"the token frequencies alone give {unigram:.2f}"
    assert [entry["step"] for entry in run.log if "held_out" in entry] == [30, 60]
    assert run.log[-1]["held_out"] < run.log[29]["held_out"]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tiny, data):
    short = replace(tiny, steps=5)
    assert torch.equal(weights(train(short, data=data)), weights(train(short, data=data)))
    assert not torch.equal(weights(train(short, data=data)), weights(train(replace(short, seed=1), data=data)))


def test_the_two_mixers_have_equal_size():
    sizes = [parameters(LanguageModel(Config(mixer=mixer))) for mixer in ("delta", "linear")]
    assert abs(sizes[0] / sizes[1] - 1) < 0.02


def test_each_window_is_seen_once_an_epoch():
    tokens = torch.arange(1000)
    batches = Batches(tokens, batch=3, length=10, seed=0)
    for epoch in (0, 1):
        steps = range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)
        rows = torch.cat([batches[step] for step in steps])
        assert rows.shape[1] == 11 and (rows.diff(dim=1) == 1).all()
        assert len(set(rows[:, 0].tolist())) == len(rows) >= 0.95 * 1000 / 10 - 3
        assert len(set((rows[:, 0] % 10).tolist())) == 1
    assert not torch.equal(batches[0], batches[batches.per_epoch])
    assert torch.equal(Batches(tokens, 3, 10, 0)[50], batches[50]), "batch n does not depend on the ones before it"
    assert all(batches[step].max() < 1000 for step in range(500))


def test_a_text_too_short_for_a_batch_is_named():
    with pytest.raises(ValueError, match="length, batch: 8 windows of 100 tokens do not fit into 500 tokens"):
        Batches(torch.arange(500), 8, 100, 0)


def test_the_learning_rate_rises_then_falls():
    config = Config(steps=200, warmup=0.1)
    rates = [rate(step, config) for step in range(1, 201)]
    assert rates[0] == 1 / 20 and rates[19] == 1.0 == max(rates) and abs(rates[-1] - 0.05) < 1e-9
    assert all(a < b for a, b in zip(rates[:19], rates[1:20])) and all(a > b for a, b in zip(rates[19:], rates[20:]))


def test_every_parameter_is_trained_by_exactly_one_optimizer(tiny):
    model = LanguageModel(tiny)
    groups = [group for optimizer in build_optimizers(model, tiny) for group in optimizer.param_groups]
    trained = [id(p) for group in groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("together", [False, True])
def test_muon_in_float32_is_pytorch_s_up_to_its_rounding(together, monkeypatch):
    """Both take the same four steps, PyTorch's with products in bfloat16; matrices of one shape alone or together."""
    if together:                                                         # as on a GPU
        def alike(matrices):
            first, second, *others = matrices
            return [[first, second], *([p] for p in others)]
        monkeypatch.setattr(optimizer_module, "alike", alike)
    torch.manual_seed(3)
    starts = [torch.randn(*shape) for shape in ((12, 8), (12, 8), (8, 12), (9, 9))]
    grads = [[torch.randn_like(p) for p in starts] for _ in range(4)]
    after = []
    for kind in (torch.optim.Muon, Muon):
        weights = [torch.nn.Parameter(p.clone()) for p in starts]
        optimizer = kind(weights, 0.1, weight_decay=0.2)
        for step in grads:
            for p, g in zip(weights, step):
                p.grad = g
            optimizer.step()
        after.append(weights)
    for start, theirs, ours in zip(starts, *after):
        moved = (theirs - start).norm()
        assert 0 < (ours - theirs).norm() < 0.03 * moved, "bfloat16 has 8 bits"


@pytest.mark.parametrize("shape", [(12, 8), (8, 12), (9, 9), (3, 12, 8)])
def test_orthogonal_keeps_the_directions_and_brings_singular_values_near_one(shape):
    G = torch.randn(*shape, dtype=torch.float64)
    U, s, Vh = torch.linalg.svd(orthogonal(G, 5, (3.4445, -4.7750, 2.0315), 1e-7), full_matrices=False)
    assert s.min() > 0.5 and s.max() < 1.3
    wanted_U, _, wanted_Vh = torch.linalg.svd(G, full_matrices=False)
    assert ((U @ Vh) - (wanted_U @ wanted_Vh)).norm() < 1e-8 * len(G)


@pytest.mark.parametrize("shape", [(96, 32), (32, 96), (3, 96, 32)])
def test_orthogonal_by_small_matrices_is_as_exact(shape):
    """Singular values from 1 to 1e-4, and zeros: their squares are lost in float32, and must not matter."""
    G = torch.randn(*shape) @ torch.logspace(0, -4, shape[-1]).diag()
    G[..., 0, :] = 0
    coefficients = 3.4445, -4.7750, 2.0315
    found, X = orthogonal(G, 5, coefficients, 1e-7), G.double() / G.double().norm(dim=(-2, -1), keepdim=True)
    for _ in range(5):
        A = X @ X.mT
        X = coefficients[0] * X + (coefficients[1] * A + coefficients[2] * A @ A) @ X
    assert (found - X).abs().max() < 1e-3 * X.abs().max(), "bfloat16 would be off by 4e-3"


def test_on_a_cpu_no_product_is_in_bfloat16(tiny, monkeypatch):
    """Where it is emulated, with PyTorch's own Muon the CPU preset takes several times as long."""
    model = LanguageModel(tiny)
    optimizers = build_optimizers(model, tiny)
    model.loss(torch.randint(tiny.vocab, (2, 9))).backward()
    seen = set()

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, f, types, args=(), kwargs=None):
            seen.update(x.dtype for x in args if isinstance(x, torch.Tensor))
            return f(*args, **kwargs or {})
    with Spy():
        for optimizer in optimizers:
            optimizer.step()
    assert torch.float32 in seen and torch.bfloat16 not in seen


def test_a_loss_that_is_not_a_number_stops_the_run(tiny, data):
    with pytest.raises(FloatingPointError, match="diverged. Use smaller learning rates"):
        train(replace(tiny, lr=1e30, adam_lr=1e30), data=data)


def test_weights_that_are_not_numbers_replace_no_checkpoint(tiny, data, tmp_path):
    """A finite loss can have a gradient that is not; the loss shows it a step later, when the checkpoint is saved."""
    def ruin(entry):
        if entry["step"] == 5:
            next(model.parameters()).data[0] = torch.nan

    class Keeping(LanguageModel):
        def __init__(self, config):
            nonlocal model
            super().__init__(config)
            model = self
    model = None
    with pytest.MonkeyPatch.context() as patch, pytest.raises(FloatingPointError, match="left as it was"):
        patch.setattr("deltanet_edu.lm.train.LanguageModel", Keeping)
        patch.setattr("deltanet_edu.lm.train.training_step", lambda *_: 1.0)
        train(replace(tiny, steps=9), tmp_path / "run", data=data, progress=ruin, save_every=3, device="cpu")
    saved = load_checkpoint(tmp_path / "run")
    assert saved["step"] == 3 and all(x.isfinite().all() for x in saved["model"].values())


def test_the_loop_is_a_plain_one(tiny, data):
    """Bit for bit: one process with no switches set does what is written here, and nothing else."""
    config = replace(tiny, steps=8)
    run = train(config, data=data, device="cpu")
    torch.manual_seed(config.seed)
    model, batches = LanguageModel(config), data.batches(config)
    optimizers, losses = build_optimizers(model, config), []
    for step in range(1, config.steps + 1):
        tokens = batches[step - 1]
        logits, _ = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate(step, config) * group["peak"]
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    assert losses == [entry["loss"] for entry in run.log]
    assert torch.equal(torch.cat([p.detach().flatten() for p in model.parameters()]), weights(run))


def test_the_speed_of_a_run_is_in_its_log(tiny, data):
    run = train(replace(tiny, steps=3), data=data)
    tokens, seconds = tiny.batch * tiny.length, run.log[-1]["seconds"]
    assert all(entry["tokens_per_second"] > tokens / (seconds + 0.1) for entry in run.log[1:])
    assert "utilisation" not in run.log[0], "the peak of a CPU is not known"


def test_utilisation_is_the_share_of_the_peak_that_weights_need(tiny, monkeypatch):
    model, place = LanguageModel(tiny), Place(torch.device("cuda", 0), torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    speed = Speed(tiny, model, Team(0, 2, False, place))
    assert [speed(s)["tokens_per_second"] for s in (9.0, 0.5, 0.5)] == [round(128 / 9), round(128 / 4.75), 256]
    flops = 6 * 256 * (parameters(model) - tiny.vocab * tiny.d_model)
    assert speed(0.5)["utilisation"] == round(flops / (2 * 989e12), 4)
    assert peak_of(place._replace(dtype=torch.float32)) == 0 == peak_of(find_place("cpu", "bfloat16"))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_only_matrices_of_blocks_decay(tiny, optimizer):
    config = replace(tiny, optimizer=optimizer, weight_decay=0.3)
    model = LanguageModel(config)
    groups = [group for o in build_optimizers(model, config) for group in o.param_groups]
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    names = {name for name, p in model.named_parameters() if id(p) in decayed}
    assert all(g["weight_decay"] in (0, 0.3) for g in groups) and len(names) == 4 * tiny.layers
    assert {name.split(".", 2)[2] for name in names} == {
        "mixer.to_qkv.weight", "mixer.to_out.weight", "mlp.to_hidden.weight", "mlp.to_out.weight"}


def test_the_loss_is_compiled_and_what_is_measured_is_not(tiny, data, monkeypatch):
    seen, short = [], replace(tiny, steps=3)

    def compile(f):
        return lambda *batch: seen.append(batch[0].shape) or f(*batch)
    monkeypatch.setattr(torch, "compile", compile)
    run = train(short, data=data, compile=True, evaluate_every=1)
    assert seen == [(4, 33)] * 3
    assert [e["loss"] for e in run.log] == [e["loss"] for e in train(short, data=data).log]


def test_another_run_is_not_continued(tiny, corpus, data, tmp_path):
    short = replace(tiny, steps=3)
    train(short, tmp_path, data=data)
    with pytest.raises(RunError, match="there is a run in it already.*--resume"):
        train(short, tmp_path, data=data)
    with pytest.raises(RunError, match="cannot resume.*batch was 4, now 5; seed was 0, now 1"):
        train(replace(short, batch=5, seed=1), tmp_path, resume=True, data=data)
    other = Data.prepare(type(corpus)("small", corpus.texts[:1]), tiny.vocab)
    with pytest.raises(RunError, match="cannot resume.*corpus was"):
        train(short, tmp_path, resume=True, data=other)
    with pytest.raises(RunError, match="there is no run to resume"):
        train(short, tmp_path / "none", resume=True, data=data)
    with pytest.raises(RunError, match="nothing to resume without a run folder"):
        train(short, resume=True, data=data)
    assert train(short, tmp_path, resume=True, data=data).log[-1]["step"] == 3, "a finished run resumes to its end"


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "other"])
def test_a_damaged_checkpoint_is_named(tmp_path, content):
    if content == "other":
        torch.save({"model": {}}, tmp_path / "checkpoint.pt")
    else:
        (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(RunError, match="damaged|another version"):
        load_run(tmp_path)
    with pytest.raises(RunError, match="there is no checkpoint.pt"):
        load_run(tmp_path / "nothing")


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)
    torch.save({"format": FORMAT, "step": Attack()}, tmp_path / "checkpoint.pt")
    with pytest.raises(RunError):
        load_checkpoint(tmp_path)
    assert not (tmp_path / "attacked").exists()


# -- configurations ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("changes, message", [
    (dict(vocab=100), "vocab: got 100, expected at least 256"),
    (dict(mixer="softmax"), "mixer: got 'softmax', expected one of .*'delta', .*'linear'"),
    (dict(d_model=130, heads=4), "d_model: got 130, which 4 heads do not divide. Take a multiple of 4"),
    (dict(steps=0), "steps: got 0, expected a positive integer"),
    (dict(lr=-1.0), "lr: got -1.0, expected a positive number"),
    (dict(lr=math.nan), "lr: got nan"),
    (dict(warmup=1.0), "warmup: got 1.0"),
    (dict(mixer="delta,gru"), "mixer: got 'gru', expected one of .*'delta', .*'linear'"),
    (dict(mixer=["delta", 3]), "mixer: got .'delta', 3., expected a string"),
    (dict(options=dict(beta_max=3)), "beta_max: got 3, expected"),
    (dict(options=dict(feature_map="gelu")), "feature_map: got 'gelu'"),
    (dict(options=dict(norm="max")), "norm: got 'max'"),
    (dict(options=dict(conv_size=-1)), "conv_size: got -1"),
    (dict(options={"delta.conv_size": 1.5}), "conv_size: got 1.5"),
    (dict(options=dict(window=3)), "options: got 'window', which 'delta' does not have, expected one of 'backend'"),
    (dict(options={"linear.norm": "l1"}), "options: got 'linear.norm', which 'delta' does not have"),
    (dict(mixer="linear", options=dict(beta_max=2)), "options: got 'beta_max', which 'linear' does not have"),
    (dict(options=[]), "options: got .., expected a dict"),
    (dict(seed=-1), "seed: got -1"),
    (dict(dropout=1.0), "dropout: got 1.0, expected a share"),
    (dict(layers=2.0), "layers: got 2.0, expected an integer"),
    (dict(batch=True), "batch: got True, expected an integer"),
    (dict(corpus=3), "corpus: got 3, expected a string"),
])
def test_wrong_settings_are_named(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Config(**changes)
