#!/usr/bin/env python3
"""Times a search step against the plain network, edge by edge, that is the oracle of the tests.

    scripts/bench_supernet.py                                # DARTS, C=16, L=8, batch 32
    scripts/bench_supernet.py --space nasbench201 --repeats 9 --json steps.json
    scripts/bench_supernet.py --relaxation gdas              # one sampled path
    scripts/bench_supernet.py --device cuda --precision bf16 --compile --batch 64 --repeats 20

A step is DARTS's first order: the alphas' gradient on one batch, the weights' on another, no
optimizer. The plain network runs eagerly, channels first, `none` included, and backpropagates to
all parameters, as the papers' code does. Both run in turns in one process; memory is the peak above
the process after import, each in its own process; on a GPU it is that of the allocator above
weights and images. Compilation and bf16 are ours alone; the plain network is fp32, with TF32 unless
`--precision` is fp32.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Callable

import alternation

BASES = {"cpu": "the imported process", "cuda": "weights and images"}
"""The baseline from which a peak of memory is measured."""


def main() -> None:
    arguments = parse(__doc__)
    if arguments.only:
        print(json.dumps(peak(arguments)))
        return
    memory: dict[str, int] = {}
    if not arguments.time_only:  # first: a child inherits our peak
        memory = {name: alone(name) for name in ("plain", "fast")}
    times = alternation.in_turn(
        steps(arguments),
        arguments.repeats,
        arguments.clock,
        **alternation.on_device(arguments.device),
    )
    for name in times.seconds:
        line = times.line(name, "a step")
        if name in memory:
            line += f", {memory[name] / 2**20:7.0f} MiB above {BASES[arguments.device]}"
        print(line)
    print(times.compared("plain", "fast"))
    if memory:
        print(f"{memory['fast'] / memory['plain']:.2f}x the memory")
    alternation.write(arguments, times, ratio=times.ratio("plain", "fast"), bytes=memory)


def parse(description: str | None) -> argparse.Namespace:
    parser = alternation.parser(description, repeats=5)
    parser.add_argument("--space", default="darts", help="an option of conf/space, of cells")
    parser.add_argument("--relaxation", choices=["softmax", "gdas"], default="softmax")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=32, help="the images' side in pixels")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock",
        choices=list(alternation.CLOCKS),
        default="wall",
        help="cpu is for one thread on a machine that others use too",
    )
    alternation.add_device(parser)
    parser.add_argument("--time-only", action="store_true", help="leave the memory out")
    parser.add_argument("--only", choices=["plain", "fast"], help="measure one's memory")
    return parser.parse_args()


def steps(arguments: argparse.Namespace) -> dict[str, Callable[[], None]]:
    """Return a step of the plain network and one of ours, with equal weights on equal images."""
    import copy

    import torch
    import torch.nn.functional as F

    from nasrun.config import build, compose, resolve
    from nasrun.supernet.region import compile_regions
    from nasrun.supernet.relaxation import Concrete, HardGumbel, Softmax
    from nasrun.supernet.supernet import Supernet

    budget, device = alternation.budget(arguments), arguments.device
    torch.manual_seed(0)
    words = [f"space={arguments.space}", f"width={arguments.channels}", "space.stem=cifar"]
    config = compose([*words, f"depth={arguments.layers}"]).config
    space = build(resolve(config["space"]), "space")
    soft = Softmax()
    relaxation = {"softmax": soft, "gdas": HardGumbel(soft=Concrete(tau_start=10, tau_end=0.1))}
    network = space.network(inputs=3, outputs=10)
    chosen = relaxation[arguments.relaxation]
    supernet = Supernet(space, network, chosen, alpha_mean=0.0, alpha_std=1e-3).to(device)
    copied = copy.deepcopy(network)
    supernet.to(memory_format=torch.channels_last)
    compile_regions(network, budget)
    shape = (arguments.batch, 3, arguments.size, arguments.size)
    batches = [
        (torch.randn(shape).to(device), torch.randint(10, (arguments.batch,)).to(device))
        for _ in range(2)
    ]
    oracle = alternation.plain(copied, space, space.search_layout)
    alpha = torch.zeros_like(supernet.alpha).requires_grad_()

    def plain() -> None:
        for images, labels in batches:
            logits = oracle(images, mix=torch.softmax(alpha, 1))[0]
            F.cross_entropy(logits, labels).backward()
            copied.zero_grad(set_to_none=True)
            alpha.grad = None

    ours = [(x.contiguous(memory_format=torch.channels_last), y) for x, y in batches]
    weights = supernet.weights()

    def fast() -> None:
        for moved, kept, (images, labels) in zip(
            (supernet.alphas(), weights), (weights, supernet.alphas()), ours, strict=True
        ):
            for parameter in kept:
                parameter.requires_grad_(False)
            with budget.autocast():
                loss = F.cross_entropy(supernet(images)[0], labels)
            torch.autograd.grad(loss, moved, allow_unused=True)
            for parameter in kept:
                parameter.requires_grad_(True)

    return {"plain": plain, "fast": fast}


def peak(arguments: argparse.Namespace) -> int:
    """Return the peak bytes of two steps, above the process with its imports and weights."""
    step = steps(arguments)[arguments.only]
    if arguments.device == "cuda":
        return gpu_peak(step)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(), step()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def gpu_peak(step: Callable[[], None]) -> int:
    """Return the same for the GPU's allocator, after compilation and the choice of algorithms."""
    import torch

    for _ in range(5):
        step()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def alone(name: str) -> int:
    command = [sys.executable, __file__, *sys.argv[1:], "--only", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(json.loads(done.stdout))


if __name__ == "__main__":
    main()
