"""A table of the reader's own: which configurations win, where they are kept, and when they are used."""

import json
import math

import pytest
from typer.testing import CliRunner

pytest.importorskip("triton")
from deltanet_edu.bench import tune
from deltanet_edu.bench.commands import bench
from deltanet_edu.kernels import configs, own

from .test_gpu_commands import imagined_gpu                              # noqa: F401

A, B = configs.Config(32, 4, 1), configs.Config(64, 8, 2)
PLAN = configs.FEW[64]._replace(forward=A, both=A, sweep=A, back=A, gradients=A)


def times(**changed):
    """Milliseconds of A, and of B: 10 each but for the sweep and back, 5 each; B's are given."""
    usual = {"forward": 10.0, "both": 10.0, "sweep": 5.0, "back": 5.0, "gradients": 10.0}
    of_B = {(field, B): changed.get(field, math.inf) for field in usual}
    return {(field, A): ms for field, ms in usual.items()} | of_B


@pytest.mark.parametrize("changed, expected", [
    ({}, {}),
    (dict(forward=8.0), dict(forward=B)),
    (dict(forward=9.9), {}),                                             # noise
    (dict(sweep=3.0), dict(sweep=B, both=None)),                         # 3 + 5 in two launches, 10 in one
    (dict(sweep=3.0, both=7.0), dict(sweep=B, both=B)),
])
def test_the_fastest_wins_by_a_margin(changed, expected):
    assert tune.best_plan(PLAN, times(**changed)) == PLAN._replace(**expected)


def test_two_launches_stay_two_unless_one_is_faster():
    alone = PLAN._replace(both=None)
    measured = {key: ms for key, ms in times(both=9.9).items() if key != ("both", A)}
    assert tune.best_plan(alone, measured) == alone
    assert tune.best_plan(alone, measured | {("both", B): 8.0}) == PLAN._replace(both=B)


def test_nothing_that_runs_is_an_error():
    with pytest.raises(RuntimeError, match="no configuration of 'forward' runs"):
        tune.best_plan(PLAN, times() | {("forward", A): math.inf})


def test_what_is_tried():
    jobs = tune.jobs(64, configs.FEW[64])
    assert len(jobs) == len(set(jobs)) and {field for field, _ in jobs} == set(configs.Plan._fields) - {
        "C", "saving", "group", "groups", "segment"}
    assert all((field, getattr(configs.FEW[64], field)) in jobs for field, _ in jobs)
    assert all(config.v_tile <= 64 for _, config in jobs)
    assert any(config.v_tile == 128 for _, config in tune.jobs(128, configs.FEW[128]))
    assert all(heads > 0 for n in (1, 20, 132) for _, _, heads, _ in tune.usual_shapes(n))


def test_usual_shapes_are_of_both_kinds():
    keys = [own.key("bfloat16", D, B * H, D, 132) for B, _, H, D in tune.usual_shapes(132)]
    assert keys == [f"bfloat16 {D} {crowd}" for D in (64, 128, 256) for crowd in ("few", "many")]


@pytest.fixture
def tuned(imagined_gpu, monkeypatch, tmp_path):                          # noqa: F811
    """What `deltanet-edu tune` writes for an imagined GPU, in the interpreter."""
    monkeypatch.setenv("DELTANET_EDU_HOME", str(tmp_path))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Imagined 1")
    monkeypatch.setattr(configs, "device", lambda index: configs.Device(227 * 1024, 132))
    monkeypatch.setattr(tune, "tries", lambda field, D: [configs.Config(16, 4, 1)])
    own.rows.cache_clear()
    done = CliRunner().invoke(bench, ["tune", "--shapes", "1,4,1,16", "--dtype", "float32", "--processes", "1"])
    assert done.exit_code == 0, done.output
    yield own.path("Imagined 1")
    own.rows.cache_clear()


def test_the_table_is_written_and_read(tuned):
    assert tuned.name == "kernels-Imagined-1.json"
    row, = own.rows("Imagined 1").values()
    plan = configs.Plan(**{field: configs.Config(*value) if isinstance(value, list) else value
                           for field, value in row.items()})
    assert plan == configs.FLOAT32[64], "all take 2 ms on the imagined GPU, so nothing is gained"
    assert list(own.rows("Imagined 1")) == ["float32 64 few"] and own.rows("another GPU") == {} == own.rows("")


def test_a_table_of_other_kernels_is_not_used(tuned):
    file = json.loads(tuned.read_text())
    tuned.write_text(json.dumps(file | {"versions": file["versions"] | {"kernels": "other"}}))
    with pytest.warns(UserWarning, match="other kernels"):
        assert own.rows("Imagined 1") == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"versions": {"kernels": 3}, "rows": 1}', "\x00"])
def test_a_broken_table_is_not_used(monkeypatch, tmp_path, text):
    monkeypatch.setenv("DELTANET_EDU_HOME", str(tmp_path))
    own.path("Broken").write_text(text)
    own.rows.cache_clear()
    with pytest.warns(UserWarning, match="not used"):
        assert own.rows("Broken") == {}
    own.rows.cache_clear()


def test_a_configuration_that_cannot_run_takes_forever(imagined_gpu):    # noqa: F811
    assert tune.time_of((1, 4, 1, 16), "float32", configs.FLOAT32[64], "forward", configs.Config(24, 4, 1)) == math.inf
    assert tune.time_of((1, 4, 1, 16), "float32", configs.FLOAT32[64], "back", configs.Config(16, 4, 1)) == 2.0
