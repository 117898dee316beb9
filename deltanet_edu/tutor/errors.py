"""Exceptions in a learner's code, said in the words of the book: what PyTorch means, and what usually causes it."""

import inspect
import re

FIT = "Is one of them transposed, or are two exchanged? K ≠ V shows what K = V hides."
EMPTY = "it joins an empty list"
UNFIT = "it combines tensors that do not fit"
CUT = "`detach`, `.item()`, `torch.tensor(...)` and `no_grad` cut it off, and so does copying data into a new tensor."

# (pattern of the message, what is said of the answer, what usually causes it); groups fill the braces.
SAID = tuple((re.compile(pattern), headline, advice) for pattern, headline, advice in (
    (r"mat1 and mat2 shapes cannot be multiplied \((\w+) and (\w+)\)",
     "it multiplies matrices that do not fit: {0} and {1}", FIT),
    (r"size mismatch, got input \(\w+\), mat \((\w+)\), vec \((\w+)\)",
     "it multiplies a matrix, {0}, with a vector that does not fit: {1} numbers", FIT),
    (r"inconsistent tensor size, expected tensor \[(\d+)\] and src \[(\d+)\]",
     "it takes the dot product of vectors that do not fit: {0} and {1} numbers", FIT),
    (r"Expected size for first two dimensions of batch2 tensor",
     "it multiplies batches of matrices that do not fit", FIT),
    (r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\) at non-singleton dimension (\d+)",
     UNFIT + ": {0} against {1} along dimension {2}",
     f"Entry meets entry only where the sizes are equal, or one of them is 1. {FIT}"),
    (r"expanded size of the tensor \((\d+)\) must match the existing size \((\d+)\)",
     "it puts {1} numbers where there is room for {0}", FIT),
    (r"shape mismatch: value tensor of shape (\[.*?\]) cannot be broadcast .* of shape (\[.*?\])",
     "it puts a tensor of shape {0} into a place of shape {1}", FIT),
    (r"einsum\(\)", "the letters of its einsum do not fit the tensors", "Each letter is one size, in every tensor."),
    (r"[Ss]izes of tensors must match except in dimension (\d+)",
     "it joins tensors whose other dimensions differ", "Along all dimensions but the joined one they must agree."),
    (r"stack expects each tensor to be equal size", "it stacks tensors of different shapes", ""),
    (r"stack expects a non-empty|expected a non-empty list of Tensors|cat\(\): expected a non-empty",
     EMPTY, "Nothing was put into the list, in this case at least."),
    (r"shape '(.*?)' is invalid for input of size (\d+)",
     "it reshapes {1} numbers to the shape {0}, which holds another number of them", ""),
    (r"Expected 1-?D|1D tensors expected|Expected 1-D argument", "it needs vectors where it has something else",
     "An outer product or `dot` is of vectors: of a matrix take a row, or write `@`."),
    (r"both arguments to (?:matmul|linear)[^\d]*need to be at least 1D", "it takes a matrix product with a number",
     "A number is multiplied with `*`."),
    (r"unflatten: Provided sizes (\[.*?\]) don't multiply up to the size of dim \d+ \((\d+)\)",
     "it cuts {1} numbers into {0}, which does not come out even", "Are all parts really equally wide?"),
    (r"split_with_sizes expects split_sizes to sum exactly to (\d+) .* got split_sizes=(\[.*?\])",
     "it splits {0} numbers into {1}, which are another number of them", ""),
    (r"shape of the mask (\[.*?\]) at index \d+ does not match the shape of the indexed tensor (\[.*?\])",
     "it picks with a mask of shape {0} from a tensor of shape {1}",
     "A mask has the sizes of what it picks from. Was that made along another dimension?"),
    (r"too many indices for tensor of dimension (\d+)", "it takes more indices than its tensor has dimensions: {0}",
     "A dimension is missing. Was it summed, or picked, before?"),
    (r"Dimension out of range .*but got (-?\d+)", "it names dimension {0}, which its tensor does not have",
     "Dimensions are counted from 0; the last is −1."),
    (r"indexing tensors could not be broadcast together with shapes (.*)",
     "it picks with indices whose shapes do not fit: {0}", "Tensors of indices are matched entry by entry."),
    (r"pop from (?:an )?empty", "it takes from what is empty", ""),
    (r"(?:index|list index|tuple index) (?:-?\d+ is )?out of (?:bounds|range)",
     "it reaches where there is nothing any more", "An index is too large by one or more: counting starts at 0."),
    (r"does not require grad and does not have a grad_fn|One of the differentiated Tensors|not have been used in the",
     "its result is cut off from its inputs", f"No gradient can flow from it. {CUT}"),
    (r"only one element tensors can be converted|[Bb]oolean value of Tensor with more than one value",
     "it takes a tensor of several numbers for one", "Which entry, or which sum, is meant?"),
    (r"arange's arguments must be of type tl.constexpr", "it makes a tile whose size is not a constant",
     "The ends of `tl.arange` are numbers or arguments declared `tl.constexpr`, which the compiler knows; other "
     "arguments and what is computed from them are not. A mask leaves out what is too much."),
    (r"arange's range must be a power of 2", "it makes a tile whose size is not a power of two",
     "Take the next larger one, and a mask leaves out what is too much."),
    (r"(?:not enough|too many) values to unpack", "it unpacks another number of values than there are",
     "How many results does the function on the right return?"),
    (r"singular", "it inverts a matrix that has no inverse", ""),
    (r"incorrect number of gradients \(expected (\d+), got (\d+)\)",
     "its backward returns {1} gradients, one for each of {0} arguments is expected", ""),
    (r"invalid gradient at index (\d+) - got (\[.*?\]) but expected shape compatible with (\[.*?\])",
     "its gradient [{0}], counted from 0, has the shape {1}, and the argument {2}",
     "Gradients come in the order of the arguments."),
))

# The same for exceptions whose kind says it.
KINDS = (
    (ZeroDivisionError, r"", "it divides by zero", ""),
    (RecursionError, r"", "it calls itself without end", "Which case ends it?"),
    (UnboundLocalError, r"'(\w+)'", "it uses {0} before it has a value", "Is it made on every path, before this line?"),
    (NameError, r"'(\w+)'", "it uses {0}, which has no value", "Was the cell that makes it run? Is it spelled so?"),
    (AttributeError, r"'(\w+)' object has no attribute '(\w+)'", "it asks a {0} for .{1}, which it does not have", ""),
    (KeyError, r"(.+)", "it asks for {0}, which is not there", ""),
    (TypeError, r"unsupported operand type\(s\) for (\S+): '(\w+)' and '(\w+)'", "it computes a {1} {0} a {2}",
     "One of them should be something else: a list is no tensor, and None is a missing result."),
    (TypeError, r"'(\w+)' object is not (\w+)", "it takes a {0} for something {1}", ""),
    (TypeError, r"([\w<>]+)\(\) missing (\d+) required .*arguments?: (.*)", "it calls {0} without {2}",
     "It gets fewer arguments than it takes. Is a `*` missing before a tuple, or is the tuple empty?"),
    (TypeError, r"([\w<>]+)\(\) takes (?:from \d+ to )?(\d+) positional arguments? but (\d+) w",
     "it calls {0} with {2} arguments, and it takes {1}", ""),
)


def of_error(f, case, expected, error):
    """(headline, advice) for an exception in the learner's code."""
    try:
        inspect.signature(f).bind(*case.args)
    except TypeError as mismatch:
        return "its arguments do not fit", [f"It is called with {len(case.args)} arguments: {mismatch}."]
    except ValueError:
        pass
    headline, text = f"it raises {type(error).__name__}", str(error)
    if "same dtype" in text or ("expected scalar type" in text and "but found" in text):
        return "it mixes tensors of two dtypes", [
            "A new tensor has another dtype than the inputs: use `v.new_zeros(...)` or `dtype=v.dtype`."]
    if isinstance(error, NotImplementedError) and expected.error is None:
        return headline, ["It is written for some inputs, but not for this one."]
    if "a leaf Variable that requires grad" in text:
        return headline, ["It changes an input in place that needs a gradient: make a new tensor instead."]
    for pattern, said, advice in SAID:
        if found := pattern.search(text):
            return said.format(*found.groups()), [advice] if advice else []
    for kind, pattern, said, advice in KINDS:
        if isinstance(error, kind) and (found := re.search(pattern, text)):
            said = re.sub(r"\ba (?=[aeiou])", "an ", said.format(*found.groups()))      # an int, a list
            return said, [advice] if advice else []
    return headline, []
