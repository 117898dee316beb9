"""What a kernel does to memory, seen in the interpreter: bytes, who touches what, and what a GPU would not forgive.

    with Trace() as seen:
        f(q, k, v)                                  # launches one kernel or several, on tensors of the CPU
    seen.loaded, seen.stored                        # bytes
    seen.faults                                     # races: what other orders of the programs would change
    seen.launches[0].tensors["o"].stored_by         # which program wrote each number

Triton's interpreter runs one program after the other and reads whatever lies in memory. So a kernel may be right in it
and wrong on a GPU, where programs run at once, and where a load outside a tensor ends the process. Here each tensor of
a launch lies alone between gaps, each access is looked at before it happens, and one outside raises OutOfBounds.

This is the one place that knows the inside of the interpreter; `why_not` says if a Triton has another inside.
"""

import contextlib
import mmap
from dataclasses import dataclass, field

import numpy as np
import torch

from ..kernels.interpreter import quicker, repair

repair()                                                                 # what is watched need not be of this package

GAP = 1 << 24                                                           # bytes; pages that nobody touches cost nothing
NOBODY, SEVERAL = -1, -2


class OutOfBounds(RuntimeError):
    """A load or store that is not masked and not inside its tensor. Says which kernel, program, tensor and how far."""

    def __init__(self, message, store, bare="", evidence=None, atomic=False):
        super().__init__(message)
        self.store, self.evidence, self.atomic = store, evidence, atomic     # or a load; all places of this access
        self.bare = bare                                         # the kernel's name for the tensor, if there is no mask


@dataclass(frozen=True)
class Race:
    """Two programs of one launch meet at a number that one of them writes: the result depends on their order."""

    kernel: str
    tensor: str
    programs: tuple                                                # (the earlier, the later) in the interpreter's order
    index: tuple
    writes: bool                                                 # both write; otherwise one reads what the other writes
    adds: bool = False                                                   # the writing, or one of two, is atomic

    def __str__(self):
        first, second = self.programs
        what = "both write" if self.writes else "one reads what the other writes"
        if self.adds:
            what = f"one {'stores' if self.writes else 'reads'} what the other adds to"
        return f"{self.kernel}: programs {first} and {second} meet at {self.tensor}{list(self.index)}: {what}."


@dataclass
class Touched:
    """One tensor of a launch, as its programs used it."""

    name: str
    shape: tuple
    stride: tuple
    itemsize: int
    loaded: int = 0                                                      # bytes
    stored: int = 0
    offsets: np.ndarray = field(default=None, repr=False)            # of its numbers in its storage, in bytes, by index
    memory: object = field(default=None, repr=False)

    def index(self, offset):
        """Of the entry that begins so many bytes into the storage; that number, if none does."""
        place = np.flatnonzero(self.offsets == offset)
        return tuple(map(int, np.unravel_index(place[0], self.shape))) if len(place) else (int(offset),)

    def _by(self, who):
        return torch.from_numpy(who[self.offsets]).reshape(self.shape)

    @property
    def stored_by(self):
        """Number of the program that wrote each entry last; -1 if none did."""
        return self._by(self.memory.stored_by)

    @property
    def loaded_by(self):
        """Number of the program that read each entry; -1 if none, -2 if several."""
        return self._by(self.memory.loaded_by)


def places(x):
    """Where the numbers of a tensor begin in its storage, in bytes. An array in the order of its entries."""
    offsets = np.full((), x.storage_offset() * x.itemsize, np.int64)
    for n, stride in zip(x.shape, x.stride()):
        offsets = offsets[..., None] + np.arange(n) * stride * x.itemsize
    return offsets.ravel()


def merged(by, me):
    """Who has touched each number, now that program `me` has as well."""
    return np.where((by == NOBODY) | (by == me), me, SEVERAL)


class Memory:
    """A storage of the launch, copied to where nothing else is near, and who has touched each of its bytes."""

    def __init__(self, storage):
        self.size = storage.nbytes()
        # Not by `empty`: PyTorch's may have been told to fill all of it, and NumPy's asks for huge pages.
        room = mmap.mmap(-1, -(-self.size // 16) * 16 + 2 * GAP)
        self.room = torch.from_numpy(np.frombuffer(room, np.uint8))
        self.start = self.room.data_ptr() + GAP
        self.room[GAP:GAP + self.size] = torch.empty(0, dtype=torch.uint8).set_(storage)
        self.storage, self.views = storage, []
        self.inside = np.zeros(self.size, bool)                          # bytes at which a number of a view begins
        self.stored_by, self.loaded_by, self.added_by = np.full((3, self.size), NOBODY, np.int32)    # added: atomically

    def view(self, name, x):
        """The tensor x of this storage, in its new place."""
        touched = Touched(name, tuple(x.shape), x.stride(), x.itemsize, offsets=places(x), memory=self)
        self.inside[touched.offsets] = True
        self.views.append(touched)
        moved = self.room.view(x.dtype).as_strided(x.shape, x.stride(), GAP // x.itemsize + x.storage_offset())
        return moved, touched

    def copy_back(self):
        torch.empty(0, dtype=torch.uint8).set_(self.storage).copy_(self.room[GAP:GAP + self.size])


class Launch:
    """One launch of a kernel: its grid, its tensors by the names of the kernel's arguments, bytes, and races."""

    def __init__(self, function, arguments):
        self.function, self.kernel = function, function.__name__
        self.arguments = arguments                               # {name: dtype of a tensor, or the value}, options too
        self.grid, self.program, self.bare = (1, 1, 1), (0, 0, 0), False     # bare: the running access has no mask
        self.precisions = set()                                          # of products of float32: "TF32", "IEEE", ...
        self.tensors, self.races, self.memories, self.loads = {}, {}, {}, {}     # loads: program -> how many it made
        self.unfilled = None                                             # the first load of a NaN that nobody stored
        self.hidden = any(isinstance(x, tuple) for x in arguments.values())                          # tensors in it?

    @property
    def loaded(self):
        return sum(t.loaded for t in self.tensors.values())

    @property
    def stored(self):
        return sum(t.stored for t in self.tensors.values())

    @property
    def depth(self):
        """How many loads the busiest program made, one after the other: what running many programs does not shorten."""
        return max(self.loads.values(), default=0)

    def place(self, name, x):
        """x in a place of its own, if it is a tensor; whatever else it is, itself."""
        if hasattr(x, "base") and hasattr(x, "block_shape"):             # a tensor descriptor
            x.base = self.place(name, x.base)
            return x
        if not isinstance(x, torch.Tensor):
            return x
        storage = x.untyped_storage()
        if storage.data_ptr() not in self.memories:
            self.memories[storage.data_ptr()] = Memory(storage)
        moved, self.tensors[name] = self.memories[storage.data_ptr()].view(name, x)
        return moved

    def touch(self, pointers, mask, store, atomic=False):
        """Note one load or store of the running program; raise OutOfBounds if it leaves its tensor."""
        kind, pointers, mask = pointers.get_element_ty(), pointers.data, mask.data
        itemsize, self.floats = kind.primitive_bitwidth // 8, kind.is_fp32()
        self.atomic = atomic and ("all" if np.all(mask) else "some")      # Triton fills in a mask where there is none
        self.loads[self.program] = self.loads.get(self.program, 0) + (not store)
        pointers, mask = np.broadcast_arrays(pointers, mask)
        addresses = pointers[mask.astype(bool)].astype(np.int64)
        far = np.ones(len(addresses), bool)
        for memory in self.memories.values():
            offsets = addresses - memory.start
            here = (offsets >= -GAP) & (offsets < memory.size + GAP)
            far &= ~here
            if here.any():
                self.touch_memory(memory, offsets[here], itemsize, store, atomic)
        if far.any() and self.memories and not self.hidden:              # nobody's: it would end the process
            memory = min(self.memories.values(), key=lambda m: abs(int(addresses[far][0]) - m.start))
            self.refuse(memory, addresses[far] - memory.start, store, addresses - memory.start)

    def touch_memory(self, memory, offsets, itemsize, store, atomic):
        outside = (offsets < 0) | (offsets >= memory.size)
        outside[~outside] = ~memory.inside[offsets[~outside]]
        if outside.any():
            self.refuse(memory, offsets[outside], store, offsets)
        view = memory.views[0]
        if len(memory.views) > 1:                                     # the same storage twice: as input and output, say
            view = next((v for v in memory.views if np.isin(offsets[:1], v.offsets).all()), view)
        me = np.ravel_multi_index(self.program[::-1], self.grid[::-1])
        view.loaded += len(offsets) * itemsize * (atomic or not store)   # an atomic operation does both
        view.stored += len(offsets) * itemsize * store
        if atomic:                                                       # the hardware puts these in some order
            self.note(memory, view, offsets, memory.stored_by, me, writes=True, adds=True)
            self.note(memory, view, offsets, memory.loaded_by, me, writes=False, adds=True)
            memory.added_by[offsets] = merged(memory.added_by[offsets], me)
        elif store:
            self.note(memory, view, offsets, memory.stored_by, me, writes=True)
            self.note(memory, view, offsets, memory.added_by, me, writes=True, adds=True)
            self.note(memory, view, offsets, memory.loaded_by, me, writes=False)
            memory.stored_by[offsets] = me
        else:
            self.note(memory, view, offsets, memory.stored_by, me, writes=False)
            self.note(memory, view, offsets, memory.added_by, me, writes=False, adds=True)
            memory.loaded_by[offsets] = merged(memory.loaded_by[offsets], me)
            if self.floats and self.unfilled is None:
                self.look_for_nothing(memory, view, offsets, me)

    def look_for_nothing(self, memory, view, offsets, me):
        """Keep a load of NaN that no program of this launch has stored: (storage, offset in it, what to say)."""
        empty = np.isnan(memory.room.numpy().view(np.float32)[(offsets + GAP) // 4])
        empty &= (memory.stored_by[offsets] == NOBODY) & (memory.added_by[offsets] == NOBODY)
        if empty.any():
            offset = offsets[empty][0]
            said = f"{view.name}{list(view.index(offset))} is loaded before anybody has stored it"
            self.unfilled = memory.storage.data_ptr(), offset, f"{self.kernel}, program {self.name(me)}: {said}"

    def note(self, memory, view, offsets, by, me, writes, adds=False):
        """Keep the first race of this kind on this tensor."""
        others = (by[offsets] != NOBODY) & (by[offsets] != me)
        if others.any() and (view.name, writes) not in self.races:
            offset = offsets[others][0]
            who = int(by[offset])
            who = next(p for p in range(int(np.prod(self.grid))) if p != me) if who == SEVERAL else who
            programs, index = (self.name(who), self.name(me)), view.index(offset)
            self.races[view.name, writes] = Race(self.kernel, view.name, programs, index, writes, adds)

    def name(self, program):
        """(x, y, z) of a program, without the dimensions in which the grid is 1."""
        index = tuple(map(int, np.unravel_index(program, self.grid[::-1])))[::-1]
        used = max((i + 1 for i, n in enumerate(self.grid) if n > 1), default=1)
        return index[0] if used == 1 else index[:used]

    def refuse(self, memory, offsets, store, touched):
        offset = int(offsets[0])
        view = min(memory.views, key=lambda v: np.abs(v.offsets - offset).min() if v.offsets.size else 0)
        end = int(view.offsets.max()) + view.itemsize if view.offsets.size else 0
        if offset >= end:
            where = f"{(int(offsets.max()) - end) // view.itemsize + 1} past its last number"
        elif offset < int(view.offsets.min(initial=0)):
            where = f"{(int(view.offsets.min()) - offset) // view.itemsize} before its first number"
        else:
            where = "between its rows, in numbers that belong to something else"
        me = self.name(np.ravel_multi_index(self.program[::-1], self.grid[::-1]))
        access = "an atomic operation on" if self.atomic else "a store to" if store else "a load of"
        why = "It has no mask." if self.bare else "A mask is missing or lets too much in, or an offset is wrong."
        why = "No mask keeps any of it back." if self.atomic == "all" else why
        said = f"{self.kernel}, program {me}: {access} {view.name}, of shape {view.shape}, goes {where}. {why}"
        raise OutOfBounds(said, store, view.name if self.bare else "", np.sort(touched), self.atomic)


class Trace(contextlib.AbstractContextManager):
    """Watch every launch in the interpreter while this context is open; see the top of the file."""

    def __init__(self):
        if reason := why_not():
            raise RuntimeError(f"Trace: {reason}")
        self.launches = []

    @property
    def loaded(self):
        """Bytes that all programs of all launches have loaded."""
        return sum(launch.loaded for launch in self.launches)

    @property
    def stored(self):
        """Bytes that all programs of all launches have stored."""
        return sum(launch.stored for launch in self.launches)

    @property
    def depth(self):
        """How many loads come one after the other at least: those of the busiest program of each launch."""
        return sum(launch.depth for launch in self.launches)

    @property
    def faults(self):
        """The races of all launches."""
        return [race for launch in self.launches for race in launch.races.values()]

    @property
    def unfilled(self):
        """A load of NaN that no program has stored before, in words; "" if there is none."""
        for n, launch in enumerate(self.launches):
            storage, offset, said = launch.unfilled or (0, 0, "")
            earlier = [x.memories[storage] for x in self.launches[:n] if storage in x.memories]
            if said and all(x.stored_by[offset] == x.added_by[offset] == NOBODY for x in earlier):
                return said
        return ""

    def written(self, x):
        """Whether a program has stored each entry of x, which was given to a launch. (the shape of x)"""
        storage, stored = x.untyped_storage().data_ptr(), np.zeros(x.numel(), bool)
        for launch in self.launches:
            if storage in launch.memories:
                stored |= launch.memories[storage].stored_by[places(x)] != NOBODY
        return torch.from_numpy(stored).view(x.shape)

    def __enter__(self):
        from triton.runtime import interpreter

        builder, executor = interpreter.interpreter_builder, interpreter.GridExecutor
        self._undo = contextlib.ExitStack()
        self._undo.enter_context(quicker())
        wrappers = dict(set_grid_dim=self._dim, set_grid_idx=self._idx, create_masked_load=self._load,
                        create_masked_store=self._store, create_load=self._bare, create_store=self._bare,
                        create_dot=self._dot, create_atomic_rmw=self._atomic)
        for owner, name, wrapper in ((executor, "__call__", self._call), *((builder, *x) for x in wrappers.items())):
            original = getattr(owner, name)
            self._undo.callback(setattr if owner is executor else lambda o, n, _: delattr(o, n), owner, name, original)
            setattr(owner, name, wrapper(original))
        return self

    def __exit__(self, *exception):
        self._undo.close()

    def _call(self, original):
        def call(executor, *args, **kwargs):
            named = {**dict(zip(executor.arg_names, args)), **kwargs}
            launch = Launch(executor.fn, {name: getattr(x, "dtype", x) for name, x in named.items()})
            self.launches.append(launch)
            args = [launch.place(name, x) for name, x in zip(executor.arg_names, args)]
            kwargs = {name: launch.place(name, x) for name, x in kwargs.items()}
            try:
                result = original(executor, *args, **kwargs)
            except Exception as error:                                   # wrapped, once for each function it came by
                cause = error
                while type(cause).__name__ == "InterpreterError" and cause.__cause__ is not None:
                    cause = cause.__cause__
                raise cause from None
            for memory in launch.memories.values():
                memory.copy_back()
            return result
        return call

    def _dim(self, original):
        def set_grid_dim(*grid):
            self.launches[-1].grid = tuple(map(int, grid))
            original(*grid)
        return set_grid_dim

    def _idx(self, original):
        def set_grid_idx(*program):
            self.launches[-1].program = tuple(map(int, program))
            original(*program)
        return set_grid_idx

    def _bare(self, original):
        def without_mask(*args, **named):
            launch = self.launches[-1]
            launch.bare = True
            result = original(*args, **named)                            # by way of create_masked_load or ..._store
            launch.bare = False
            return result
        return without_mask

    def _dot(self, original):
        def create_dot(a, b, d, input_precision, *rest, **named):
            if a.dtype.is_fp32():
                self.launches[-1].precisions.add(getattr(input_precision, "name", str(input_precision)).upper())
            return original(a, b, d, input_precision, *rest, **named)
        return create_dot

    def _load(self, original):
        def create_masked_load(ptrs, mask, *rest, **named):
            self.launches[-1].touch(ptrs, mask, store=False)
            return original(ptrs, mask, *rest, **named)
        return create_masked_load

    def _store(self, original):
        def create_masked_store(ptrs, value, mask, *rest, **named):
            self.launches[-1].touch(ptrs, mask, store=True)
            return original(ptrs, value, mask, *rest, **named)
        return create_masked_store

    def _atomic(self, original):
        def create_atomic_rmw(operation, ptrs, value, mask, *rest, **named):
            self.launches[-1].touch(ptrs, mask, store=True, atomic=True)
            return original(operation, ptrs, value, mask, *rest, **named)
        return create_atomic_rmw


def why_not():
    """Why kernels cannot be watched here, in a sentence with the way out; "" if they can."""
    try:
        from triton.runtime import interpreter
    except ImportError:
        return "Triton is not installed, so there is no interpreter to watch."
    needed = ("set_grid_dim", "set_grid_idx", "create_masked_load", "create_masked_store", "create_load",
              "create_store", "create_dot", "create_atomic_rmw")
    missing = [name for name in needed if not hasattr(getattr(interpreter, "interpreter_builder", None), name)]
    if missing or not hasattr(getattr(interpreter, "GridExecutor", None), "__call__"):
        import triton
        return (f"the interpreter of Triton {triton.__version__} has another inside than that of 3.4 to 3.7 "
                f"({', '.join(missing) or 'GridExecutor'} is gone); take one of those to have kernels watched.")
    return ""
