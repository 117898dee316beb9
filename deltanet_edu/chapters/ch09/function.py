"""Exercise 9.6: a torch.autograd.Function that saves nothing but its inputs."""

import inspect

import torch
from torch.utils._pytree import tree_leaves

from ...ops.delta_rule.backward import backward_chunks, forward_chunks
from ...tutor import AnswerError, Mistake, exercise
from ...tutor.cases import delta_inputs, smallest_first
from .chunk import backward_chunk, by_autograd, chunk_results, forward_chunk


class Chunk(torch.autograd.Function):
    @staticmethod
    def forward(ctx, Q, K, V, beta, S):
        """-> O, and the memory that leaves."""
        ctx.save_for_backward(Q, K, V, beta, S)
        O, S_out, _ = forward_chunk(Q, K, V, beta, S)
        return O, S_out

    @staticmethod
    def backward(ctx, dO, dS):
        """-> one gradient for each input of forward."""
        inputs = ctx.saved_tensors
        _, _, results = forward_chunk(*inputs)
        return backward_chunk(*inputs, results, dO, dS)


class SavesInputsAndAsksAutograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        ctx.save_for_backward(*inputs)
        return forward_chunk(*inputs)[:2]

    @staticmethod
    def backward(ctx, *outgoing):
        with torch.enable_grad():
            return by_autograd(chunk_results, ctx.saved_tensors, outgoing)


class SavesInputsOfTheLibrary(torch.autograd.Function):
    """The package's functions, which want chunks as (N*B*H, C, D)."""

    @staticmethod
    def forward(ctx, Q, K, V, beta, S):
        ctx.save_for_backward(Q, K, V, beta, S)
        O, S_out, _ = forward_chunks(Q[None], K[None], V[None], beta[None, :, None], S[None])
        return O[0], S_out[0]

    @staticmethod
    def backward(ctx, dO, dS):
        Q, K, V, beta, S = ctx.saved_tensors
        chunked = Q[None], K[None], V[None], beta[None, :, None]
        saved = forward_chunks(*chunked, S[None])[2]
        dQ, dK, dV, dbeta, dS_in = backward_chunks(*chunked, *saved, dO[None], dS[None])
        return dQ[0], dK[0], dV[0], dbeta[0, :, 0], dS_in[0]


def save_inputs(ctx, inputs, outputs, results):
    ctx.save_for_backward(*inputs)


def return_all(gradients, dO, dS):
    return gradients


def saved_inputs(ctx, dS):
    return ctx.saved_tensors[:5]


def with_empty_memory(ctx, dS):
    return *ctx.saved_tensors, torch.zeros_like(dS)


def function_that(finish=return_all, save=save_inputs, receive=lambda dO, dS: (dO, dS), load=saved_inputs,
                  rerun=lambda *inputs: inputs):
    """A mutant: save(ctx, inputs, outputs, results) forward; load(ctx, dS), rerun, receive and finish backward."""
    class Chunk(torch.autograd.Function):                                # its name is part of PyTorch's messages
        @staticmethod
        def forward(ctx, Q, K, V, beta, S):
            *outputs, results = forward_chunk(Q, K, V, beta, S)
            save(ctx, (Q, K, V, beta, S), outputs, results)
            return tuple(outputs)

        @staticmethod
        def backward(ctx, dO, dS):
            inputs = load(ctx, dS)
            gradients = backward_chunk(*inputs, forward_chunk(*rerun(*inputs))[2], *receive(dO, dS))
            return finish(gradients, dO, dS)
    return Chunk


def outputs_only(dO, dS):
    return dO, torch.zeros_like(dS)


def memory_only(dO, dS):
    return torch.zeros_like(dO), dS


def save_results_too(ctx, inputs, outputs, results):
    ctx.save_for_backward(*inputs, *results)


def save_outputs_too(ctx, inputs, outputs, results):
    ctx.save_for_backward(*inputs, *outputs)


def save_leaving_memory_too(ctx, inputs, outputs, results):
    ctx.save_for_backward(*inputs, outputs[1])


def hide_results_on_ctx(ctx, inputs, outputs, results):
    ctx.save_for_backward(*inputs)
    ctx.UT1, ctx.P, ctx.R, ctx.X = results


def save_the_leaving_memory(ctx, inputs, outputs, results):
    ctx.save_for_backward(*inputs[:4], outputs[1])


def save_copies(ctx, inputs, outputs, results):
    ctx.save_for_backward(*(x.clone() for x in inputs))


class ReturnsTheMemoryFirst(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        ctx.save_for_backward(*inputs)
        return forward_chunk(*inputs)[1::-1]

    @staticmethod
    def backward(ctx, dS, dO):
        return backward_chunk(*ctx.saved_tensors, forward_chunk(*ctx.saved_tensors)[2], dO, dS)


class KeepsInputsAsAttributes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        ctx.inputs = inputs
        return forward_chunk(*inputs)[:2]

    @staticmethod
    def backward(ctx, dO, dS):
        return backward_chunk(*ctx.inputs, forward_chunk(*ctx.inputs)[2], dO, dS)


class KeepsEverythingAsAttributes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        O, S_out, ctx.results = forward_chunk(*inputs)
        ctx.inputs = inputs
        return O, S_out

    @staticmethod
    def backward(ctx, dO, dS):
        return backward_chunk(*ctx.inputs, ctx.results, dO, dS)


class KeepsTheGraph(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        with torch.enable_grad():
            ctx.inputs = [x.detach().requires_grad_() for x in inputs]
            ctx.outputs = forward_chunk(*ctx.inputs)[:2]
        return tuple(x.detach() for x in ctx.outputs)

    @staticmethod
    def backward(ctx, dO, dS):
        return torch.autograd.grad(ctx.outputs, ctx.inputs, (dO, dS), retain_graph=True)


NAMES = "O", "memory that leaves", "dQ", "dK", "dV", "dbeta", "dS"


def run_function(answer):
    """From a Function to what is compared: results, gradients, how many numbers it saves or hides on ctx, and whether
    it saves copies."""
    if isinstance(answer, torch.autograd.Function) or not callable(answer):
        raise AnswerError("give the class itself, a subclass of torch.autograd.Function")
    is_function = isinstance(answer, type) and issubclass(answer, torch.autograd.Function)
    apply = answer.apply if is_function else answer

    def run(Q, K, V, beta, S, dO, dS):
        inputs, saved = [x.clone().requires_grad_() for x in (Q, K, V, beta, S)], {}
        given = {x.untyped_storage().data_ptr() for x in inputs}

        def keep(x):
            saved[x.untyped_storage().data_ptr()] = x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            results = apply(*inputs)
        if not (isinstance(results, tuple) and len(results) == 2):
            raise ValueError("forward should return two tensors, O and the memory that leaves")
        leaves = tree_leaves(getattr(results[0].grad_fn, "__dict__", {}))
        attached = sum(x.numel() for x in leaves if isinstance(x, torch.Tensor))
        gradients = torch.autograd.grad(results, inputs, (dO, dS), allow_unused=True)
        copied = not given.issuperset(saved)
        counts = {"numbers saved": sum(saved.values()), "copies among them": copied, "numbers on ctx": attached}
        return dict(zip(NAMES, (*results, *gradients))) | counts

    run.__signature__ = inspect.signature(run)                           # names of the arguments are ours ...
    run.__wrapped__ = getattr(answer, "forward", answer)                 # ... and lines in a traceback the learner's
    return run


def function_cases(g):
    made = delta_inputs(g, "q k v beta S do dS", T=(2, 5), K=3, V=2, memories=("nonempty",))
    other = dict(betas=("zero", "large"), memories=("nonempty",))
    return smallest_first(made + delta_inputs(g, "q k v beta S do dS", T=(4,), K=2, V=5, **other))


exercise(
    id="9.6", title="Save nothing but the inputs", kind="code", stars=4, minutes=25,
    equations=("9.4", "9.6", "9.7", "9.9"), reference=Chunk, sources=(Chunk,), cases=function_cases,
    alternatives=(SavesInputsAndAsksAutograd, SavesInputsOfTheLibrary), prepare=run_function,
    mutants={
        "saves the intermediate results too": Mistake(function_that(save=save_results_too),
            "All gradients are right, but UT₁, P, R and X are kept as well. Save the five inputs and run `forward` "
            "again in the backward pass.",
            "eq. 9.9"),
        "saves the outputs too": Mistake(function_that(save=save_outputs_too),
            "All gradients are right, but O and the memory that leaves are kept as well, and the backward pass does "
            "not need them.", "eq. 9.9"),
        "saves the memory that leaves too": Mistake(function_that(save=save_leaving_memory_too),
            "All gradients are right, but the memory that leaves is kept as well. The backward pass needs the one that "
            "entered.", "eq. 9.9"),
        "saves as many numbers too as V has": Mistake(
            function_that(save=lambda ctx, inputs, o, r: ctx.save_for_backward(*inputs, r[3])),
            "All gradients are right, but a matrix of the shape (C, V) is kept as well: X, R or O. What the backward "
            "pass needs of them, `forward_chunk` computes again.", "eq. 9.9"),
        "takes the memory that entered for empty": Mistake(
            function_that(save=lambda ctx, inputs, o, r: ctx.save_for_backward(*inputs[:4]), load=with_empty_memory),
            "The backward pass runs the chunk again, from the memory that entered it. Yours starts from zeros.",
            "eq. 8.6", next="Which five tensors does `forward` get?"),
        "runs the chunk again from an empty memory": Mistake(
            function_that(rerun=lambda *inputs: (*inputs[:4], torch.zeros_like(inputs[4]))),
            "The backward pass runs the chunk again, from the memory that entered it. Yours takes zeros there.",
            "eq. 8.6"),
        "returns the memory first": Mistake(ReturnsTheMemoryFirst,
            "The first result of `forward` has the shape of a memory, (V, K). O is the first, (C, V), and the memory "
            "that leaves the second.", "eq. 8.5"),
        "takes the gradients in the other order": Mistake(function_that(receive=lambda dO, dS: (dS, dO)),
            "`backward` gets one gradient for each result of `forward`, in the same order: dO first, then dS.",
            "eq. 9.4"),
        "keeps autograd's graph": Mistake(KeepsTheGraph,
            "All gradients are right, but `forward` has recorded a graph and hangs it on `ctx`, with everything that "
            "autograd saves in it. Save the five inputs, and record in `backward`.", "eq. 9.9"),
        "leaves everything to autograd": Mistake(lambda *inputs: tuple(forward_chunk(*inputs)[:2]),
            "All gradients are right, but this is no `torch.autograd.Function`: autograd keeps whatever its own "
            "backward pass needs. You decide by `ctx.save_for_backward`.", "eq. 9.9"),
        "doubles the gradients": Mistake(function_that(finish=lambda d, dO, dS: tuple(2 * x for x in d)),
            "Every gradient is twice what is right.", "eq. 9.6"),
        "saves copies of the inputs": Mistake(function_that(save=save_copies),
            "All gradients are right, but what is saved of an input is a copy of it, such as a `clone` makes, and both "
            "are kept. `save_for_backward` keeps the tensor itself.", "eq. 9.9"),
        "hides intermediate results on ctx": Mistake(function_that(save=hide_results_on_ctx),
            "All gradients are right, but tensors set as attributes of `ctx` stay alive just like saved ones, and UT₁, "
            "P, R and X are among them.",
            "eq. 9.9", next="Use `ctx.save_for_backward` for the inputs, and nothing else."),
        "keeps the inputs as attributes of ctx": Mistake(KeepsInputsAsAttributes,
            "All gradients are right. But attributes of `ctx` escape PyTorch: it cannot free them after the backward "
            "pass, notice that you have changed them in between, or move them elsewhere with a hook.",
            "eq. 9.9", next="Use `ctx.save_for_backward` and `ctx.saved_tensors`."),
        "keeps everything as attributes of ctx": Mistake(KeepsEverythingAsAttributes,
            "All gradients are right, but nothing is saved in PyTorch's sense: inputs, UT₁, P, R and X all hang on "
            "`ctx`.", "eq. 9.9",
            next="Use `ctx.save_for_backward` for the inputs, and compute the rest again."),
        "saves the memory that leaves": Mistake(function_that(save=save_the_leaving_memory),
            "The backward pass runs the chunk again, so it needs the memory that *entered* it.", "eq. 8.6"),
        "ignores the gradient of the memory that leaves": Mistake(function_that(receive=outputs_only),
            "The function has two results, so `backward` gets two gradients. The second, dS, carries everything that "
            "later chunks have to say.", "eq. 9.4"),
        "ignores the gradient of the outputs": Mistake(function_that(receive=memory_only),
            "The function has two results, so `backward` gets two gradients, in the same order: dO, then dS.",
            "eq. 9.4"),
        "returns None for the entering memory": Mistake(function_that(finish=lambda d, dO, dS: (*d[:4], None)),
            "None means that there is no gradient. But the memory that entered was made by the chunk before, which "
            "needs it.", "eq. 9.4"),
        "returns None for beta": Mistake(function_that(finish=lambda d, dO, dS: (*d[:3], None, d[4])),
            "β comes from the network as well, and learns through eq. 9.7.", "eq. 9.7"),
        "returns too few gradients": Mistake(function_that(finish=lambda d, dO, dS: d[:4]),
            "`forward` has five inputs, so `backward` returns five gradients. The last one is that of the memory that "
            "entered.", "eq. 9.4"),
        "swaps the gradients of query and key": Mistake(function_that(finish=lambda d, dO, dS: (d[1], d[0], *d[2:])),
            "One gradient for each input of `forward`, in the order of the inputs: Q, K, V, β, S. Q and K have one "
            "shape, so nothing fails loudly.", "eq. 9.6"),
        "passes the gradient of the memory on unchanged": Mistake(function_that(finish=lambda d, dO, dS: (*d[:4], dS)),
            "The fifth gradient is that of the memory that *entered*, dS + dOᵀQ − dVᵀK. What came in belongs to the "
            "one that leaves.", "eq. 9.4"),
    },
    hints=("`forward(ctx, ...)` must call `ctx.save_for_backward` with the five inputs, and return two tensors.",
           "`backward(ctx, dO, dS)` gets one gradient per result and returns one per input, in the same order.",
           "`Q, K, V, beta, S = ctx.saved_tensors`, then `forward_chunk(...)` again for what `backward_chunk` needs."),
)
