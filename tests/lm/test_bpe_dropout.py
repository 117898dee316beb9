"""BPE-dropout: the same text in other tokens, by the number of the step."""

import json
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import models

from deltanet_edu.lm.bpe_dropout import BPEDropout
from deltanet_edu.lm.data import Batches
from deltanet_edu.lm.token_folder import open_tokens, prepare
from deltanet_edu.lm.tokenizer import BEGINS, Tokenizer
from deltanet_edu.lm.train import longer, train

from .test_train import weights


def batches_of(data, config, steps=None, **part):
    """Of a training that is longer than those that are made here, so that the share hardly falls."""
    return data.batches(replace(config, steps=steps or 10_000), **part)


def test_halves_spell_what_was_merged(data):
    tokenizer, halves = data.tokenizer, data.tokenizer.halves
    merged = halves[:, 0] >= 0
    assert merged.sum() == len(tokenizer) - 256 and (halves[~merged] == -1).all()
    names = {number: piece for piece, number in json.loads(tokenizer.to_json())["model"]["vocab"].items()}
    for token in merged.nonzero().flatten().tolist():
        assert names[token] == "".join(names[half] for half in halves[token].tolist())


def test_a_row_is_the_same_text_in_shorter_tokens(tiny, data):
    plain, undone, shorter = batches_of(data, tiny), batches_of(data, replace(tiny, bpe_dropout=0.3)), 0
    for step in range(20):
        before, after = plain[step], undone[step]
        assert after.shape == before.shape and after.dtype == before.dtype
        for ours, theirs in zip(after, before):
            text, whole = (data.tokenizer.decode(row) for row in (ours, theirs))
            assert whole.startswith(text)
            shorter += len(text) < len(whole)
    assert shorter > 0.9 * 20 * len(before)


def test_so_large_a_share_falling_to_none():
    halves = torch.tensor([[-1, -1], [-1, -1], [0, 1]])                  # token 2 was merged from 0 and 1
    rows = torch.full((50, 400), 2)
    undo = BPEDropout(halves, 0.5, steps=100, seed=3)
    for step in (0, 50, 90, 100):
        after = undo(rows, step, 0, 50)
        share = (after == 0).sum() / ((after == 0).sum() + (after == 2).sum())
        assert abs(share - 0.5 * (1 - step / 100)) < 0.01
        assert ((after == 0).sum(1) - (after == 1).sum(1) <= 1).all(), "at most the last is cut by the end of the row"
        assert (after[:, 1:][after[:, :-1] == 0] == 1).all()


def test_a_batch_depends_on_its_number_alone_and_parts_of_it_are_the_batch(tiny, data):
    config = replace(tiny, bpe_dropout=0.2)
    whole = batches_of(data, config)
    parts = [batches_of(data, config, part=part, parts=2) for part in range(2)]
    for step in (7, 3, 7 + whole.per_epoch):
        assert torch.equal(whole[step], torch.cat([half[step] for half in parts]))
        assert torch.equal(whole[step], batches_of(data, config)[step])
    assert not torch.equal(whole[3], batches_of(data, replace(config, seed=1))[3])
    rows = torch.full((4, 50), data.tokenizer.encode(" the")[0].item())
    assert not torch.equal(whole.undo(rows, 0, 0, 4), whole.undo(rows, 1, 0, 4)), "each step cuts elsewhere"
    assert type(batches_of(data, tiny)) is Batches and batches_of(data, tiny).undo is None


def test_documents_of_a_folder_still_begin_where_they_began(tiny, tmp_path, data):
    text = "|".join(data.tokenizer.decode(data.train[i : i + 12]) for i in range(0, 8000, 12))
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    prepare(tmp_path / "text.txt", tmp_path / "tokens", tiny.vocab, separator="|")
    folder = open_tokens(tmp_path / "tokens", tiny.vocab)
    begins = folder.tokenizer.backend.token_to_id(BEGINS)
    assert folder.tokenizer.halves[begins].tolist() == [-1, -1]
    plain, undone = (batches_of(folder, replace(tiny, bpe_dropout=share))[0] for share in (0.0, 0.3))
    assert 0 < (undone == begins).sum() <= (plain == begins).sum()
    run = train(replace(tiny, steps=2, bpe_dropout=0.3), data=folder, device="cpu")
    assert run.steps == 2


def test_a_run_that_was_stopped_ends_like_one_that_was_not(tiny, data, tmp_path):
    def stop(entry):
        if entry["step"] == 5:
            raise KeyboardInterrupt

    config = replace(tiny, steps=6, bpe_dropout=0.3)
    whole = train(config, data=data, device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path, data=data, device="cpu", save_every=3, progress=stop)
    again = train(config, tmp_path, resume=True, data=data, device="cpu")
    assert torch.equal(weights(whole), weights(again))
    assert not torch.equal(weights(whole), weights(train(replace(config, bpe_dropout=0.0), data=data, device="cpu")))


def test_tokenizers_from_elsewhere():
    """Pieces inside a word may be marked, and numbers may have gaps."""
    marked = Backend(models.BPE({"[x]": 7, "a": 0, "##b": 1, "##c": 2, "##bc": 3, "abc": 9},
                                [("##b", "##c"), ("a", "##bc")], continuing_subword_prefix="##"))
    halves = Tokenizer(marked).halves
    assert halves[3].tolist() == [1, 2] and halves[9].tolist() == [0, 3] and (halves[[0, 1, 2, 7]] == -1).all()


def test_a_run_that_goes_on_for_longer_says_that_merges_are_undone_again(tiny):
    config = replace(tiny, bpe_dropout=0.1)
    assert "bpe_dropout, too, falls to 0 in 90 steps now." in longer(60, config, replace(config, steps=90))
    assert "bpe_dropout" not in longer(60, tiny, replace(tiny, steps=90))


def test_a_tokenizer_without_merges_is_refused(tiny, data):
    for tokenizer, kind in ((Tokenizer(Backend(models.WordLevel({"a": 0}, "a"))), "WordLevel with 1 tokens"),
                            (Tokenizer.train(["abc"], 256), "BPE with 256 tokens")):
        with pytest.raises(ValueError, match=f"bpe_dropout: got a tokenizer of the kind {kind}, which has no merges"):
            replace(data, tokenizer=tokenizer).batches(replace(tiny, bpe_dropout=0.1))
    with pytest.raises(ValueError, match="bpe_dropout: got 1.0, expected a share"):
        replace(tiny, bpe_dropout=1.0)
