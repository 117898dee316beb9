"""What autograd keeps: the tensors saved in a forward pass for the backward pass."""

import torch


def saved_bytes(f, *args, **options):
    """Bytes that stay in memory after f(*args, **options) until its backward pass, inputs included; shared storage counts once."""
    kept = {}

    def keep(x):
        storage = x.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        result = f(*args, **options)                                     # alive while we count, so no address is used twice
    del result
    return sum(kept.values())
