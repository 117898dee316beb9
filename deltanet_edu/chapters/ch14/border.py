"""Exercise 14.3: the convolution over documents that lie in one row."""

import torch
import torch.nn.functional as F

from ...tutor import Case, Mistake, exercise
from ...tutor.cases import normal


def packed_convolution(z, w, ends):
    n, T = len(w), len(z)
    past = F.pad(z, (0, 0, n - 1, 0))                                    # (n - 1 + T, D)  zeros before the first token
    y = sum(w[i] * past[i:i + T] for i in range(n))                      # (T, D)
    for start, end in zip(ends[1:-1], ends[2:]):
        for t in range(start, min(start + n - 1, end)):                  # those whose taps reach over the border
            y[t] = sum(w[n - 1 - back] * z[t - back] for back in range(t - start + 1))
    return y


def document_by_document(z, w, ends):
    pieces = []
    for start, end in zip(ends, ends[1:]):
        mine = F.pad(z[start:end], (0, 0, len(w) - 1, 0))
        pieces.append(sum(w[i] * mine[i:i + end - start] for i in range(len(w))))
    return torch.cat(pieces)


def convolution_by_mask(z, w, ends):
    n, T = len(w), len(z)
    of = torch.bucketize(torch.arange(T), torch.tensor(ends[1:]), right=True)
    y = torch.zeros_like(z)
    for i in range(n):
        back = n - 1 - i
        same = (of[back:] == of[:T - back])[:, None] if back < T else of[:0, None].bool()
        y[back:] = y[back:] + w[i] * z[:max(T - back, 0)] * same
    return y


def convolved(z, w, first, taps=None):
    """The convolution in which token t sees nothing before first(t); taps(w, t) are its taps, if not w."""
    rows = []
    for t in range(len(z)):
        mine, n = taps(w, t) if taps else w, len(w)
        rows.append(sum((mine[n - 1 - back] * z[t - back] for back in range(n) if t - back >= first(t)),
                        torch.zeros_like(z[0])))
    return torch.stack(rows)


def start_of(ends, t):
    return max(start for start in ends[:-1] if start <= t)


def sees_from(first):
    """A mutant: token t sees no further back than first(t, n, where its document starts, the document's number)."""
    def f(z, w, ends):
        def seen(t):
            start = start_of(ends, t)
            return first(t, len(w), start, ends.index(start))
        return convolved(z, w, seen)
    return f


def at_first_token(replacement):
    """A mutant: every document's first token, but that of the first, gets another output."""
    def f(z, w, ends):
        y = sees_from(lambda t, n, start, d: 0)(z, w, ends)
        for start in ends[1:-1]:
            y[start] = replacement(z, w, start)
        return y
    return f


def ahead(z, w, ends):
    return document_by_document(z.flip(0), w, [len(z) - end for end in reversed(ends)]).flip(0)


def cleared_outputs(z, w, ends):
    y = sees_from(lambda t, n, start, d: 0)(z, w, ends)
    for start in ends[1:-1]:
        y[start:start + len(w) - 1] = 0
    return y


def ahead_from_the_present(z, w, ends):
    pieces = []
    for start, end in zip(ends, ends[1:]):
        mine = F.pad(z[start:end], (0, 0, 0, len(w) - 1))
        pieces.append(sum(w[i] * mine[i:i + end - start] for i in range(len(w))))
    return torch.cat(pieces)


def erased(z, w, ends):
    z = z.clone()
    for start in ends[1:-1]:
        z[max(start - len(w) + 1, 0):start] = 0
    return document_by_document(z, w, [0, len(z)])


def erased_but_one(z, w, ends):
    """The same, and each first token sees itself, even where it was erased for the next document."""
    y = erased(z, w, ends)
    for start in ends[1:-1]:
        y[start] = w[-1] * z[start]
    return y


def two_tokens(z, w, ends):
    """Protects two tokens of a document, whether it has two or not."""
    y, n = sees_from(lambda t, n, start, d: 0)(z, w, ends), len(w)
    for start in ends[1:-1]:
        y[start] = w[n - 1] * z[start]
        y[start + 1] = w[n - 1] * z[start + 1] + w[n - 2] * z[start]
    return y


def rolled(z, w, ends):
    """A mask of the documents over tokens that are moved round the row."""
    of, n = torch.bucketize(torch.arange(len(z)), torch.tensor(ends[1:]), right=True), len(w)
    return sum(w[n - 1 - back] * z.roll(back, 0) * (of.roll(back) == of)[:, None] for back in range(n))


def reversed_at_the_border(z, w, ends):
    y, n = document_by_document(z, w, ends), len(w)
    for start, end in zip(ends[1:-1], ends[2:]):
        for t in range(start, min(start + n - 1, end)):
            y[t] = sum(w[back] * z[t - back] for back in range(t - start + 1))
    return y


def without_the_one_before(z, w, ends):
    """What comes over a border is taken out only where it comes from the document directly before."""
    y, n = sees_from(lambda t, n, start, d: 0)(z, w, ends), len(w)
    for before, start, end in zip(ends, ends[1:-1], ends[2:]):
        for t in range(start, end):
            y[t] = y[t] - sum(w[n - 1 - back] * z[t - back] for back in range(n) if before <= t - back < start)
    return y


def past_the_end(z, w, ends):
    y, n = document_by_document(z, w, ends), len(w)
    for start in ends[1:-1]:
        for t in range(start, start + n - 1):
            y[t] = sum(w[n - 1 - back] * z[t - back] for back in range(t - start + 1))
    return y


def borders_at(shift):
    """A mutant: all borders between documents stand `shift` tokens later."""
    def f(z, w, ends):
        inner = [end + shift for end in ends[1:-1]]
        return document_by_document(z, w, [0, *inner, ends[-1]])
    return f


def all_borders_late(z, w, ends):
    """Every document begins one token late, the first too: token 0 is a document of its own."""
    return document_by_document(z, w, [0, *(end + 1 for end in ends[:-1]), ends[-1]])


def written(ends):
    """How long the documents are: "3 + 5"."""
    return " + ".join(str(end - start) for start, end in zip(ends, ends[1:]))


def document_cases(g):
    for n, ends in ((2, [0, 1, 2]), (3, [0, 2, 5]), (4, [0, 3, 8]), (4, [0, 1, 3, 4, 9]), (4, [0, 6]),
                    (4, [0, 3, 4]), (3, [0, 4, 5, 6, 11])):
        yield Case((normal(g, ends[-1], 2), normal(g, n, 2), ends), f"{n} taps, documents of {written(ends)} tokens")


exercise(
    id="14.3", title="Find the bug: over the border", kind="bug", stars=2, minutes=15, equations=("14.2",),
    reference=packed_convolution, alternatives=(document_by_document, convolution_by_mask), cases=document_cases,
    mutants={
        "protects the first token only": Mistake(at_first_token(lambda z, w, start: w[-1] * z[start]),
            "With n taps, n − 1 tokens of a document see over the border. The second sees one token less, and still "
            "the wrong ones.", "eq. 14.2", next="How many tokens back does tap 0 look?"),
        "ignores the borders": Mistake(sees_from(lambda t, n, start, d: 0),
            "The first n − 1 tokens of each document see the one before.", "eq. 14.2"),
        "leaves them the present alone": Mistake(
            sees_from(lambda t, n, start, d: t if d and t < start + n - 1 else start),
            "Now nothing leaks, but the second token of a document does not see the first, which is its own.",
            "eq. 14.2"),
        "treats the first document in the same way": Mistake(
            sees_from(lambda t, n, start, d: t if t < start + n - 1 else start),
            "The second token of a document does not see the first, which is its own.", "eq. 14.2"),
        "leaves the present alone to one token too many": Mistake(
            sees_from(lambda t, n, start, d: t if d and t < start + n else start),
            "Nothing leaks, but these tokens do not see the earlier ones of their own document.", "eq. 14.2"),
        "protects two tokens only": Mistake(
            sees_from(lambda t, n, start, d: start if t < start + 2 else 0),
            "With four taps the third token of a document sees one of the document before.", "eq. 14.2"),
        "meets the taps in the wrong order at the border": Mistake(reversed_at_the_border,
            "At the border the *last* tap meets the present, as everywhere: `w[n - 1 - back]` meets `z[t - back]`.",
            "eq. 14.2"),
        "erases the end of the document before": Mistake(erased,
            "The second document sees zeros now, but so does the first, which has lost its own last tokens.",
            "eq. 14.2"),
        "erases the end of the document before, but for a first token": Mistake(erased_but_one,
            "The second document sees zeros now, but so does the first, which has lost its own last tokens.",
            "eq. 14.2"),
        "mends the first border only": Mistake(
            lambda z, w, ends: document_by_document(z, w, [*ends[:2], *ends[-1:]] if len(ends) > 2 else ends),
            "A row may hold more than two documents: `ends[1:-1]` are all the borders.", "eq. 14.2"),
        "takes all documents for as long as the first": Mistake(
            lambda z, w, ends: convolved(z, w, lambda t: t - t % ends[1]),
            "A token's place in its document is t − start, with the start of its own. `t % ends[1]` is that only if "
            "all documents are equally long.", "eq. 14.2"),
        "lets the end of the row wrap round to its start": Mistake(rolled,
            "`roll` brings the last tokens of the row to its front, and if they are of the same document nothing masks "
            "them. In front of the first token stand zeros: `F.pad`.", "eq. 14.2"),
        "protects two tokens, even of a document of one": Mistake(two_tokens,
            "A document may be shorter than that, and with four taps the third token still sees over the border. It is "
            "n − 1 tokens, if there are so many.", "eq. 14.2"),
        "looks at later tokens, the first tap at the present": Mistake(ahead_from_the_present,
            "With zeros behind the document instead of in front of it, token t sees what comes *after* it.",
            "eq. 14.2"),
        "leaves out the first tokens": Mistake(cleared_outputs,
            "The outputs of the first n − 1 tokens are zero now. They should be sums over their own document.",
            "eq. 14.2"),
        "shuts out the document directly before, and none further back": Mistake(without_the_one_before,
            "A document of fewer than n − 1 tokens does not fill the taps: they reach over it, into the one before "
            "that. A token may see nothing from before its own start.", "eq. 14.2"),
        "runs past the end of a document": Mistake(past_the_end,
            "The last document may be shorter than n − 1 tokens: `min(start + n - 1, end)`.", "eq. 14.2"),
        "protects one token too few": Mistake(
            sees_from(lambda t, n, start, d: start if t < start + n - 2 else 0),
            "With n taps the token number n − 1 of a document still sees one token of the document before.",
            "eq. 14.2"),
        "shuts out the first token of a document": Mistake(sees_from(lambda t, n, start, d: min(start + bool(d), t)),
            "The border is one token too late: a document begins at `start`, and that token is its own.", "eq. 14.2"),
        "lets one token through": Mistake(sees_from(lambda t, n, start, d: max(start - 1, 0)),
            "The border is one token too early: the last token of the document before is still seen.", "eq. 14.2"),
        "empties the first output": Mistake(at_first_token(lambda z, w, start: torch.zeros_like(z[0])),
            "The first token of a document still sees itself, with the last tap; and the next ones still see over the "
            "border.", "eq. 14.2"),
        "passes the first token on without its tap": Mistake(at_first_token(lambda z, w, start: z[start]),
            "The present has a tap as well; and the tokens after it still see over the border.", "eq. 14.2"),
        "gives the first token the oldest tap": Mistake(at_first_token(lambda z, w, start: w[0] * z[start]),
            "The present meets the *last* tap, w[n − 1]; and the tokens after it still see over the border.",
            "eq. 14.2"),
        "lets a document begin one token late": Mistake(borders_at(1),
            "`ends[1]` is the first token of the second document. Yours still belongs to the first: with `bucketize`, "
            "`right=True` puts it where it belongs.", "eq. 14.2"),
        "lets every document begin one token late": Mistake(all_borders_late,
            "`ends[1]` is the first token of the second document, and `ends[0]` that of the first. Yours still belong "
            "to what is before: with `bucketize`, `right=True` puts them where they belong.", "eq. 14.2"),
        "lets a document begin one token early": Mistake(borders_at(-1),
            "`ends[1]` is the first token of the second document. Yours begins it one token before.", "eq. 14.2"),
        "looks at later tokens": Mistake(ahead,
            "The last tap meets the present, the others what came *before* it.", "eq. 14.2"),
        "meets the taps in the wrong order": Mistake(lambda z, w, ends: document_by_document(z, w.flip(0), ends),
            "The documents are kept apart, but the taps are upside down: the last one meets the present.", "eq. 14.2"),
        "forgets the first document": Mistake(
            lambda z, w, ends: torch.cat([document_by_document(z, w, ends)[a:b] for a, b in zip(ends[1:], ends[2:])]),
            "The tokens of the first document are missing from the result.", "eq. 14.2"),
        "forgets the last document": Mistake(
            lambda z, w, ends: torch.cat([document_by_document(z, w, ends)[a:b] for a, b in zip(ends, ends[1:-1])]),
            "The tokens of the last document are missing from the result: `zip(ends, ends[1:])` has all of them.",
            "eq. 14.2"),
    },
    hints=("Change a token of the first document. Which outputs of the second change?",
           "With n taps, a token sees n − 1 others. So n − 1 tokens of each document need care, if it has so many.",
           "Token t may see back to the start of its own document: `for back in range(t - start + 1)`."),
)
