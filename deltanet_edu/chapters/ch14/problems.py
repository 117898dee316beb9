"""Exercises 14.1 to 14.7 but 14.3 and 14.4, each with its solutions, mistakes and hints."""

import torch

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import delta_inputs, normal
from .. import by_hand
from ..common import alone_and_paired, real

# -- 14.1 --------------------------------------------------------------------------------------------------------------

exercise(
    id="14.1", title="Facts with names of two words", kind="predict", stars=1, minutes=5, equations=("14.4",),
    reference=15, working=(by_hand.independent_sums,),
    mutants={
        "counts all pairs": Mistake(60, "There are 60 keys, but each is a sum of one of 6 parts and one of 10: they "
            "cannot span more dimensions than there are parts.", "eq. 14.4"),
        "counts the parts": Mistake(16, "16 parts, but one is too many: add any vector to all first parts and take it "
            "from all second ones, and no key changes.", "eq. 14.4",
            next="With one first word and one second word there is one key. What does 1 + 1 say?"),
        "gives the width of a key": Mistake(64, "A memory with 64 columns has room for 64 keys, if they point in "
            "independent directions. These do not.", "eq. 14.4"),
        "takes one from each side": Mistake(14, "Only one of the 16 parts is superfluous: 6 + 10 − 1.", "eq. 14.4"),
        "counts what (14.4) ties": Mistake(45, "That is (6 − 1)(10 − 1), the facts that follow from the others. The "
            "rest, 60 − 45, can be stored.", "eq. 14.4"),
        "takes away one key": Mistake(59, "More than one key follows from others: every pair of words that differs "
            "from word 1 on both sides does, 5 · 9 of them.", "eq. 14.4"),
        "takes away what is not there": Mistake(54, "Start from the parts, 6 + 10 of them, not from the pairs.",
            "eq. 14.4"),
        "takes away the difference": Mistake(4, "The parts of both sides count: 6 + 10, and one of them is too many.",
            "eq. 14.4"),
        "adds one": Mistake(17, "The parts are 16, and one of them is superfluous, not missing.", "eq. 14.4"),
        "counts the second words": Mistake(10, "With one first word it would be 10. Each further first word adds one "
            "dimension: where its own part points.", "eq. 14.4"),
        "counts the first words": Mistake(6, "With one second word it would be 6. Each further second word adds one "
            "dimension.", "eq. 14.4"),
    },
    hints=("Choose one first word and one second word. Which keys do you have to know, to know all?",
           "k_ab = k_a1 + k_1b − k_11: all keys that contain word 1 on one side or the other are enough.",
           "10 keys with the first word 1, and 6 with the second word 1, one of them counted twice."),
    why="k_ab = k_a1 + k_1b − k_11, so 6 + 10 − 1 = 15 keys span all 60. SiLU bends the sums, and the rank becomes 60.",
)


# -- 14.2 --------------------------------------------------------------------------------------------------------------

def pair_taps(n, K, V):
    w = torch.zeros(n, 2 * K + V)
    w[-1] = 1.0                                                          # the present ...
    w[-1, K:2 * K] = 0.0                                                 # ... but not for the keys:
    w[-2, K:2 * K] = 1.0                                                 # they come from the token before
    return w


def pair_taps_by_columns(n, K, V):
    present, before = torch.eye(n)[n - 1], torch.eye(n)[n - 2]
    return torch.stack([present] * K + [before] * K + [present] * V, 1)


def taps_at(q=-1, k=-2, v=-1):
    """A mutant: the row in which the taps of q, k and v are 1; counted from the last, or None for no tap."""
    def f(n, K, V):
        w = torch.zeros(n, 2 * K + V)
        for row, columns in ((q, slice(0, K)), (k, slice(K, 2 * K)), (v, slice(2 * K, None))):
            if row is not None:
                w[row, columns] = 1.0
        return w
    return f


def filled(**rows):
    """A mutant: the right taps with some of them filled, {part: (rows, number)}; part is q, k or v."""
    def f(n, K, V):
        w, columns = pair_taps(n, K, V), dict(q=slice(0, K), k=slice(K, 2 * K), v=slice(2 * K, None))
        for part, (where, number) in rows.items():
            w[where, columns[part]] = number
        return w
    return f


def one_channel(n, K, V):
    w = taps_at(k=None)(n, K, V)
    w[-2, K] = 1.0
    return w


def rows_of_four(n, K, V):
    w = torch.zeros(n, 2 * K + V)
    w[3, :K] = 1.0
    w[2, K:2 * K] = 1.0
    w[3, 2 * K:] = 1.0
    return w


def moved(columns):
    """A mutant: these columns of the right width come from the token before, columns(K, V); all others pass on."""
    def f(n, K, V):
        w = torch.zeros(n, 2 * K + V)
        w[-1] = 1.0
        w[-1, columns(K, V)], w[-2, columns(K, V)] = 0.0, 1.0
        return w
    return f


exercise(
    id="14.2", title="Taps that make pairs", kind="code", stars=1, minutes=5, equations=("14.2", "14.3"),
    reference=pair_taps, alternatives=(pair_taps_by_columns,),
    cases=lambda g: [Case(sizes, "n = {}, K = {}, V = {}".format(*sizes))
                     for sizes in ((2, 1, 1), (2, 1, 2), (3, 2, 1), (4, 2, 2), (4, 3, 5))],
    mutants={
        "reverses the taps": Mistake(lambda n, K, V: pair_taps(n, K, V).flip(0),
            "The last row meets the present, the first the oldest input: yours are upside down.", "eq. 14.2"),
        "passes everything on unchanged": Mistake(taps_at(k=-1),
            "With these taps key and value come from the same token, and the memory is a bag of tokens (14.1).",
            "eq. 14.3"),
        "keeps the present in the keys": Mistake(filled(k=(-1, 1.0)),
            "The keys now contain the token before *and* the present one. Asked for the first alone, the memory "
            "answers with a mixture.", "eq. 14.3"),
        "shifts the queries too": Mistake(taps_at(q=-2),
            "A query asks about the token that is there. Yours asks about the one before.", "eq. 14.3"),
        "shifts the values instead of the keys": Mistake(taps_at(k=-1, v=-2),
            "That stores what stood *before* a token. Asked for a key, it answers with the token before it.",
            "eq. 14.3"),
        "shifts the queries instead of the keys": Mistake(taps_at(q=-2, k=-1),
            "Nothing is stored as a pair: key and value still come from one token.", "eq. 14.3"),
        "shifts keys and values": Mistake(taps_at(v=-2),
            "Key and value come from one token again, only one token later.", "eq. 14.3"),
        "shifts everything": Mistake(taps_at(q=-2, v=-2),
            "Moved together, key and value still come from one and the same token.", "eq. 14.3"),
        "leaves the keys without a tap": Mistake(taps_at(k=None),
            "All taps of the keys are 0, and so are the keys: nothing is written.", "eq. 14.3"),
        "shares the keys between two tokens": Mistake(filled(k=(slice(-2, None), 0.5)),
            "Half of each is a mixture. The key should be that of the token before, whole.", "eq. 14.3"),
        "gives the keys all earlier tokens": Mistake(filled(k=(slice(None, -1), 1.0)),
            "The key is then a sum of several tokens. Only the one before belongs to the pair.", "eq. 14.3"),
        "gives the queries the token before as well": Mistake(filled(q=(-2, 1.0)),
            "The query should be that of the present token alone: it asks for what followed *this* token.",
            "eq. 14.3"),
        "gives the values the token before as well": Mistake(filled(v=(-2, 1.0)),
            "The value should be that of the present token alone.", "eq. 14.3"),
        "looks two tokens back": Mistake(lambda n, K, V: taps_at(k=max(-3, -n))(n, K, V),
            "Row n − 3 meets the token two places back. The one before is row n − 2.", "eq. 14.2"),
        "fills in ones everywhere": Mistake(lambda n, K, V: torch.ones(n, 2 * K + V),
            "Then every channel is a sum over n tokens. A tap of 1 in one row passes one token on.", "eq. 14.2"),
        "leaves the values without a tap": Mistake(taps_at(v=None),
            "Values need a tap too, on the present: without one they are zero.", "eq. 14.2"),
        "leaves the queries without a tap": Mistake(taps_at(q=None),
            "Queries need a tap too, on the present: without one they are zero.", "eq. 14.2"),
        "gives the taps of the keys only": Mistake(taps_at(q=None, v=None),
            "Queries and values need a tap too, on the present: without one they are zero.", "eq. 14.2"),
        "looks at the oldest token": Mistake(taps_at(k=0),
            "Row 0 meets the oldest input, n − 1 tokens back. The token before is row n − 2.", "eq. 14.2"),
        "counts the rows from the front": Mistake(taps_at(k=1),
            "Row 1 meets the token before only if there are three taps. Count from the present: row n − 2, or −2.",
            "eq. 14.2"),
        "takes the values for the keys": Mistake(moved(lambda K, V: slice(K + V, None)),
            "The order is q, k, v: K channels of queries, then K of keys, then V of values. The keys are columns K to "
            "2K.", "eq. 14.2"),
        "ends the keys after V columns": Mistake(moved(lambda K, V: slice(K, K + V)),
            "There are as many channels of keys as of queries, K: columns K to 2K.", "eq. 14.2"),
        "moves one channel of the keys": Mistake(moved(lambda K, V: slice(K, K + 1)),
            "A key has K channels, and all of them come from the token before: columns K to 2K.", "eq. 14.2"),
        "gives one channel of the keys a tap": Mistake(one_channel,
            "A key has K channels, columns K to 2K. All but the first of yours are zero.", "eq. 14.2"),
        "takes values for as wide as keys": Mistake(lambda n, K, V: pair_taps(n, K, K),
            "There are V channels of values, and V need not be K: 2K + V columns.", "eq. 14.2"),
        "has four taps, however many are asked for": Mistake(lambda n, K, V: pair_taps(4, K, V),
            "n is an argument: one row for each of the n taps.", "eq. 14.2"),
        "counts on four taps": Mistake(rows_of_four,
            "Rows 3 and 2 are the last two only if n = 4. Count from the present: rows n − 1 and n − 2, or −1 and −2.",
            "eq. 14.2"),
        "gives the taps as columns": Mistake(lambda n, K, V: pair_taps(n, K, V).mT,
            "A row for each tap, a column for each channel: (n, 2K + V).", "eq. 14.2"),
    },
    hints=("Which row of w meets the present, and which the token before?",
           "Rows n − 1 and n − 2. The keys are columns K to 2K.",
           "Zeros; row −1 is 1 outside the keys, row −2 is 1 in the keys."),
)


# -- 14.5 --------------------------------------------------------------------------------------------------------------

def gla_step(S, q, k, v, alpha):
    S = S * alpha + torch.outer(v, k)                                    # (V, K)  a rate for each column
    return S @ q, S


def gla_step_by_matrices(S, q, k, v, alpha):
    S = S @ torch.diag(alpha) + v[:, None] @ k[None, :]
    return (S * q).sum(1), S


def gla_step_by_entries(S, q, k, v, alpha):
    new = torch.stack([torch.stack([S[i, j] * alpha[j] + v[i] * k[j] for j in range(len(k))]) for i in range(len(v))])
    return torch.einsum("vk,k->v", new, q), new


def gla_with(keep=None, write=None, read=None):
    """A mutant: keep(S, alpha, k, v), write(v, k, alpha, S), read(S, new, q, k, alpha)."""
    def f(S, q, k, v, alpha):
        kept = keep(S, alpha, k, v) if keep else S * alpha
        new = kept + (write(v, k, alpha, S) if write else torch.outer(v, k))
        return (read(S, new, q, k, alpha) if read else new @ q), new
    return f


SLIPS_OF_GLA = {
    "fades the rows": Mistake(dict(keep=lambda S, alpha, k, v: S * alpha[:, None]),
        "The rate belongs to a channel of the *key*, a column of S: S Diag(α), from the right. Yours fades rows, "
        "Diag(α) S.", "eq. 14.9"),
    "fades nothing": Mistake(dict(keep=lambda S, alpha, k, v: S),
        "Without α this is linear attention: nothing is forgotten.", "eq. 14.9"),
    "fades by 1 − α": Mistake(dict(keep=lambda S, alpha, k, v: S * (1 - alpha)),
        "α is what is *kept* of a channel: 1 keeps it, 0 clears it.", "eq. 14.9"),
    "fades by the mean of α": Mistake(dict(keep=lambda S, alpha, k, v: S * alpha.mean()),
        "One rate for all is Mamba-2. GLA has one for each channel of the key.", "eq. 14.9"),
    "puts the rates through a sigmoid": Mistake(dict(keep=lambda S, alpha, k, v: S * alpha.sigmoid()),
        "α is a rate between 0 and 1 already. The layer computes it with a sigmoid; here it is given.", "eq. 14.9"),
    "fades by the product of α": Mistake(dict(keep=lambda S, alpha, k, v: S * alpha.prod()),
        "Each column has a rate of its own.", "eq. 14.9"),
    "fades twice": Mistake(dict(keep=lambda S, alpha, k, v: S * alpha * alpha),
        "α stands once between two memories.", "eq. 14.9"),
    "takes the rates for logarithms": Mistake(dict(keep=lambda S, alpha, k, v: S * alpha.exp()),
        "The package's functions take log α. Here α itself is given.", "eq. 14.9"),
    "asks the memory before it writes": Mistake(dict(write=lambda v, k, alpha, S: torch.outer(v - S @ k, k)),
        "That is the delta rule's write. GLA writes v kᵀ, whatever is there.", "eq. 14.9"),
    "asks the faded memory before it writes": Mistake(
        dict(write=lambda v, k, alpha, S: torch.outer(v - (S * alpha) @ k, k)),
        "That is a gated delta rule (chapter 17). GLA writes v kᵀ, whatever is there.", "eq. 14.9"),
    "writes 1 − α of it": Mistake(dict(write=lambda v, k, alpha, S: torch.outer(v, (1 - alpha) * k)),
        "HGRN-2 ties what may be written to what is forgotten. GLA writes the whole v kᵀ.", "eq. 14.9"),
    "fades the write too": Mistake(dict(write=lambda v, k, alpha, S: torch.outer(v, alpha * k)),
        "α_t fades what was there *before* token t. Its own write enters whole.", "eq. 14.9"),
    "reads the old memory": Mistake(dict(read=lambda S, new, q, k, alpha: S @ q),
        "o_t = S_t q_t: the token reads after it has written.", "eq. 14.9"),
    "reads before it writes": Mistake(dict(read=lambda S, new, q, k, alpha: (S * alpha) @ q),
        "The faded memory, without this token's write. o_t = S_t q_t reads what is there *after* the write.",
        "eq. 14.9"),
    "reads with the key": Mistake(dict(read=lambda S, new, q, k, alpha: new @ k),
        "The key says where to write, the query what to read.", "eq. 14.9"),
    "fades once more for the read": Mistake(dict(read=lambda S, new, q, k, alpha: new @ (alpha * q)),
        "The memory has faded already. The query reads it as it is.", "eq. 14.9"),
}


LIKELY = ("fades the rows", "fades nothing", "fades by 1 − α", "asks the memory before it writes",
          "fades the write too", "reads the old memory", "reads before it writes", "reads with the key")


def gla_cases(g):
    drawn = [*delta_inputs(g, "S q k v", T=None, K=2, V=2), *delta_inputs(g, "S q k v", T=None, K=3, V=2),
             *delta_inputs(g, "S q k v", T=None, K=2, V=5)]
    for case in drawn:
        alpha = torch.rand(len(case.args[1]), generator=g, dtype=torch.float64).mul(90).round().div(100) + 0.05
        yield Case((*case.args, alpha), case.note)
    S, q, k, v = drawn[-1].args
    yield Case((normal(g, 5, 2), q, k, v, real([0.0, 1.0])), "one channel cleared, one kept")


exercise(
    id="14.5", title="A step of a rival", kind="code", stars=2, minutes=10, equations=("14.9",),
    reference=gla_step, alternatives=(gla_step_by_matrices, gla_step_by_entries), cases=gla_cases,
    mutants=alone_and_paired(gla_with, SLIPS_OF_GLA, LIKELY),
    hints=("Fade, write, read: in this order.",
           "S Diag(α) multiplies *column* j by α_j. Shapes: S is (V, K), α is (K,).",
           "`S * alpha` fades columns, because the last dimension is K."),
)


# -- 14.6 --------------------------------------------------------------------------------------------------------------

exercise(
    id="14.6", title="Another library's ε", kind="predict", stars=2, minutes=5, equations=("14.5",),
    reference=64, working=(by_hand.epsilon_without_the_scale,),
    mutants={
        "leaves ε as it is": Mistake(1, "Its reads are √64 = 8 times smaller than ours, so its ε weighs more.",
            "eq. 14.5"),
        "takes the scale for its square": Mistake(8, "The reads are 8 times smaller, their mean *square* 64 times, and "
            "that is what ε is added to.", "eq. 14.5"),
        "divides by K": Mistake(1 / 64, "The other way round: ε/s² with s² = 1/64 is 64 times *larger*.", "eq. 14.5"),
        "divides by the root of K": Mistake(1 / 8, "ε/s², and s² = 1/64: multiply, and by the square.", "eq. 14.5"),
        "takes the width of all heads": Mistake(1024, "Each head is normalized on its own: K is the width of a head, "
            "1024/16 = 64.", "eq. 14.5"),
        "takes the number of heads": Mistake(16, "The scale is 1/√K with the width K of a head, 1024/16 = 64.",
            "eq. 14.5"),
        "takes the fourth power": Mistake(4096, "ε is divided by s² once: s² = 1/64.", "eq. 14.5"),
        "gives our default": Mistake(10, "10⁻⁵ is our default, and a model that was trained with another ε computes "
            "something else with it.", "eq. 14.5"),
        "takes the width of the lesson's layer": Mistake(128, "128 was K in the lesson. Here K is 1024/16 = 64.",
            "eq. 14.5"),
        "gives ε itself": Mistake(64e-6, "In units of 10⁻⁶: the number that stands in front of 10⁻⁶ was asked for, so "
            "about 1 or larger, not far below.", "eq. 14.5"),
        "takes the root of the width": Mistake(32, "The scale is 1/√K with the width K of one head, 1024/16 = 64, and "
            "ε is divided by its square.", "eq. 14.5"),
    },
    hints=("What is s here, and what is K?", "K = 1024/16 = 64 and s = 1/√64.",
           "ε/s² = 64 ε."),
    why="s² = 1/K = 1/64, so RMSNorm with ε after s·o is RMSNorm with 64 ε after o (14.5).",
)


# -- 14.7 --------------------------------------------------------------------------------------------------------------

def kept(delta=10, attention=2, memory=512**2 // 4, inputs=3 * 3 * 512, token=2 * 512, T=1000):
    """Numbers kept: so many layers of either kind, what a DeltaNet layer keeps, what attention keeps of a token."""
    return delta * (memory + inputs) + attention * token * T


# Of each: what is counted otherwise, and why that is wrong.
MISCOUNTS = {
    "forgets the convolution": (kept(inputs=0),
        "Each DeltaNet layer also keeps the last three inputs of its convolution, 9D numbers."),
    "counts attention in every second layer": (kept(6, 6),
        "That is `delta+sliding`. `delta+global` has attention in two layers, 2 and 7 of 12."),
    "exchanges the two kinds": (kept(2, 10), "Ten layers are DeltaNet's, and two are attention."),
    "counts attention in every fourth layer": (kept(9, 3),
        "However many layers there are, two are attention: layers 2 and N/2 + 1 = 7."),
    "keeps keys only": (kept(token=512), "Attention keeps a key *and* a value for each token: 2D numbers."),
    "forgets to divide by the heads": (kept(memory=512**2), "H matrices of (D/H)², together D²/H, not D²."),
    "takes one head for all": (kept(memory=128**2), "A DeltaNet layer has H matrices of (D/H)², together D²/H."),
    "multiplies by the heads": (kept(memory=512**2 * 4),
        "H matrices of (D/H)², together D²/H: more heads are smaller ones."),
    "counts twelve layers of DeltaNet": (kept(12, 2),
        "The two global layers stand in the place of two DeltaNet layers: 10 and 2."),
    "counts all layers as DeltaNet": (kept(12, 0), "Two of the twelve layers are attention, 2 and 7."),
    "counts all layers as attention": (kept(0, 12), "Only two of the twelve layers are attention."),
    "counts attention alone": (kept(delta=0), "The ten DeltaNet layers keep something too, whatever T is."),
    "counts DeltaNet alone": (kept(attention=0), "The two global layers keep a key and a value for each token."),
    "counts one global layer": (kept(11, 1), "There are two: layers 2 and N/2 + 1 = 7."),
    "counts one layer of each kind": (kept(1, 1), "All layers together: ten of DeltaNet, two of attention."),
    "keeps four inputs of the convolution": (kept(inputs=4 * 3 * 512),
        "Of four taps one meets the present: three inputs are kept."),
    "caches one stream of the convolution": (kept(inputs=3 * 512),
        "The convolution runs over q, k and v: 3 · 3 · D numbers."),
    "keeps as many inputs as taps, of one stream": (kept(inputs=4 * 512),
        "Of four taps one meets the present, and the convolution runs over q, k and v: 3 · 3 · D numbers."),
    "keeps one token of the convolution": (kept(inputs=3 * 512 // 3),
        "Three inputs are kept, each with q, k and v in it: 3 · 3 · D numbers."),
    "keeps a convolution in every layer": (kept() + 2 * 3 * 3 * 512,
        "The two global layers have no convolution: ten layers keep 9D numbers each."),
    "keeps the convolution of one layer": (kept(inputs=0) + 3 * 3 * 512,
        "Each of the ten DeltaNet layers keeps the last three inputs of its own convolution."),
    "keeps a convolution for each head": (kept(inputs=4 * 3 * 3 * 512),
        "The D channels of q are all its heads together: 9D numbers a layer, whatever H is."),
    "divides the cache by the heads": (kept(token=2 * 512 // 4),
        "There are as many heads of keys as of queries, G = H: 2D numbers for each token."),
    "multiplies the cache by the heads": (kept(token=2 * 512 * 4),
        "The heads together are D wide: 2D numbers for each token."),
    "keeps a memory for each token": (kept(memory=512**2 // 4 * 1000),
        "A DeltaNet layer has one memory, however many tokens it has read."),
    "keeps a memory and a convolution for each token": (10 * 1000 * (512**2 // 4 + 9 * 512) + 2 * 1024 * 1000,
        "What a DeltaNet layer keeps does not grow with the text: one memory, and the last three inputs."),
    "leaves the last token out of the cache": (kept(T=999),
        "The token itself is kept as well, for those that follow. Only a window of w keeps w − 1."),
    "counts parameters": (12 * 4 * 512**2, "Those are weights. What is kept of a *text* was asked for."),
    "counts bytes": (4 * kept(), "The question asks for numbers, whatever their bytes."),
    "counts bytes of 16-bit numbers": (2 * kept(), "The question asks for numbers, whatever their bytes."),
}

exercise(
    id="14.7", title="What a hybrid keeps", kind="predict", stars=2, minutes=10, equations=("14.8",),
    reference=kept(),
    mutants={name: Mistake(number, why, "eq. 14.8") for name, (number, why) in MISCOUNTS.items()},
    hints=("How many layers of each kind, and what does one of each keep?",
           "Ten of DeltaNet, D²/H + 9D each; two of attention, 2DT each.",
           "10 · (65,536 + 4,608) + 2 · 1,024,000."),
    why="10 · (512²/4 + 9 · 512) + 2 · (2 · 512 · 1000) = 701,440 + 2,048,000. Two layers of twelve keep three "
        "quarters of it.",
)
