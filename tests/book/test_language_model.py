"""What lesson 16 shows of stored measurements: with the files it is promised, and without them."""

import json
import math
import re
from statistics import mean

import matplotlib.pyplot as plt
import pytest
from IPython.display import Markdown

from deltanet_edu.bench.language_models import summary
from deltanet_edu.bench.training import line
from deltanet_edu.chapters.ch16 import paper
from deltanet_edu.figures import language

from .lessons import ROOT, cells

LESSON = ROOT / "book" / "lessons" / "16_language_model.py"
SHOWING = [text for kind, text in cells(LESSON) if kind == "code" and "stored(" in text]
MADE = {"machine": {"gpu": "a GPU"}, "versions": {"torch": "2.11"}, "date": "2026-11-27", "command": "x"}


def run_of(model, seed, lr):
    return {"model": model, "seed": seed, "lr": lr, "settings": {"steps": 600}, "parameters": 28,
            "all": 1.3 + lr, "books": 1.5 + lr,
            "curve": [[100, 2.0], [200, 1.5]], "cloze": {"passages": 9, "accuracy": 0.25},
            "recall": {"wikipedia": {"exact": 0.5}, "packages": {"missing": "none"}},
            "positions": [{"from": 0, "to": 128, "bits per character": 1.6},
                          {"from": 128, "to": 256, "bits per character": 1.5}]}


def compared(models, **changes):
    """What `deltanet-edu bench lm` writes of two rates and two seeds of each model."""
    rows = [run_of(model, seed, lr) | changes for model in models for seed, lr in ((0, 0.01), (0, 0.02), (1, 0.01))]
    return MADE | {"results": summary(rows, {"lr": [0.01, 0.02]})}


def speeds(model, length):
    return {"model": model, "batch": 1, "length": length, "compiled": True, "tokens_per_second": 140_000,
            "utilisation": 0.29, "peak_bytes": 3e10}


FILES = {
    "lm_seeds_one_rate": compared(["delta", "linear"]),
    "lm_seeds": compared(["linear", "delta"]),
    "lm_mixers_h100": compared(["delta", "delta+sliding", "delta+global", "attention", "gla", "retnet", "mamba",
                                "linear"]),
    "lm_ablations_h100": compared(["delta", "delta norm=l1 feature_map=relu", "delta conv_size=0"]),
    "training_h100": MADE | {"rows": [speeds(m, T) for m in ("delta", "attention", "fla") for T in (2048, 16_384)]
                             + [{"model": "gla", "batch": 1, "length": 2048, "compiled": True, "error": "no memory"}]},
    "training_h200": MADE | {"rows": [speeds("delta", 2048), speeds("fla", 2048)]},
    "decode_h100": MADE | {"rows": [
        {"mixer": mixer, "context": n, "batch": 32, "bytes kept": n, "tokens per second": 9.0,
         "tokens per second as a graph": 90.0} for mixer in ("delta", "attention") for n in (1024, 4096)]
        + [{"mixer": "attention", "context": 16_384, "batch": 32, "out of memory": True}]},
    "two_gpus_h200": MADE | {"rows": {name: {"batch": 8, "length": 2048, "tokens_per_second": 90_000}
                                      for name in ("one", "two", "sharded")},
                             "speedup": {"one": 1.0, "two": 1.9, "sharded": 1.8},
                             "speedup by the clock": {"one": 1.0, "two": 1.8, "sharded": 1.7}},
}


@pytest.mark.parametrize("there", [True, False], ids=["with the files", "without"])
def test_stored_measurements_are_shown_or_their_commands(there, capsys):
    files = json.loads(json.dumps(FILES)) if there else {}               # seeds become strings, as in a file
    known = {"math": math, "line": line, "mean": mean, "Markdown": Markdown, "paper": paper, "read_result": files.get,
             "mine": "delta", "predict": lambda id: None, "ngrams": [2.0],
             "by_end": lambda rows: [(row["to"], row["bits per character"]) for row in rows],
             **{name: getattr(language, name) for name in ("of_mixers", "spread")}}
    named = next(text for kind, text in cells(LESSON) if kind == "code" and "measurements = {" in text)
    try:
        for text in [named, *SHOWING]:
            exec(text, known)
    finally:
        plt.close("all")
    said = capsys.readouterr().out
    assert len(SHOWING) >= 6 and ("Not measured yet" in said) is not there
    asked = set(re.findall(r'stored\("(\w+)"\)', "\n".join(SHOWING)))
    assert asked == set(known["commands"]) == set(FILES)


def test_the_paper_s_numbers_are_the_same_in_every_lesson():
    """Lesson 14 shows a part of the table as text."""
    lesson = (ROOT / "book" / "lessons" / "14_deltanet_layer.py").read_text(encoding="utf-8")
    rows = dict(re.findall(r"# \| (\w[^|]*) \| (\d+\.\d \| \d+\.\d \| \d+\.\d \| \d+\.\d\d) \|", lesson))
    names = {"GLA, with convolution": "GLA, convolution", "DeltaNet, sliding window": "+ sliding window",
             "DeltaNet, two global layers": "+ two global layers"}
    assert len(rows) >= 6
    for name, numbers in rows.items():
        large = paper.MODELS[names.get(name, name)][2]
        assert [float(x) for x in numbers.split(" | ")] == [large.swde, large.squad, large.fda, large.wikitext], name


def test_tables_put_ours_beside_the_paper_s():
    table = paper.language_models({"delta": [1.5, 1.52], "linear": [1.6]}).splitlines()
    assert len(table) == 2 + len(paper.MODELS)
    assert next(row for row in table if row.startswith("| DeltaNet |")).endswith("| 1.510 ± 0.014 |")
    assert next(row for row in table if row.startswith("| Mamba |")).endswith("| – |")
    table = paper.ablation({("l2", "silu", 0): [1.55], ("l1", "relu", 4): [1.6]}).splitlines()
    assert len(table) == 3 + len(paper.ABLATION) and table[-1].startswith("| L1 | relu | yes | – |")
