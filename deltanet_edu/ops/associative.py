"""One framework for them all (paper, section 4.2): memories that are associative recurrences,

    S_t = S_{t-1} . M_t + v_t k_t^T,        o_t = S_t q_t

where M_t comes from token t alone and the dot is an associative product: entry by entry, or that of matrices. Then a
run of tokens is one map of the same kind, and can be computed in parallel. Each row of the paper's table is here as the
function that takes one step, and as one that takes all at once, without making T states where that is possible.

One head: q, k: (B, T, K), v: (B, T, V). What else a row needs has a shape of the same letters, M for slots: "TK" is one
number a token and channel of the key, "VK" a weight that all tokens share. `MEMORIES` holds the rows by name.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from .decay import gated_linear_attention_parallel
from .delta_rule import delta_rule_parallel
from .linear_attention import linear_attention_parallel
from .selective_scan import linear_scan, selective_scan_parallel

MEMORIES = {}


@dataclass
class Memory:
    """A row of the table: how to take a step, and, if there is one, how to take all of them at once."""

    name: str
    source: str                                                          # arXiv number
    update: str                                                          # LaTeX
    read: str                                                            # LaTeX
    product: str                                                         # "entries" or "matrices": the dot above
    needs: dict                                                          # {input beside q, k, v: its shape}
    state: tuple                                                         # the shapes of what is kept
    step: Callable                                                       # (S, q, k, v, ...) -> S, o of one token
    parallel: Callable | None = field(default=None)                      # (q, k, v, ...) -> o of all tokens

    def recurrent(self, q, k, v, **given):
        """o: (B, T, V), one token at a time from an empty memory. All rows: this loop around their step."""
        sizes = dict(B=len(q), T=q.shape[1], K=k.shape[-1], V=v.shape[-1])
        for name, shape in self.needs.items():
            if "M" in shape:
                sizes["M"] = given[name].shape[1 + shape.index("M")]     # after the batch
        S = tuple(v.new_zeros(len(q), *(sizes[letter] for letter in shape)) for shape in self.state)
        o = []
        for t in range(sizes["T"]):
            now = {name: x[:, t] if "T" in self.needs[name] else x for name, x in given.items()}
            S, o_t = self.step(S, q[:, t], k[:, t], v[:, t], **now)      # o_t: (B, V)
            o.append(o_t)
        return torch.stack(o, 1)


def memory(name, source, update, read, *, product="entries", state=("VK",), **needs):
    """Decorate the step of a row."""
    def add(step):
        MEMORIES[name] = Memory(name, source, update, read, product, needs, state, step)
        return step
    return add


def parallel(name):
    """Decorate the parallel form of a row."""
    def add(form):
        MEMORIES[name].parallel = form
        return form
    return add


# How inputs are drawn so that every row is defined: gates between 0 and 1, rates and slots above 0.
LAWS = {"alpha": torch.sigmoid, "beta": torch.sigmoid, "gamma": torch.sigmoid, "f": torch.sigmoid, "g": torch.sigmoid,
        "i": torch.exp, "phi": torch.exp, "delta": F.softplus, "A": lambda x: -torch.exp(x), "rate": torch.exp}


def draw(name, *, B=2, T=9, K=3, V=4, M=5, generator=None, dtype=torch.float64):
    """Random inputs for a row: q, k, v and what it needs, as keyword arguments."""
    sizes = dict(T=T, K=K, V=V, M=M)
    shapes = {"q": "TK", "k": "TK", "v": "TV"} | MEMORIES[name].needs
    drawn = {}
    for each, shape in shapes.items():
        size = [B] * ("T" in shape) + [sizes[letter] for letter in shape]
        x = torch.randn(size, generator=generator, dtype=dtype)
        drawn[each] = LAWS.get(each, lambda x: x)(x)
    drawn["k"] = F.normalize(drawn["k"], dim=-1)                         # for the delta rule; the others do not mind
    return drawn


def outer(x, y):
    return x[..., :, None] * y[..., None, :]                             # (..., V, K)


def mul(S, x):
    return (S @ x[..., None])[..., 0]                                    # (..., V)


def dot(x, y):
    return (x * y).sum(-1, keepdim=True)                                 # (..., 1)


def positive(x):
    return F.elu(x) + 1


def one_head(form, *inputs):
    """o of a form that takes (B, T, H, ...), with H = 1."""
    return form(*(x.unsqueeze(2) for x in inputs))[0].squeeze(2)


def with_one(v):
    """A 1 below v: the memory then also sums the keys, in a row of its own, for the denominator."""
    return torch.cat([v, torch.ones_like(v[..., :1])], -1)               # (B, T, V + 1)


# -- memories that only add --------------------------------------------------------------------------------------------

@memory("linear attention", "2006.16236", r"S_{t-1} + v_t k_t^\top", "S_t q_t")
def linear_step(S, q, k, v):
    S = S[0] + outer(v, k)
    return (S,), mul(S, q)


@parallel("linear attention")
def linear_parallel(q, k, v):
    return one_head(linear_attention_parallel, q, k, v)


@memory("+ kernel", "2006.16236", r"S_{t-1} + v_t \phi(k_t)^\top", r"S_t \phi(q_t)")
def kernel_step(S, q, k, v):
    return linear_step(S, positive(q), positive(k), v)


@parallel("+ kernel")
def kernel_parallel(q, k, v):
    return linear_parallel(positive(q), positive(k), v)


@memory("+ normalization", "2006.16236", r"S_{t-1} + v_t \phi(k_t)^\top,\ z_t = z_{t-1} + \phi(k_t)",
        r"S_t \phi(q_t) / (z_t^\top \phi(q_t))", state=("VK", "K"))
def normalized_step(state, q, k, v):
    S, z = state
    q, k = positive(q), positive(k)
    S, z = S + outer(v, k), z + k
    return (S, z), mul(S, q) / dot(z, q)


@parallel("+ normalization")
def normalized_parallel(q, k, v):
    o = kernel_parallel(q, k, with_one(v))
    return o[..., :-1] / o[..., -1:]


# -- the delta rule ----------------------------------------------------------------------------------------------------

@memory("DeltaNet", "2102.11174", r"S_{t-1} (I - \beta_t k_t k_t^\top) + \beta_t v_t k_t^\top", "S_t q_t",
        product="matrices", beta="T")
def delta_step(S, q, k, v, beta):
    S, = S
    S = S - outer(beta[..., None] * (mul(S, k) - v), k)                  # M_t is never made: O(KV), not O(K^2 V)
    return (S,), mul(S, q)


@parallel("DeltaNet")
def delta_parallel(q, k, v, beta):
    return one_head(delta_rule_parallel, q, k, v, beta)


# -- one rate of decay for the whole memory ----------------------------------------------------------------------------

@memory("RetNet", "2307.08621", r"\gamma S_{t-1} + v_t k_t^\top", "S_t q_t", gamma="")
def retnet_step(S, q, k, v, gamma):
    S = gamma * S[0] + outer(v, k)
    return (S,), mul(S, q)


@parallel("RetNet")
def retnet_parallel(q, k, v, gamma):
    return mamba_2_parallel(q, k, v, gamma.expand(q.shape[:2]))


@memory("Mamba-2", "2405.21060", r"\gamma_t S_{t-1} + v_t k_t^\top", "S_t q_t", gamma="T")
def mamba_2_step(S, q, k, v, gamma):
    S = gamma[..., None, None] * S[0] + outer(v, k)
    return (S,), mul(S, q)


@parallel("Mamba-2")
def mamba_2_parallel(q, k, v, gamma):
    return one_head(gated_linear_attention_parallel, q, k, v, gamma.log()[..., None])


@memory("gated RFA", "2103.02143",
        r"g_t S_{t-1} + (1 - g_t) v_t \phi(k_t)^\top,\ z_t = g_t z_{t-1} + (1 - g_t) \phi(k_t)",
        r"S_t \phi(q_t) / (z_t^\top \phi(q_t))", state=("VK", "K"), g="T")
def gated_rfa_step(state, q, k, v, g):
    S, z = state
    q, k, g = positive(q), positive(k), g[..., None]
    S, z = g[..., None] * S + outer((1 - g) * v, k), g * z + (1 - g) * k
    return (S, z), mul(S, q) / dot(z, q)


@parallel("gated RFA")
def gated_rfa_parallel(q, k, v, g):
    o = mamba_2_parallel(positive(q), (1 - g)[..., None] * positive(k), with_one(v), g)
    return o[..., :-1] / o[..., -1:]


@memory("mLSTM", "2405.04517", r"f_t S_{t-1} + i_t v_t k_t^\top,\ z_t = f_t z_{t-1} + i_t k_t",
        r"S_t q_t / \max(1, \lvert z_t^\top q_t \rvert)", state=("VK", "K"), f="T", i="T")
def mlstm_step(state, q, k, v, f, i):
    S, z = state
    f, k = f[..., None], i[..., None] * k
    S, z = f[..., None] * S + outer(v, k), f * z + k
    return (S, z), mul(S, q) / dot(z, q).abs().clamp(min=1)


@parallel("mLSTM")
def mlstm_parallel(q, k, v, f, i):
    o = mamba_2_parallel(q, i[..., None] * k, with_one(v), f)
    return o[..., :-1] / o[..., -1:].abs().clamp(min=1)


# -- a rate for every channel of the key -------------------------------------------------------------------------------

@memory("GLA", "2312.06635", r"S_{t-1}\,\mathrm{Diag}(\alpha_t) + v_t k_t^\top", "S_t q_t", alpha="TK")
def gla_step(S, q, k, v, alpha):
    S = S[0] * alpha[..., None, :] + outer(v, k)
    return (S,), mul(S, q)


@parallel("GLA")
def gla_parallel(q, k, v, alpha):
    return one_head(gated_linear_attention_parallel, q, k, v, alpha.log())


@memory("HGRN-2", "2404.07904", r"S_{t-1}\,\mathrm{Diag}(\alpha_t) + v_t (1 - \alpha_t)^\top", "S_t q_t", alpha="TK")
def hgrn_2_step(S, q, k, v, alpha):
    return gla_step(S, q, 1 - alpha, v, alpha)                           # what is forgotten is what may be written


@parallel("HGRN-2")
def hgrn_2_parallel(q, k, v, alpha):
    return gla_parallel(q, 1 - alpha, v, alpha)


@memory("RWKV-6", "2404.05892", r"S_{t-1}\,\mathrm{Diag}(\alpha_t) + v_t k_t^\top",
        r"(S_{t-1} + v_t (d \odot k_t)^\top) q_t", alpha="TK", d="K")
def rwkv_6_step(S, q, k, v, alpha, d):
    o = mul(S[0] + outer(v, d * k), q)                                   # the present enters with a weight of its own
    return gla_step(S, q, k, v, alpha)[0], o


@parallel("RWKV-6")
def rwkv_6_parallel(q, k, v, alpha, d):
    ahead = gla_parallel(q.roll(-1, 1), k, v, alpha)[:, :-1]             # S_t q_{t+1}
    return F.pad(ahead, (0, 0, 1, 0)) + dot(q, d * k) * v


# -- a rate for every entry --------------------------------------------------------------------------------------------

@memory("decaying fast weights", "2210.04243", r"S_{t-1} \odot (\beta_t \alpha_t^\top) + v_t k_t^\top", "S_t q_t",
        alpha="TK", beta="TV")
def fast_weights_step(S, q, k, v, alpha, beta):
    S = S[0] * outer(beta, alpha) + outer(v, k)
    return (S,), mul(S, q)


@parallel("decaying fast weights")
def fast_weights_parallel(q, k, v, alpha, beta):
    return mul(linear_scan(outer(beta, alpha), outer(v, k)), q)          # no product of matrices: all T states


@memory("Mamba", "2312.00752", r"S_{t-1} \odot \exp(\delta_t 1^\top \odot A) + (\delta_t \odot v_t) k_t^\top",
        r"S_t q_t + d \odot v_t", A="VK", delta="TV", d="V")
def mamba_step(S, q, k, v, A, delta, d):
    S = S[0] * (delta[..., None] * A).exp() + outer(delta * v, k)
    return (S,), mul(S, q) + d * v


@parallel("Mamba")
def mamba_parallel(q, k, v, A, delta, d):
    return selective_scan_parallel(q, k, v, delta, A, d)[0]


@memory("S4, diagonal", "2111.00396", r"S_{t-1} \odot \exp(-\mathrm{rate}) + (v_t 1^\top) \odot b",
        r"(S_t \odot c)\,1 + d \odot v_t", rate="VK", b="VK", c="VK", d="V")
def s4_step(S, q, k, v, rate, b, c, d):
    S = S[0] * (-rate).exp() + v[..., None] * b                          # nothing depends on the token but v
    return (S,), (S * c).sum(-1) + d * v


@parallel("S4, diagonal")
def s4_parallel(q, k, v, rate, b, c, d):
    """The same weights at every token make it a convolution, and that a product of spectra."""
    T = v.shape[1]
    t = torch.arange(T, dtype=v.dtype, device=v.device)[:, None, None]
    kernel = (c * b * (-t * rate).exp()).sum(-1)                         # (T, V)
    spectrum = torch.fft.rfft(kernel, 2 * T, dim=0) * torch.fft.rfft(v, 2 * T, dim=1)
    return torch.fft.irfft(spectrum, 2 * T, dim=1)[:, :T] + d * v


# -- two memories with M slots: the first finds the slots, the second holds the values ---------------------------------

@memory("ABC", "2110.02488", r"S^v_{t-1} + v_t \phi_t^\top,\ S^k_t = S^k_{t-1} + \phi_t k_t^\top",
        r"S^v_t\,\mathrm{softmax}(S^k_t q_t)", state=("MK", "VM"), phi="TM")
def abc_step(state, q, k, v, phi):
    S_k, S_v = state
    S_k, S_v = S_k + outer(phi, k), S_v + outer(v, phi)
    return (S_k, S_v), mul(S_v, mul(S_k, q).softmax(-1))


@parallel("ABC")
def abc_parallel(q, k, v, phi):
    slots = linear_parallel(q, k, phi).softmax(-1)                       # (B, T, M)
    return linear_parallel(slots, phi, v)


@memory("GSA", "2409.07146", r"S^v_{t-1}\,\mathrm{Diag}(\alpha_t) + v_t (1 - \alpha_t)^\top,\ "
        r"S^k_t = \mathrm{Diag}(\alpha_t) S^k_{t-1} + (1 - \alpha_t) k_t^\top",
        r"S^v_t\,\mathrm{softmax}(S^k_t q_t)", state=("MK", "VM"), alpha="TM")
def gsa_step(state, q, k, v, alpha):
    S_k, S_v = state
    S_k = alpha[..., None] * S_k + outer(1 - alpha, k)
    S_v = S_v * alpha[..., None, :] + outer(v, 1 - alpha)
    return (S_k, S_v), mul(S_v, mul(S_k, q).softmax(-1))


@parallel("GSA")
def gsa_parallel(q, k, v, alpha):
    decay = alpha[..., None].expand(*alpha.shape, k.shape[-1])           # (B, T, M, K)  of rows, so by scan
    slots = mul(linear_scan(decay, outer(1 - alpha, k)), q).softmax(-1)  # (B, T, M)
    return hgrn_2_parallel(slots, None, v, alpha)
