"""Text for terminals that cannot show every character: letters instead of one question mark for all."""

import codecs
import unicodedata

LETTERS = {"✓": "+", "✗": "x", "○": "o", "★": "*", "☆": "-", "█": "#", "▒": "=", "·": "-", "≤": "<=", "≥": ">=",
           "≠": "!=", "≈": "~",
           "−": "-", "–": "-", "—": "--", "→": "->", "←": "<-", "√": "sqrt", "∑": "sum", "‖": "||", "∂": "d",
           "∇": "grad", "×": "x",
           "⁻": "^-", "ᵀ": "^T", "⊤": "^T", "′": "'", "∈": "in", "…": "...", "“": '"', "”": '"', "‘": "'", "’": "'",
           "\N{NO-BREAK SPACE}": " "}


def spelled(character):
    """A character in ASCII: β as beta, ₜ as _t, ² as ^2; "?" if there is nothing to spell."""
    if character in LETTERS:
        return LETTERS[character]
    name = unicodedata.name(character, "")
    if name.startswith("GREEK "):
        letter = name.split(" LETTER ")[-1].split(" ")[0].lower()
        return letter.capitalize() if "CAPITAL" in name else letter
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    raised = "^" if "SUPERSCRIPT" in name else "_" if "SUBSCRIPT" in name else ""
    return raised + plain if plain else "?"


def spell(error):
    """What an encoder does about characters that it does not have."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(spelled, error.object[error.start:error.end])), error.end


codecs.register_error("deltanet_edu.spell", spell)


def make_printable(*streams):
    """Let streams spell what their encoding lacks, instead of ending the program."""
    for stream in streams:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="deltanet_edu.spell")
