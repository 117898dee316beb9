"""The paper's tables of language models (arXiv 2406.06484), as printed, for lesson 16 to put beside its own figures.

None of them was run again: 15 billion tokens at 340 million parameters, 100 billion at 1.3 billion.
"""

import statistics
from typing import NamedTuple


class Row(NamedTuple):
    wikitext: float                                                      # perplexity of a token
    lambada: float                                                       # perplexity of the last word
    zero_shot: float                                                     # mean accuracy of the paper's tasks, in %
    swde: float                                                          # recall-intensive tasks, share right in %
    squad: float
    fda: float


# Both sizes of every model, and the mixer of this package that comes nearest; GLA with and without a convolution.
MODELS = {
    "Transformer++": ("attention", Row(28.39, 42.69, 41.2, 42.2, 22.1, 21.4),
                      Row(16.85, 13.44, 50.9, 66.6, 31.5, 27.4)),
    "RetNet": ("retnet", Row(32.33, 49.19, 41.0, 13.3, 27.6, 2.9), Row(18.64, 17.27, 48.9, 42.8, 34.7, 14.3)),
    "Mamba": ("mamba", Row(28.39, 39.66, 41.8, 12.4, 23.0, 2.1), Row(17.06, 13.89, 50.0, 41.4, 35.2, 6.2)),
    "GLA": ("gla", Row(28.65, 43.35, 41.5, 18.6, 27.2, 8.1), Row(17.22, 14.47, 51.0, 50.6, 42.6, 19.9)),
    "GLA, convolution": ("", Row(29.47, 45.53, 41.8, 24.0, 24.7, 7.3), Row(17.25, 14.92, 50.4, 52.4, 37.4, 22.3)),
    "DeltaNet": ("delta", Row(28.24, 37.37, 42.1, 26.4, 28.9, 12.8), Row(16.87, 12.21, 51.6, 49.5, 37.4, 17.2)),
    "+ sliding window": ("delta+sliding", Row(27.06, 38.17, 42.1, 39.3, 32.5, 18.8),
                         Row(16.56, 11.74, 52.1, 53.3, 43.3, 22.3)),
    "+ two global layers": ("delta+global", Row(27.51, 35.04, 42.1, 42.9, 32.1, 23.1),
                            Row(16.55, 12.40, 51.8, 71.0, 43.0, 29.8)),
}

# 340 million parameters: (norm, feature map, taps of the convolution): what was measured.
ABLATION = {
    ("l1", "elu+1", 4): Row(31.12, 55.96, 40.1, 14.5, 23.9, 6.2),
    ("l2", "elu+1", 4): Row(28.03, 37.62, 42.1, 23.8, 28.6, 13.1),
    ("l2", "relu", 4): Row(28.75, 43.53, 40.9, 27.2, 26.7, 9.0),
    ("l2", "silu", 4): Row(28.24, 37.37, 42.1, 26.4, 28.9, 12.8),
    ("l2", "silu", 0): Row(29.08, 50.87, 41.3, 24.6, 26.9, 4.5),
}

# 1.3 billion parameters on one H100, thousands of tokens a second in training, read off the paper's figure (± 0.5).
LENGTHS = (2048, 4096, 8192, 16_384)                                     # in batches of 16,384 tokens
THROUGHPUT = {
    "attention": (51.3, 46.8, 38.8, 29.1),
    "gla": (43.8, 43.5, 43.2, 41.1),
    "delta": (41.5, 41.6, 40.0, 37.3),
    "mamba": (22.8, 22.8, 22.8, 26.0),
}


def markdown(head, rows):
    """A table with its first column to the left and all others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def told(values):
    """The mean of some runs and how far they spread: "1.432 ± 0.004"; a dash if there are none."""
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def language_models(ours):
    """What the paper measured, and {mixer: bits per character of each run} beside it, as Markdown."""
    head = ["", "WikiText 340M", "1.3B", "LAMBADA 340M", "1.3B", "zero-shot 340M", "1.3B", "here, bits per character"]
    return markdown(head, [[name, *(cell for pair in zip(small[:3], large[:3]) for cell in pair), told(ours.get(mixer))]
                           for name, (mixer, small, large) in MODELS.items()])


def recall_tasks():
    """The paper's tasks that ask for something said in a long document, as Markdown."""
    head = ["", "SWDE 340M", "1.3B", "SQuAD 340M", "1.3B", "FDA 340M", "1.3B"]
    return markdown(head, [[name, *(cell for pair in zip(small[3:], large[3:]) for cell in pair)]
                           for name, (_, small, large) in MODELS.items()])


def ablation(ours):
    """The paper's ablation, and {(norm, feature map, taps): bits per character of each run} beside it, as Markdown.

    Rows that only we have are told with dashes.
    """
    head = ["norm", "feature map", "convolution", "WikiText 340M", "SWDE", "SQuAD", "FDA", "here, bits per character"]
    rows = []
    for norm, feature_map, taps in [*ABLATION, *(key for key in ours if key not in ABLATION)]:
        paper = ABLATION.get((norm, feature_map, taps))
        theirs = [paper.wikitext, paper.swde, paper.squad, paper.fda] if paper else ["–"] * 4
        rows.append([norm.upper(), feature_map, "yes" if taps else "no", *theirs,
                     told(ours.get((norm, feature_map, taps)))])
    return markdown(head, rows)
