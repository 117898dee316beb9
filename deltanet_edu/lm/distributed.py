"""Several processes that train one model, as torchrun starts them: each has a device and its part of every batch.

What a step computes is what one process would compute, up to rounding and to what dropout draws: the loss is the mean
over all parts, the gradient and its norm are those of the whole batch. So a run may go on with another number of them.
"""

import contextlib
import os
import time
import warnings

import torch
import torch.distributed as dist
import torch.nn as nn
from torch.nn.parallel import DistributedDataParallel

from .model import LanguageModel

# What only sharding needs is imported inside: it takes a second, and not every build of PyTorch has it.


def from_torchrun():
    """Has torchrun started this process? Then the environment says which one it is."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()


def is_first():
    """Is this process alone, or the first? Only that one writes and speaks."""
    return not from_torchrun() or os.environ["RANK"] == "0"


@contextlib.contextmanager
def join(place, shard=False):
    """The Team of this process while it trains. One that torchrun has not started is alone.

    place: where to compute; on CUDA each process takes the GPU of its number.
    shard: cut weights, gradients and optimizers into as many parts as there are processes (`fully_shard`); otherwise
        each has them all (DistributedDataParallel).
    """
    if not from_torchrun():
        if shard:
            raise ValueError("shard: there is one process, and nobody to share with. Start several with: "
                             "torchrun --nproc-per-node 2 -m -- deltanet_edu train --shard ...")
        yield Team(0, 1, False, place)
        return
    device = place.device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    ours = not dist.is_initialized()                                     # otherwise the caller's, who ends it
    if ours:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        size = dist.get_world_size()
        yield Team(dist.get_rank(), size, shard and size > 1, place._replace(device=device))
    finally:
        if ours:
            dist.destroy_process_group()


class Team:
    """What one process knows of the others. Where it is alone, all of this is for nothing, and costs nothing."""

    def __init__(self, rank, size, shard, place):
        self.rank, self.size, self.shard, self.place = rank, size, shard, place

    def in_turn(self, f, *args):
        """f(*args) in the first process, then in the others. What the first one raises ends all, said once."""
        if self.size == 1:
            return f(*args)
        failed = [False]
        try:
            result = f(*args) if self.rank == 0 else None
        except Exception:
            failed = [True]
            raise
        finally:
            dist.broadcast_object_list(failed, src=0)
            if failed[0] and self.rank:
                time.sleep(2)                                            # whoever ends first, torchrun ends the others
                raise SystemExit(1)
        return result if self.rank == 0 else f(*args)

    def mean(self, *numbers):
        """The mean of each over all processes: the same numbers for all of them."""
        if self.size > 1:
            together = torch.tensor(numbers, dtype=torch.float64, device=self.place.device)
            dist.all_reduce(together)
            numbers = (together / self.size).tolist()
        return numbers

    def share(self, model, compile=False):
        """Let all processes train this model. Returns its loss, a function of a batch, and `synchronize(now)`, to be
        called before it: shall the backward pass add up the gradients of all, which only the last of a step has to?"""
        if self.shard:
            return self.cut(model, compile), model.set_requires_gradient_sync
        if self.size == 1:
            loss, synchronize = model.loss, lambda now: None
        else:
            # Compiled, a step computes all gradients, then sends them, in few large pieces. To send some while others
            # are computed cuts the graph at each, and takes multiprocessors from kernels that count on all of them.
            torch._dynamo.config.optimize_ddp = False
            loss = shared = DistributedDataParallel(Loss(model), gradient_as_bucket_view=True,
                                                    bucket_cap_mb=500 if compile else None)

            def synchronize(now):
                shared.require_backward_grad_sync = now                  # what `no_sync` sets
        return torch.compile(loss) if compile else loss, synchronize

    def cut(self, model, compile):
        """Of every weight each process keeps a part, and a block is whole only while it computes."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        # It warns of what is changed in place behind a block. Nothing is.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
        mesh = init_device_mesh(self.place.device.type, (self.size,))
        for block in model.blocks:
            if compile:                                                  # one by one: between them weights travel
                block.compile()
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        register_fsdp_forward_method(model, "loss")
        return model.loss

    # Checkpoints are of the whole model, so that any number of processes can go on, and one can generate.

    def state_of(self, model, optimizers):
        """{"model": ..., "optimizers": [...]}. Sharded, it is gathered in the memory of the first process."""
        if not self.shard:
            return {"model": model.state_dict(), "optimizers": [optimizer.state_dict() for optimizer in optimizers]}
        from torch.distributed.checkpoint.state_dict import (StateDictOptions, get_model_state_dict,
                                                             get_optimizer_state_dict)

        model.reshard()                                                  # after a forward pass its root stays whole
        whole, states = StateDictOptions(full_state_dict=True, cpu_offload=True), []
        for optimizer in optimizers:
            by_name = get_optimizer_state_dict(model, optimizer, options=whole).get("state", {})
            numbered = {number: by_name[name] for number, name in enumerate(names(model, optimizer)) if name in by_name}
            states.append({**optimizer.state_dict(), "state": numbered})
        return {"model": get_model_state_dict(model, options=whole), "optimizers": states}

    def load_state(self, saved, model, optimizers):
        """Put back what `state_of` has returned."""
        if not self.shard:
            model.load_state_dict(saved["model"])
            for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(state)
            return
        from torch.distributed.checkpoint.state_dict import (StateDictOptions, set_model_state_dict,
                                                             set_optimizer_state_dict)

        whole = StateDictOptions(full_state_dict=True)
        set_model_state_dict(model, saved["model"], options=whole)
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            of = names(model, optimizer)
            by_name = {of[number]: values for number, values in state["state"].items()}
            groups = [{**group, "params": [of[number] for number in group["params"]]}
                      for group in state["param_groups"]]
            set_optimizer_state_dict(model, optimizer, {"state": by_name, "param_groups": groups}, options=whole)

    def whole(self, model, config):
        """The model for what comes after training: sharded, a whole one in the first process, None in the others."""
        if not self.shard:
            return model
        state = self.state_of(model, [])["model"]
        if self.rank:
            return None
        alone = LanguageModel(config).to(self.place.device)
        alone.load_state_dict(state)
        return alone


def names(model, optimizer):
    """The names of an optimizer's parameters, in the order of their numbers in its state_dict."""
    name_of = {p: name for name, p in model.named_parameters()}
    return [name_of[p] for group in optimizer.param_groups for p in group["params"]]


class Loss(nn.Module):
    """A model whose `forward` is its loss: DistributedDataParallel shares what is called."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, *batch):
        return self.model.loss(*batch)
