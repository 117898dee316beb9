"""Chapter 0: two warm-ups that show how checks talk. The equations and the predictions of its lesson."""

import torch

from ...tutor import equation, prediction

@equation("0.1", r"S = v k^\top, \qquad S k = v\,(k^\top k)")
def _(g):
    for K, V in ((2, 1), (3, 5), (4, 4)):
        k, v = torch.randn(K, generator=g, dtype=torch.float64), torch.randn(V, generator=g, dtype=torch.float64)
        S = v[:, None] * k[None, :]
        yield "entry (i, j) is v_i k_j", S, torch.tensor([[v_i * k_j for k_j in k] for v_i in v], dtype=torch.float64)
        yield "S k = v (kᵀk)", S @ k, v * (k @ k)
        yield "S k = v for a unit key", v[:, None] * (k / k.norm()) @ (k / k.norm()), v


prediction(
    "0.a", question="A memory holds one association, S = v kᵀ, with v = (3, 5) and the unit key k = (0.6, 0.8, 0). "
                    "What does S k return?",
    options={
        "(1.8, 4, 0)": "That multiplies entry by entry. S has 2 rows, so S k has 2 entries, one per value dimension.",
        "(4.2, 7)": "That adds up the entries of k: 0.6 + 0.8 = 1.4. A product with k weighs them again: "
                    "0.36 + 0.64 = 1.",
        "8": "That would be the sum of the stored value. Reading keeps its dimensions apart.",
        "(3, 5)": "S k = v (kᵀk), and a unit key has kᵀk = 1: the stored value comes back unchanged.",
    },
    answer="(3, 5)",
)
