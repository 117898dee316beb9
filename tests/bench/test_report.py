"""Ratios, means, floors, and the figures drawn from a small measurement."""

import json

import matplotlib
import pytest
from PIL import Image
from typer.testing import CliRunner

from deltanet_edu.bench import report
from deltanet_edu.bench.commands import bench

MADE = {"machine": {"processor": "a processor", "gpu": "a GPU"},
        "versions": {"torch": "2.11.0+cu130", "triton": "3.6.0"}, "date": "2026-11-23"}


def row(forward, both, **more):
    return {"forward": forward, "both": both, "held MB": 1.0, "peak MB": 2.0, **more}


SHAPES = {"1,1000,10,128": {"chunkwise": row(1.0, 3.0), "recurrent": row(9.0, 30.0), "fla chunk": row(2.0, 6.0),
                            "softmax attention": row(1.0, 2.0)},
          "2,1000,5,64": {"chunkwise": row(1.0, 4.0), "fla chunk": row(8.0, 2.0)}}


def test_ratios_means_and_minima():
    assert report.speedups(SHAPES, "forward") == {"1,1000,10,128": 2.0, "2,1000,5,64": 8.0}
    assert report.speedups(SHAPES, "both", of="recurrent") == {"1,1000,10,128": 10.0}
    assert report.speedups(SHAPES, "graph both") == {}
    assert report.geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    forward, both = report.summary(SHAPES)
    assert forward.startswith("forward: 4.00 times") and "at least 2.00 times (1,1000,10,128)" in forward
    assert both.startswith("forward + backward: 1.00 times") and "at least 0.50 times (2,1000,5,64)" in both


def test_the_table_has_a_line_for_each_candidate():
    lines = report.table("1,1000,10,128", SHAPES["1,1000,10,128"])
    assert len(lines) == 5 and len({len(line) for line in lines}) == 1
    assert lines[1].split()[:5] == ["chunkwise", "1.000", "3.000", "100.00", "300.00"]
    assert lines[1].split()[-2:] == ["1.00", "1.00"]
    assert lines[3].split()[-2:] == ["2.00", "2.00"], "fla takes twice as long"


def test_a_candidate_that_failed_is_named():
    lines = report.table("1,1000,10,128",
                         {"chunkwise": row(1.0, 3.0), "FlashQLA": {"failure": "ValueError: no such width"}})
    assert lines[2].split(maxsplit=1) == ["FlashQLA", "ValueError: no such width"]
    assert report.summary({"1,1000,10,128": {"chunkwise": row(1.0, 3.0), "FlashQLA": {"failure": "it broke"}}}) == []
    assert report.largest_error(("FlashQLA", {"failure": "it broke"})) == "FlashQLA it broke"
    assert report.largest_error(("chunkwise", {"o": 1e-3, "dq": 2e-3})) == "chunkwise 2.00e-03"


def test_each_library_has_its_summary():
    lines = report.summary({"1,1000,10,128": {"chunkwise": row(1.0, 3.0), "fla chunk": row(2.0, 6.0),
                                              "FlashQLA": row(3.0, 3.0)}})
    assert [line.split(" in ")[0] for line in lines] == [
        "forward: 2.00 times as fast as fla", "forward + backward: 2.00 times as fast as fla",
        "forward: 3.00 times as fast as FlashQLA", "forward + backward: 1.00 times as fast as FlashQLA"]


def test_the_library_is_taken_at_its_best_and_we_are_not():
    again = {"1,1000,10,128": {"chunkwise": row(0.5, 0.5), "fla chunk": row(3.0, 5.0)}, "9,1,1,64": {}}
    best = report.merge([{"shapes": SHAPES}, {"shapes": again}])["1,1000,10,128"]
    assert (best["fla chunk"]["forward"], best["fla chunk"]["both"]) == (2.0, 5.0)
    assert best["chunkwise"] == row(1.0, 3.0) and SHAPES["1,1000,10,128"]["fla chunk"]["both"] == 6.0


def test_the_floor():
    """Counted by hand for K = V = 128: four rows of 128 numbers and beta come and go forward,
    eleven and three betas in both passes."""
    assert report.floor_bytes(128, 128) == {"forward": 2 * (4 * 128 + 1), "both": 2 * (11 * 128 + 3)}
    assert report.floor_flops(128, 128)["forward"] == 2 * (3 * 128 * 128 + 4 * 64 * 128)
    assert report.floor_flops(96, 32, C=16)["forward"] == 2 * (3 * 96 * 32 + 2 * 16 * 96 + 2 * 16 * 32)
    slow_memory, slow_products = {"byte/s": 1e9, "flop/s": 1e15}, {"byte/s": 1e15, "flop/s": 1e9}
    assert report.floor("1,1,1,128", slow_memory)["forward"] == (pytest.approx(1026), "bytes")
    flops = 163840 + 2 * (8 * 128 * 128 + 9 * 64 * 128)
    assert report.floor("1,1,1,128", slow_products)["both"] == (pytest.approx(flops), "FLOPs")
    both, forward = (report.floor_flops(96, 32, C=16)[key] for key in ("both", "forward"))
    assert both - forward == 2 * (8 * 96 * 32 + 4 * 16 * 96 + 5 * 16 * 32)


def test_figures_from_files(tmp_path):
    matplotlib.use("agg")
    times, lengths = tmp_path / "times.json", tmp_path / "lengths.json"
    times.write_text(json.dumps(MADE | {"shapes": SHAPES, "ceilings": {"byte/s": 1e12, "flop/s": 1e15}}))
    lengths.write_text(json.dumps(MADE | {"points": {f"{16384 // T},{T},{2048 // D},{D}": {"speedup": T * D / 40000}
                                                     for T in (512, 2048, 16384) for D in (64, 256)}}))
    done = CliRunner().invoke(bench, ["figures", str(times), str(lengths)])
    assert done.exit_code == 0, done.output
    assert "forward: 4.00 times as fast as fla" in done.output
    drawn = {path.name: path.read_bytes() for path in tmp_path.glob("*.png")}
    assert set(drawn) == {"speed_library.png", "speed_floor.png", "speed_recurrent.png"}
    for name, png in drawn.items():
        assert len(png) <= 100_000
        assert len(Image.open(tmp_path / name).convert("L").getcolors()) > 20, "blank"
    CliRunner().invoke(bench, ["figures", str(times), str(lengths)])
    assert drawn == {path.name: path.read_bytes() for path in tmp_path.glob("*.png")}, "the same bytes every time"


def test_without_roofs_there_is_no_floor():
    assert "floor" not in report.figures([MADE | {"shapes": SHAPES}])


def test_nothing_to_draw(tmp_path):
    file = tmp_path / "x.json"
    file.write_text(json.dumps(MADE))
    done = CliRunner().invoke(bench, ["figures", str(file)])
    assert done.exit_code == 1 and "nothing to draw" in done.output
