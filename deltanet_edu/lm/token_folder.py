"""A text larger than memory: cut into tokens once, then read where it lies on the disk, a batch at a time."""

import hashlib
import json
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from ..records import whole_folder
from .config import BYTES
from .corpus import convert, shown
from .data import Data, HeldOut
from .tokenizer import BEGINS, Tokenizer

FORMAT = 1
ABOUT, TRAIN, HELD_OUT, TOKENIZER = "about.json", "train.bin", "held_out.pt", "tokenizer.json"
PIECE = 2**20                                                            # bytes read at a time, then to a line's end
SAMPLE = 2**26                                                           # bytes that the tokenizer learns from
SHARE, MOST = 0.05, 2**21                                                # held out of a file; bytes of all, at most
BEFORE = 1024                                                            # tokens that are kept before what is held out


class MappedTokens:
    """Tokens in a file, as if they were a tensor: only those that are asked for are read."""

    def __init__(self, path, dtype):
        self.tokens = np.memmap(path, dtype, "r")

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, at):
        return torch.from_numpy(self.tokens[at.numpy()].astype(np.int64))


def is_token_folder(path):
    return Path(path, ABOUT).is_file()


def open_tokens(folder, vocab):
    """The Data of a folder that `prepare` has made, for a model with this vocabulary. Reads what is held out, and of
    the training text nothing yet."""
    folder = Path(folder)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"it is of format {about['format']}, expected {FORMAT}")
        dtype, found = np.dtype(about["dtype"]), (folder / TRAIN).stat().st_size
        if found != about["tokens"] * dtype.itemsize:
            raise ValueError(f"{TRAIN} has {found:,} bytes, expected {about['tokens'] * dtype.itemsize:,}")
        tokenizer = Tokenizer.from_json((folder / TOKENIZER).read_text(encoding="utf-8"))
        held_out = tuple(HeldOut(*part) for part in torch.load(folder / HELD_OUT, weights_only=True))
    except OSError:
        raise
    except Exception as error:                                           # not JSON, no tokenizer, no tensors, ...
        said = str(error).split(". ")[0].splitlines()[0]
        raise ValueError(f"corpus: {shown(folder)} is damaged ({said}). "
                         "Remove it, and make it again with deltanet-edu prepare.") from None
    if about["vocab"] != vocab:
        raise ValueError(f"vocab: got {vocab:,}, but {shown(folder)} was prepared with {about['vocab']:,}. "
                         f"Train with --vocab {about['vocab']}, or prepare the text again.")
    return Data(tokenizer, MappedTokens(folder / TRAIN, dtype), held_out, about["fingerprint"], about["begins"])


def prepare(source, folder, vocab, separator=None, progress=lambda bytes: None):
    """Cut a text into tokens and keep them in a folder, whole or not at all: for `Config(corpus=folder)`.

    Args:
        source: a UTF-8 text file of any size, or a folder: then its *.txt.
        folder: where to; it must not exist yet. Takes 2 bytes a token, 4 from a vocabulary of 65,537 on.
        vocab: size of the vocabulary, which is learned from up to 64 MiB of the text; the last token is "a document
            begins here". Every file begins one.
        separator: what stands between the documents of a file, such as "<|endoftext|>"; None: a file is a document.
        progress: called with how many bytes are done, now and then.
    Returns:
        {"tokens", "documents", "bytes", ...}, as in its about.json.

    The last 5 % of each file are held out, of all files together at most 2 MiB. With a separator whole documents are:
    the one in which the border falls is left out. No document sees another in training, and none is cut in evaluation.
    """
    source, folder = Path(source), Path(folder)
    if vocab <= BYTES:
        raise ValueError(f"vocab: got {vocab}, expected at least {BYTES + 1}, a token for each byte and one more.")
    if separator == "":
        raise ValueError('separator: got "", expected what stands between documents, or none for files that are one '
                         "document each.")
    if folder.exists():
        raise ValueError(f"folder: {shown(folder)} exists already. Choose another name, or remove it.")
    sizes = {path: path.stat().st_size for path in (sorted(source.rglob("*.txt")) if source.is_dir() else [source])}
    total = sum(sizes.values())
    if not total:
        raise ValueError(f"corpus: there is no text in {shown(source)}. Give a UTF-8 text file, or a folder of *.txt.")
    files = {path: (border(path, size - int(min(SHARE, MOST / total) * size)), size) for path, size in sizes.items()}
    training = (text for path, (middle, _) in files.items() for text in pieces(path, 0, middle))
    tokenizer = Tokenizer.train(islice(training, 0, None, -(-total // SAMPLE)), vocab - 1)
    tokenizer.backend.add_special_tokens([BEGINS])
    begins, dtype = tokenizer.backend.token_to_id(BEGINS), np.dtype("uint16" if vocab <= 2**16 else "uint32")

    with whole_folder(folder) as new:
        with open(new / TRAIN, "wb") as file:
            written, held_out = write_tokens(file, dtype, files, tokenizer, separator, begins, progress)
        if not held_out:
            raise ValueError(f"separator: no document of {shown(source)} begins in its last 5 %, so none can be held "
                             "out. Is it what stands between them?")
        about = dict(format=FORMAT, vocab=vocab, begins=begins, dtype=dtype.name, bytes=total, **written,
                     held_out=sum(len(tokens) for _, _, tokens, _ in held_out))
        torch.save(held_out, new / HELD_OUT)
        (new / TOKENIZER).write_text(tokenizer.to_json(), encoding="utf-8")
        (new / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
    return about


def write_tokens(file, dtype, files, tokenizer, separator, begins, progress):
    """Write the training tokens of all files = {path: (where its held-out text begins, its size)}. Returns what there
    is to say about them, and what is held out: [(name, tokens before, tokens, characters)], as of HeldOut."""
    digest, count, documents, done, held_out = hashlib.sha256(tokenizer.to_json().encode()), 0, 0, 0, []
    for path, (middle, size) in files.items():
        tokens = np.empty(0, dtype)
        for number, text in enumerate(unbroken(pieces(path, 0, middle), separator)):
            tokens = encode(tokenizer, text, separator, begins, number == 0).astype(dtype)
            tokens.tofile(file)
            digest.update(tokens.tobytes())
            count, documents = count + len(tokens), documents + int((tokens == begins).sum())
            done += len(text)
            progress(done)
        before = torch.from_numpy(tokens[-BEFORE:].astype(np.int64))
        rest = "".join(pieces(path, middle, size))
        held_out += hold_out(tokenizer, shown(path.name), rest, separator, begins, before)
    for _, _, tokens, _ in held_out:
        digest.update(tokens.numpy().tobytes())
    return dict(tokens=count, documents=documents, fingerprint=digest.hexdigest()[:16]), held_out


def border(path, position):
    """Where the first line begins at or after a position of a file."""
    with open(path, "rb") as file:
        file.seek(max(0, position - 1))
        if position:
            file.readline()
        return file.tell()


def pieces(path, start, stop):
    """The text between two positions of a file that are beginnings of lines, in pieces that end with a line."""
    with open(path, "rb") as file:
        file.seek(start)
        while (at := file.tell()) < stop:
            data = file.read(min(PIECE, stop - at))
            data += file.readline() if file.tell() < stop else b""
            try:
                yield data.decode().replace("\r\n", "\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"corpus: {shown(path)} is not UTF-8: byte {at + error.start:,} is "
                                 f"0x{data[error.start]:02x}. {convert('latin1', path)}") from None


def unbroken(pieces, separator):
    """The pieces, so that no separator is cut: what may be the first half of one waits for the next piece."""
    waiting = ""
    for text in pieces:
        text, most = waiting + text, len(separator or "") - 1
        half = next((n for n in range(min(most, len(text)), 0, -1) if separator.startswith(text[-n:])), 0)
        waiting = text[len(text) - half:]
        yield text[: len(text) - half]
    if waiting:
        yield waiting


def encode(tokenizer, text, separator, begins, first):
    """The tokens of a piece of text; `first`: a document begins with it."""
    first_part, *documents = text.split(separator) if separator else [text]
    encoded = tokenizer.backend.encode_batch([first_part, *documents], add_special_tokens=False)
    tokens = [np.array([begins] * first + encoded[0].ids, np.int64)]
    return np.concatenate(tokens + [np.array([begins, *document.ids], np.int64) for document in encoded[1:]])


def hold_out(tokenizer, name, text, separator, begins, before):
    """What is measured of the end of a file: [(name, tokens before, tokens, characters)], as of a HeldOut."""
    if not separator:
        return [(name, before, tokenizer.encode(text), len(text))] if text else []
    return [(name, torch.tensor([begins]), tokenizer.encode(document), len(document))
            for document in text.split(separator)[1:] if document.strip()]
