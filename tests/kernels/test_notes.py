"""Notes of a call: which memory is shared, what launches are given, and when a call is worked out anew."""

from contextvars import copy_context
from types import SimpleNamespace

import pytest
import torch

from deltanet_edu.kernels import delta_rule_chunkwise, delta_rule_recurrent, launches, notes

from .judge import inputs


class Kernel:
    """In place of a compiled kernel: keeps what each launch was given."""

    def __init__(self, scratch=0):
        self.metadata, self.function, self.packed_metadata = SimpleNamespace(global_scratch_size=scratch), "f", "p"
        self.launched, self.scratch = [], []

    def run(self, x, y, z, stream, function, metadata, launch_metadata, enter, leave, *values):
        assert (y, z, function, metadata, launch_metadata, enter, leave) == (1, 1, "f", "p", None, None, None)
        self.launched.append((x, stream, values))
        self.scratch.append(allocator()(8, 8, stream))


@pytest.fixture
def taking(monkeypatch):
    """As on a GPU, with a stream and little that counts as large; afterwards nobody takes notes."""
    monkeypatch.setattr(notes, "driver", SimpleNamespace(active=SimpleNamespace(get_current_stream=lambda index: 7)))
    monkeypatch.setattr(notes, "LARGE", 4096)
    yield
    notes.TAKING.notes = None


def call(x, y, kernel):
    """Noted: y doubled, then a launch that reads x and writes memory, one that reads it, and a step at the end."""
    taken = notes.TAKING.notes = notes.Notes((x, y, 0.5))
    doubled = notes.step(torch.Tensor.double, y)
    hidden, other, large = (notes.asked(torch.empty(n)) for n in (5, 70, 5000))
    out, summed = notes.asked(torch.empty(2, 3)), notes.asked(torch.empty(4))
    taken.launch(None, kernel, 3, [x, hidden, other, 0.5, None], {})
    taken.launch(None, kernel, 2, [hidden, large, out, summed, doubled, True, 1], {})
    total = notes.step(torch.Tensor.sum, summed)
    assert taken.finish((out, None, total))
    notes.TAKING.notes = None
    return taken


def test_what_only_launches_see_is_cut_from_one_piece(taking):
    kernel = Kernel(scratch=100)
    noted = call(torch.ones(2), torch.ones(3), kernel)
    x, y = torch.ones(2), torch.ones(3)
    out, nothing, total = copy_context().run(noted.repeat, (x, y, 0.5))
    (n, stream, (x_at, hidden, other, half, none)), (m, _, second) = kernel.launched
    again, large, out_at, summed, doubled, *rest = second
    assert (n, m, stream, half, none, rest) == (3, 2, 7, 0.5, None, [True, 1]) and nothing is None
    assert x_at == x.data_ptr() and out_at == out.data_ptr() and again == hidden and total.ndim == 0
    start = kernel.scratch[0].data_ptr()                                 # descriptors of the largest launch lie first
    assert kernel.scratch[0] is kernel.scratch[1] and (hidden - start, other - start) == (512, 768)
    assert kernel.scratch[0].nbytes == 768 + 4 * 70
    inside = range(start, start + kernel.scratch[0].nbytes)
    assert not {large, out_at, summed, doubled} & {*inside} and len({x_at, hidden, other, large, out_at, summed}) == 6


def allocator():
    """What Triton asks for the memory of descriptors."""
    return notes.triton.runtime._allocation._allocator.get()


@pytest.mark.parametrize("broken", [False, True])
def test_the_allocator_of_others_stays(broken, monkeypatch):
    monkeypatch.setattr(notes, "NOTES", {})
    q, k, v, beta, _ = inputs(B=1, T=5, H=1, K=16, V=16)
    before = allocator()
    notes.triton.set_allocator(mine := lambda size, alignment, stream: None)
    try:
        for _ in range(2):                                               # taking notes, and repeating them
            delta_rule_chunkwise(q, k, v, beta)
            assert allocator() is mine
        if broken:
            monkeypatch.setattr(notes.Notes, "repeat", lambda self, inputs: notes.triton.set_allocator(None) or 1 / 0)
            with pytest.raises(ZeroDivisionError):
                delta_rule_chunkwise(q, k, v, beta)
            assert allocator() is mine
    finally:
        notes.triton.set_allocator(before)


def test_a_call_in_the_middle_of_another(monkeypatch):
    """From a finalizer, say, or a signal handler."""
    monkeypatch.setattr(notes, "NOTES", {})
    q, k, v, beta, _ = inputs(B=1, T=5, H=1, K=16, V=16)
    expected, memory_for = delta_rule_chunkwise(q, k, v, beta)[0], launches.memory_for
    monkeypatch.setattr(notes, "NOTES", {})

    def in_the_middle(*args):
        monkeypatch.setattr(launches, "memory_for", memory_for)
        delta_rule_recurrent(q, k, v, beta)
        return memory_for(*args)
    monkeypatch.setattr(launches, "memory_for", in_the_middle)
    for _ in range(2):
        assert torch.equal(delta_rule_chunkwise(q, k, v, beta)[0], expected)
    assert len(notes.NOTES) == 2 and notes.TAKING.notes is None


def test_an_option_may_be_a_tensor(monkeypatch):
    """Notes know tensors by their kinds, options by their values."""
    monkeypatch.setattr(notes, "NOTES", {})
    q, k, v, beta, _ = inputs(B=1, T=5, H=1, K=16, V=16)
    for name in ("normalize", "sigmoid", "save_states"):
        for value in (True, False):
            for x, e in zip(delta_rule_chunkwise(3 * q, k, v, beta, **{name: torch.tensor(value)}),
                            delta_rule_chunkwise(3 * q, k, v, beta, **{name: value})):
                assert torch.equal(x, e)


def test_notes_with_a_tensor_from_elsewhere_are_not_kept(taking):
    for stranger in (lambda taken: notes.step(torch.neg, torch.ones(1)),
                     lambda taken: taken.launch(None, Kernel(), 1, [torch.ones(1), 2], {})):
        taken = notes.TAKING.notes = notes.Notes((torch.ones(2),))
        stranger(taken)
        assert not taken.finish(())
    x = torch.ones(2)
    assert not notes.Notes((x, x)).finish(()) and notes.Notes((x, 2, None)).finish((x,))


@pytest.mark.parametrize("hook", ["launch_enter_hook", "launch_exit_hook"])
def test_a_call_that_somebody_watches_is_worked_out(hook, monkeypatch):
    """What Triton tells a profiler of each launch is left out when notes are repeated."""
    monkeypatch.setattr(notes, "NOTES", {})
    assert not notes.hooked() and launches.others()
    watcher = notes.knobs.HookChain()
    watcher.add(lambda metadata: None)
    monkeypatch.setattr(notes.knobs.runtime, hook, watcher)
    q, k, v, beta, _ = inputs(B=1, T=5, H=1, K=16, V=16)
    delta_rule_chunkwise(q, k, v, beta)
    assert notes.hooked() and launches.others() is None and not notes.NOTES
