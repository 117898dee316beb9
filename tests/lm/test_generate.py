"""Writing: which tokens are drawn, where a text ends, what a conversation keeps, and what the command says."""

import io
import math

import pytest
import torch
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, processors
from typer.testing import CliRunner

from deltanet_edu.cli import app
from deltanet_edu.lm import generate as generate_module
from deltanet_edu.lm.generate import Chat, choose, generate, until
from deltanet_edu.lm.model import LanguageModel, state_bytes
from deltanet_edu.lm.stories import stories
from deltanet_edu.lm.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def model(tiny):
    torch.manual_seed(0)
    return LanguageModel(tiny).double().eval()


def test_top_p_draws_from_the_likeliest_that_are_enough():
    logits, g = torch.tensor([0.4, 0.3, 0.2, 0.1]).log(), torch.Generator().manual_seed(0)
    for top_p, drawn in ((0.1, 1), (0.39, 1), (0.41, 2), (0.69, 2), (0.95, 4), (1.0, 4)):
        assert {int(choose(logits, 1.0, None, g, top_p)) for _ in range(300)} == set(range(drawn)), top_p
    assert {int(choose(logits, 1.0, 2, g, 0.95)) for _ in range(200)} == {0, 1}
    assert {int(choose(logits, 1e-9, None, g, 0.95)) for _ in range(20)} == {0}


@pytest.mark.parametrize("pieces, stop, wanted", [
    (["ab", "cd", "ef"], ("de",), "abc"), (["a", "b", "c"], ("abc",), ""), (["a", "b", "x"], ("abc",), "abx"),
    (["aab"], ("ab", "b"), "a"), (["a", "a", "b"], ("ab",), "a"), (["one", " two"], (), "one two"),
    (["a", "b"], ("bc",), "ab"), (["x\n", "\ny"], ("\n\n",), "x"),
])
def test_a_text_ends_before_what_stops_it(pieces, stop, wanted):
    shown = list(until(stop, iter(pieces)))
    assert "".join(shown) == wanted and "" not in shown


def test_nothing_is_asked_of_the_model_after_the_end(model, data):
    whole = "".join(generate(model, data.tokenizer, "Once", 40, seed=3))
    asked = []
    short = "".join(generate(model, data.tokenizer, "Once", 40, seed=3, stop=(whole[4:6],), watch=asked.append))
    assert short == whole[: whole.index(whole[4:6])] and len(asked) < 40


def test_a_long_prompt_is_read_in_pieces(model, data, monkeypatch):
    prompt = stories(7, 200)
    at_once = "".join(generate(model, data.tokenizer, prompt, 20, temperature=0))
    longest, forward = [], model.forward

    def noting(tokens, states):
        longest.append(tokens.shape[1])
        return forward(tokens, states)
    monkeypatch.setattr(generate_module, "PIECE", 9)
    monkeypatch.setattr(model, "forward", noting)
    assert "".join(generate(model, data.tokenizer, prompt, 20, temperature=0)) == at_once
    assert max(longest) == 9 and sum(longest) == len(data.tokenizer.encode(prompt)) + 20


@pytest.mark.parametrize("options, message", [
    (dict(top_p=0), "top_p: got 0, expected a probability in"), (dict(top_p=1.5), "top_p: got 1.5"),
    (dict(top_p=math.nan), "top_p: got nan"), (dict(stop=("a", "")), "stop: one of the strings is empty"),
])
def test_wrong_options_are_named(model, data, options, message):
    with pytest.raises(ValueError, match=message):
        next(generate(model, data.tokenizer, "a", **options))


# -- a tokenizer from elsewhere ----------------------------------------------------------------------------------------

@pytest.fixture
def foreign():
    """As Llama and Mistral have them: blanks are written \u2581, the decoder drops the first; <s> begins, </s> ends."""
    words = ["<s>", "</s>", "<unk>", "\u2581the", "\u2581cat", "\u2581sat", "s", *(f"<0x{i:02X}>" for i in range(256))]
    backend = Backend(models.BPE({word: i for i, word in enumerate(words)}, [], byte_fallback=True, unk_token="<unk>"))
    backend.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                         decoders.Strip(" ", 1, 0)])
    backend.add_special_tokens(["<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    return Tokenizer(backend)


class Says:
    """A model that says these tokens, one after another, whatever it reads."""

    def __init__(self, tokens, vocab=300):
        self.tokens, self.vocab = list(tokens), vocab

    def __call__(self, tokens, states=None):
        logits = torch.zeros(1, tokens.shape[1], self.vocab)
        logits[0, -1, self.tokens.pop(0) if self.tokens else 0] = 9.0
        return logits, [*(states or []), tokens]

    def parameters(self):
        return iter(())


def test_blanks_between_words_and_characters_of_several_bytes_survive(foreign):
    byte = {i: 7 + i for i in range(256)}
    said = [3, 4, 6, *(byte[b] for b in "\u65e5\U0001f600".encode()), 5, 3]
    pieces = list(generate(Says(said), foreign, "s", len(said), temperature=0))
    assert "".join(pieces) == "the cats\u65e5\U0001f600 sat the" and pieces[1] == " cat" and len(pieces) == 7


def test_a_token_that_ends_a_text_ends_it(foreign, data):
    assert foreign.ends == {1} and data.tokenizer.ends == set()
    assert list(generate(Says([3, 1, 4]), foreign, "s", 3, temperature=0)) == ["the"]


def test_a_text_begins_once(foreign):
    assert foreign.encode("s").tolist() == [0, 6] and foreign.encode("s", begin=False).tolist() == [6]


# -- a conversation ----------------------------------------------------------------------------------------------------

def test_a_conversation_is_kept_in_states_of_one_size(model, data):
    chat, sizes, text = Chat(model, data.tokenizer, tokens=12, seed=1), set(), ""
    for said in ("Where is Anna?", "And the ball?", "Thank you."):
        reply = "".join(chat.reply(said))
        text += f"User: {said}\nAssistant:{reply.rstrip()}\n"
        sizes.add(state_bytes(chat.states))
    _, whole = model(data.tokenizer.encode(text)[None])
    assert len(sizes) == 1
    for state, expected in zip(chat.states, whole):                      # text cut elsewhere has nearly these tokens
        assert state.S.shape == expected.S.shape


def test_a_reply_stops_where_the_user_would_speak_and_what_was_taken_is_remembered(foreign, monkeypatch):
    read = []

    def encode(text, begin=True):
        read.append((text, begin))
        return torch.tensor([3])
    monkeypatch.setattr(foreign, "encode", encode)
    monkeypatch.setattr(generate_module, "decoded", lambda *_: iter(["the cat", "\nUs", "er: me"]))
    chat = Chat(Says([]), foreign)
    assert "".join(chat.reply("Who?")) == "the cat"
    talk = chat.reply("Again?")
    assert next(talk) == "the cat"
    talk.close()                                                         # as Ctrl-C does
    assert read == [("User: Who?\nAssistant:the cat\n", True), ("User: Again?\nAssistant:the cat\n", False)]
    assert len(chat.states) == 2


# -- the command -------------------------------------------------------------------------------------------------------

def write(run, *words, stdin=None, fails=False):
    result = CliRunner().invoke(app, ["generate", str(run), *map(str, words)], input=stdin)
    assert (result.exit_code != 0) == fails and "Traceback" not in result.output, result.output
    return result


def test_a_prompt_may_come_from_the_standard_input(run):
    typed, read = write(run, "--prompt", "Once\n", "--tokens", 9), write(run, "--prompt", "-", "--tokens", 9,
                                                                          stdin="Once\n")
    assert typed.stdout == read.stdout and read.stdout.startswith("Once\n")
    assert "[9 tokens; what was kept of the past: " in read.stderr
    first, last = [part.split()[0] for part in read.stderr.split("past: ")[1].split(", ")[:1]], read.stderr.split()[-4]
    assert first[0] == last, "bytes at the first token and at the last"
    assert "prompt: it is empty" in write(run, "--prompt", "-", stdin="", fails=True).output


def test_the_text_ends_where_it_should(run):
    whole = write(run, "--prompt", "A", "--tokens", 30).stdout.rstrip("\n")
    stop = whole[5:7]
    ended = write(run, "--prompt", "A", "--tokens", 30, "--stop", stop.replace("\n", "\\n")).stdout
    assert ended == whole[: whole.index(stop, 1)] + "\n"
    assert "top_p: got 2.0" in write(run, "--top-p", 2, fails=True).output


def test_ctrl_c_ends_the_text_and_not_the_lines_before(run, monkeypatch):
    def interrupted(*args, watch, **options):
        watch([])
        yield "one"
        raise KeyboardInterrupt
    monkeypatch.setattr(generate_module, "generate", interrupted)
    result = write(run, "--prompt", "A ", fails=True)
    assert result.exit_code == 130 and result.stdout == "A one\n" and "1 tokens" in result.stderr


def test_a_chat(run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    result = write(run, "--chat", "--tokens", 5, stdin="Hello\n\nBye\n")
    assert result.stdout.count("You: ") == 4 and "the whole conversation was kept in" in result.stderr
    assert write(run, "--chat", stdin="").stdout.strip() == "You:"
