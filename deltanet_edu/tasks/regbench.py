"""RegBench: learn an unknown automaton from words it has made, in context (Akyürek et al., arXiv 2401.12973)."""

import torch

from .definition import IGNORED, Batch, Task, task


@task("regbench")
class RegBench(Task):
    """Each sequence has an automaton of its own, and is made of its words; asked is a letter that may come next.

    There are 4 to `nodes` states, each with one to three edges to other states, each edge with a letter of its own. A
    word starts at state 0, takes any edge with the same chance, and ends anywhere after 1 to `longest` letters, by the
    separator, vocab - 1: all states accept. Automata are not minimized. Several letters may be right, and the batch
    says which are allowed; the target is the letter that came.
    """

    def __init__(self, *, letters=18, nodes=12, T=256, longest=49):
        if not 4 <= nodes <= 64 or letters < 4:
            raise ValueError(f"nodes and letters: got {nodes} and {letters}, expected 4 to 64, and at least 4.")
        self.letters, self.nodes, self.T, self.longest = letters, nodes, T, longest
        self.vocab, self.separator = letters + 1, letters

    def automata(self, n, g):
        """n automata: letter and next state of up to three edges a state, (n, nodes, 3), -1 where there is no edge."""
        N, L = self.nodes, self.letters
        nodes = torch.randint(4, N + 1, (n, 1, 1), generator=g)                          # how many states are used
        letters = torch.randint(4, L + 1, (n, 1, 1), generator=g)
        edges = torch.randint(1, 4, (n, N, 1), generator=g)
        beyond = torch.arange(N) >= nodes
        itself = torch.eye(N, dtype=torch.bool)
        chance = torch.rand(n, N, N, generator=g).masked_fill(beyond | itself, -1)       # of each state as the next one
        following = chance.topk(3, 2).indices                                            # (n, nodes, 3)
        said = torch.rand(n, N, L, generator=g).masked_fill(torch.arange(L) >= letters, -1).topk(3, 2).indices
        none = torch.arange(3) >= edges
        return said.masked_fill(none, -1), following.masked_fill(none, -1)

    def batch(self, n, g, train=False):
        said, following = self.automata(n, g)
        rows, state = torch.arange(n), torch.zeros(n, dtype=torch.long)
        left = torch.randint(1, self.longest + 1, (n,), generator=g)
        tokens = torch.empty(n, self.T + 1, dtype=torch.long)
        allowed = torch.zeros(n, self.T + 1, self.vocab, dtype=torch.bool)
        for t in range(self.T + 1):
            edges = said[rows, state]                                                    # (n, 3)
            allowed[:, t] = (edges[:, :, None] == torch.arange(self.vocab)).any(1)
            edge = (torch.rand(n, generator=g) * (edges >= 0).sum(1)).long()
            ended = left == 0
            tokens[:, t] = torch.where(ended, self.separator, edges[rows, edge])
            state = torch.where(ended, 0, following[rows, state, edge])
            left = torch.where(ended, torch.randint(1, self.longest + 1, (n,), generator=g), left - 1)
        targets = tokens[:, 1:].masked_fill(tokens[:, 1:] == self.separator, IGNORED)
        return Batch(tokens[:, :-1], targets, allowed[:, 1:])

    def oracle(self, batch):
        """The first letter that the automaton allows; it knows the automaton."""
        return batch.allowed.int().argmax(-1)

    def baseline(self, batch):
        """What came behind the same letter the last time; the most frequent letter if it is new."""
        tokens = batch.tokens
        same = (tokens[:, :, None] == tokens[:, None, :]).tril(-1)                       # (B, T, T)
        seen, place = (torch.arange(1, tokens.shape[1] + 1) * same).max(-1)
        following = tokens.roll(-1, 1).gather(1, place)
        return torch.where((seen > 0) & (following != self.separator), following, tokens.mode(1).values[:, None])
