"""Chapter 2: the delta rule. The equations and the predictions of its lesson."""

import torch

from torch import outer

from deltanet_edu.ops import delta_rule_recurrent, linear_attention_recurrent
from deltanet_edu.ops import erase_then_write_step, sgd_step, transition_step
from deltanet_edu.ops.delta_rule.householder import householder

from ...tutor import equation, prediction
from ...tutor.cases import delta_inputs, normal, unit_keys
from ..common import one_head
from .problems import delta_rule, write_by_autograd, writes

# -- equations ---------------------------------------------------------------------------------------------------------

def each(g, **options):
    """(S, k, v, beta) of single writes, adversarial by construction."""
    return [case.args for case in writes(g, **options)]


def one(x):
    """β = 1 in the dtype of x."""
    return torch.ones((), dtype=x.dtype)


@equation("2.1", r"S_t = S_{t-1} - \big(S_{t-1}k_t - v_t\big)\,k_t^\top")
def _(g):
    for S, k, v, _ in each(g):
        after = S - outer(S @ k - v, k)
        yield "erase and write separately", S - outer(S @ k, k) + outer(v, k), after
        yield "the package's step with β = 1", sgd_step(S, k, v, one(S)), after
    for S, k, v, _ in each(g, keys=("random",)):
        yield "a unit key then reads v", sgd_step(S, k, v, one(S)) @ k, v


@equation("2.2", r"\nabla_S\,\tfrac12\|Sk - v\|^2 = (Sk - v)\,k^\top")
def _(g):
    for S, k, v, _ in each(g):
        S_ = S.clone().requires_grad_()
        (0.5 * (S_ @ k - v).square().sum()).backward()
        yield "autograd", S_.grad, outer(S @ k - v, k)


@equation("2.3", r"S_t = S_{t-1} - \beta_t\,(S_{t-1}k_t - v_t)\,k_t^\top")
def _(g):
    for S, k, v, beta in each(g, betas=("random", "one", "zero", "large")):
        yield "a step of autograd's gradient", write_by_autograd(S, k, v, beta), S - beta * outer(S @ k - v, k)
        yield "the package's sgd_step", sgd_step(S, k, v, beta), S - beta * outer(S @ k - v, k)


@equation("2.4", r"S_t = S_{t-1} - \beta_t\,(S_{t-1}k_t - v_t)\,k_t^\top, \qquad o_t = s\,S_t q_t")
def _(g):
    for case in delta_inputs(g, "q k v beta S", B=2, H=3, memories=("nonempty", "empty")):
        q, k, v, beta, S = case.args
        o, final = delta_rule_recurrent(q, k, v, beta, initial_state=S, scale=0.5)
        for b, h in ((0, 0), (1, 2)):
            o_bh, S_bh = delta_rule(q[b, :, h], k[b, :, h], v[b, :, h], beta[b, :, h], S[b, h])
            yield "outputs", o[b, :, h], 0.5 * o_bh
            yield "final state", final[b, h], S_bh


@equation("2.5", r"v_{\text{old}} = S_{t-1}k_t, \qquad v_{\text{new}} = \beta_t v_t + (1-\beta_t)\,v_{\text{old}}, "
                 r"\qquad S_t = S_{t-1} - v_{\text{old}}\,k_t^\top + v_{\text{new}}\,k_t^\top")
def _(g):
    for S, k, v, beta in each(g, betas=("random", "one", "zero", "large")):
        old = S @ k
        new = beta * v + (1 - beta) * old
        after = S - outer(old, k) + outer(new, k)
        yield "the gradient step", after, sgd_step(S, k, v, beta)
        yield "the package's erase_then_write_step", after, erase_then_write_step(S, k, v, beta)


@equation("2.6", r"S_t = S_{t-1}\,\big(I - \beta_t k_t k_t^\top\big) + \beta_t v_t k_t^\top")
def _(g):
    for S, k, v, beta in each(g, betas=("random", "one", "zero", "large")):
        after = S @ householder(k, beta) + beta * outer(v, k)
        yield "the gradient step", after, sgd_step(S, k, v, beta)
        yield "the package's transition_step", after, transition_step(S, k, v, beta)


@equation("2.7", r"-\nabla_S\,\big(-\langle Sk, v\rangle\big) = v\,k^\top")
def _(g):
    for S, k, v, _ in each(g):
        S_ = S.clone().requires_grad_()
        (-(S_ @ k) @ v).backward()
        yield "autograd", -S_.grad, outer(v, k)
        _, state = one_head(linear_attention_recurrent, k[None], k[None], v[None], S)
        yield "a step of size 1 is linear attention", S - S_.grad, state


@equation("2.8", r"S_t k_t - v_t = \big(1 - \beta_t\|k_t\|^2\big)\,\big(S_{t-1}k_t - v_t\big)")
def _(g):
    for S, k, v, beta in each(g, betas=("random", "one", "zero", "large")):
        yield "the error after a write", sgd_step(S, k, v, beta) @ k - v, (1 - beta * (k @ k)) * (S @ k - v)


@equation("2.9", r"M_t\,k_t = \big(1 - \beta_t\|k_t\|^2\big)\,k_t, \qquad M_t\,x = x \;\text{ for every } x \perp k_t")
def _(g):
    for _, k, _, beta in each(g, betas=("random", "one", "large")):
        M, x = householder(k, beta), normal(g, len(k))
        x = x - k * (k @ x) / (k @ k)                                    # what is left is orthogonal to k
        yield "along the key", M @ k, (1 - beta * (k @ k)) * k
        yield "orthogonal to it", M @ x, x
        spectrum = torch.cat([torch.ones(len(k) - 1, dtype=k.dtype), (1 - beta * (k @ k))[None]])
        yield "all K eigenvalues", torch.linalg.eigvalsh(M), spectrum.sort().values


@equation("2.10", r"\|M_t\|_2 = \max\!\big(1,\; \big|1 - \beta_t\|k_t\|^2\big|\big) \;\le\; 1 "
                  r"\quad\text{exactly when}\quad 0 \le \beta_t\|k_t\|^2 \le 2")
def _(g):
    for strength in (-0.5, 0.0, 0.3, 1.0, 1.7, 2.0, 2.1, 9.0):           # β‖k‖²
        for K in (2, 5):
            k = normal(g, K)
            norm = torch.linalg.matrix_norm(householder(k, strength / (k @ k)), 2)
            yield "largest stretch of any memory", norm, torch.tensor(max(1.0, abs(1 - strength)), dtype=k.dtype)
            yield "at most 1 exactly from 0 to 2", bool(norm <= 1 + 1e-12), 0 <= strength <= 2


def smallest_eigenvalue(k, beta):
    """Of the transition, for a key divided by its 1-norm."""
    return torch.linalg.eigvalsh(householder(k / k.abs().sum(), beta))[0]


@equation("2.11", r"1 - \beta\,\Big\|\frac{k}{\|k\|_1}\Big\|_2^2 \;=\; "
                  r"1 - \beta\,\frac{\|k\|_2^2}{\|k\|_1^2} \;\ge\; 1 - \beta")
def _(g):
    for _, k, _, beta in each(g):
        smallest = smallest_eigenvalue(k, beta)
        yield "the smallest eigenvalue", smallest, 1 - beta * (k @ k) / k.abs().sum() ** 2
        yield "not below 1 - β", smallest.clamp(min=1 - beta), smallest
        one_hot = torch.eye(len(k), dtype=k.dtype)[0] * -3.0
        yield "equal for a key with one entry", smallest_eigenvalue(one_hot, beta), 1 - beta
        yield "1 - β/K for equal entries", smallest_eigenvalue(torch.ones_like(k), beta), 1 - beta / len(k)


@equation("2.12", r"\operatorname{RMSNorm}(c\,S q) = \operatorname{RMSNorm}(S q) \quad\text{for every } c > 0")
def _(g):
    for S, q, _, _ in each(g, memories=("nonempty",)):
        if len(S) > 1:
            for c in (1e-3, 1 / q.norm().item(), 40.0):
                a, b = (torch.nn.functional.rms_norm(x, x.shape, eps=0.0) for x in (c * S @ q, S @ q))
                yield "with ε = 0", a, b


@equation("2.13", r"\frac1K \sum_{i=1}^{K} \big(I - \beta\,e_i e_i^\top\big) = \Big(1 - \frac{\beta}{K}\Big)\,I")
def _(g):
    for K in (1, 3, 8):
        e = torch.linalg.qr(torch.randn(K, K, generator=g, dtype=torch.float64))[0]
        for beta in (0.0, 0.4, 1.0, 1.8):
            mean = householder(e, torch.full((K,), beta, dtype=e.dtype)).mean(0)
            yield "mean over an orthonormal basis", mean, (1 - beta / K) * torch.eye(K, dtype=e.dtype)


@equation("2.14", r"S_\infty = S_0 + \big(V^\top - S_0K^\top\big)\,(K^\top)^{+}")
def _(g):
    for N, K, V in ((1, 2, 1), (2, 3, 5), (4, 6, 2)):
        k, v, S_0 = unit_keys(g, N, K), normal(g, N, V), normal(g, V, K)
        S, beta = S_0, torch.ones(N, dtype=torch.float64)
        for _ in range(500):
            S = delta_rule(k, k, v, beta, S)[1]
        limit = S_0 + (v.T - S_0 @ k.T) @ torch.linalg.pinv(k.T)
        yield "500 passes with β = 1", S, limit
        yield "every pair is read exactly", limit @ k.T, v.T
        yield "another pass changes nothing", delta_rule(k, k, v, beta, limit)[1], limit


# -- predictions -------------------------------------------------------------------------------------------------------

prediction(
    "2.a", question="We erase what the memory says about cat, 3, and then add 5. What do we read for cat?",
    options={
        "8": "That is 3 + 5: nothing was removed. It is what the additive memory says.",
        "2": "That is 5 - 3: the old value would have been taken from the new one instead of from the memory.",
        "0": "That would be erasing without writing.",
        "5": "The old value is gone, so the new one stands alone. That is overwriting.",
    },
    answer="5",
)

prediction(
    "2.b", question="The memory says 3 for cat. We write 5 with β = 0.5. What do we read?",
    options={
        "2.5": "That is 0.5 · 5: everything was erased and half of the new value written. One β governs both.",
        "4": "The error is 3 - 5 = -2, and half of it is corrected: halfway between old and new.",
        "5": "That takes β = 1, a full step. β = 0.5 stops halfway.",
        "5.5": "That is 3 + 0.5 · 5: half of the new value was added and nothing erased.",
    },
    answer="4",
)

prediction(
    "2.c", question="cat and lynx overlap by 0.8, dog is at a right angle to both. The delta rule is told "
                    "cat, dog, lynx, and then a new value for cat. For which keys does it say in the end what it was "
                    "told last?",
    options={
        "cat": "cat is right, since it was written last. But dog is at a right angle to all that came after it, "
               "so it was never touched.",
        "dog": "dog is right. So is cat: a write with β = 1 and a unit key leaves exactly the new value, "
               "whatever was there before.",
        "cat, dog and lynx": "Each was right at the moment of its own write. But the last write, of cat, "
                             "also moves what lynx reads, by 0.8 of cat's change.",
        "cat and dog": "cat was written last, and nothing that is written along cat or lynx reaches dog. "
                       "lynx was moved by cat's last write.",
    },
    answer="cat and dog",
)

prediction(
    "2.d", question="60 tokens with random normal keys (K = 8, not normalized), β = 0.5. What does the size of S do?",
    options={
        "It levels off, since β < 1": "β alone does not decide. These keys have ‖k‖² near 8, so β‖k‖² is near 4, "
                                      "twice the limit.",
        "It grows like √T": "That is the additive memory: a sum of independent writes. Here a write multiplies, "
                            "and multiplying grows faster than adding.",
        "It shrinks to zero": "Every write puts a new value in, so the memory cannot die out; "
                              "and it does not shrink here.",
        "It grows exponentially": "β‖k‖² is near 4, so a typical write multiplies the error along its key by -3.",
    },
    answer="It grows exponentially",
)

prediction(
    "2.e", question="K = 32 and β = 1. After how many later writes, with random unit keys, is half of an item left?",
    options={
        "1": "That would take a key that shares half of its squared length with the item's. A random one shares 1/32.",
        "16": "That would be right if each write took 1/32 of the *original* item. It takes 1/32 of what is left.",
        "about 22": "(1 - 1/32) to the power of 22 is 0.497. In general the half-life is ln 2 · K/β.",
        "never": "That is the additive memory, which takes nothing away, and drowns what it keeps in noise.",
    },
    answer="about 22",
)
