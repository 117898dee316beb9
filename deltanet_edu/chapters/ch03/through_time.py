"""Exercise 3.3: the backward pass through time."""

import torch
from torch import outer

from deltanet_edu.ops import delta_rule_recurrent, delta_rule_recurrent_backward

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import delta_inputs, smallest_first
from ..common import one_head, real
from .problems import row

# -- 3.3 Backward through time -----------------------------------------------------------------------------------------

def backward(q, k, v, beta, S, do, dS):
    memories = [S]                                                       # S_0 ... S_T
    for t in range(len(k)):
        memories.append(memories[t] - beta[t] * torch.outer(memories[t] @ k[t] - v[t], k[t]))
    dq, dk, dv, dbeta = (torch.zeros_like(x) for x in (q, k, v, beta))
    for t in reversed(range(len(k))):
        before, after = memories[t], memories[t + 1]
        error = before @ k[t] - v[t]                                     # (V,)
        dS = dS + torch.outer(do[t], q[t])                               # (V, K)  now it is all of dS_t
        dq[t] = after.T @ do[t]
        dv[t] = beta[t] * (dS @ k[t])
        dbeta[t] = -(dS @ k[t]) @ error
        dk[t] = -beta[t] * (dS.T @ error + before.T @ (dS @ k[t]))
        dS = dS - torch.outer(dv[t], k[t])                               # (V, K)
    return dq, dk, dv, dbeta, dS


def backward_by_autograd(q, k, v, beta, S, do, dS):
    inputs = [x.detach().clone().requires_grad_() for x in (q, k, v, beta, S)]
    q, k, v, beta, S = inputs
    return torch.autograd.grad(one_head(delta_rule_recurrent, q, k, v, beta, S), inputs, (do, dS))


def backward_reusing_dv(q, k, v, beta, S, do, dS):
    """By u = beta e: the second term of dk and what dS loses both contain dv."""
    memories, u = [S], []
    for q_t, k_t, v_t, beta_t in zip(q, k, v, beta):
        u.append(beta_t * (memories[-1] @ k_t - v_t))
        memories.append(memories[-1] - torch.outer(u[-1], k_t))
    dq, dk, dv, dbeta = (torch.zeros_like(x) for x in (q, k, v, beta))
    for t in reversed(range(len(k))):
        dS = dS + torch.outer(do[t], q[t])
        dq[t] = memories[t + 1].T @ do[t]
        dv[t] = beta[t] * dS @ k[t]
        dbeta[t] = -(dS @ k[t]) @ (memories[t] @ k[t] - v[t])
        dk[t] = -dS.T @ u[t] - memories[t].T @ dv[t]
        dS = dS - torch.outer(dv[t], k[t])
    return dq, dk, dv, dbeta, dS


def backward_of_the_package(q, k, v, beta, S, do, dS):
    *gradients, dS = delta_rule_recurrent_backward(*row(q, k, v, beta, do), dS[None, None], initial_state=S[None, None])
    return *(x[0, :, 0] for x in gradients), dS[0, 0]


def dk_of_a_token(dS, k, beta, error, before):
    return -beta * (dS.T @ error + before.T @ (dS @ k))


def swept(own=lambda dS, do, q: dS + outer(do, q), dq=lambda before, after, do, dS: after.T @ do, dk=dk_of_a_token,
          dv=lambda dS, k, beta: beta * (dS @ k), dbeta=lambda dS, k, error, after, v, beta: -(dS @ k) @ error,
          leave=lambda dS, k, beta: dS - beta * outer(dS @ k, k), start=lambda dS: dS):
    """A mutant of the backward loop: one of its lines is replaced."""
    def f(q, k, v, beta, S, do, dS):
        memories = [S]
        for t in range(len(k)):
            memories.append(memories[t] - beta[t] * outer(memories[t] @ k[t] - v[t], k[t]))
        out = [torch.zeros_like(x) for x in (q, k, v, beta)]
        dS = start(dS)
        for t in reversed(range(len(k))):
            before, after = memories[t], memories[t + 1]
            error = before @ k[t] - v[t]
            dS = own(dS, do[t], q[t])
            out[0][t] = dq(before, after, do[t], dS)
            out[1][t] = dk(dS, k[t], beta[t], error, before)
            out[2][t] = dv(dS, k[t], beta[t])
            out[3][t] = dbeta(dS, k[t], error, after, v[t], beta[t])
            dS = leave(dS, k[t], beta[t])
        return *out, dS
    return f


def backward_cases(g):
    args = "q k v beta S do dS"
    token = real([[1.0, 0.0]]), real([[0.6, 0.8]]), real([[3.0]]), real([0.5])
    lesson = Case((*token, real([[1.0, 2.0]]), real([[1.0]]), real([[0.0, 0.0]])), "the lesson's numbers, T = 1")
    small = delta_inputs(g, args, T=(1, 2), K=2, V=1, memories=("nonempty",))
    options = dict(keys=("random",), betas=("zero", "large"), memories=("nonempty",))
    beyond_1 = delta_inputs(g, args, T=(2,), K=2, V=1, **options)
    return [lesson] + smallest_first(small + delta_inputs(g, args, T=(2, 7)) + beyond_1)


def asked_only(dS, k, beta, error, before):
    return -beta * (before.T @ (dS @ k))


def written_only(dS, k, beta, error, before):
    return -beta * (dS.T @ error)


def dk_without_beta(dS, k, beta, error, before):
    return -(dS.T @ error + before.T @ (dS @ k))


def dk_with_one_sign_wrong(dS, k, beta, error, before):
    return -beta * (dS.T @ error - before.T @ (dS @ k))


def dk_with_beta_squared(dS, k, beta, error, before):
    return -beta * (dS.T @ error + beta * before.T @ (dS @ k))


def dk_of_the_memory_after(dS, k, beta, error, before):
    after = before - beta * outer(error, k)
    return -beta * (dS.T @ error + after.T @ (dS @ k))


def dk_of_the_gradient_before(dS, k, beta, error, before):
    return dk_of_a_token(dS - beta * outer(dS @ k, k), k, beta, error, before)


def dbeta_of_the_error_after(dS, k, error, after, v, beta):
    return -(dS @ k) @ (after @ k - v)


MIXED = ("The memory comes from *before* the write and dS from *after* it. Either you took `after`, or dS had gone "
         "past the write already: both give these numbers.", "eq. 3.5", "Is the line that changes dS the last one?")


exercise(
    id="3.3", title="Backward through time", kind="code", stars=3, minutes=25, equations=("3.3", "3.4", "3.5", "3.6"),
    reference=backward, cases=backward_cases,
    alternatives=(backward_reusing_dv, backward_by_autograd, backward_of_the_package),
    mutants={
        "forgets that the key is also asked": Mistake(swept(dk=written_only),
            "The key stands twice in e kᵀ = (S k - v) kᵀ. This is the product rule with one of its two terms.",
            "eq. 3.5", next="Through which key does the error e depend on k?"),
        "forgets that the key is also written": Mistake(swept(dk=asked_only),
            "The key stands twice in (S k - v) kᵀ. The kᵀ at the end, where the write is "
            "placed, is missing from your dk.", "eq. 3.5"),
        "mixes before and after in dk": Mistake(swept(dk=dk_of_the_memory_after), *MIXED),
        "mixes before and after in dbeta and dk": Mistake(
            swept(dk=dk_of_the_memory_after, dbeta=dbeta_of_the_error_after), *MIXED),
        **{f"lets dS go past the write before {what}": Mistake(swept(dk=dk_of_the_gradient_before, **more),
            "dv, dbeta and dk are made of the gradient of the memory *after* the write. Only then does it go past.",
            "eq. 3.6", next="Is the line that changes dS the last of the five?")
           for what, more in (("dk", {}), ("dbeta and dk", {"dbeta": dbeta_of_the_error_after}))},
        "forgets beta in dk": Mistake(swept(dk=dk_without_beta),
            "Both terms of dk carry the strength β of the write.", "eq. 3.5", next="What should dk be when β = 0?"),
        "flips the sign of dk": Mistake(swept(dk=lambda *x: -dk_of_a_token(*x)),
            "The write is *minus* β e kᵀ.", "eq. 3.5"),
        "flips one sign in dk": Mistake(swept(dk=dk_with_one_sign_wrong),
            "Both terms of dk come from the same product, - β e kᵀ, so both carry its minus.", "eq. 3.5"),
        "counts beta twice in dk": Mistake(swept(dk=dk_with_beta_squared),
            "dv = β dS k has its β already. With dv, the second term is Sᵀ dv, and the β before the "
            "bracket belongs to the first alone.", "eq. 3.5"),
        "flips the sign of dv": Mistake(swept(dv=lambda dS, k, beta: -beta * (dS @ k)),
            "The write is - β (S k - v) kᵀ, so v comes in with a plus.", "eq. 3.3"),
        "flips the sign of dv, and of what is made of it": Mistake(
            swept(dv=lambda dS, k, beta: -beta * (dS @ k), dk=dk_with_one_sign_wrong,
                  leave=lambda dS, k, beta: dS + beta * outer(dS @ k, k)),
            "The write is - β (S k - v) kᵀ, so v comes in with a plus.", "eq. 3.3"),
        "forgets beta in dv": Mistake(swept(dv=lambda dS, k, beta: dS @ k),
            "v is written with strength β, so its gradient carries β as well.", "eq. 3.3"),
        "flips the sign of dbeta": Mistake(swept(dbeta=lambda dS, k, error, after, v, beta: (dS @ k) @ error),
            "β multiplies *minus* the error.", "eq. 3.4"),
        "takes the error after the write in dbeta": Mistake(swept(dbeta=dbeta_of_the_error_after),
            "β multiplies the error that the token found, S_{t-1} k - v.", "eq. 3.4"),
        "multiplies dbeta by beta": Mistake(swept(dbeta=lambda dS, k, error, after, v, beta: -beta * (dS @ k) @ error),
            "The derivative of β e with respect to β is e.", "eq. 3.4"),
        "reads the memory before the write in dq": Mistake(swept(dq=lambda before, after, do, dS: before.T @ do),
            "o_t = S_t q_t reads after the write, so dq_t = S_tᵀ do_t.", "eq. 3.3"),
        "lets the gradient pass the write untouched": Mistake(swept(leave=lambda dS, k, beta: dS),
            "On its way to S_{t-1} the gradient passes M_t = I - β k kᵀ, which takes out what lies along the key.",
            "eq. 3.6", next="The last line of the loop: dS - dv kᵀ."),
        "erases at full strength": Mistake(swept(leave=lambda dS, k, beta: dS - outer(dS @ k, k)),
            "The transition is I - β k kᵀ. Yours has no β.", "eq. 3.6"),
        "fades the whole gradient": Mistake(swept(leave=lambda dS, k, beta: (1 - beta) * dS),
            "1 - β weakens all of dS. Only what lies along the key is taken out: dS - dv kᵀ.", "eq. 3.6"),
        "scales the whole gradient": Mistake(swept(leave=lambda dS, k, beta: (1 - beta * (k @ k)) * dS),
            "1 - β‖k‖² is what happens along the key. What is across the key goes back as it is: dS - dv kᵀ.",
            "eq. 3.6"),
        "counts beta twice on the way back": Mistake(swept(leave=lambda dS, k, beta: dS - beta**2 * outer(dS @ k, k)),
            "dv has its β already: what the gradient loses is dv kᵀ, without another β.", "eq. 3.6"),
        "adds along the key": Mistake(swept(leave=lambda dS, k, beta: dS + beta * outer(dS @ k, k)),
            "The transition *takes away* along the key, on the way back as well.", "eq. 3.6"),
        "ignores the gradient of the final memory": Mistake(swept(start=torch.zeros_like),
            "dS comes in from what reads the final memory later on. The loop starts from it.", "eq. 3.6"),
        "leaves out what the token reads": Mistake(swept(own=lambda dS, do, q: dS),
            "o_t = S_t q_t reads the memory too, so do_t q_tᵀ is added to dS before it is used.", "eq. 3.2"),
        "forgets the later tokens": Mistake(swept(own=lambda dS, do, q: outer(do, q)),
            "Your dS holds token t's own output only. What later tokens have sent back must stay in it.", "eq. 3.6"),
    },
    hints=("Five lines, one for each of dq, dv, dbeta, dk, and one that sends dS past the write. Differentiate S_t = S "
           "- β e kᵀ, with e = S k - v.",
           "dq and dv are single products; dbeta = -(dS k) · e. In dk the product rule gives two terms, "
           "since k stands in e and in kᵀ.",
           "dk = -β (dSᵀ e + Sᵀ (dS k)), with S before the write; then dS = dS - outer(dv, k)."),
)
