"""Triton's interpreter mended and made quicker, from outside.

    repair()                                        # its loops run beside today's numpy
    with quicker():
        kernel[grid](...)                           # the same numbers, in half of the time

What it looks up and checks at each operation anew is looked up once, or left out. A Triton with another inside is left
as it is, part by part.
"""

import contextlib
import dataclasses
import functools
import inspect

from . import HAS_TRITON, interpreted


def repair():
    """Let tensors be bounds of loops: up to Triton 3.6 they become int(an array of one), which numpy 2.4 refuses.

    Costs nothing where nothing is to be mended, can be called again, and leaves alone what it does not know.
    """
    if not (HAS_TRITON and interpreted()):
        return
    from triton.runtime import interpreter

    original = getattr(interpreter, "_patch_lang_tensor", None)
    if original is None or getattr(original, "repaired", False):
        return

    def patch(tensor, *scope):
        original(tensor, *scope)                                         # which also undoes it after the launch
        tensor.__index__ = lambda self: int(self.handle.data.item())

    patch.repaired = True
    interpreter._patch_lang_tensor = patch


patched = set()                                                          # the parts that are quicker at the moment


@contextlib.contextmanager
def quicker():
    """Patch the interpreter while the context is open."""
    from triton.runtime import interpreter

    parts = builtins_once, language_once, dtypes_once, blocks_once, shapes_once, no_idle_checks
    with contextlib.ExitStack() as undo:
        for part in parts:
            if part in patched:
                continue
            with contextlib.suppress(AttributeError, TypeError):         # has another inside
                owner, name, new = part(interpreter)
                undo.callback(setattr, owner, name, getattr(owner, name))
                undo.callback(patched.discard, part)
                patched.add(part)
                setattr(owner, name, new)
        yield


@functools.cache
def builtins_of(package):
    """The names of its builtins, outside of a launch: inside they are replaced."""
    import triton.language as tl

    return [name for name, member in inspect.getmembers(package) if tl.core.is_builtin(member)]


def builtins_once(interpreter):
    """Which members of a module are builtins is searched for at each call of a function."""
    import triton.language as tl

    patch_attr = interpreter._patch_attr

    def patch_builtin(package, builder, scope):
        for name in builtins_of(package):
            if tl.core.is_builtin(member := getattr(package, name)):
                patch_attr(package, name, member, builder, scope)

    for place in (tl, tl.core, tl.tensor, tl.math, tl.core.tensor_descriptor_base):
        builtins_of(place)
    return interpreter, "_patch_builtin", patch_builtin


def language_once(interpreter):
    """The language is replaced when a launch begins, and again by each function that a kernel calls."""
    import triton.language as tl

    original, scope_of_nothing, replaced = interpreter._patch_lang, interpreter._LangPatchScope, set()

    @functools.cache
    def languages(fn):
        return frozenset(x.__name__ for x in fn.__globals__.values() if x is tl or x is tl.core)

    def patch_lang(fn):
        seen = languages(fn)
        if seen and seen <= replaced:
            return scope_of_nothing()
        scope = original(fn)
        restore = scope.restore

        def restored():
            replaced.clear()
            restore()

        scope.restore = restored
        replaced.update(seen)
        return scope

    return interpreter, "_patch_lang", patch_lang


def dtypes_once(interpreter):
    """NumPy's dtype for one of Triton's, for which a table is made each time."""
    import triton.language as tl

    original = interpreter._get_np_dtype
    known, addresses = functools.cache(original), original(tl.pointer_type(tl.int32))

    def np_dtype(dtype):
        scalar = dtype.element_ty if isinstance(dtype, tl.block_type) else dtype
        return addresses if isinstance(scalar, tl.pointer_type) else known(scalar)

    return interpreter, "_get_np_dtype", np_dtype


def blocks_once(interpreter):
    """The type of a tile, made anew for each result: what it holds is the same for the same shape and numbers."""
    import triton.language as tl

    original, known = tl.block_type.__init__, {}

    def init(self, element_ty, shape):
        key = str(element_ty), *(getattr(n, "value", n) for n in shape)
        if key not in known:
            original(self, element_ty, shape)
            known[key] = vars(self).copy()
        vars(self).update(known[key], element_ty=element_ty)

    init(tl.block_type.__new__(tl.block_type), tl.int32, [tl.constexpr(4), 2])
    return tl.block_type, "__init__", init


def shapes_once(interpreter):
    """The shape of a value, as constants of the language, and how many entries it has."""
    import triton.language as tl

    original = tl.tensor.__init__

    def init(self, handle, type):
        if known := vars(type).get("of_values"):
            self.handle, self.type, self.dtype, (self.shape, self.numel) = handle, type, type.scalar, known
        else:
            original(self, handle, type)
            if set(vars(self)) == {"handle", "shape", "numel", "type", "dtype"}:
                type.of_values = self.shape, self.numel

    return tl.tensor, "__init__", init


def no_idle_checks(interpreter):
    """Whether 32-bit integers overflow is computed, a third of the time, and looked at only when one debugs."""
    builder = interpreter.interpreter_builder
    return builder, "options", dataclasses.replace(builder.options, sanitize_overflow=builder.options.debug)
