"""Exercises 8.5 and 8.7: what a chunk costs, and which length is best."""

import math

import torch

from ...bench.flops import flops
from ...ops import delta_rule_chunkwise
from ...tutor import Case, Mistake, exercise

# -- 8.5 ---------------------------------------------------------------------------------------------------------------

def cost_per_token(C, K, V):
    return 6 * K * V + C * (6 * K + 4 * V) + C * C


def cost_by_products(C, K, V):
    """FLOPs of one chunk, product by product, divided by its tokens."""
    products = [(C, K, C), (C, K, C), (C, C, K), (C, C, V), (C, K, V), (C, C, V), (V, C, K), (C, K, V)]
    return (sum(2 * a * b * c for a, b, c in products) + C**3) / C


def cost_by_counting(C, K, V):
    return count(C, K, V, 2 * C) / (2 * C)


cost_by_counting.takes_long = True


def count(C, K, V, T):
    """FLOPs of matrix products and solves that the package executes for T tokens of one head."""
    q, k, v, beta = (torch.zeros(1, T, 1, D, dtype=torch.float64) for D in (K, K, V, 1))
    counted = flops(delta_rule_chunkwise, q, k, v, beta[..., 0], chunk_size=C)
    return counted["bmm"] + counted["linalg_solve_triangular"]


def solve_costs(flops_per_token):
    """A mutant: what is published, plus flops_per_token(C, K, V) for the solve."""
    return lambda C, K, V: 6 * K * V + C * (6 * K + 4 * V) + flops_per_token(C, K, V)


exercise(
    id="8.5", title="A published cost", kind="bug", stars=2, minutes=15, equations=("8.9",),
    reference=cost_per_token, alternatives=(cost_by_products, cost_by_counting),
    cases=lambda g: [Case((C, K, V), f"C = {C}, " + ("K = V" if K == V else "K ≠ V")) for C, K, V in
                     ((1, 2, 2), (2, 3, 1), (4, 4, 4), (8, 2, 6), (16, 8, 8), (64, 64, 64), (64, 16, 32), (300, 8, 4))],
    mutants={
        "keeps the published slip": Mistake(solve_costs(lambda C, K, V: 0),
            "The triangular solve is missing. For C ≤ d it hardly shows; with the whole sequence as one chunk it is "
            "the largest term of all.",
            "eq. 8.9", next="UT is C × C. What does it cost to solve C columns by substitution?"),
        "counts the solve per chunk, not per token": Mistake(solve_costs(lambda C, K, V: C**3),
            "C³ is what the solve costs for a *chunk*. It serves C tokens.", "eq. 8.9"),
        "counts one row of the solve": Mistake(solve_costs(lambda C, K, V: C),
            "C a token is C² a chunk, and that pays for one column of UT. It has C of them.", "eq. 8.9"),
        "gives the cost of a chunk": Mistake(lambda C, K, V: C * cost_per_token(C, K, V),
            "All terms are there, but for C tokens. Divide by them.", "eq. 8.9"),
        "counts half of the solve": Mistake(solve_costs(lambda C, K, V: C * C / 2),
            "That the system is triangular is in C³ already: a full C × C × C product is 2C³. Half of C³ would be the "
            "multiplications alone, and the subtractions count, too.",
            "eq. 8.9"),
        **{f"counts half of the solve, {how}": Mistake(solve_costs(lambda C, K, V, one=one: C * (C + one) / 2),
            "Those are the multiplications alone. There are as many subtractions; and the counter, like every table of "
            "costs, takes C² for a triangular system.", "eq. 8.9")
           for how, one in (("to the last multiplication", -1), ("with the diagonal", 1))},
        "counts the zero half of the columns out": Mistake(solve_costs(lambda C, K, V: C * C / 3),
            "C³/3 is what a solver needs that knows that the right side is diagonal. `solve_triangular` does not know "
            "and works through all C columns.", "eq. 8.9"),
        "counts the zero half of the columns out, per chunk": Mistake(solve_costs(lambda C, K, V: C**3 / 3),
            "C³/3 for a chunk is what a solver needs that knows that the right side is diagonal. `solve_triangular` "
            "works through all C columns; and a chunk serves C tokens.", "eq. 8.9"),
        "counts to the last operation": Mistake(solve_costs(lambda C, K, V: C * (C - 1)),
            "Exact for a diagonal of ones: C (C − 1). The counter, like every table of costs, takes C² for a "
            "triangular system.", "eq. 8.9"),
        "counts half of every masked product": Mistake(lambda C, K, V: 6 * K * V + C * (3 * K + 2 * V) + C * C,
            "A kernel that skips zeros would get by with half. `@` multiplies them, and the counter counts what is "
            "executed.", "eq. 8.9"),
        "counts the solve as a matrix product, per chunk": Mistake(solve_costs(lambda C, K, V: 2 * C**3),
            "2C³ would be a full C × C × C product, and for a chunk. Substitution is half of it, C³, and serves C "
            "tokens.", "eq. 8.9"),
        "counts the solve twice": Mistake(solve_costs(lambda C, K, V: 2 * C * C),
            "2C³ a chunk would be a full C × C × C product, or two solves, one for W and one for U. The package solves "
            "once, for UT, and substitution touches half the entries of a triangle: C³.", "eq. 8.9"),
        "halves the masked products instead of adding the solve": Mistake(
            lambda C, K, V: 6 * K * V + C * (3 * K + 2 * V),
            "`@` multiplies zeros as well, so the rows cost what they did. What the formula leaves out is no product: "
            "the triangular solve.", "eq. 8.9"),
        "counts half of every masked product, and of the solve": Mistake(
            lambda C, K, V: 6 * K * V + C * (3 * K + 2 * V) + C * C / 2,
            "A kernel that skips zeros would get by with half. `@` multiplies them, `solve_triangular` works through "
            "all C columns, and the counter counts what is executed.", "eq. 8.9"),
        "leaves out one product of tokens with keys": Mistake(lambda C, K, V: 6 * K * V + C * (4 * K + 4 * V) + C * C,
            "The solve is right, but 2CK is missing. K Kᵀ, Q Kᵀ and UT K cost that much each: the package forms W = "
            "UT K, which eq. 8.6 does without.", "eq. 8.9"),
        "counts one product with the memory of three": Mistake(
            lambda C, K, V: 2 * K * V + C * (6 * K + 4 * V) + C * C,
            "The solve is right. But three products have the memory in them, at 2KV a token each: W Sᵀ, Q Sᵀ and XᵀK.",
            "eq. 8.9"),
        "counts two products with the memory of three": Mistake(
            lambda C, K, V: 4 * K * V + C * (6 * K + 4 * V) + C * C,
            "The solve is right. But three products have the memory in them, at 2KV a token each: W Sᵀ, Q Sᵀ and XᵀK.",
            "eq. 8.9"),
        **{f"takes both widths to be {name}": Mistake(
            lambda C, K, V, width=width: cost_per_token(C, width(K, V), width(K, V)),
            "The table has K = V = 64. Where they differ, keys are K wide and values V: the memory has KV entries, "
            "three products inside the chunk are K wide, two are V wide.", "eq. 8.9")
           for name, width in (("K", lambda K, V: K), ("V", lambda K, V: V))},
        "adds K V for the solve": Mistake(solve_costs(lambda C, K, V: K * V),
            "The solve works on C × C numbers and sees no key and no value. In the table the gap grows with C.",
            "eq. 8.9", next="By which factor does the gap grow when C does by 8?"),
        "fits the widths that were printed": Mistake(solve_costs(lambda C, K, V: C * C * K * V / 64**2),
            "At K = V = 64, as printed, that is C². But the solve works on C × C numbers and sees no key and no value.",
            "eq. 8.9"),
        "charges the solve to the key width": Mistake(solve_costs(lambda C, K, V: C * K),
            "The solve works on C × C numbers and never sees a key of K entries: it cannot depend on K.", "eq. 8.9"),
        "charges the solve to the value width": Mistake(solve_costs(lambda C, K, V: C * V),
            "The solve works on C × C numbers and never sees a value of V entries: it cannot depend on V.", "eq. 8.9"),
        "charges the solve to both widths": Mistake(solve_costs(lambda C, K, V: C * (K + V)),
            "To solve for W and U directly would depend on K and V. The package solves for UT, on C × C numbers.",
            "eq. 8.9"),
        "removes a term that was right": Mistake(lambda C, K, V: 6 * K * V + C * C,
            "The rows cost what they did: K Kᵀ, Q Kᵀ, UT K at 2CK each, UT V and the masked product at 2CV each.",
            "eq. 8.9"),
    },
    hints=("List the products of eq. 8.4 and 8.5 with their sizes. Which step is not a product?",
           "The solve for UT: C right sides, each C²/2 multiplications and as many subtractions.",
           "C³ FLOPs a chunk, shared by C tokens: C² a token."),
)


# -- 8.7 ---------------------------------------------------------------------------------------------------------------

def best_chunk(step, flop, T, K, V):
    def seconds(C):
        return math.ceil(T / C) * step + T * cost_per_token(C, K, V) * flop

    sizes = [2**i for i in range(T.bit_length())]                        # 1, 2, 4, ... up to T
    return min(sizes, key=seconds)


def best_chunk_by_argmin(step, flop, T, K, V):
    C = 2.0 ** torch.arange(int(math.log2(T)) + 1, dtype=torch.float64)
    return int(C[(torch.ceil(T / C) * step + flop * T * (6 * K * V + (6 * K + 4 * V) * C + C**2)).argmin()])


def seconds(C, step, flop, T, K, V):
    return math.ceil(T / C) * step + T * cost_per_token(C, K, V) * flop


def powers_of_two(T):
    return [2**i for i in range(T.bit_length())]


def fastest(time=seconds, sizes=powers_of_two):
    """A mutant: the size out of sizes(T) that minimizes time(C, step, flop, T, K, V)."""
    return lambda step, flop, T, K, V: min(sizes(T), key=lambda C: time(C, step, flop, T, K, V))


def with_work(work):
    """A mutant: the right steps, and work(C, T, K, V) FLOPs."""
    return fastest(lambda C, step, flop, T, K, V: math.ceil(T / C) * step + work(C, T, K, V) * flop)


def with_steps(steps):
    """A mutant: steps(T, C) steps, and the right work."""
    return fastest(lambda C, step, flop, T, K, V: steps(T, C) * step + T * cost_per_token(C, K, V) * flop)


def at_the_root(rounded):
    """A mutant: where the derivative of the time without C² is zero, rounded to a power of two."""
    def f(step, flop, T, K, V):
        C = math.sqrt(step / (flop * (6 * K + 4 * V)))
        return 2 ** min(rounded(math.log2(max(C, 1))), T.bit_length() - 1)
    return f


def shortest_time(step, flop, T, K, V):
    return min(seconds(C, step, flop, T, K, V) for C in powers_of_two(T))


exercise(
    id="8.7", title="The best C", kind="code", stars=2, minutes=15, equations=("8.9",),
    reference=best_chunk, alternatives=(best_chunk_by_argmin,), sources=(cost_per_token, best_chunk),
    cases=lambda g: [
        Case((step, flop, T, K, V), f"{note}, T = {T}, " + ("K = V" if K == V else "K ≠ V"))
        for note, step, flop, T, K, V in (
            ("cheap steps", 0.0, 1e-10, 64, 8, 8), ("expensive steps", 1.0, 1e-12, 64, 8, 4),
            ("expensive steps", 2e-5, 1e-11, 1000, 4, 4), ("a CPU", 2e-5, 3e-11, 2048, 64, 64),
            ("a CPU", 5e-5, 3e-11, 2048, 64, 128), ("a fast GPU", 5e-6, 1e-14, 8192, 128, 128),
            ("narrow heads", 3e-5, 1e-11, 4096, 4, 8), ("wide heads", 3e-5, 1e-11, 4096, 256, 128),
            ("a tail", 1.8e-5, 1e-11, 96, 64, 64),
            ("a tail and expensive steps", 1.0, 1e-12, 96, 64, 64),
            ("a short tail", 1.8e-5, 1e-11, 65, 64, 32),
            ("a short tail", 1e-5, 1e-11, 100, 64, 32), ("half a tail", 1.8e-5, 1e-11, 80, 64, 64),
            ("two equally fast", 38.0, 1.0, 2, 2, 1),
            ("a long sequence", 1e-8, 1e-11, 65536, 4, 4),
            ("a long sequence and expensive steps", 1e4, 1e-12, 65536, 4, 8),
            ("a step dear enough for a longer chunk", 3.31e-6, 1e-11, 1024, 8, 4),
            ("a step dear enough for a longer chunk", 5.41e-7, 1e-11, 1024, 4, 8),
            ("a step not dear enough for a longer chunk", 3.25e-6, 1e-11, 1024, 8, 4))],
    mutants={
        "always chooses C = 1": Mistake(fastest(lambda C, step, flop, T, K, V: cost_per_token(C, K, V)),
            "C = 1 comes out if only the work counts, if longer chunks do not make fewer steps, or if the search ends "
            "at its first length. There are ⌈T / C⌉ steps that wait for each other.",
            "eq. 8.9", next="How many steps are there for C = 1 and for C = 64, and what do they cost?"),
        "always chooses the longest chunk": Mistake(fastest(lambda C, step, flop, T, K, V: math.ceil(T / C)),
            "The longest chunk comes out if only steps count. The work per token grows with C and, in the end, with "
            "C².",
            "eq. 8.9"),
        "leaves the solve out": Mistake(with_work(lambda C, T, K, V: T * (6 * K * V + C * (6 * K + 4 * V))),
            "That is the published cost without C². For narrow heads it recommends chunks that are far too long.",
            "eq. 8.9"),
        "counts the work of one chunk": Mistake(with_work(lambda C, T, K, V: C * cost_per_token(C, K, V)),
            "You pay the work of all T tokens, not of one chunk of C.", "eq. 8.9"),
        "counts the work of one token": Mistake(with_work(lambda C, T, K, V: cost_per_token(C, K, V)),
            "Equation 8.9 is the work per *token*. There are T of them."),
        "charges the padding": Mistake(with_work(lambda C, T, K, V: math.ceil(T / C) * C * cost_per_token(C, K, V)),
            "You charge whole chunks, the padded tail included. Here the tokens that are there are charged, T of them.",
            next="How many tokens does your formula charge for T = 65 and C = 64?"),
        "rounds the steps down, or takes one more": Mistake(with_steps(lambda T, C: T // C),
            "⌊T / C⌋ and ⌊T / C⌋ + 1 choose alike. A tail that does not fill its chunk is a step like the others, and "
            "where there is no tail, nothing is added: ⌈T / C⌉.",
            next="How many steps are 96 tokens in chunks of 64, and how many 128?"),
        "rounds the steps to the nearest number": Mistake(with_steps(lambda T, C: round(T / C)),
            "A tail that does not fill its chunk is a whole step, however short it is: ⌈T / C⌉.",
            next="How many steps are 65 tokens in chunks of 64?"),
        "charges whole chunks only": Mistake(with_work(lambda C, T, K, V: T // C * C * cost_per_token(C, K, V)),
            "The tokens of a last, shorter chunk are charged too: all T of them."),
        "charges a chunk for every token": Mistake(with_work(lambda C, T, K, V: T * C * cost_per_token(C, K, V)),
            "Equation 8.9 is the work per *token* already. T tokens cost T times as much; C does not come in again.",
            "eq. 8.9"),
        "has the widths in each other's place": Mistake(
            with_work(lambda C, T, K, V: T * cost_per_token(C, V, K)),
            "The rows cost C (6K + 4V): three products are K wide, two are V wide.", "eq. 8.9"),
        **{f"takes both widths to be {name}": Mistake(
            with_work(lambda C, T, K, V, width=width: T * cost_per_token(C, width(K, V), width(K, V))),
            "K and V need not be equal. The memory has KV entries, and the rows cost C (6K + 4V).", "eq. 8.9")
           for name, width in (("K", lambda K, V: K), ("V", lambda K, V: V))},
        "allows a part of a step": Mistake(with_steps(lambda T, C: T / C),
            "A tail that does not fill its chunk is a whole step: ⌈T / C⌉.",
            next="How many steps are 96 tokens in chunks of 64?"),
        "counts C steps for each solve": Mistake(with_steps(lambda T, C: C + math.ceil(T / C)),
            "C + ⌈T / C⌉ are the steps on a machine with room for everything at once. In this model there is one step "
            "for each chunk, and the solve is paid in FLOPs."),
        "takes only lengths that divide the sequence": Mistake(
            fastest(sizes=lambda T: [C for C in powers_of_two(T) if T % C == 0]),
            "The last chunk may be shorter: 1000 tokens in chunks of 64 are 15 whole ones and a part."),
        "takes the root of the length": Mistake(lambda step, flop, T, K, V: 2 ** int(math.log2(math.sqrt(T))),
            "√T is where C + T / C is smallest, and it knows no machine. Here steps and FLOPs have their prices: "
            "compare the times.", "eq. 8.9"),
        **{f"takes the power of two {where} a root": Mistake(at_the_root(rounded),
            "√(step / (flop (6K + 4V))) is where the derivative is zero if C² and the rounding of ⌈T / C⌉ are left "
            "out. Compare the times of all powers of two.", "eq. 8.9")
           for where, rounded in (("next to", round), ("below", math.floor), ("above", math.ceil))},
        "takes a chunk longer than the sequence": Mistake(
            fastest(sizes=lambda T: [*powers_of_two(T), 2**T.bit_length()]),
            "Only powers of two that are not longer than the sequence are asked for.",
            next="For 96 tokens, which is the largest?"),
        "stops one power of two early": Mistake(fastest(sizes=lambda T: powers_of_two(T // 2)),
            "The largest power of two that is not longer than the sequence is missing among your candidates. When "
            "steps are expensive, it wins.", next="For 96 tokens, is 64 among them?"),
        "never takes C = 1": Mistake(fastest(sizes=lambda T: powers_of_two(T)[1:]),
            "1 is a power of two as well, and where steps cost nothing it wins."),
        "charges one token a chunk": Mistake(with_work(lambda C, T, K, V: math.ceil(T / C) * cost_per_token(C, K, V)),
            "Equation 8.9 is the work per *token*, and a chunk has C of them."),
        "never takes the whole sequence": Mistake(fastest(sizes=lambda T: powers_of_two(T - 1)),
            "The largest power of two that is not longer than the sequence is missing among your candidates. When "
            "steps are expensive, it wins.", next="For 64 tokens, is 64 among them?"),
        "takes lengths that are no powers of two": Mistake(fastest(sizes=lambda T: range(1, T + 1)),
            "Only powers of two are asked for: those are the tiles that hardware likes."),
        "returns the larger of two": Mistake(fastest(sizes=lambda T: powers_of_two(T)[::-1]),
            "Two chunk lengths take exactly the same time here. The smaller one was asked for."),
        "takes the larger of the two": Mistake(
            fastest(lambda C, step, flop, T, K, V: max(math.ceil(T / C) * step, T * cost_per_token(C, K, V) * flop)),
            "Steps and work do not overlap here: a step costs `step` seconds, *and on top of that* come the FLOPs.",
            next="Add the two times."),
        "charges the solve only": Mistake(with_work(lambda C, T, K, V: math.ceil(T / C) * C * C),
            "C² a chunk is only a small part of the work. Equation 8.9 has three terms, and is the work per *token*.",
            "eq. 8.9"),
        "charges the steps only": Mistake(fastest(lambda C, step, flop, T, K, V: math.ceil(T / C) * step),
            "The FLOPs are missing: T tokens, eq. 8.9 each, at `flop` seconds a FLOP.", "eq. 8.9"),
        "never takes more than 64": Mistake(fastest(sizes=lambda T: [C for C in powers_of_two(T) if C <= 64]),
            "64 is what kernels like. In this model any power of two up to T may be fastest."),
        **{f"never takes more than {most}": Mistake(
            fastest(sizes=lambda T, most=most: [C for C in powers_of_two(T) if C <= most]),
            f"Your lengths end at {most}. Any power of two that is not longer than the sequence may be fastest.",
            next="Which lengths are there for 65,536 tokens?") for most in (2**i for i in range(7, 16))},
        "returns the exponent": Mistake(lambda *args: int(math.log2(best_chunk(*args))),
            "The power itself is asked for, 2ⁱ, and not i."),
        "returns the time": Mistake(shortest_time,
            "That is how long the best chunk length takes. Which length is it? `min` with `key=` returns it."),
        "returns the slowest": Mistake(lambda *args: max(powers_of_two(args[2]), key=lambda C: seconds(C, *args)),
            "That is the chunk length that takes *longest*."),
        "leaves the rows out": Mistake(with_work(lambda C, T, K, V: T * (6 * K * V + C * C)),
            "The term in the middle, C (6K + 4V), is the one that decides for ordinary heads: C is smaller than 6K + "
            "4V there.",
            "eq. 8.9"),
    },
    hints=("time(C) = steps · (seconds per step) + tokens · (FLOPs per token) · (seconds per FLOP).",
           "There are ⌈T / C⌉ steps; the FLOPs per token are eq. 8.9.",
           "Try C = 1, 2, 4, ... up to T, and return the one with the smallest time: `min(sizes, key=time)`."),
)
