"""Exercises 13.5 and 13.6: a sequence cut into segments that run side by side."""

from functools import cache

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...ops import delta_rule_recurrent
from ...ops.delta_rule.householder import householder_product, ut_by_solve, wy_u, wy_w
from ...tutor import Case, Mistake, exercise
from ...tutor.cases import delta_inputs, smallest_first
from ...tutor.verdict import Part
from ..common import eye_like, loop, map_by, one_head


def rule(q, k, v, beta, S):
    """The package's recurrence on one sequence and one head: o (T, V), and the memory after it (V, K)."""
    return one_head(delta_rule_recurrent, q, k, v, beta, S)


# -- 13.5 What a segment does to any memory ----------------------------------------------------------------------------

def segment_map(k, v, beta):
    UT = ut_by_solve(k, beta)                                            # (T, T)
    W, U = UT @ k, UT @ v                                                # (T, K), (T, V)
    M = torch.eye(k.shape[1], dtype=k.dtype) - W.mT @ k                  # (K, K)
    b = U.mT @ k                                                         # (V, K)
    return M, b


map_by_tokens = map_by(lambda b, M, M_t, b_t: b @ M_t + b_t)


def map_by_probing(k, v, beta):
    """As the kernels do it: what the identity becomes without values, and what an empty memory becomes with them."""
    M = loop(k, k, torch.zeros_like(k), beta, eye_like(k))[1][-1]
    return M, loop(k, k, v, beta, k.new_zeros(v.shape[1], k.shape[1]))[1][-1]


def mapped(M=lambda k, v, beta: householder_product(k, beta), b=lambda k, v, beta: wy_u(k, v, beta).T @ k):
    return lambda k, v, beta: (M(k, v, beta), b(k, v, beta))


exercise(
    id="13.5", title="What a segment does to any memory", kind="code", stars=2, minutes=15, equations=("13.3",),
    reference=segment_map, alternatives=(map_by_tokens, map_by_probing),
    cases=lambda g: smallest_first(delta_inputs(g, "k v beta", T=(1, 2, 7), K=3, V=5)
                                   + delta_inputs(g, "k v beta", T=(2, 5), K=4, V=2, betas=("large",))),
    mutants={
        "multiplies the tokens in the wrong order": Mistake(
            mapped(M=lambda k, v, beta: householder_product(k.flip(0), beta.flip(0))),
            "S stands on the left, so the first token's matrix comes first: M₁ M₂ ⋯ M_T.", "eq. 13.3",
            next="What does the first token's matrix act on?"),
        "adds where it should take away": Mistake(
            mapped(M=lambda k, v, beta: eye_like(k) + wy_w(k, beta).T @ k),
            "The identity *minus* Wᵀ K: a segment erases.", "eq. 13.3"),
        "leaves the identity out": Mistake(mapped(M=lambda k, v, beta: -wy_w(k, beta).T @ k),
            "What no key touches goes through unchanged: the identity belongs to M.", "eq. 13.3"),
        "gives what is erased": Mistake(mapped(M=lambda k, v, beta: wy_w(k, beta).T @ k),
            "Wᵀ K is what is erased. What is left is the identity minus that.", "eq. 13.3"),
        "erases as if each token were alone": Mistake(
            mapped(M=lambda k, v, beta: eye_like(k) - (beta[:, None] * k).T @ k),
            "That lets every token erase as if it were alone. W = UT K knows what the others have erased.", "eq. 13.3"),
        "writes as if each token were alone": Mistake(mapped(b=lambda k, v, beta: (beta[:, None] * v).T @ k),
            "That is linear attention: later tokens do not erase what earlier ones have written. U = UT V does.",
            "eq. 13.3"),
        "erases in b all that has been erased so far": Mistake(
            map_by(lambda b, M, M_t, b_t: b @ M + b_t),
            "b has seen the earlier tokens already: only this token's step acts on it, b ← b (I − β k kᵀ) + β v kᵀ. M "
            "is the product of all steps.", "eq. 13.3"),
        "lets each token erase its own write": Mistake(
            map_by(lambda b, M, M_t, b_t: (b + b_t) @ M_t),
            "b is right if a token first erases, then writes: b ← b (I − β k kᵀ) + β v kᵀ. What it writes, only later "
            "tokens erase.", "eq. 13.3"),
        "erases and writes as if every token were alone": Mistake(
            mapped(lambda k, v, beta: eye_like(k) - (beta[:, None] * k).T @ k,
                   lambda k, v, beta: (beta[:, None] * v).T @ k),
            "UT is missing in both: within a segment tokens erase each other's writes.", "eq. 13.3"),
        "writes without β": Mistake(
            mapped(b=lambda k, v, beta: (ut_by_solve(k, beta) / beta @ v).T @ k),
            "What is erased has its β, what is written has none: b ← b (I − β k kᵀ) + β v kᵀ. In matrices, U = UT V, "
            "and UT ends with diag(β).", "eq. 13.3"),
        "forgets beta": Mistake(
            lambda k, v, beta: segment_map(k, v, torch.ones_like(beta)),
            "UT contains β. Here every token writes at full strength.", "eq. 6.3"),
        "counts beta twice": Mistake(
            lambda k, v, beta: mapped()(k, beta[:, None] * v, beta),
            "UT has its diag(β) already: v comes as it is.", "eq. 6.3"),
        "multiplies by beta twice": Mistake(
            mapped(lambda k, v, beta: eye_like(k) - (ut_by_solve(k, beta) * beta @ k).T @ k,
                   lambda k, v, beta: (ut_by_solve(k, beta) * beta @ v).T @ k),
            "UT has its diag(β) already: k and v come as they are.", "eq. 6.3"),
        "leaves diag(β) out of UT": Mistake(
            mapped(lambda k, v, beta: eye_like(k) - (ut_by_solve(k, beta) / beta @ k).T @ k,
                   lambda k, v, beta: (ut_by_solve(k, beta) / beta @ v).T @ k),
            "UT = (I + A)⁻¹ diag(β): the inverse alone makes every token write at full strength.", "eq. 6.3"),
        "erases at full strength": Mistake(
            lambda k, v, beta: (householder_product(k, torch.ones_like(beta)),
                                loop(k, k, v * beta[:, None], torch.ones_like(beta), torch.zeros_like(v[:1].T @ k[:1]),
                                     )[1][-1]),
            "A token takes β of what is there away, I − β k kᵀ, and writes β v kᵀ. Yours takes all of it.", "eq. 13.3"),
        "forgets β in M": Mistake(mapped(M=lambda k, v, beta: householder_product(k, torch.ones_like(beta))),
            "A token takes away β of what is there: M is a product of I − β k kᵀ. Yours erases each key completely.",
            "eq. 13.3"),
        "gives b transposed": Mistake(mapped(b=lambda k, v, beta: k.T @ wy_u(k, v, beta)),
            "b is a memory, (V, K), like S.", "eq. 13.3"),
        "lets b start from the identity": Mistake(
            lambda k, v, beta: (householder_product(k, beta), householder_product(k, beta)),
            "b is where an *empty* memory ends; M is where the identity ends without values.", "eq. 13.3"),
    },
    hints=("By eq. 8.4 the memory that leaves is S + (U − W Sᵀ)ᵀ K. Sort that by S.",
           "S + (U − W Sᵀ)ᵀ K = S (I − Wᵀ K) + Uᵀ K.",
           "`UT = ut_by_solve(k, beta)`, W = UT K, U = UT V; M = I − Wᵀ K and b = Uᵀ K."),
)


# -- 13.6 Side by side -------------------------------------------------------------------------------------------------

def in_segments(q, k, v, beta, S, P):
    n = -(-len(k) // P)                                                  # tokens of a segment, rounded up
    pieces = list(zip(*(x.split(n) for x in (q, k, v, beta))))
    maps = [segment_map(*piece[1:]) for piece in pieces]                 # side by side
    memories = [S]
    for M, b in maps:                                                    # a chain of P short steps
        memories.append(memories[-1] @ M + b)                            # (V, K)
    o = [rule(*piece, S)[0] for piece, S in zip(pieces, memories)]       # side by side
    return torch.cat(o), torch.stack(memories)


def segments_by_doubling(q, k, v, beta, S, P):
    """The memories from prefixes of maps, not from a chain."""
    n = -(-len(k) // P)
    maps = [segment_map(k[:t], v[:t], beta[:t]) for t in (*range(n, len(k), n), len(k))]
    memories = torch.stack([S, *(S @ M + b for M, b in maps)])
    o = [rule(*(x[t:t + n] for x in (q, k, v, beta)), memories[t // n])[0] for t in range(0, len(k), n)]
    return torch.cat(o), memories


def one_segment_after_the_other(q, k, v, beta, S, P):
    o, memories = [], [S]
    for piece in zip(*(x.split(-(-len(k) // P)) for x in (q, k, v, beta))):
        out, S = rule(*piece, S)
        o.append(out)
        memories.append(S)
    return torch.cat(o), torch.stack(memories)


def cut(join=lambda S, M, b: S @ M + b, size=lambda T, P: max(1, -(-T // P)), start=lambda S: S,
        enters=lambda S: S[:-1], returned=torch.stack, maps=segment_map):
    """A mutant: how memories are handed on, how long segments are, which memory each gets, what is returned."""
    def f(q, k, v, beta, S, P):
        pieces = list(zip(*(x.split(size(len(k), P)) for x in (q, k, v, beta))))
        states = [start(S)]
        for piece in pieces:
            states.append(join(states[-1], *maps(*piece[1:])))
        outputs = [rule(*piece, S)[0] for piece, S in zip(pieces, enters(states))]
        return torch.cat(outputs), returned(states)
    return f


def from_the_first(join):
    """A mutant in which the memory that came in, `first`, is used again: join(now, first, M, b)."""
    def f(q, k, v, beta, S, P):
        return cut(lambda now, M, b: join(now, S, M, b))(q, k, v, beta, S, P)
    return f


def dropping_the_rest(q, k, v, beta, S, P):
    n = max(1, len(k) // P)
    whole = min(len(k), n * P)
    return in_segments(*(x[:whole] for x in (q, k, v, beta)), S, P)


def dropping_the_rest_or_all(q, k, v, beta, S, P):
    pieces = list(zip(*(x.split(len(k) // P)[:P] for x in (q, k, v, beta))))
    return in_segments(*map(torch.cat, zip(*pieces)), S, P)


def with_swapped_product(S, M, b):
    return S @ M.T + b


def dealt_out_evenly(q, k, v, beta, S, P):
    """Segments whose lengths differ by one at most."""
    pieces = list(zip(*(x.tensor_split(min(P, len(k))) for x in (q, k, v, beta))))
    memories = [S]
    for _, *piece in pieces:
        M, b = segment_map(*piece)
        memories.append(memories[-1] @ M + b)
    o = [rule(*piece, S)[0] for piece, S in zip(pieces, memories)]
    return torch.cat(o), torch.stack(memories)


class Chain(TorchDispatchMode):
    """How many operations follow one upon another from a tensor on, each on what the one before has made."""

    def __init__(self, start):
        super().__init__()
        self.steps, self.kept = {storage(start): 0}, [start]             # kept: a place is not given to others

    def __torch_dispatch__(self, operation, types, args=(), options=None):
        result = operation(*args, **(options or {}))
        given = [storage(x) for x in tree_leaves((args, options)) if isinstance(x, torch.Tensor)]
        if known := [self.steps[x] for x in given if x in self.steps]:
            for x in (x for x in tree_leaves(result) if isinstance(x, torch.Tensor)):
                view = storage(x) in given and not operation._schema.is_mutable
                self.steps[storage(x)] = max(known) + (not view)
                self.kept.append(x)
        return result

    @property
    def longest(self):
        return max(self.steps.values())


def storage(x):
    return x.untyped_storage().data_ptr()


def chain(f, P=12, T=96):
    """How long the longest chain is, from S on, in f(q, k, v, beta, S, P)."""
    g = torch.Generator().manual_seed(0)
    *tokens, S = delta_inputs(g, "q k v beta S", T=(T,), K=3, V=2, memories=("nonempty",))[0].args
    with Chain(S) as seen:
        f(*tokens, S, P)
    return seen.longest


@cache
def token_by_token():
    return chain(rule_alone)


def rule_alone(q, k, v, beta, S, P):
    return rule(q, k, v, beta, S)


class SideBySide:
    """The `prepare` of an exercise whose values do not tell whether segments wait for each other."""

    as_given = True                                                      # it hands the answer on

    def __call__(self, answer):
        return answer

    def objection(self, f):
        """Half as long a chain as token by token is far too long for twelve segments."""
        try:
            longest, whole = chain(f), token_by_token()
        except Exception:                                                # right on all cases, and that is enough
            return None
        said = (f"From S to the end {longest} operations follow one upon another, with 96 tokens in 12 segments; "
                f"token by token it would be {whole}.")
        return (f"it {SERIAL}", [Part(""), Part(said)], SERIAL) if longest > whole / 2 else None


SERIAL = "lets each segment wait for the one before"

exercise(
    id="13.6", title="Segments side by side", kind="code", stars=3, minutes=20, equations=("13.3", "13.4"),
    reference=in_segments, sources=(segment_map, in_segments),
    alternatives=(segments_by_doubling,), prepare=SideBySide(),
    cases=lambda g: smallest_first(
        [Case((*case.args, P), f"{case.note}, P = {P}") for P in (1, 2, 3, 5)
         for case in delta_inputs(g, "q k v beta S", T=(2, 7), K=3, V=2, keys=("random", "repeated"),
                                  memories=("nonempty",))]),
    mutants={
        "lets every segment begin empty": Mistake(cut(enters=lambda S: [torch.zeros_like(S[0])] * len(S)),
            "The memories are joined, but the segments run with empty ones. Each must start from what enters it.",
            "eq. 13.3"),
        "lets every segment begin with the first memory": Mistake(cut(enters=lambda S: [S[0]] * len(S)),
            "Every segment starts from the memory that came in at the very beginning.", "eq. 13.3",
            next="Which memory enters segment 2?"),
        "is one segment late": Mistake(cut(enters=lambda S: [S[0], *S[:-2]]),
            "Segment p must start from what segment p − 1 leaves. Yours starts from what entered that one."),
        "starts each segment from what it leaves": Mistake(cut(enters=lambda S: S[1:]),
            "Every segment starts from the memory that it leaves itself: its writes are in it twice. Counted from 0, "
            "segment p starts from memory p, and memory 0 is the one that came in."),
        "lets every segment begin with the last memory": Mistake(cut(enters=lambda S: [S[-1]] * len(S)),
            "Every segment starts from what the whole sequence leaves. Is a name of the loop before used once more?",
            next="Which memory enters segment 1?"),
        "forgets what came in": Mistake(cut(start=torch.zeros_like),
            "The first segment must start from S, not from an empty memory.", "eq. 13.3"),
        "hands on the writes alone": Mistake(cut(join=lambda S, M, b: b),
            "What a segment leaves is S M + b: what it has written, *and* what it has left of the old memory.",
            "eq. 13.3"),
        "erases nothing": Mistake(cut(join=lambda S, M, b: S + b),
            "A segment erases: the memory that enters goes through M.", "eq. 13.3"),
        "lets every segment erase its own writes": Mistake(cut(join=lambda S, M, b: (S + b) @ M),
            "b is what the segment's writes have become at its end. M is for the memory that comes in, S M + b.",
            "eq. 13.3"),
        "hands nothing on": Mistake(cut(join=lambda S, M, b: S),
            "Every segment, and the end, gets the memory that came in at the beginning. Between segments it becomes "
            "S M + b.", "eq. 13.3"),
        "puts every map on the memory that came in": Mistake(from_the_first(lambda now, first, M, b: first @ M + b),
            "Each map takes what the map before has left: the memory is handed on, S ← S M + b. Yours begins with the "
            "first memory again in every segment.", "eq. 13.3", next="Which memory enters segment 2?"),
        "lets b begin with the memory that came in": Mistake(
            from_the_first(lambda now, first, M, b: now @ M + first @ M + b),
            "b is what a segment makes of an *empty* memory. Found from S, it has S M in it already, and then the "
            "memory counts twice.", "eq. 13.3"),
        "lets b begin with the memory that enters": Mistake(
            from_the_first(lambda now, first, M, b: now @ M + now @ M + b),
            "b is what a segment makes of an *empty* memory. Found from the one that enters, it has S M in it already, "
            "and then the memory counts twice.", "eq. 13.3"),
        "writes nothing": Mistake(cut(join=lambda S, M, b: S @ M),
            "What a segment writes, b, is missing in what it hands on.", "eq. 13.3"),
        "multiplies with M transposed": Mistake(cut(join=with_swapped_product),
            "S M, not S Mᵀ. M is not symmetric as soon as a segment has two tokens; gradients go back through Mᵀ.",
            "eq. 13.3"),
        "returns the last memory alone": Mistake(cut(returned=lambda S: S[-1]),
            "The second result is all memories: what came in, and what each segment leaves, one more than segments.",
            next="`torch.stack` of the whole chain."),
        "returns the memory that came in": Mistake(cut(returned=lambda S: S[0].clone()),
            "The second result is all memories: what came in, and what each segment leaves."),
        "leaves the last memory out": Mistake(cut(returned=lambda S: torch.stack(S[:-1])),
            "What the last segment leaves is a memory of the chain, too: there is one more than segments."),
        "leaves the first memory out": Mistake(cut(returned=lambda S: torch.stack(S[1:])),
            "The memory that came in is the first of the chain: there is one more than segments."),
        "returns the last memory again and again": Mistake(cut(returned=lambda S: torch.stack([S[-1]] * len(S))),
            "Each memory of the chain was asked for. Writing into S in place changes those that have been kept."),
        "takes P for the length of a segment": Mistake(cut(size=lambda T, P: P),
            "P is how many segments there are. Each has ⌈T / P⌉ tokens, the last perhaps fewer.",
            next="How long are the segments for T = 2 and P = 1?"),
        "makes segments too short, and too many": Mistake(cut(size=lambda T, P: max(1, T // P)),
            "With ⌊T / P⌋ tokens a segment, the tokens that are left over make more of them than P. Round up.",
            next="How long are the segments for T = 7 and P = 2?"),
        "makes segments of a token too many": Mistake(cut(size=lambda T, P: T // P + 1),
            "⌊T / P⌋ + 1 is ⌈T / P⌉ only where P does not divide T. In the case below it does.",
            next="How long are the segments for T = 2 and P = 2?"),
        "makes segments of no tokens": Mistake(cut(size=lambda T, P: T // P),
            "With P > T the length ⌊T / P⌋ is 0, and cannot be split by. Round up: ⌈T / P⌉ is at least 1.",
            next="How long are the segments for T = 2 and P = 3?"),
        "drops the tokens that are left over, or all of them": Mistake(dropping_the_rest_or_all,
            "With T tokens and P segments of ⌊T / P⌋ a few are left over, and with P > T no segment has any. Round up.",
            next="How long are the segments for T = 2 and P = 3, and for T = 7 and P = 3?"),
        "takes the whole for a segment": Mistake(cut(size=lambda T, P: T),
            "That is one segment, for any P."),
        SERIAL: Mistake(one_segment_after_the_other,
            "The values are right. But each segment gets its memory from the rule in the one before, so none can begin "
            "before that is done, and nothing was gained by cutting. The maps need no memory: find them first, hand "
            "the memory from map to map, and then run all segments.", "eq. 13.4"),
        "drops the tokens that are left over": Mistake(dropping_the_rest,
            "With T tokens and P segments of ⌊T / P⌋ a few are left over. Round up: the last segment may be shorter.",
            next="How long are the segments for T = 7 and P = 2?"),
        "deals tokens out evenly": Mistake(dealt_out_evenly,
            "The outputs are right, and so are the memories between your segments. But segments of ⌈T / P⌉ tokens "
            "were asked for, the last one with what is left.", next="How long are the segments for T = 7 and P = 3?"),
    },
    hints=("Three steps: the maps of all segments; a chain S ← S M + b through them; the rule in each segment.",
           "`x.split(n)` with n = ⌈T / P⌉ cuts, and its last piece may be shorter. Keep every memory of the chain: "
           "number p enters segment p.",
           "`memories.append(memories[-1] @ M + b)`; then `rule(*piece, S)[0]` for each piece and its S; `torch.cat`, "
           "and `torch.stack(memories)`."),
)
