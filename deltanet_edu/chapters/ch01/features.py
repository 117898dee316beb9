"""Exercise 1.7: feature maps, and a judge of how much room each leaves in a memory."""

import inspect
import math

import torch
from torch.nn.functional import elu

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import unit_keys


def outer_features(x):
    return (x[:, :, None] * x[:, None, :]).flatten(1)                    # (N, K²)


def pair_features(x):
    i, j = torch.triu_indices(x.shape[1], x.shape[1])
    return x[:, i] * x[:, j] * torch.where(i == j, 1.0, math.sqrt(2)).to(x)       # (N, K(K+1)/2)  the same overlaps


def wave_features(x):
    g = torch.Generator().manual_seed(0)                                 # the same waves in every call
    K = x.shape[1]
    waves = 2 * K**0.5 * x @ torch.randn(K, K * K // 2, generator=g, dtype=x.dtype)
    return torch.cat([waves.cos(), waves.sin()], 1)                      # (N, K²)


def cubic_features(x):
    return (x[:, :, None, None] * x[:, None, :, None] * x[:, None, None, :]).flatten(1)


def new_waves_in_every_call(x):
    return torch.cos(x @ torch.randn(x.shape[1], x.shape[1] ** 2, dtype=x.dtype))


def projected(x, seed=0):
    g = torch.Generator().manual_seed(seed)
    return x @ torch.randn(x.shape[1], x.shape[1] ** 2, generator=g, dtype=x.dtype)


def room(phi):
    """What a feature map does for the keys (N, K) of a case, in words: the `prepare` of exercise 1.7."""
    def judge(keys):
        K, features = keys.shape[1], phi(keys)
        return f"K = {K}: " + _judgment(phi, keys, features, K)

    judge.__signature__ = inspect.signature(judge)
    judge.__wrapped__ = phi                          # an error is shown at the learner's line, not ours
    return judge


def _judgment(phi, keys, features, K):
    if isinstance(features, torch.Tensor) and features.ndim == 2 and len(features) != features.shape[1] == len(keys):
        return "φ must return a row of features per key, (N, F), not a column"
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != len(keys):
        return "φ must return one row of features per key, (N, F)"
    if not features.isfinite().all():
        return "some features are not finite"
    if not torch.equal(features, phi(keys)):
        return "the same keys get other features in a second call"
    alone = phi(keys[:3])
    if alone.shape != features[:3].shape or not torch.allclose(features[:3], alone):
        return "the features of a key depend on the other keys"
    if features.shape[1] > K * K:
        return "more than K² features"
    overlaps = features @ features.T
    if (overlaps.diagonal() == 0).any():
        return "the features of a key are all zero"
    signal, crosstalk = overlaps.diagonal().mean(), overlaps[~torch.eye(len(keys), dtype=torch.bool)]
    if (crosstalk / signal).square().mean() <= 1 / (2 * K):              # the plain keys have 1 / K
        return "room for twice as many pairs"
    if features.shape == keys.shape and torch.allclose(features, keys * keys):
        return "no more room: the squares of the entries alone"
    if (crosstalk >= 0).all():
        return "not enough room: every overlap is positive" + ", and K features or fewer" * (features.shape[1] <= K)
    if torch.linalg.matrix_rank(features) <= K:
        why = "K features or fewer" if features.shape[1] <= K else "many features, but in K directions"
        return f"no more room: {why}"
    return "more room, but not twice as much"


exercise(
    id="1.7", title="More room for the same keys", kind="open", stars=3, minutes=25, equations=("1.6", "1.7", "1.9"),
    reference=outer_features, alternatives=(pair_features, wave_features), prepare=room,
    sources=(outer_features, wave_features),
    cases=lambda g: [Case((unit_keys(g, 24 * K, K),), f"random unit keys, K = {K}") for K in (8, 12, 16)],
    mutants={
        "keeps K features": Mistake(lambda x: torch.tanh(x),
            "A memory with K columns has room for about K pairs, whatever function made the features. More "
            "room needs more columns.", "eq. 1.7"),
        "has many features in K directions": Mistake(projected,
            "A linear map adds columns, not directions: all φ(k) lie in one K-dimensional plane. Put "
            "something nonlinear into φ.", "eq. 1.7",
            next="What is the rank of `phi(keys)`?"),
        "squares the entries, not the overlap": Mistake(lambda x: x * x,
            "The square of k_i·k_j is made of *all* products of two entries. Yours are those of an entry with itself: "
            "K features, which are never negative, so that no two terms of the crosstalk cancel.", "eq. 1.9",
            next="How many products of two entries has a key?"),
        "makes every overlap positive, with K features": Mistake(lambda x: elu(x) + 1,
            "Where every overlap is positive, no two terms of the crosstalk cancel: it grows like N, not like √N. "
            "And a memory with K columns has room for about K pairs, whatever function made the features.", "eq. 1.7",
            next="How can more than K features be made of a key, and how can they have different signs?"),
        "makes every overlap positive": Mistake(lambda x: elu(projected(x)) + 1,
            "Where every overlap is positive, no two terms of the crosstalk cancel: it grows like N, not like √N. "
            "Features without signs do this, and so do waves that hardly change from one key to another.", "eq. 1.6",
            next="How can a feature of two different keys have different signs?"),
        "makes more features than K²": Mistake(cubic_features,
            "More room indeed, but the memory has a column per feature, and K² is what we can pay.", "eq. 1.7"),
        "returns a table for each key": Mistake(lambda x: x[:, :, None] * x[:, None, :],
            "φ(k) is a vector, one row of features per key: (N, F). Flatten what each key has got.", "eq. 1.7",
            next="`.flatten(1)` joins all dimensions but the first."),
        "returns a column for each key": Mistake(lambda x: outer_features(x).T,
            "Keys are rows, and so are their features: (N, F). Yours stand upright.", "eq. 1.7"),
        "draws new random numbers in every call": Mistake(new_waves_in_every_call,
            "Keys and queries must go through the *same* φ, or nothing will match. Fix the random numbers "
            "with a generator and a seed.", "eq. 1.7"),
        "looks at the other keys": Mistake(lambda x: outer_features(x) - outer_features(x).mean(0),
            "Your φ(k) changes with the other keys of the batch. A key is written before the later ones are known: φ "
            "sees one key at a time.", "eq. 1.7"),
        "gives a key no features": Mistake(torch.zeros_like,
            "All features of a key are zero: nothing can be stored under it, and nothing read.", "eq. 1.6"),
        "leaves more room, but not twice as much": Mistake(lambda x: torch.cat([x, x * x], 1),
            "The right direction. What still overlaps? The squares of entries, for instance, are positive for every "
            "key, and their overlaps never cancel; entries and their cubes have nearly the same overlaps.", "eq. 1.9",
            next="How many directions may K² columns have, and how many do yours use?"),
    },
    hints=("Room is one over the mean squared overlap of φ(k_i) and φ(k_j), relative to "
           "φ(k)·φ(k). For plain keys it is K.",
           "The overlap of products is a product of overlaps: which features have the overlap (k_i·k_j)²?",
           "All products of two entries of k: `x[:, :, None] * x[:, None, :]`, flattened, has K² features."),
)
