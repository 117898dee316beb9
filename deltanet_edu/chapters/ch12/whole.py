"""Exercise 12.7: the whole backward pass, an autograd.Function around kernels."""

import inspect

import torch

from ...bench.trace import Trace
from ...kernels import delta_rule_chunkwise
from ...ops import delta_rule_recurrent
from ...tutor import AnswerError, Case, Mistake, exercise
from ...tutor.cases import smallest_first
from ...tutor.verdict import Part
from ..kernel_answers import Answers, changed, moved
from .forward import forward as run_forward
from .forward import memories as run_memories
from .inputs import one
from .keys import dk_kernel
from .launches import backward_sweep, gradient_of_keys, gradient_of_strengths
from .queries import gradient_of_queries as run_gradient_of_queries
from .strengths import dbeta_kernel
from .sweep import backward_sweep_kernel


def remembered(f):
    """f, computed once for the same inputs: mistakes differ in what is made of it, and the interpreter is slow."""
    known = {}

    def found(*inputs):
        if inputs[0].is_cuda:
            return f(*inputs)
        tensors = [x.detach() for x in inputs if isinstance(x, torch.Tensor)]
        key = *((x.stride(), x.numpy().tobytes()) for x in tensors), *(x for x in inputs if isinstance(x, (int, float)))
        if key not in known:
            known[key] = f(*inputs)
        results = known[key]
        return tuple(x.clone() for x in results) if isinstance(results, tuple) else results.clone()

    return found


forward, memories, gradient_of_queries = map(remembered, (run_forward, run_memories, run_gradient_of_queries))


class DeltaRule(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, beta, S, scale, C):
        """-> o (B, T, H, V), and the memory after the last token (B, H, V, K)."""
        o, final, UT_low = forward(q, k, v, beta, S, scale, C)
        ctx.save_for_backward(q, k, v, beta, S, UT_low)
        ctx.scale = scale
        return o, final

    @staticmethod
    def backward(ctx, do, d_final):
        """-> one gradient for each input of forward, None for the two numbers."""
        q, k, v, beta, S, UT_low = ctx.saved_tensors
        do, d_final, C = do.contiguous(), d_final.contiguous(), UT_low.shape[3]
        states, X = memories(k, v, beta, UT_low, S)
        d_states, dv, dS = backward_sweep(backward_sweep_kernel, q, k, beta, UT_low, do, d_final, ctx.scale)
        dq = gradient_of_queries(k, do, X, states, ctx.scale, C)
        dk = gradient_of_keys(dk_kernel, q, k, do, dv, X, states, d_states, ctx.scale, C)
        return dq, dk, dv, gradient_of_strengths(dbeta_kernel, beta, dv, X, C), dS, None, None


class SavesTheMemories(DeltaRule):
    """The other choice: what the forward sweep would compute again is kept."""

    @staticmethod
    def forward(ctx, q, k, v, beta, S, scale, C):
        o, final, UT_low = forward(q, k, v, beta, S, scale, C)
        ctx.save_for_backward(q, k, beta, UT_low, *memories(k, v, beta, UT_low, S))
        ctx.scale, ctx.C = scale, C
        return o, final

    @staticmethod
    def backward(ctx, do, d_final):
        q, k, beta, UT_low, states, X = ctx.saved_tensors
        do = do.contiguous()
        outgoing = do, d_final.contiguous()
        d_states, dv, dS = backward_sweep(backward_sweep_kernel, q, k, beta, UT_low, *outgoing, ctx.scale)
        dk = gradient_of_keys(dk_kernel, q, k, do, dv, X, states, d_states, ctx.scale, ctx.C)
        dq = gradient_of_queries(k, do, X, states, ctx.scale, ctx.C)
        return dq, dk, dv, gradient_of_strengths(dbeta_kernel, beta, dv, X, ctx.C), dS, None, None


class KeepsOnlyTheInputs(DeltaRule):
    """UT is computed again as well: the forward pass runs once more."""

    @staticmethod
    def forward(ctx, *inputs):
        ctx.save_for_backward(*inputs[:5])
        ctx.numbers = inputs[5:]
        return forward(*inputs)[:2]

    @staticmethod
    def backward(ctx, do, d_final):
        q, k, v, beta, S = ctx.saved_tensors
        scale, C = ctx.numbers
        UT_low, do = forward(q, k, v, beta, S, scale, C)[2], do.contiguous()
        states, X = memories(k, v, beta, UT_low, S)
        d_states, dv, dS = backward_sweep(backward_sweep_kernel, q, k, beta, UT_low, do, d_final.contiguous(), scale)
        return (gradient_of_queries(k, do, X, states, scale, C), gradient_of_keys(dk_kernel, q, k, do, dv, X,
            states, d_states, scale, C),
                dv, gradient_of_strengths(dbeta_kernel, beta, dv, X, C), dS, None, None)


# -- how it is judged --------------------------------------------------------------------------------------------------

def by_recurrence(q, k, v, beta, S, do, d_final, scale, C):
    """o, the last memory, and all gradients by autograd through the recurrence, in float64: the one judge."""
    *inputs, do, d_final = (x.double() for x in (q, k, v, beta, S, do, d_final))
    inputs = [x.requires_grad_() for x in inputs]
    o, final = delta_rule_recurrent(*inputs[:4], initial_state=inputs[4], scale=scale)
    return o.detach(), final.detach(), *torch.autograd.grad((o, final), inputs, (do, d_final))


by_recurrence.watched = None                                             # it launches nothing, and is taken as it is


def through(answer):
    """An autograd.Function as what is compared: results and gradients."""
    if isinstance(answer, torch.autograd.Function) or not callable(answer):
        raise AnswerError("give the class itself, a subclass of torch.autograd.Function")
    is_function = inspect.isclass(answer) and issubclass(answer, torch.autograd.Function)
    apply = answer.apply if is_function else answer

    def run(q, k, v, beta, S, do, d_final, scale, C):
        run.args = q, k, v, beta, S, do, d_final, scale, C
        inputs = [x.clone().requires_grad_() for x in run.args[:5]]
        results = apply(*inputs, scale, C)
        if not (isinstance(results, tuple) and len(results) == 2):
            raise ValueError("forward should return two tensors, o and the memory after the last token")
        if [x.shape for x in results] == [S.shape, v.shape]:
            raise ValueError("forward should return o first, and then the memory after the last token")
        gradients = torch.autograd.grad(results, inputs, (do, d_final), allow_unused=True)
        return *(x.detach() for x in results), *gradients
    run.__signature__ = inspect.signature(run)                           # names of the arguments are ours ...
    run.__wrapped__ = answer.forward if is_function else answer          # ... and lines in a traceback the learner's
    return run


class WholePass(Answers):
    """As `watched`, for a class. Its kernels are compiled by their own exercises; its bytes are compared."""

    def __call__(self, answer):
        return answer if hasattr(answer, "watched") else super().__call__(through(answer))

    def objection(self, f):
        """Values do not tell the length of chunks; the launches do."""
        C = f.__wrapped__.args[-1] if f is not by_recurrence else None
        if f is by_recurrence or not f.how or f.how.get("C", {C}) == {C}:
            return None
        said = Part(f"Asked for were chunks of {C}; launches had C = {', '.join(map(str, sorted(f.how['C'])))}.")
        return f"it {IGNORES_C}", [Part(""), said], IGNORES_C

    def remarks(self, f):
        if f.watched is None:
            return ["Run on this machine's GPU."] if f is not by_recurrence else []
        mine, theirs = moved(f.watched), packages(*f.__wrapped__.args)
        compared = f"{mine / theirs:.2f} times what the package's kernels move"
        return [f"Moves {mine:,} bytes, forward and backward: {compared}."]


def packages(q, k, v, beta, S, do, d_final, scale, C):
    """Bytes that the package moves for these arguments, forward and backward."""
    inputs = [x.clone().requires_grad_() for x in (q, k, v, beta, S)]
    with Trace() as seen:
        results = delta_rule_chunkwise(*inputs[:4], initial_state=inputs[4], scale=scale, chunk_size=C)
        torch.autograd.grad(results, inputs, (do, d_final))
    return moved(seen)


def whole_cases(g):
    """Small ones, since seven kernels run in each. Gradients lie as autograd may hand them on:
    each column of dO before the next one, and so that of the last memory."""
    made = []
    for *shape, C in ((1, 5, 1, 32, 16, 16), (2, 3, 1, 32, 16, 16), (1, 33, 1, 16, 32, 32)):
        q, k, v, beta, S, do, d_final = one(g, *shape)
        do, d_final = do.transpose(1, 3).contiguous().transpose(1, 3), d_final.mT.contiguous().mT
        note = "{} sequence{}, T = {}, H = {}, K = {}, V = {}".format(shape[0], "s" * (shape[0] > 1), *shape[1:])
        made.append(Case((q, k, v, beta, S, do, d_final, 0.5, C), note))
    return smallest_first(made)


def slip(*pairs, **kernels):
    """The class with text of `backward` replaced, or with another kernel under one of its names."""
    return type("DeltaRule", (DeltaRule,), {"backward": changed(DeltaRule.backward, *pairs, **kernels)})


def saving(*pair):
    """The class with text of `forward` replaced."""
    return type("DeltaRule", (DeltaRule,), {"forward": changed(DeltaRule.forward, pair)})


IGNORES_C = "cuts chunks of another length than it is told"
LAST = "dS = tl.dot((-dV_t).to(k.dtype), k, dS)"
BETA = "gradient_of_strengths(dbeta_kernel, beta, dv, X, C)"

exercise(
    id="12.7", title="The whole backward pass", kind="code", stars=5, minutes=60, equations=("12.1", "12.2", "12.3",
        "12.5"),
    reference=by_recurrence, sources=(DeltaRule,), alternatives=(DeltaRule, SavesTheMemories, KeepsOnlyTheInputs),
    cases=whole_cases, prepare=WholePass(None, None, None, None), tolerance=2e-5,
    mutants={
        "has a race in the strengths": Mistake(slip(dbeta_kernel=changed(dbeta_kernel, (
                "tl.atomic_add(dbeta_ptr + at, dbeta, mask=there)",
                "tl.store(dbeta_ptr + at, tl.load(dbeta_ptr + at, mask=there) + dbeta, mask=there)"))),
            "The kernel of 12.4 as it was: programs load, add and store the same numbers.", "exercise 12.4"),
        "takes dO as it lies": Mistake(slip(("do.contiguous()", "do")),
            "The launches count on contiguous tensors, and this dO lies column by column: all its tokens in the first "
            "of the V columns, then all in the next.",
            next="`do.contiguous()`, which costs nothing where it is already so."),
        "takes what arrives as it lies": Mistake(
            slip(("do, d_final, C = do.contiguous(), d_final.contiguous(), UT_low", "C = UT_low")),
            "The launches count on contiguous tensors, and autograd hands on whatever the layers above have made: "
            "here dO lies column by column, and so does d_final.",
            next="`do.contiguous()` and `d_final.contiguous()`, both: they cost nothing where it is already so."),
        "makes dO contiguous for the sweep alone": Mistake(
            slip(("do, d_final, C = do.contiguous(), d_final", "d_final, C = d_final"),
                 ("UT_low, do, d_final", "UT_low, do.contiguous(), d_final")),
            "The sweep gets a contiguous dO. The launches for the queries and the keys take dO as well, and count on "
            "the same.", next="`do = do.contiguous()`, before the first of them."),
        "takes the gradient of the last memory as it lies": Mistake(slip(("d_final.contiguous()", "d_final")),
            "Autograd hands on both gradients as the layers above have made them: here the memory's lies column by "
            "column.", next="`d_final.contiguous()`, which costs nothing where it is already so."),
        "ignores the gradient of the last memory": Mistake(slip(("d_final.contiguous()",
                "torch.zeros_like(d_final.contiguous())")),
            "The function has two results, so `backward` gets two gradients. The backward sweep begins with the "
            "second.", "eq. 12.2"),
        "puts zeros in the place of the gradient of the last memory": Mistake(slip(("d_final.contiguous()",
                "torch.zeros_like(d_final)")),
            "The function has two results, so `backward` gets two gradients, and who uses the last memory sends one. "
            "Besides, `zeros_like` lies as d_final does, here column by column, and the gradient of S is then made to "
            "lie so, too.", "eq. 12.2"),
        "ignores the gradient of the outputs": Mistake(slip(("do.contiguous()",
                "torch.zeros_like(do.contiguous())")),
            "`backward` gets two gradients, in the order of the results: dO, then that of the last memory."),
        "swaps the gradients of queries and keys": Mistake(slip(("return dq, dk", "return dk, dq")),
            "One gradient for each input of `forward`, in the order of the inputs. Q and K have one shape, so "
            "nothing fails loudly."),
        "returns None for beta": Mistake(slip((BETA, "None")),
            "β comes from the network as well, and learns from surprises.", "eq. 12.3"),
        "passes the gradient of the last memory on": Mistake(slip((", dS, None, None", ", d_final, None, None")),
            "The fifth gradient is that of the memory that *entered*: what is left of dS when the sweep has ended.",
                "eq. 12.2"),
        "scales dV once more": Mistake(slip(("dq = gradient", "dv = dv * ctx.scale; dq = gradient")),
            "dV comes out of the sweep with the scale in it, and so the kernels for dK and dβ want it.",
            "exercise 12.3"),
        "forgets scale in the sweep": Mistake(slip(("do, d_final, ctx.scale)", "do, d_final, 1.0)")),
            "Every way back begins at dO, and o carries the scale: the sweep needs it as well."),
        "forgets scale for the keys": Mistake(slip(("d_states, ctx.scale, C)", "d_states, 1.0, C)")),
            "The keys are reached from dO through P, and that way carries the scale."),
        "forgets scale for the queries": Mistake(slip(("X, states, ctx.scale, C)", "X, states, 1.0, C)")),
            "dQ = scale (dO S + dP K): the last but one argument of `gradient_of_queries`.", "eq. 9.6"),
        "begins the forward sweep with nothing": Mistake(slip(("memories(k, v, beta, UT_low, S)",
                "memories(k, v, beta, UT_low, torch.zeros_like(S))")),
            "The memories that are computed again have to begin where the forward pass began: with S."),
        "saves the last memory": Mistake(saving("beta, S, UT_low)", "beta, final, UT_low)"),
            "The backward pass runs the forward sweep once more, so it needs the memory that *entered*."),
        "gives the keys S for dS'": Mistake(slip(("X, states, d_states", "X, states, states")),
            "What the keys store is read off the gradient of the memory that leaves.", "eq. 9.6"),
        "gives the queries dS' for S": Mistake(slip(("gradient_of_queries(k, do, X, states",
                "gradient_of_queries(k, do, X, d_states")),
            "A query reads the memory that entered its chunk: dQ = dO S + dP K.", "eq. 9.6"),
        "takes dO for dV": Mistake(slip(("beta, dv, X, C)", "beta, do, X, C)")),
            "β learns from what has come back through the triangular system, dV, not from dO.", "eq. 12.3"),
        "gives the keys S for dS', and dS' for S": Mistake(slip(("X, states, d_states", "X, d_states, states")),
            "First the memories, then their gradients: what was stored is read off dS', what was erased off S.",
            "eq. 9.6"),
        "gives the keys X for dV, and dV for X": Mistake(slip(("do, dv, X, states", "do, X, dv, states")),
            "The fourth argument is dV, the fifth X.", "eq. 9.6"),
        "takes V for X in the strengths": Mistake(slip(("beta, dv, X, C)", "beta, dv, v, C)")),
            "β learns from what was wrong, R = X with UT taken off, and not from the values.", "eq. 12.3"),
        "takes V for X in the keys": Mistake(slip(("q, k, do, dv, X, states", "q, k, do, dv, v, states")),
            "What the keys store is what was written, X, and not the values.", "eq. 9.6"),
        "gives the keys dS' for S": Mistake(slip(("X, states, d_states", "X, d_states, d_states")),
            "First the memories S, then their gradients: what was erased is read off S.", "eq. 9.6"),
        "has queries and keys exchanged in the sweep": Mistake(slip(("backward_sweep_kernel, q, k,",
                                                                     "backward_sweep_kernel, k, q,")),
            "The sweep is handed the keys where it expects the queries."),
        "takes V for X in the queries": Mistake(slip(("gradient_of_queries(k, do, X,",
                "gradient_of_queries(k, do, v,")),
            "What a query reads in its own chunk is what was written, X, and not the values.", "eq. 9.6"),
        "forgets scale in the forward pass": Mistake(saving("(q, k, v, beta, S, scale, C)\n",
                "(q, k, v, beta, S, 1.0, C)\n"),
            "o carries the scale: it is an argument of `forward`."),
        "scales dO before the kernels do": Mistake(slip(("do.contiguous()", "ctx.scale * do.contiguous()")),
            "Each call is given the scale and multiplies by it: dO goes in as it came.", "eq. 12.2"),
        "gives the first memory no gradient": Mistake(slip(("dS, None, None", "None, None, None")),
            "S is a tensor like q: who made it wants its gradient, the third result of `backward_sweep`. None is for "
            "scale and C alone."),
        "takes queries for keys in the gradient of the queries": Mistake(slip(("gradient_of_queries(k,",
                                                                              "gradient_of_queries(q,")),
            "dQ = scale (dO S + dP K): the first argument of `gradient_of_queries` is k.", "eq. 9.6"),
        "scales the gradient of the first memory": Mistake(slip(("dS, None, None", "ctx.scale * dS, None, None")),
            "What is left of dS has the scale of every dO in it: `backward_sweep` is given the scale.", "eq. 12.2"),
        "adds the gradient of the last memory at the end": Mistake(slip(("dS, None, None", "dS + d_final, None, None")),
            "The sweep begins with d_final, so it is in dS already, with what the chunks erased taken off.",
            "eq. 12.2"),
        "takes queries for keys in the forward sweep": Mistake(slip(("memories(k, v,", "memories(q, v,")),
            "The memories are written under keys: the first argument of `memories` is k."),
        "scales the gradient of the queries again": Mistake(slip(("return dq, dk", "return dq * ctx.scale, dk")),
            "`gradient_of_queries` has multiplied by the scale: the last but one of its arguments."),
        "scales the gradient of the values again": Mistake(slip(("return dq, dk, dv,",
                "return dq, dk, dv * ctx.scale,")),
            "dV comes out of the sweep with the scale in it: `backward_sweep` is given the scale.", "eq. 12.2"),
        "scales the gradient of the keys again": Mistake(slip(("return dq, dk, dv,", "return dq, dk * ctx.scale, dv,")),
            "`gradient_of_keys` has multiplied by the scale where it belongs: the last but one of its arguments."),
        "returns zeros for the values": Mistake(slip(("return dq, dk, dv,", "return dq, dk, torch.zeros_like(dv),")),
            "dV comes out of the backward sweep: the second of its results.", "eq. 12.2"),
        "keeps the upper triangle in the sweep": Mistake(slip(backward_sweep_kernel=changed(backward_sweep_kernel,
                ("row[:, None] >= row[None, :]", "row[:, None] <= row[None, :]"))),
            "The kernel of 12.3 has the wrong triangle: P = tril(Q Kᵀ).", "exercise 12.3"),
        "rounds dS in the sweep": Mistake(slip(backward_sweep_kernel=changed(backward_sweep_kernel,
                (LAST, LAST + ".to(tl.bfloat16).to(tl.float32)"))),
            "In the kernel of 12.3 dS is rounded each time around. What is carried on stays in float32.",
            "exercise 12.3"),
        "has a sweep that stores the gradient of the memory that enters": Mistake(slip(
                backward_sweep_kernel=changed(backward_sweep_kernel, ("V_TILE), dS_out)", "V_TILE), dS.to(k.dtype))"))),
            "The kernel of 12.3 stores dS after its update. dK needs dS', from before it.", "exercise 12.3"),
        "cuts chunks of 16 for some of the gradients": Mistake(slip(("C = do.contiguous(), d_final.contiguous(), "
                "UT_low.shape[3]", "C = do.contiguous(), d_final.contiguous(), 16")),
            "The length of a chunk is an argument, C, and the memories have been made for that one.",
            next="Keep C on ctx in `forward`, or take it from UT_low."),
        IGNORES_C: Mistake(saving("(q, k, v, beta, S, scale, C)\n", "(q, k, v, beta, S, scale, 16)\n"),
            "The values are right, for any length of chunks. But C is an argument: who calls it may know which is "
            "fastest, and your kernels run with 16.", next="Hand C on to `forward`."),
        "has a sweep that stores past the end": Mistake(slip(backward_sweep_kernel=changed(backward_sweep_kernel,
                ("tl.trans(dV_t).to(k.dtype), mask=there", "tl.trans(dV_t).to(k.dtype)"))),
            "The kernel of 12.3 stores dV without a mask: behind the last token lies the next sequence.",
            "exercise 12.3"),
        "takes K for V in the sweep": Mistake(slip(backward_sweep_kernel=changed(backward_sweep_kernel,
                ("T, H, V, C, v0, V_TILE)", "T, H, K, C, v0, V_TILE)"))),
            "The kernel of 12.3 walks through dO with the rows of a key. They are V numbers long.", "exercise 12.3"),
        "has a sweep that loads past the end": Mistake(slip(
                backward_sweep_kernel=changed(backward_sweep_kernel, ("q_ptr + at_k, mask=there, other=0.0",
                    "q_ptr + at_k"))),
            "In the backward sweep a load has no mask, and the last chunk is not full."),
    },
    hints=("`forward` calls `forward(q, k, v, beta, S, scale, C)`, saves its five inputs and UT_low, and puts the "
           "numbers on ctx. `backward` begins with `do.contiguous()`.",
           "In this order: `memories`, `backward_sweep`, then the three gradients. The last needs nothing that the "
           "others make.",
           "`states, X = memories(k, v, beta, UT_low, S)`, `d_states, dv, dS = backward_sweep(backward_sweep_kernel, "
           "q, k, beta, UT_low, do, d_final, ctx.scale)`; return dq, dk, dv, dbeta, dS, None, None."),
)
