"""A small example of every figure, by the name of the function that draws it."""

import math
from types import SimpleNamespace

import numpy as np
import torch

from deltanet_edu.figures import (attention, backward, backward_kernels, chunks, chunkwise, delta, errata, film,
                                  forward, householder, kernels, language, layer, lines, measuring, memories, memory,
                                  overwriting, pictures, programs, race, recall, roofline, subplots, ut, wy)
from deltanet_edu.figures.memory import writes

T, C = 8, 4
g = torch.Generator().manual_seed(0)
x = torch.linspace(1, 2, T, dtype=torch.float64)
square, tall = torch.randn(T, T, generator=g).tril(), torch.randn(T, 3, generator=g)
unit = torch.nn.functional.normalize(tall, dim=-1)
log = [{"step": 10 * n, "loss": 3.0 / n, "held_out": 2.0 + 1 / n} for n in range(1, 6)]
keys = np.array([[1.0, 0.0], [0.6, 0.8]])
wrong = {"forgets β": {"gentle": 0.0, "thorough": 0.3}, "wrong side": {"gentle": math.inf, "thorough": 1.0}}
shapes = {"4,2048,16,128": {"forward": (1.0, 2.0), "both": (3.0, 2.5)}}
floors = {"4,2048,16,128": {"forward": (1.0, 0.5, "bytes"), "both": (3.0, 1.0, "FLOPs")}}
names = ["cat", "dog", "cat"]
clocked = {str(n): {"without waiting": 0.01, "waiting": n / 1e4, "events": n / 2e4} for n in (256, 512, 1024)}
rows = {"4,2048,16,128": {"ours": 1.0, "theirs": 2.0}, "1,32768,8,128": {"ours": 3.0}}
raced = {"must": 100, "yours": 300, "the package": 150}
clocks = {"4,2048,16,128": {"yours": 1.0, "the package": 0.5, "floor": 0.2},
          "1,32768,8,128": {"yours": "RuntimeError: no"}}
tensors = {"x": SimpleNamespace(name="x", loaded_by=torch.arange(20) // 8, stored_by=-torch.ones(20)),
           "o": SimpleNamespace(name="o", loaded_by=-torch.ones(4, 3), stored_by=torch.arange(12).view(4, 3) // 6)}
launch = SimpleNamespace(kernel="add_kernel", grid=(3, 1, 1), tensors=tensors)
told, values = torch.eye(2)[[0, 1, 0]], torch.tensor([[3.0], [2.0], [5.0]])

stored = [torch.arange(2).view(1, 1, 2, 1).expand(4, 1, 2, 1) * 2 + n for n in range(2)]                 # (N, H, V, K)
stored = dict(zip(("states_ptr", "d_states_ptr"), map(lambda by: SimpleNamespace(stored_by=by), stored)))
swept = SimpleNamespace(tensors=stored)


def one(beta, key):
    return np.eye(len(key)) - beta * np.outer(key, key)


EXAMPLES = {
    "attention.turning": lambda: attention.turning(x, {n: ([0, 37], [3, 4], x, [3, 4]) for n in ("90°", "37°")}),
    "attention.crosstalk": lambda: attention.crosstalk(x, {16: x, 64: x, 128: x}),
    "backward.chains": lambda: backward.chains(),
    "backward.kept": lambda: backward.kept((64, 128), {f"form {n}": (n, 2.0 * n) for n in (1, 2, 3, 4)}),
    "backward.surprises": lambda: backward.surprises(["A→1", "B→2"], x[:2], -x[:2]),
    "backward_kernels.losses": lambda: backward_kernels.losses({"one": x, "two": x / 2, "three": x / 3}),
    "backward_kernels.stores": lambda: backward_kernels.stores(swept),
    "backward_kernels.bytes_held": lambda: backward_kernels.bytes_held({"loop": 4000.0, "kernels": 500.0}),
    "backward_kernels.rounding": lambda: backward_kernels.rounding({"one": x / 100, "two": x / 1000}),
    "backward_kernels.backward_times": lambda: backward_kernels.backward_times(
        {"4 × 4,096, 64 × 128": {"one": (0.6, 2.3), "two": (2.3, 4.5), "three": (2.0, 6.0)}}, "one GPU"),
    "chunks.two_forms": lambda: chunks.two_forms((64, 128, 256), [3.0, 6.0, 12.0], [0.1, 0.4, 1.6]),
    "chunks.triangle": lambda: chunks.triangle(12, 4),
    "chunks.cost": lambda: chunks.cost([4, 8, 16], [1, 2, 4], [1, 1.9, 3.9], [9, 3, 5], 30.0, 8.0, 4096),
    "chunks.rounds": lambda: chunks.rounds(8),
    "chunkwise.by_position": lambda: chunkwise.by_position(x, C),
    "chunkwise.phases": lambda: chunkwise.phases(),
    "chunkwise.pipeline": lambda: chunkwise.pipeline(),
    "chunkwise.explore_pipeline": lambda: chunkwise.explore_pipeline(),
    "chunkwise.weights": lambda: chunkwise.weights({"one": square, "two": -square}, limit=1.0),
    "chunkwise.cost": lambda: chunkwise.cost([1.0, 2.0, 4.0], {n: [1e3, 2e3, 4e3] for n in ("state", "rows", "solve")},
                                             {"chunkwise": {4: 3.0, 8: 2.0}}, 9.0),
    "measuring.clocks": lambda: measuring.clocks(clocked, 800),
    "measuring.queue": lambda: measuring.queue([5, 5, 40], 20),
    "measuring.explore_queue": lambda: measuring.explore_queue(),
    "measuring.single_calls": lambda: measuring.single_calls({n: [1.0, 1.1, 5.0, 1.0] for n in ("eager", "graph")}),
    "measuring.moved": lambda: measuring.moved({"two kernels": {"inputs": 900, "X": 500}, "one": {"inputs": 900}}, 800),
    "measuring.by_kernel": lambda: measuring.by_kernel({"inverse": (0.2, 0.1), "forward": (0.4, 0.38)}, "A note."),
    "measuring.rivals": lambda: measuring.rivals(rows, {"4,2048,16,128": 0.5, "1,32768,8,128": 0.5}, "A note."),
    "recall.sequences": lambda: recall.sequences({
        "a sequence": (torch.tensor([3, 9, 0, 3]), torch.tensor([-100, -100, -100, 9]), "key value filler key".split()),
        "noise": (torch.tensor([17, 1]), torch.tensor([-100, 2]), ["noise", "sign"])}),
    "recall.automaton": lambda: recall.automaton({0: [(0, 1), (1, 2)], 1: [(2, 0)], 2: [(0, 1)]}),
    "recall.seeds": lambda: recall.seeds({"a task": {"delta": [0.99, 0.98], "linear": [0.46], "β in (0, 1)": [0.5]}},
                                         chance={"a task": 0.25}, note="A note."),
    "recall.rising": lambda: recall.rising({"delta": [(2, [1.0, 0.9]), (4, [0.8])], "linear": [(2, [0.7]), (4, [0.2])]},
                                           "pairs", chance={2: 0.5, 4: 0.25}, log="x", note="A note."),
    "recall.courses": lambda: recall.courses({"delta": [[(10, 0.1), (20, 0.9)]], "linear": [[(10, 0.1), (20, 0.3)]]}),
    "measuring.segments_at_work": lambda: measuring.segments_at_work(),
    "race.verdict": lambda: race.verdict(raced, clocks),
    "race.board": lambda: race.board([{"name": "mine", "date": "2026-11-26", "bytes": raced}] * 2),
    "delta.plane": lambda: delta.plane(keys, [3.0, 5.0], [[0, 0], [3, 0]], names=["one", "two"]),
    "delta.landings": lambda: delta.landings(keys[1], 5.0, [3.0, 1.0], {1.0: [4, 2], 3.0: [6, 4]}, limits=(2, 8, 0, 5)),
    "delta.two_writes": lambda: delta.two_writes(),
    "delta.explore_two_writes": lambda: delta.explore_two_writes(),
    "delta.stability": lambda: delta.stability(x, 1 - x, {n: [-1.0, 0.5, 0.2] for n in (0.5, 1.0, 1.5, 2.0, 2.2)}),
    "delta.fading": lambda: delta.fading({"additive": x, "delta": x / 2}, {"additive": x, "delta": x / 2}, x / 2),
    "errata.tests": lambda: errata.tests(wrong),
    "film.strip": lambda: film.strip(told, values, names),
    "forward.owners": lambda: forward.owners(),
    "forward.levels": lambda: forward.levels(8),
    "forward.places": lambda: forward.places(),
    "forward.tiles": lambda: forward.tiles(),
    "forward.explore_tiles": lambda: forward.explore_tiles(),
    "forward.bill": lambda: forward.bill({"one": {"q": 64, "k": 64}, "two": {"q": 64, "k": 128, "UT_low": 32}}, 128),
    "householder.dial": lambda: householder.dial({b: one(b, keys[1]) for b in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)}, keys[1]),
    "householder.turned": lambda: householder.turned(),
    "householder.explore_dial": lambda: householder.explore_dial(),
    "householder.mirror": lambda: householder.mirror({b: one(b, [0.0, 0.6, 0.8]) for b in (1, 2)}, [0.0, 0.6, 0.8]),
    "householder.two_mirrors": lambda: householder.two_mirrors(*keys, *(one(2.0, k) for k in keys)),
    "householder.order": lambda: householder.order(90 * x, {f"β = {b}": b * x for b in (0.5, 1, 2)}),
    "householder.forgetting": lambda: householder.forgetting({b: x / b for b in (0.5, 1.0, 1.5, 1.9, 2.0)},
                                                             {b: x / b for b in (0.5, 1.0, 1.5, 1.9, 2.0)}),
    "language.training_curves": lambda: language.training_curves(log, {"best n-gram": 1.96, "a table": 2.6}, 50),
    "language.learning": lambda: language.learning({"delta": log, "linear": log}, 50),
    "language.bits_panel": lambda: language.bits_panel(subplots("Line plot of bits per character.")[1], {"delta": log},
                                                         {"best n-gram": 1.96, "almost": 1.99}, 50),
    "language.context": lambda: language.context([4.6, 3.5, 2.8]),
    "language.strength_of_words": lambda: language.strength_of_words(["the", " cat", "\n", " sat"], torch.rand(4, 2)),
    "language.spread": lambda: language.spread({"delta": [1.42, 1.43], "delta+sliding": [1.4], "linear": []},
                                               "bits per character", {"best n-gram": 1.96}, "A note."),
    "language.of_mixers": lambda: language.of_mixers(
        {"theirs": {"delta": [(2048, 41.5), (4096, 41.6)], "attention": [(2048, 51.3), (4096, 46.8)]},
         "ours": {"delta": [(2048, 140.0)], "delta+global": [(2048, 120.0)]}}, "tokens", "tokens a second", "A note."),
    "layer.anatomy": lambda: layer.anatomy(),
    "layer.by_age": lambda: layer.by_age({n: {"adds": (x, x / 2), "delta": (x, 1 / x)} for n in ("once", "again")},
                                         ("additive", "delta")),
    "lines.lines": lambda: lines({"a": x, "b": (x, 2 * x)}, xlabel="x", ylabel="y", log="y", alt="Line plot of two."),
    "memory.memory": lambda: memory(square, title="S"),
    "memory.memories": lambda: memories([tall, -tall], ["before", "after"]),
    "memory.writes": lambda: writes(told, values, names),
    "overwriting.overwriting": lambda: overwriting.overwriting(x.round(), 5 * x, x, told=[0, 3]),
    "pictures.show_pictures": lambda: pictures.show_pictures(pictures.pictures()[1][:3], ["cat", "2 stored", "heart"]),
    "programs.touched": lambda: programs.touched([launch]),
    "roofline.unrolled": lambda: roofline.unrolled(),
    "roofline.backward_norms": lambda: roofline.backward_norms({f"keys {n}": x**n for n in range(5)}, 0.7),
    "roofline.per_step": lambda: roofline.per_step({n: ([1, 9], [2, 3]) for n in ("wider", "more")}, "Loop", unit="µs"),
    "roofline.roofs": lambda: roofline.roofs(1e12, 1e11, {"loop": (1.0, 1e10), "product": (100.0, 9e11)}, "This CPU",
                                             lines=[(2.0, "generating")]),
    "roofline.decoding": lambda: roofline.decoding([64, 128], [1.0, 2.0], [0.5, 0.5],
                                                   {"softmax attention": [1e-5, 2e-5], "DeltaNet": [1e-5, 1e-5]}),
    "ut.rounds": lambda: ut.rounds({f"keys {n}": 10.0 ** -(n * x) for n in (1, 2, 3)}),
    "ut.filling": lambda: ut.filling(square),
    "ut.paths": lambda: ut.paths([[0, 0, 0], [0.5, 0, 0], [0, 0.6, 0]]),
    "ut.cancellation": lambda: ut.cancellation([-1.0, 1e8, -1e17, 1e8], {"float32": 1e-7, "float64": 2e-16}),
    "ut.error_table": lambda: ut.error_table({n: {"by\nrows": 2e-7, "series": e} for n, e in (("a", 3), ("b", 9e4))}),
    "wy.writes": lambda: wy.writes({"orthogonal": (x[:3], x[:3]), "equal": (x[:3], -x[:3])}),
    "wy.factors": lambda: wy.factors(np.eye(3) - unit[:2].T.numpy() @ unit[:2].numpy(), unit[:2], unit[:2]),
    "wy.against_length": lambda: wy.against_length({"a": (x, x), "b": (x, 2 * x)}, "MiB"),
    "kernels.speedup_by_length": lambda: kernels.speedup_by_length({64: {512: 3, 1024: 8}, 128: {512: 2, 1024: 6}}),
    "kernels.against_library": lambda: kernels.against_library(shapes),
    "kernels.against_floor": lambda: kernels.against_floor(floors),
}

# functions of the same modules that draw parts, or no figure at all
NOT_FIGURES = {
    "backward_kernels.draw_tiles", "boxes.box", "boxes.column_heads", "boxes.time_axis", "card.corners", "card.image",
    "card.install", "card.png",
    "card.rounded", "card.saved", "card.tag", "delta.point", "errata.place", "explore.explore", "film.animation",
    "film.draw", "film.film", "film.frame", "film.prepare", "film.said", "film.scenes", "forward.arrow",
    "forward.asked", "householder.arc",
    "householder.arrow", "householder.effect", "householder.one_setting", "kernels.ratio", "kernels.save",
    "kernels.shape_axes", "programs.borders", "programs.flat", "programs.grid", "programs.middle", "programs.told",
    "programs.uses", "kernels.thousands", "language.level_lines", "measuring.spelled", "recall.plain", "recall.some",
    "race.clock",
    "language.mixer_look", "language.noted", "language.smooth", "memory.label_axis",
    "memory.number", "memory.tiles", "memory.told", "pictures.pictures", "pictures.seen", "style.array",
    "style.close", "style.course", "style.look", "style.read_off", "style.size", "style.spoken", "style.style",
    "style.subplots", "style.words", "tensor_core.on_tensor_core", "tensor_core.similar_keys",
    "tensor_core.to_tf32", "ut.arc", "ut.node",
}
