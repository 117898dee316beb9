"""One repair of Triton's interpreter, without which its loops do not run beside today's numpy."""


def repair():
    """Let tensors be bounds of loops: up to Triton 3.6 they become int(an array of one), which numpy 2.4 refuses.

    Costs nothing where nothing is to be mended, can be called again, and leaves alone what it does not know.
    """
    from triton.runtime import interpreter

    original = getattr(interpreter, "_patch_lang_tensor", None)
    if original is None or getattr(original, "repaired", False):
        return

    def patch(tensor, *scope):
        original(tensor, *scope)                                         # which also undoes it after the launch
        tensor.__index__ = lambda self: int(self.handle.data.item())

    patch.repaired = True
    interpreter._patch_lang_tensor = patch
