"""Exercise 1.6: linear attention chunk by chunk, its lines to be put in order."""

from ...tutor import Mistake, exercise, order_the_lines
from ...tutor.cases import delta_inputs
from .problems import recurrent

chunk_lines = order_the_lines(
    {"A": "    o_n = o_n + q_n @ S.T",
     "B": "return torch.cat(o), S",
     "C": "    S = S + v_n.T @ k_n",
     "D": "    q_n, k_n, v_n = q[n:n + C], k[n:n + C], v[n:n + C]",
     "E": "    o.append(o_n)",
     "F": "    o_n = (q_n @ k_n.T).tril() @ v_n"},
    "def linear_attention_by_chunks(q, k, v, S, C):\n    o = []\n    for n in range(0, len(q), C):",
    "linear_attention_by_chunks",
    distractors={"G": "    o_n = q_n @ k_n.T @ v_n"},
)


def chunks_by_recurrence(q, k, v, S, C):
    return recurrent(q, k, v, S)


exercise(
    id="1.6", title="A chunk in five lines", kind="order", stars=2, minutes=10, equations=("1.4",),
    reference="DFACEB", alternatives=("DFAECB", chunks_by_recurrence), prepare=chunk_lines,
    cases=lambda g: delta_inputs(g, "q k v S C", T=(1, 3, 5), K=2, V=3, C=(1, 2, 8), keys=("random", "repeated"))
    + delta_inputs(g, "q k v S C", T=(6,), K=3, V=3, C=(3,)),
    mutants={
        "updates the memory before reading it": Mistake("DFCAEB",
            "The chunk's own tokens are then counted twice, once by the masked scores and once through S, and early "
            "tokens see later ones. S must still be the memory that *entered* the chunk when it is read.", "eq. 1.4"),
        "lets tokens see the rest of their chunk": Mistake("DGACEB",
            "Line G has no mask, and if F stands before it, overwrites what F has made: within the chunk, a token "
            "reads values from its own future.", "eq. 1.4"),
        "never updates the memory": Mistake("DFAEB",
            "The first chunk is right; every later one meets the memory as it was at the beginning.", "eq. 1.4",
            next="Which line carries what this chunk has written to the next?"),
        "loses what earlier chunks have written": Mistake("DFCEB",
            "Each output sees its own chunk only. What the memory says must be added to it before it is stored.",
            "eq. 1.4"),
        "adds to an output that is not there yet": Mistake("DAFCEB",
            "Line A adds to o_n, and F makes it: in the first round there is no o_n to add to.", "eq. 1.4"),
        "uses the chunk before it is loaded": Mistake("FDACEB",
            "F works on q_n, k_n and v_n, and only D makes them.", "eq. 1.4",
            next="Which line needs nothing but the arguments?"),
    },
    hints=("Begin with what the other lines need, end with what the caller needs. Five lines are in the loop.",
           "Load, within the chunk, across chunks, update, store. One of the two lines for *within* has no mask.",
           "Across chunks reads the memory that entered, so it comes before the update: D F A ..."),
    why="Load, within the chunk, across chunks, update, store: you will meet these five labels again, in the chunkwise "
        "forms and in their kernels.",
)
