"""The rules as PyTorch sees them: each in two ways, with one backward pass.

Compilers, fake tensors and modes meet a `torch.library` operator with a fake version (shapes without data) and a
backward pass, and treat it as one operation. Everyone else goes through a plain autograd.Function: calling an operator
from Python takes longer than a small launch. Either way, activation checkpointing and CUDA graphs work. What was not
asked for is None; operators cannot return that, and return an empty tensor.
"""

import torch
from torch import Tensor

from ..ops.common import once_differentiable, transformed
from . import launches
from .launches import Forward, Kept, Options

ORDINARY = (Tensor, torch.nn.Parameter, type(None))
INPUTS = "Tensor q, Tensor k, Tensor v, Tensor beta, Tensor? initial, Tensor? cu_seqlens"
OPTIONS = "float scale, bool normalize, bool sigmoid, str precision, int C, bool save, int segments"
GRADIENTS = "Tensor do, Tensor? d_final"


def watched(*tensors):
    """Is anyone here who has to see an operator: a compiler, a mode (fake tensors, tracing, counting),
    a subclass of Tensor?"""
    return (torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0
            or any(type(x) not in ORDINARY for x in tensors))


def operator(name, signature, run, results):
    """run(*inputs) as an operator, whose fake version is results(*inputs): memory that nobody fills."""
    def filled(f):
        return lambda *inputs: [inputs[0].new_empty(0) if x is None else x for x in f(*inputs)]
    op = torch.library.custom_op(f"deltanet_edu::{name}", filled(run), mutates_args=(),
                                 schema=f"({signature}) -> Tensor[]")
    op.register_fake(filled(results))
    return op


def function(name, signature, run, run_backward, result, several=False):
    """f(*inputs) = run(*inputs), a tensor, whose backward pass needs nothing but the inputs: seen in the same two ways.

    signature: of the inputs, tensors first. run_backward(dy, *inputs): the gradients of the tensors, dy contiguous.
    result(*inputs): memory like that of run, which nobody fills. several: run returns a list of tensors, dy is one too.
    """
    n, kind = signature.count("Tensor"), "Tensor[]" if several else "Tensor"
    op = torch.library.custom_op(f"deltanet_edu::{name}", run, mutates_args=(), schema=f"({signature}) -> {kind}")
    op.register_fake(result)
    back = operator(f"{name}_backward", f"{kind} dy, {signature}", run_backward,
                    lambda dy, *inputs: [torch.empty_like(x) for x in inputs[:n]])

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            Function.keep(ctx, inputs)
            return tuple(run(*inputs)) if several else run(*inputs)

        @staticmethod
        def keep(ctx, inputs, output=None):
            ctx.save_for_backward(*inputs[:n])
            ctx.others = inputs[n:]

        @staticmethod
        @once_differentiable
        def backward(ctx, *dys):
            kept, dys = ctx.saved_tensors, [dy.contiguous() for dy in dys]
            gradients = (back if watched(*dys, *kept) else run_backward)(dys if several else dys[0], *kept, *ctx.others)
            return *gradients, *[None] * len(ctx.others)

    def f(*inputs):
        return (op if watched(*inputs[:n]) else Function.apply)(*inputs)
    op.register_autograd((lambda ctx, dys: Function.backward(ctx, *dys)) if several else Function.backward,
                         setup_context=Function.keep)
    f.operator = op
    return f


def gradients_of(ctx, op, run, do, d_final, tensors, options):
    """The gradients of a rule's inputs, None for those that are no tensors; by its operator,
    or by what the operator runs."""
    q, _, v, _, initial, *_ = tensors
    do = torch.zeros_like(v) if do is None else do.contiguous()          # None: nobody used o, which has the shape of v
    d_final = None if d_final is None else d_final.contiguous()
    *results, d_initial = (op if watched(do, d_final, q, v) else run)(do, d_final, *tensors, *options)
    return *results, None if initial is None else d_initial, None, *[None] * len(ctx.options)


class Chunkwise(torch.autograd.Function):
    """q, k, v, beta, initial, cu_seqlens and Options, then what else to save -> o, final state."""

    @staticmethod
    def forward(ctx, *inputs):
        inputs, roots = inputs[:-2], inputs[-2:]
        out = launches.run_chunkwise(*inputs)
        Chunkwise.keep(ctx, inputs, out, *roots)
        ctx.set_materialize_grads(False)
        return out.o, out.final

    @staticmethod
    def keep(ctx, inputs, out, *roots):
        q, k, v, beta, initial, cu_seqlens, *ctx.options = inputs
        out = Forward(*(x if x is not None and x.ndim > 1 else None for x in out))           # empty ones stand for None
        q, k = (q, k) if out.norms is None else (out.unit_q, out.unit_k)
        ctx.save_for_backward(*Kept(q, k, v, beta, initial, cu_seqlens, out.UT_low, out.norms, out.states, out.writes,
                                    out.M), *roots)
        ctx.roots = len(roots)

    @staticmethod
    @once_differentiable
    def backward(ctx, do, d_final):
        kept = ctx.saved_tensors[:len(Kept._fields)]
        results = gradients_of(ctx, chunkwise_backward, launches.run_chunkwise_backward, do, d_final, kept, ctx.options)
        return *results, *[None] * ctx.roots


class Recurrent(torch.autograd.Function):
    """q, k, v, beta, initial, cu_seqlens, scale and save -> o, final state."""

    @staticmethod
    def forward(ctx, *inputs):
        out = launches.run_recurrent(*inputs)
        Recurrent.keep(ctx, inputs, out)
        ctx.set_materialize_grads(False)
        return out[:2]

    @staticmethod
    def keep(ctx, inputs, out):
        *tensors, scale, save = inputs
        ctx.options = scale, save
        ctx.save_for_backward(*tensors, out[2])                          # the prediction errors

    @staticmethod
    @once_differentiable
    def backward(ctx, do, d_final):
        return gradients_of(ctx, recurrence_backward, launches.run_recurrent_backward, do, d_final, ctx.saved_tensors,
                            ctx.options[:1])


def registered(rule, name, options, kept, backward_options, run, results, run_backward):
    """The operator of a rule and that of its backward pass."""
    op = operator(name, f"{INPUTS}, {options}", run, results)
    op.register_autograd(lambda ctx, grads: rule.backward(ctx, *grads[:2]),
                         setup_context=lambda ctx, inputs, output: rule.keep(ctx, inputs, output))
    return op, operator(f"{name}_backward", f"{GRADIENTS}, {INPUTS}, {kept}, {backward_options}", run_backward,
                        launches.gradient_results)


chunkwise, chunkwise_backward = registered(
    Chunkwise, "chunkwise", OPTIONS, "Tensor UT_low, Tensor? norms, Tensor? states, Tensor? writes, Tensor? M", OPTIONS,
    launches.run_chunkwise, launches.chunkwise_results, launches.run_chunkwise_backward)
recurrence, recurrence_backward = registered(
    Recurrent, "recurrent", "float scale, bool save", "Tensor errors", "float scale",
    launches.run_recurrent, launches.recurrent_results, launches.run_recurrent_backward)
step = torch.library.custom_op("deltanet_edu::step", launches.run_step, mutates_args={"state"},
                               schema="(Tensor q, Tensor k, Tensor v, Tensor beta, Tensor(a!) state, float scale)"
                                      " -> Tensor")
step.register_fake(lambda q, k, v, beta, state, scale: launches.like(v))


def by_chunks(*inputs):
    """o and final state of q, k, v, beta, initial, cu_seqlens and Options, either way."""
    if watched(*inputs[:5]):
        return tuple(chunkwise(*inputs)[:2])
    if not torch.is_grad_enabled() and not transformed():    # a Function would take the time of a launch, for nothing
        return tuple(launches.run_chunkwise(*inputs)[:2])
    # Normalized, q and k are not among what is saved; these empty views stand for
    # them where second derivatives are refused.
    roots = (inputs[0][:0], inputs[1][:0]) if Options(*inputs[6:]).normalize else (None, None)
    return Chunkwise.apply(*inputs, *roots)


def by_tokens(*inputs):
    """The same one token at a time; of q, k, v, beta, initial, cu_seqlens, scale and save."""
    return tuple(recurrence(*inputs)[:2]) if watched(*inputs[:5]) else Recurrent.apply(*inputs)
