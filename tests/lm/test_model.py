"""The model, its measure and its text: causal, the same token by token, and counted in bits per character."""

import math

import pytest
import torch

from deltanet_edu.lm.config import Config
from deltanet_edu.lm.corpus import Corpus, Text
from deltanet_edu.lm.device import device_of, find_place
from deltanet_edu.lm.evaluate import bits_per_character, windows
from deltanet_edu.lm.generate import choose, generate, generate_tokens
from deltanet_edu.lm.model import LanguageModel, parameters, state_bytes
from deltanet_edu.lm.references import compressors, witten_bell


@pytest.fixture(params=["delta", "linear"])
def model(request, tiny):
    return LanguageModel(Config(**(tiny.to_dict() | {"mixer": request.param}))).double()


def test_no_prediction_sees_a_later_token(model, tiny):
    tokens = torch.randint(tiny.vocab, (1, 20))
    logits, _ = model(tokens)
    for t in range(1, 20):
        changed = tokens.clone()
        changed[:, t:] = (changed[:, t:] + 1) % tiny.vocab
        other = model(changed)[0]
        torch.testing.assert_close(other[:, :t], logits[:, :t], rtol=0, atol=1e-10)
        assert not torch.allclose(other[:, t], logits[:, t])


def test_reading_token_by_token_changes_nothing(model, tiny):
    tokens, states, rows, sizes = torch.randint(tiny.vocab, (2, 70)), None, [], set()
    for token in tokens.split(1, dim=1):
        logits, states = model(token, states)
        rows.append(logits)
        sizes.add(state_bytes(states))
    torch.testing.assert_close(torch.cat(rows, 1), model(tokens)[0], rtol=0, atol=1e-10)
    assert len(sizes) == 1


def test_parameter_count():
    c = Config()
    layer = 4 * c.d_model**2 + c.d_model * c.heads + 12 * c.d_model + c.d_model // c.heads
    mlp = 3 * c.d_model * (64 * math.ceil(8 * c.d_model / 3 / 64))
    rest = 2 * c.vocab * c.d_model + c.d_model
    assert parameters(LanguageModel(c)) == rest + c.layers * (layer + mlp + 2 * c.d_model)


# -- bits per character ------------------------------------------------------------------------------------------------

class Guess(torch.nn.Module):
    """A model that finds every token equally likely."""

    def __init__(self, vocab):
        super().__init__()
        self.vocab = vocab

    def forward(self, tokens, states=None):
        return torch.zeros(*tokens.shape, self.vocab), None


def test_a_guess_costs_log2_vocab_bits_a_token(data, tiny):
    tokens, chars = sum(len(p.tokens) for p in data.held_out), sum(p.chars for p in data.held_out)
    wanted = math.log2(tiny.vocab) * tokens / chars
    assert abs(bits_per_character(Guess(tiny.vocab), data.held_out) - wanted) < 1e-6
    assert abs(bits_per_character(Guess(tiny.vocab), data.held_out, share=0.2) - wanted) < 1e-6


@pytest.mark.parametrize("context, scored", [(128, 128), (7, 5), (1, 1), (2000, 64)])
def test_every_held_out_token_is_scored_once_after_its_context(data, context, scored):
    for part in data.held_out:
        cut = list(windows(part, context, scored))
        assert torch.cat([tokens[-n:] for tokens, n in cut]).equal(part.tokens)
        assert all(len(tokens) - n == min(context, 1024) for tokens, n in cut if context <= 1024)
        assert all(len(tokens) - n >= 1 for tokens, n in cut), "even the first token is predicted from something"


def test_windows_of_one_pass_agree_with_one_token_at_a_time(data, tiny, model):
    part = data.held_out[1]
    small = type(part)(part.name, part.before[-3:], part.tokens[:11], 30)
    logp = model(torch.cat([small.before, small.tokens])[None, :-1])[0].log_softmax(-1)[0, 2:]
    wanted = -logp.gather(1, small.tokens[:, None]).sum().item() / math.log(2) / 30
    assert abs(bits_per_character(model, [small]) - wanted) < 1e-9


# -- text --------------------------------------------------------------------------------------------------------------

def test_text_is_the_same_for_a_seed_and_greedy_text_is_that_of_the_whole_pass(model, data, tiny):
    prompt = data.tokenizer.encode("Once upon a time")
    def write(**options):
        return [int(token) for token, _ in generate_tokens(model, prompt, 30, **options)]
    assert write(seed=1) == write(seed=1) != write(seed=2)
    text = prompt
    for token in write(temperature=0):
        assert token == model(text[None])[0][0, -1].argmax()
        text = torch.cat([text, torch.tensor([token])])


def test_the_memory_of_a_writer_does_not_grow(model, data):
    prompt = data.tokenizer.encode("Once")
    assert len({state_bytes(states) for _, states in generate_tokens(model, prompt, 50)}) == 1


def test_choosing():
    logits, g = torch.tensor([0.0, 3.0, 2.0, -1.0]), torch.Generator().manual_seed(0)
    assert choose(logits, 0, None, g) == 1
    assert {int(choose(logits, 1.0, 2, g)) for _ in range(200)} == {1, 2}
    assert {int(choose(logits, 5.0, None, g)) for _ in range(300)} == {0, 1, 2, 3}
    drawn = torch.tensor([float(choose(logits, 1.0, 2, g) == 1) for _ in range(2000)]).mean().item()
    assert abs(drawn - math.e / (1 + math.e)) < 0.04


@pytest.mark.parametrize("temperature", [1e-40, 1e-300, 5e-324])
def test_a_tiny_temperature_is_almost_none(temperature):
    g = torch.Generator().manual_seed(0)
    assert {int(choose(torch.tensor([0.0, 3.0, 2.9]), temperature, None, g)) for _ in range(20)} == {1}


def test_one_state_a_block_no_more_no_less(model, tiny):
    tokens = torch.randint(tiny.vocab, (1, 9))
    _, states = model(tokens)
    for wrong in (states[:1], [*states, states[0]], []):
        with pytest.raises(ValueError, match=f"states: got {len(wrong)}, expected 2, one for each block"):
            model(tokens, wrong)
    with pytest.raises(TypeError, match="state: got Tensor"):
        model(tokens, states[0])                                         # a State is a tuple of two, as many as blocks


def test_texts_packed_in_one_row_do_not_see_each_other(model, tiny):
    texts = [torch.randint(tiny.vocab, (n,)) for n in (5, 1, 9)]
    packed, states = model(torch.cat(texts)[None], cu_seqlens=torch.tensor([0, 5, 6, 15]))
    alone = torch.cat([model(text[None])[0] for text in texts], 1)
    torch.testing.assert_close(packed, alone, rtol=0, atol=1e-10)
    assert all(len(state.S) == 3 for state in states)


def test_streamed_pieces_are_whole_characters(model, data):
    pieces = list(generate(model, data.tokenizer, "ü", 40, seed=3))
    tokens = [token for token, _ in generate_tokens(model, data.tokenizer.encode("ü"), 40, seed=3)]
    assert "".join(pieces) == data.tokenizer.decode(tokens)
    assert all("\ufffd" not in piece for piece in pieces[:-1]) or "\ufffd" in data.tokenizer.decode(tokens)


@pytest.mark.parametrize("options, message", [
    (dict(temperature=-1), "temperature: got -1"),
    (dict(temperature=math.inf), "temperature: got inf, .*a finite number"),
    (dict(temperature=math.nan), "temperature: got nan"), (dict(top_k=0), "top_k: got 0"),
    (dict(prompt=""), "prompt: it is empty"), (dict(prompt="caf\udce9"), "prompt: character 3 is not text in UTF-8"),
    (dict(seed=2**70), "seed: got 1180591620717411303424, expected an integer from 0"), (dict(seed=-1), "seed: got -1"),
])
def test_wrong_options_are_named(model, data, options, message):
    with pytest.raises(ValueError, match=message):
        next(generate(model, data.tokenizer, **({"prompt": "a"} | options)))


# -- references --------------------------------------------------------------------------------------------------------

def test_witten_bell_equals_its_definition():
    from collections import Counter, defaultdict
    corpus = Corpus("x", (Text.cut("a", "the cat sat on the mat. " * 30 + "a dog ran. " * 20),
                          Text.cut("b", "to be or not to be. " * 25)))
    longest = 3
    counts = [defaultdict(Counter) for _ in range(longest + 1)]
    for text in corpus.texts:
        for n in range(longest + 1):
            for i in range(n, len(text.train)):
                counts[n][text.train[i - n : i]][text.train[i]] += 1
    for n, bits in enumerate(witten_bell(corpus, longest)):
        total, scored = 0.0, 0
        for text in corpus.texts:
            seen = text.train[-n:] + text.held_out if n else text.held_out
            for i in range(n, len(seen)):
                p = 1 / 256
                for m in range(n + 1):
                    after = counts[m].get(seen[i - m : i])
                    if after:
                        p = (after[seen[i]] + len(after) * p) / (after.total() + len(after))
                total, scored = total - math.log2(p), scored + 1
        assert abs(bits - total / scored) < 1e-9


def test_compressors_profit_from_what_they_have_read():
    import random
    noise = "".join(random.Random(0).choices("abcdefgh", k=2000))
    new = compressors(Corpus("x", (Text("a", "", noise),)))
    known = compressors(Corpus("x", (Text("a", noise, noise),)))
    for name in new:
        assert 2.9 < new[name] < 4, "eight equally likely letters cost 3 bits"
        if name != "bzip2":
            assert known[name] < 0.5 * new[name]


# -- where it computes -------------------------------------------------------------------------------------------------

def test_the_place_is_found_and_said(monkeypatch):
    assert str(find_place("cpu")) == "CPU, 1 thread, float32, PyTorch"
    assert str(find_place("cpu", "bfloat16")) == "CPU, 1 thread, bfloat16, PyTorch"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_place() == find_place("cpu", "float32")
    for device in ("gpu", "cuda:99", None):
        with pytest.raises(ValueError, match=f"device: got '{device}', which cannot be used here"):
            find_place(device)
    with pytest.raises(ValueError, match="precision: got 'half', expected one of 'auto', 'float32', 'bfloat16'"):
        find_place("cpu", "half")


def test_autocast_makes_products_half_precision_and_keeps_weights(model):
    for precision in ("float32", "bfloat16"):
        with find_place("cpu", precision).autocast():
            assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == getattr(torch, precision)
    assert device_of(model) == torch.device("cpu") == device_of(Guess(3))
