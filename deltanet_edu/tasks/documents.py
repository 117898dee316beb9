"""Recall in documents: facts are told in one of three forms, then some are asked for.

A stand-in for SWDE, SQuAD and FDA, the recall tasks with real documents: same question, made-up words.
"""

import torch

from .definition import IGNORED, Batch, Task, draw_distinct, task

ATTRIBUTE, VALUE = "attribute", "value"
# A fact in each form: literal words, the attribute, the value.
FORMS = {
    "table": (ATTRIBUTE, ":", VALUE, ";"),                                               # FDA: forms to fill in
    "markup": ("<", ATTRIBUTE, ">", VALUE, "</", ATTRIBUTE, ">"),                        # SWDE: pages of the web
    "prose": ("the", ATTRIBUTE, "of", "it", "is", VALUE, "."),                           # SQuAD: sentences
}
QUESTION = ("?", ATTRIBUTE, "=", VALUE)
LITERALS = sorted({word for form in (*FORMS.values(), QUESTION) for word in form} - {ATTRIBUTE, VALUE})


@task("documents")
class Documents(Task):
    """A document of facts, an attribute and a value each, among fillers; then questions: their values are the targets.

    The vocabulary: the literal words of all forms, then `attributes`, then `words` for values and fillers.

    Args:
        form: "table", "markup" or "prose", or None for one of them at random in each batch.
        facts: in a document, with different attributes.    questions: how many are asked.
        length: tokens of a value.    fillers: random words before each fact.
    """

    def __init__(self, *, form=None, facts=16, questions=8, length=2, fillers=2, attributes=64, words=128):
        if form is not None and form not in FORMS:
            raise ValueError(f"form: got {form!r}, expected one of {', '.join(map(repr, FORMS))}, or None for any.")
        if not 1 <= questions <= facts <= attributes:
            raise ValueError(f"questions, facts and attributes: got {questions}, {facts} and {attributes}, "
                             "expected at least one, and each at most the next.")
        if length < 1 or fillers < 0 or words < 2:
            raise ValueError(f"length, fillers and words: got {length}, {fillers} and {words}, "
                             "expected at least 1, 0 and 2.")
        self.form, self.facts, self.questions = form, facts, questions
        self.length, self.fillers, self.attributes, self.words = length, fillers, attributes, words
        self.first_attribute = len(LITERALS)
        self.first_word = self.first_attribute + attributes
        self.vocab = self.first_word + words
        longest = max(map(self.size, FORMS.values() if form is None else [FORMS[form]]))
        self.T = facts * (fillers + longest) + questions * self.size(QUESTION) - 1

    def size(self, form):
        """Tokens of a fact in this form."""
        return len(form) - form.count(VALUE) + self.length * form.count(VALUE)

    def written(self, form, attributes, values):
        """Facts as tokens: attributes (n, facts), values (n, facts, length) -> (n, facts, size)."""
        parts = {ATTRIBUTE: attributes[:, :, None], VALUE: values}
        one = torch.ones_like(attributes[:, :, None])
        return torch.cat([parts[word] if word in parts else LITERALS.index(word) * one for word in form], 2)

    def batch(self, n, g, train=False):
        form = self.form or list(FORMS)[torch.randint(len(FORMS), (), generator=g)]
        attributes = self.first_attribute + draw_distinct(n, self.attributes, self.facts, g)             # (n, facts)
        values = torch.randint(self.first_word, self.vocab, (n, self.facts, self.length), generator=g)
        fillers = torch.randint(self.first_word, self.vocab, (n, self.facts, self.fillers), generator=g)
        document = torch.cat([fillers, self.written(FORMS[form], attributes, values)], 2).flatten(1)
        which = draw_distinct(n, self.facts, self.questions, g)                                         # (n, questions)
        asked = self.written(QUESTION, attributes.gather(1, which),
                             values.gather(1, which[:, :, None].expand(-1, -1, self.length)))
        answers = torch.full_like(asked, IGNORED)
        answers[:, :, -self.length:] = asked[:, :, -self.length:]
        padding = torch.randint(self.first_word, self.vocab,
                                (n, self.T + 1 - document.shape[1] - asked[0].numel()), generator=g)
        sequence = torch.cat([padding, document, asked.flatten(1)], 1)
        targets = torch.full_like(sequence, IGNORED)
        targets[:, -answers[0].numel():] = answers.flatten(1)
        return Batch(sequence[:, :-1], targets[:, 1:])

    def oracle(self, batch):
        """By reading: what stood behind the attribute the first time, as far as the question has come."""
        answers = torch.full_like(batch.tokens, -1)
        for row, tokens in enumerate(batch.tokens.tolist()):
            told, fact, document = {}, [], True
            ask = LITERALS.index("?")
            for t, token in enumerate(tokens):
                if token == ask:
                    document, fact = False, []
                if document:
                    self.read(token, fact, told)
                    continue
                fact.append(token)                                                                   # ? attribute = ...
                if 3 <= len(fact) < 3 + self.length:
                    answers[row, t] = told.get(fact[1], (-1,) * self.length)[len(fact) - 3]
        return answers

    def read(self, token, fact, told):
        """Keep a document's words since its last attribute, and its value once it is whole."""
        if self.first_attribute <= token < self.first_word:
            fact[:] = [token]
        elif fact and token >= self.first_word:
            fact.append(token)
            if len(fact) == 1 + self.length and fact[0] not in told:
                told[fact[0]] = tuple(fact[1:])

    def baseline(self, batch):
        """The first word, always."""
        return torch.full_like(batch.tokens, self.first_word)
