"""A text on disk: every document is trained on and none sees another, and nothing that is damaged passes for whole."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from deltanet_edu.cli import app
from deltanet_edu.lm import token_folder
from deltanet_edu.lm.config import Config
from deltanet_edu.lm.data import load_data, packed
from deltanet_edu.lm.model import LanguageModel
from deltanet_edu.lm.stories import stories
from deltanet_edu.lm.token_folder import open_tokens, prepare
from deltanet_edu.lm.train import train

END = "<|end|>"
VOCAB = 300


def documents(seed, count):
    text = stories(seed, 400 * count).split("\n\n")
    return [f"{story}\n" for story in text[:count]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three files of 100 documents each, read in pieces of a few thousand bytes."""
    place = tmp_path_factory.mktemp("text")
    for n in range(3):
        (place / f"{n}.txt").write_text(END.join(documents(n, 100)))
    before, token_folder.PIECE = token_folder.PIECE, 3000
    try:
        prepare(place, place / "tokens", VOCAB, separator=END)
    finally:
        token_folder.PIECE = before
    return place / "tokens"


def test_every_document_is_trained_on_or_measured_but_those_at_the_borders(folder):
    data = open_tokens(folder, VOCAB)
    tokens = data.train[torch.arange(len(data.train))]
    starts = [*(tokens == data.begins).nonzero()[:, 0].tolist(), len(tokens)]
    assert starts[0] == 0, "a file begins a document"
    trained = [data.tokenizer.decode(tokens[a + 1:b]) for a, b in zip(starts, starts[1:])]
    measured = [data.tokenizer.decode(part.tokens) for part in data.held_out]
    known = {document for n in range(3) for document in documents(n, 100)}
    assert len(known) - 3 <= len(trained + measured) <= len(known) and len(measured) >= 9
    assert not set(trained) & set(measured)
    cut = [document for document in trained if document not in known]
    assert len(cut) <= 3 and all(any(whole.startswith(document) for whole in known) for document in cut)
    assert set(measured) <= known and all(part.chars == len(m) for part, m in zip(data.held_out, measured))
    assert all(part.before.tolist() == [data.begins] for part in data.held_out), "read from an empty memory"


def test_a_batch_reads_what_it_needs_and_trains(folder):
    config = Config(corpus=str(folder), vocab=VOCAB, layers=1, d_model=16, heads=2, mlp_hidden=32, batch=4, length=250,
                    steps=4)
    data = load_data(config)
    assert isinstance(data.train.tokens, np.memmap) and data.train.tokens.dtype == np.uint16
    rows = data.batches(config)[0]
    assert rows.shape == (4, 251) and rows.dtype == torch.long and (rows == data.begins).any()
    run = train(config, data=data, evaluate_every=2)
    assert run.log[0]["loss"] == pytest.approx(np.log(VOCAB), abs=0.1) and "held_out" in run.log[-1]
    assert [e["loss"] for e in train(config, data=data, accumulate=2).log] == pytest.approx(
        [e["loss"] for e in run.log], abs=1e-5)


@pytest.mark.parametrize("mixer", ["delta", "linear", "gla", "retnet", "mamba", "attention", "sliding"])
def test_packed_documents_do_not_see_each_other(mixer):
    """Change one document of a row: the losses of the others stay. A loss that packs nothing is the counterexample."""
    begins = VOCAB - 1
    torch.manual_seed(0)
    model = LanguageModel(Config(vocab=VOCAB, mixer=mixer, layers=2, d_model=16, heads=2, mlp_hidden=16)).double()
    rows = torch.randint(begins, (2, 13))
    rows[0, 5] = rows[0, 9] = rows[1, 3] = begins                        # documents of 5, 4, 3 and 3, 9 predictions
    other = rows.clone()
    other[0, 6:9] = (other[0, 6:9] + 1) % begins                         # the words of the second one

    def logits(rows):
        tokens, targets, asked, ends = packed(rows, begins)
        assert ends.tolist() == [0, 5, 9, 12, 15, 24] and targets.shape == (1, 24) and asked is None
        return model(tokens, cu_seqlens=ends)[0][0]
    changed = (logits(rows) != logits(other)).any(-1)
    assert changed.nonzero()[:, 0].tolist() == [6, 7, 8]
    leaking = (model(rows[:, :-1])[0] != model(other[:, :-1])[0]).any(-1).flatten()
    assert leaking.nonzero()[:, 0].tolist() == [6, 7, 8, 9, 10, 11]
    alone = torch.cat([model(part[None])[0][0] for part in (rows[0, :5], rows[0, 5:9], rows[0, 9:12])])
    torch.testing.assert_close(logits(rows)[:12], alone, rtol=0, atol=1e-10)
    loss = model.loss(*packed(rows, begins))
    assert loss.item() == pytest.approx(torch.nn.functional.cross_entropy(
        logits(rows), rows[:, 1:].flatten()).item(), abs=1e-12), "every word counts, the first of a document too"


@pytest.mark.parametrize("separator", ["\n\n", "\n-\n-\n"])
def test_a_separator_of_several_lines_is_found_where_pieces_meet(tmp_path, monkeypatch, separator):
    monkeypatch.setattr(token_folder, "PIECE", 40)
    written = [f"The {n}. story is of a cat." for n in range(1500)]
    (tmp_path / "text.txt").write_text(separator.join(written))
    prepare(tmp_path / "text.txt", tmp_path / "tokens", VOCAB, separator=separator)
    data = open_tokens(tmp_path / "tokens", VOCAB)
    tokens = data.train[torch.arange(len(data.train))]
    found = data.tokenizer.decode(tokens).split(".")                     # a special token is decoded to nothing
    assert 1400 < (tokens == data.begins).sum() == len(found) // 2 and separator not in data.tokenizer.decode(tokens)


def test_an_empty_separator_is_none(tmp_path):
    (tmp_path / "text.txt").write_text("The cat sat. " * 99)
    with pytest.raises(ValueError, match='separator: got ""'):
        prepare(tmp_path / "text.txt", tmp_path / "tokens", VOCAB, separator="")
    assert not (tmp_path / "tokens").exists()


def test_a_text_without_documents_is_one(tmp_path):
    (tmp_path / "my.txt").write_text(stories(5, 60_000))
    about = prepare(tmp_path / "my.txt", tmp_path / "tokens", VOCAB)
    data, text = open_tokens(tmp_path / "tokens", VOCAB), stories(5, 60_000)
    (part,) = data.held_out
    tokens = data.train[torch.arange(len(data.train))]
    assert about["documents"] == 1 and tokens[0] == data.begins and len(tokens) == about["tokens"]
    assert data.tokenizer.decode(tokens[1:]) + data.tokenizer.decode(part.tokens) == text
    assert torch.equal(part.before, tokens[-1024:]) and 0.94 * len(text) < len(text) - part.chars < 0.96 * len(text)


def test_what_is_damaged_is_named(folder, tmp_path):
    def copy(name="tokens"):
        place = tmp_path / name
        place.mkdir()
        for path in folder.iterdir():
            (place / path.name).write_bytes(path.read_bytes())
        return place
    with pytest.raises(ValueError, match=f"vocab: got 1,024, but .* was prepared with {VOCAB}. Train with --vocab"):
        open_tokens(folder, 1024)
    for n, (name, content) in enumerate({"train.bin": b"cut", "held_out.pt": b"no", "tokenizer.json": b"{}",
                                         "about.json": b"{"}.items()):
        place = copy(f"{n}")
        (place / name).write_bytes(content)
        with pytest.raises(ValueError, match="is damaged.*make it again with deltanet-edu prepare"):
            open_tokens(place, VOCAB)


def test_what_cannot_be_prepared_is_named_and_leaves_nothing(tmp_path):
    def refused(message, text, **how):
        (tmp_path / "my.txt").write_bytes(text)
        with pytest.raises(ValueError, match=message):
            prepare(tmp_path / "my.txt", tmp_path / "tokens", **{"vocab": VOCAB} | how)
        assert [path.name for path in tmp_path.iterdir()] == ["my.txt"]
    good = stories(5, 40_000).encode()
    refused("there is no text in", b"")
    refused("is not UTF-8: byte 4.,... is 0xe9. Save it as UTF-8", good + b"\ncaf\xe9\n" + good)
    refused("separator: no document .* begins in its last 5 %", good, separator="<|no|>")
    refused("vocab: got 256, expected at least 257", good, vocab=256)
    (tmp_path / "tokens").mkdir()
    with pytest.raises(ValueError, match="folder: .*tokens exists already"):
        prepare(tmp_path / "my.txt", tmp_path / "tokens", VOCAB)
    with pytest.raises(ValueError, match="there is no text in"):
        prepare(tmp_path / "tokens", tmp_path / "other", VOCAB)


def test_the_command(folder, tmp_path):
    def run(*words, fails=False):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert (result.exit_code != 0) == fails, result.output
        return result.output
    (tmp_path / "my.txt").write_text(stories(5, 60_000))
    out = run("prepare", tmp_path / "my.txt", tmp_path / "tokens", "--vocab", VOCAB)
    assert "tokens of 1 documents" in out and f"try: deltanet-edu train --vocab {VOCAB} --corpus" in out
    small = "--steps 2 --layers 1 --d-model 16 --heads 2 --batch 4 --length 32".split()
    mine = ["--run", "mine", "--runs", tmp_path / "runs", "--corpus", tmp_path / "tokens", "--vocab", VOCAB]
    assert "2 steps: " in run("train", *mine, *small)
    measured = run("evaluate", tmp_path / "runs" / "mine", "--only", "text", "--only", "cloze")
    assert "my.txt" in measured and "after 2 steps" in measured
    other = run("evaluate", tmp_path / "runs" / "mine", "--corpus", folder, fails=True)
    assert "its tokens are not those of" in other
    assert "cannot resume" in run("train", *mine, "--resume", "--corpus", folder, fails=True)
    assert "was prepared with 300" in run("train", *mine[2:], "--run", "x", "--vocab", 400, *small, fails=True)
    settings = json.loads((tmp_path / "runs" / "mine" / "config.json").read_text())
    assert replace(Config(**settings), steps=2).vocab == VOCAB
