"""Language models under equal conditions: the same text, tokens, schedule and seeds, and rates swept for each alike."""

import gc
import itertools
import pickle
import statistics
from dataclasses import replace
from pathlib import Path

import torch

from ..lm.cloze import cloze
from ..lm.commands import parse_option, worth_compiling
from ..lm.corpus import SHA256
from ..lm.evaluate import bits_per_character, by_position
from ..lm.facts import SOURCES, Missing, recall
from ..lm.model import meta_model, parameters
from ..lm.sweep import finished, folder_name, sweep
from ..lm.train import train

MEASURES = ("cloze", "recall", "positions")
CLOSE = 0.02                                                             # how far apart equal numbers of weights may be


def described(model, base):
    """The Config of "delta", or of "delta norm=l1 lr=0.01": a mixer, then its options and settings that differ."""
    mixer, *words = model.split()
    settings, options = {}, {}
    for name, value in map(parse_option, words):
        (settings if name in base.to_dict() else options)[name] = value
    return replace(base, mixer=mixer, options=base.options | options, **settings)


def check_equal(configs):
    """Raise unless all of {model: Config} have as many parameters, but for 2 %."""
    sizes = {name: parameters(meta_model(config)) for name, config in configs.items()}
    if max(sizes.values()) > (1 + CLOSE) * min(sizes.values()):
        said = ", ".join(f"{name!r} {size:,}" for name, size in sizes.items())
        raise ValueError(f"model: parameters differ by more than {CLOSE:.0%}: {said}. Change mlp_hidden=WIDTH of some.")


def compare(models, base, over, seeds, folder, data, *, on_row=lambda rows: None, measures=MEASURES, most=200, **how):
    """Train every model at every combination of `over` with the first seed, then at its best with the others.

    Args:
        models: as for `described`.    base: the Config that each is a variation of.    seeds: how many.
        over: {name: [values]}, settings, such as learning rates.    folder: kept there, to go on after a stop.
        measures, most: what to measure besides bits per character, on how many passages or documents.
        on_row: called with all rows so far.    how: for `lm.sweep.sweep` and `lm.train.train`.
    Returns a row a run. The best has the fewest bits per character over all held-out text.
    """
    configs, rows = {model: described(model, base) for model in models}, {}
    check_equal(configs)
    how |= dict(packed=pickle.dumps(data), measures=measures, most=most)     # plain bytes: no memory that is shared

    def note(row, *progress):
        rows[row["model"], row["seed"], *(row[name] for name in over)] = row
        on_row(list(rows.values()))

    def trained(asked):
        runs = [({"model": model, "seed": seed, **rates}, replace(configs[model], seed=seed, **rates))
                for model, seed, rates in asked]
        for varied, config in runs:
            if row := finished(Path(folder) / folder_name(varied), config):
                note(row)
        sweep(runs, folder, train_one, on_row=note, **how)
    combinations = [dict(zip(over, values)) for values in itertools.product(*over.values())]
    trained((model, base.seed, rates) for rates in combinations for model in models)
    best = {model: best_of(model, rows.values()) for model in models}
    trained((model, base.seed + n, {name: best[model][name] for name in over})
            for n in range(1, seeds) for model in models)
    return list(rows.values())


def best_of(model, rows):
    return min((row for row in rows if row["model"] == model), key=lambda row: row["all"])


def train_one(config, folder, resume, packed, measures, most, compile=None, **how):
    """The row of a run: what was trained for how long, and what it is worth. For a process of its own."""
    data = pickle.loads(packed)
    compile = worth_compiling(config, how["device"]) if compile is None else compile
    try:
        run = train(config, folder, resume=resume, data=data, compile=compile, say=lambda line: None,
                    evaluate_every=max(100, config.steps // 20), **how)
        return {"parameters": parameters(run.model), "steps": run.steps,
                "tokens": run.steps * config.batch * config.length, "seconds": run.log[-1]["seconds"],
                "tokens_per_second": statistics.median(entry["tokens_per_second"] for entry in run.log),
                **measured(run.model, data, config, measures, most),
                "curve": [[entry["step"], round(entry["held_out"], 4)] for entry in run.log if "held_out" in entry]}
    finally:                                                             # the next run needs the memory
        run = None
        torch.compiler.reset()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def measured(model, data, config, wanted, most):
    """Bits per character over all held-out text, and over the novels if there are any; and what else is wanted."""
    def bits(parts):
        return round(bits_per_character(model, parts, context=data.context), 4)
    novels, found = [part for part in data.held_out if part.name in SHA256], {"all": bits(data.held_out)}
    if novels:
        found["books"] = bits(novels)
    if "cloze" in wanted:
        found["cloze"] = cloze(model, data.tokenizer, [data.tokenizer.decode(p.tokens) for p in data.held_out], most)
    if "recall" in wanted:
        found["recall"] = {source: of_source(model, data.tokenizer, source, most) for source in SOURCES}
    if "positions" in wanted:
        found["positions"] = by_position(model, data.held_out, config.length)
    return found


def of_source(model, tokenizer, source, most):
    try:
        return recall(model, tokenizer, source, most)
    except Missing as missing:
        return {"missing": str(missing)}


def summary(rows, over):
    """{model: {"parameters", "chosen", "seeds": {seed: bits per character}, "mean", "spread", "curves", ...}}.

    Of the best rates, as `best_of` says. The bits are over the novels if there are any. spread: the sample standard
    deviation over the seeds, None of one. "all": {seed: bits over all held-out text}. "other rates": how those did.
    """
    results, first = {}, min(row["seed"] for row in rows)
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model and row["seed"] == first]
        best = best_of(model, mine)
        rates = {name: best[name] for name in over}
        chosen = {row["seed"]: row for row in rows
                  if row["model"] == model and all(row[name] == rates[name] for name in over)}
        seeds = {seed: row.get("books", row["all"]) for seed, row in sorted(chosen.items())}
        results[model] = {
            "config": best["settings"], "parameters": best["parameters"], "chosen": rates, "seeds": seeds,
            "mean": round(statistics.mean(seeds.values()), 4),
            "spread": round(statistics.stdev(seeds.values()), 4) if len(seeds) > 1 else None,
            "curves": {seed: chosen[seed]["curve"] for seed in seeds},
            "other rates": [{name: row[name] for name in (*over, "all")} for row in mine if row is not best]}
        for name in ("all", "tokens", "seconds", "tokens_per_second", *MEASURES):
            if name in best:
                results[model][name] = {seed: chosen[seed][name] for seed in seeds}
    return results
