"""The exercises of chapter 12 that are answered by a number; the others stand in sweep, strengths, keys and whole."""

from ...tutor import Mistake, exercise

exercise(
    id="12.1", title="What the sweeps leave", kind="predict", stars=1, minutes=5, equations=("12.4",), reference=6,
    mutants={
        "counts memories and their gradients alone": Mistake(4,
                "So much have S and dS', one of each for every 64 tokens. X and dV, a row of V numbers a token each, "
                "are left for the gradients too.",
                    "eq. 12.4"),
        "leaves more than half of it out": Mistake(2,
                "So much have S alone, dS' alone, or X and dV together. The sweeps leave all four.", "eq. 12.4"),
        "counts X or dV alone": Mistake(1,
                "So much have X alone or dV alone, or two tiles of C × C a chunk. A memory is 128 × 128, one for each "
                "chunk, and there are two kinds.", "eq. 12.4"),
        "counts memories and their gradients alone, in float32": Mistake(8,
                "So much have S and dS' alone with four bytes a number, or all four if X and dV have four. Every "
                "stored number has two.",
                "eq. 12.4"),
        "counts memories and their gradients alone, one for every token": Mistake(256,
                "One memory a *chunk* of 64 tokens, not one a token. And X and dV are left as well.", "eq. 12.4"),
        "counts memories and their gradients alone, in megabytes": Mistake(4.194304,
                "S and dS' alone, in MB. A MiB is 1,048,576 bytes, and X and dV are left as well.", "eq. 12.4"),
        "counts one sweep": Mistake(3, "That is what one sweep leaves: S and X. The other leaves dS' and dV.",
                "eq. 12.4"),
        "takes four bytes a number": Mistake(12,
                "In bfloat16 a number has two bytes. In registers dS has four, but what is stored is rounded. So much "
                "would also be moved if all of it were written and read once; asked was what is stored.",
                    "eq. 12.4"),
        "keeps a memory for every token": Mistake(258, "One memory a *chunk* of 64 tokens, not one a token.",
                "eq. 12.4"),
        "leaves X or dV out": Mistake(5,
                "S and dS' are 2 MiB each, X and dV 1 MiB each. One of the two small ones is missing.", "eq. 12.4"),
        "gives megabytes": Mistake(6.291456,
                "In MB, millions of bytes, that is right. A MiB is 1,048,576 bytes.", "eq. 12.4"),
        "counts a memory more than there are chunks": Mistake(6.0625,
                "64 chunks have 65 ends, but S is stored where a chunk begins, and dS' where it ends: 64 of each.",
                "eq. 12.4"),
        "counts all that the launches move": Mistake(23,
                "So much has all that is moved: inputs, outputs, and what is stored and read again. Asked was what the "
                "two sweeps store.", "eq. 12.4"),
        "gives bytes": Mistake(6291456, "In bytes that is right. A MiB is 1,048,576 of them.", "eq. 12.4"),
        "gives bytes a token": Mistake(1536,
                "Each of the 4,096 tokens has so many bytes of it. All of them were asked for, in MiB.", "eq. 12.4"),
        "adds UT": Mistake(6.5,
                "UT, 64 numbers a token, was left by the forward pass. The two sweeps only read it.", "eq. 12.4"),
        "keeps the memories in float32": Mistake(10,
                "S and dS' are accumulated in float32, in registers. What is stored has two bytes a number.",
                "eq. 12.4"),
        "counts one memory": Mistake(0.03125,
                "That is one memory of 128 · 128 numbers. Each chunk has one, and there are 64 chunks.", "eq. 12.4"),
        "counts one memory of each kind for all chunks": Mistake(2.0625,
                "X and dV have their 2 MiB. The rest is one S and one dS', and each of the 64 chunks has both.",
                "eq. 12.4"),
        "counts one memory of each kind": Mistake(0.0625,
                "That is one S and one dS'. Each chunk has both, and there are 64 chunks.", "eq. 12.4"),
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
    id="12.6", title="Four accumulators, wider heads", kind="predict", stars=2, minutes=5, reference=160,
    givens={"K": 256, "C": 64, "warps": 8, "threads": 256},
    mutants={
        "counts dQ and dK alone": Mistake(128,
                "64 for dQ and 64 for dK. dP and E, 64 × 64 each, are held at the same time."),
        "counts dP and E alone": Mistake(32,
                "16 for dP and 16 for E. dQ and dK, 64 × 256 each, are held at the same time."),
        "counts half of it": Mistake(80,
                "There are two accumulators of each shape, and each number takes a whole register: it is float32."),
        "answers for the program of the lesson": Mistake(192,
                "That is the program of the lesson: K = 128, and four warps. Here K is 256, and eight warps share it."),
        "shares it among four warps": Mistake(320,
                "40,960 numbers over 128 threads: those of four warps. Eight warps have 256."),
        "counts for the whole program": Mistake(40960,
                "So many numbers there are. The 256 threads of eight warps share them."),
        "counts dP or E half": Mistake(144,
                "dP and E are two accumulators of 64 × 64, held as whole tiles: 16 registers each."),
        "gives bytes": Mistake(163840,
                "So many bytes there are, for all threads. Registers of one thread were asked for, of four bytes "
                "each."),
        "counts a thread's bytes": Mistake(640,
                "So many bytes a thread holds, and a register has four of them. So much would also come of dP and E "
                "with 256 × 256 numbers: they compare tokens with tokens, 64 × 64."),
        "counts what is left": Mistake(95, "That is what the four leave of the 255. Asked was what they take."),
        "adds the tiles of q and k": Mistake(288,
                "Two more tiles of 64 × 256 would take 128 more. Those of q and k lie in shared memory, in two bytes a "
                "number, and only the four accumulators were asked for."),
        "divides by the threads of a warp": Mistake(1280,
                "40,960 numbers over 32 threads, which is one warp. Eight warps have 256."),
        "takes all four for accumulators of 64 × 256": Mistake(256,
                "Only dQ and dK are 64 × 256. dP and E compare tokens with tokens: 64 × 64."),
        "takes the K of the lesson": Mistake(96,
                "That is for K = 128, as in the lesson, shared by the 256 threads of here. This head has K = 256."),
        "counts all the registers there are": Mistake(255, "255 is what a thread may have at most."),
        "counts a quarter": Mistake(40, "Numbers of float32 take a register of four bytes each, not a quarter of one."),
        "divides by the numbers of a tile": Mistake(10,
                "That is how many tiles of 64 × 64 there are. 256 threads share their 40,960 numbers."),
        "divides by the warps": Mistake(5120, "A warp has 32 threads: 256 threads in all."),
    },
    hints=("How many numbers do dQ, dK, dP and E have together?", "2 · 64 · 256 + 2 · 64 · 64 numbers, one register "
                                                                  "each, shared by 256 threads.",
           "40,960 / 256."),
    why="Of 255. The wider head has nearly twice the numbers and twice the threads: 95 registers are left for the "
        "addresses, the tiles on their way and everything else. With four warps it would be 320, which no thread has.",
)
