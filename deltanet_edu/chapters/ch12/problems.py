"""The exercises of chapter 12 that are answered by a number; the others stand in sweep, strengths, keys and whole."""

from ...tutor import Mistake, exercise

exercise(
    id="12.1", title="What the sweeps leave", kind="predict", stars=1, minutes=5, equations=("12.4",), reference=6,
    mutants={
        "counts the memories alone": Mistake(4,
                "That is S and dS'. X and dV, a row of V numbers a token each, are left for the gradients too.",
                    "eq. 12.4"),
        "counts X and dV alone": Mistake(2,
                "That is X and dV. For dQ and dK a chunk also needs the memory that enters it, and the gradient of "
                "the one that leaves.", "eq. 12.4"),
        "counts one sweep": Mistake(3, "That is what one sweep leaves: S and X. The other leaves dS' and dV.",
                "eq. 12.4"),
        "takes four bytes a number": Mistake(12,
                "In bfloat16 a number has two bytes. In registers dS has four, but what is stored is rounded.",
                    "eq. 12.4"),
        "keeps a memory for every token": Mistake(258, "One memory a *chunk* of 64 tokens, not one a token.",
                "eq. 12.4"),
        "forgets the bytes": Mistake(3145728,
                "That is how many numbers there are. A number has two bytes, and a MiB 1,048,576 of them.", "eq. 12.4"),
    },
    hints=("Which four tensors do the sweeps store?",
           "S and dS': one memory of 128 · 128 numbers for each of 64 chunks, each. X and dV: 4,096 rows of 128.",
           "2 · (64 · 128 · 128 + 4,096 · 128) numbers of two bytes."),
    why="S and dS' 2 MiB each, X and dV 1 MiB each. Its inputs q, k and v take 3: a head's notes are twice what it "
        "reads.",
)

exercise(
    id="12.6", title="Four accumulators", kind="predict", stars=2, minutes=5, reference=192,
    givens={"K": 128, "C": 64, "warps": 4, "threads": 128},
    mutants={
        "counts dQ and dK alone": Mistake(128,
                "64 for dQ and 64 for dK. dP and E, 64 × 64 each, are held at the same time."),
        "counts dP and E alone": Mistake(64,
                "32 for dP and 32 for E. dQ and dK, 64 × 128 each, are held at the same time."),
        "counts half of it": Mistake(96,
                "There are two accumulators of each shape, and each number takes a whole register: it is float32."),
        "counts for the whole program": Mistake(24576,
                "So many numbers there are. The 128 threads of four warps share them."),
        "divides by the warps": Mistake(6144, "A warp has 32 threads: 128 threads in all."),
        "divides by the threads of a warp": Mistake(768, "That would be one warp. Four warps are 128 threads."),
    },
    hints=("How many numbers do dQ, dK, dP and E have together?", "2 · 64 · 128 + 2 · 64 · 64 numbers, one register "
                                                                  "each, shared by 128 threads.",
           "24,576 / 128."),
    why="Of 255. The addresses, the tiles on their way and everything else share the remaining 63, and what does not "
        "fit spills.",
)
