"""Where the table of configurations comes from: times each kernel alone, under every configuration worth a try, on this GPU.

    python -m tests.kernels.tune 4,4096,64,128 2,16384,16,128        (B,T,H,K=V; all of fla's shapes if none are given)

One line a configuration, fastest first; the one in use is marked. With --compile, processes side by side fill the compiler's
cache first: their times mean nothing and are not shown.
"""

import itertools
import subprocess
import sys

import torch
import torch.nn.functional as F
import triton

from deltanet_edu.kernels import configs, operator

SHAPES = ["1,8192,96,128", "2,16384,16,128", "4,2048,16,128", "4,4096,64,128", "8,2048,32,256", "8,1024,8,64", "1,32768,8,128", "1,8192,16,128"]
TRIES = {
    "inverse_kernel": [configs.Config(0, w, 1) for w in (1, 2, 4, 8)],
    "forward_kernel": [configs.Config(*c) for c in itertools.product((16, 32, 64, 128), (4, 8), (1, 2, 3, 4))],
    "sweeps_kernel": [configs.Config(*c) for c in itertools.product((32, 64, 128), (4, 8), (1, 2, 3))],
    "gradients_kernel": [configs.Config(*c) for c in itertools.product((32, 64, 128), (4, 8), (1, 2))],
}


def launches(B, T, H, D):
    """Every launch of a forward and backward pass as (kernel, programs, config, arguments, constants), once with each split of the sweeps."""
    recorded, launch, plan = {}, operator.launch, configs.plan

    def record(kernel, programs, config, *args, **constants):
        name = "_".join([kernel.__name__, *(n.lower() for n in ("FORWARD", "BACKWARD") if constants.get(n))])
        recorded[name] = kernel, programs, config, args, constants
        launch(kernel, programs, config, *args, **constants)

    operator.launch = record
    try:
        for together in (True, False):
            few = plan(D, D, torch.bfloat16, 0, configs.device(0))
            configs.plan = lambda *args: plan(*args)._replace(both=few.both if together else None)
            q, k, v = (torch.randn(B, T, H, D, device="cuda", dtype=torch.bfloat16).requires_grad_() for _ in range(3))
            beta = torch.rand(B, T, H, device="cuda").requires_grad_()
            o, _ = operator.delta_rule_chunkwise(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, beta)
            torch.autograd.grad(o, [q, k, v, beta], torch.randn_like(o))
    finally:
        operator.launch, configs.plan = launch, plan
    return recorded


def main(shapes):
    for shape in shapes:
        B, T, H, D = map(int, shape.split(","))
        for name, (kernel, programs, used, args, constants) in launches(B, T, H, D).items():
            rows = []
            for config in TRIES[kernel.__name__]:
                if config.v_tile > triton.next_power_of_2(D):
                    continue
                count, constants = programs, dict(constants)
                if config.v_tile:
                    constants["V_TILE"] = config.v_tile
                    if kernel.__name__ != "gradients_kernel":
                        count = programs // triton.cdiv(D, used.v_tile) * triton.cdiv(D, config.v_tile)
                try:
                    run = lambda: operator.launch(kernel, count, config, *args, **constants)             # noqa: E731
                    rows.append((triton.testing.do_bench(run, warmup=5, rep=30, return_mode="median"), config))
                except Exception as error:                               # too much shared memory, or more registers than there are
                    print(f"{shape} {name} {config[:3]}: {type(error).__name__}")
            for ms, config in sorted(rows)[:6] + [row for row in sorted(rows)[6:] if row[1] == used]:
                print(f"{shape:>16} {name:<32} v_tile {config.v_tile:>3} warps {config.warps} stages {config.stages} {ms:8.3f} ms "
                      f"{1e6 * ms / (B * T * H):6.2f} ns a token and head{'   <- in use' if config == used else ''}", flush=True)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if "--compile" in arguments:
        arguments.remove("--compile")
        for process in [subprocess.Popen([sys.executable, "-m", __spec__.name, shape], stdout=subprocess.DEVNULL) for shape in arguments or SHAPES]:
            process.wait()
    main(arguments or SHAPES)
