#!/usr/bin/env python3
"""Times a training step of a published cell's network against the plain network.

    scripts/bench_retrain.py                                 # darts_v2, C=16, L=8, batch 32
    scripts/bench_retrain.py --channels 36 --layers 20 --batch 96          # as published
    scripts/bench_retrain.py --genotype nb201_resnet --channels 8 --layers 3 --size 16 --batch 64
    scripts/bench_retrain.py --device cuda --precision bf16 --compile --channels 36 --layers 20

A step is that of the stage: forward with the auxiliary head if its recipe has one, backward,
gradient clipping, SGD; without drop path, which the plain network does not have. The plain network
runs eagerly, channels first, edge by edge. Both start with the same weights, on the same images,
and their losses must agree in the first steps, to a thousandth, in tf32 and bf16 to a twentieth. On
a GPU the peak of the allocator is printed, too. Compilation, bf16 and a fused optimizer are ours
alone; the plain network is fp32, with TF32 unless `--precision` is fp32.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import alternation

RECIPES = {"darts": "cifar", "nasbench201": "nasbench201"}
"""The published recipe that trains a space's cells."""


def main() -> None:
    arguments = parse()
    losses: dict[str, list[Any]] = {"plain": [], "fast": []}
    runs = steps(arguments, losses)
    times = alternation.in_turn(runs, arguments.repeats, **alternation.on_device(arguments.device))
    first = [(float(losses["plain"][step]), losses["fast"][step]) for step in range(2)]
    near = 1e-3 if arguments.precision == "fp32" else 0.05
    assert all(abs(one - other) < near * one for one, other in first), first
    for name in losses:
        memory = f", {gpu_peak(runs[name]) / 2**20:.0f} MiB" if arguments.device == "cuda" else ""
        print(times.line(name, "a step") + memory)
    print(times.compared("plain", "fast"))
    plain = {name: [float(loss) for loss in each] for name, each in losses.items()}
    alternation.write(arguments, times, ratio=times.ratio("plain", "fast"), losses=plain)


def parse() -> argparse.Namespace:
    parser = alternation.parser(__doc__, repeats=5)
    parser.add_argument("--genotype", default="darts_v2", help="a published cell, by name")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=32, help="the images' side in pixels")
    parser.add_argument("--threads", type=int, default=2)
    alternation.add_device(parser)
    return parser.parse_args()


def steps(
    arguments: argparse.Namespace, losses: dict[str, list[Any]]
) -> dict[str, Callable[[], None]]:
    """Return a step of the plain network and one of ours, of the stage `retrain=cifar`."""
    import copy

    import torch
    import torch.nn.functional as F
    import yaml

    from nasrun.config import GENOTYPES, build, compose, conf_folder, resolve
    from nasrun.supernet.region import compile_regions

    budget, device = alternation.budget(arguments), arguments.device
    torch.manual_seed(0)
    cell = yaml.safe_load((conf_folder() / GENOTYPES / f"{arguments.genotype}.yaml").read_text())
    words = [f"space={cell['space']}", f"retrain={RECIPES[cell['space']]}"]
    size = [f"retrain.channels={arguments.channels}", f"retrain.layers={arguments.layers}"]
    config = compose([*words, *size]).config
    space, stage = (build(resolve(config[key]), key) for key in ("space", "retrain"))
    genotype = space.parse(cell["cell"])
    network = space.network(genotype, inputs=3, outputs=10, layout=stage.layout).to(device)
    copied = copy.deepcopy(network)
    compile_regions(network, budget)
    stage.task.budget = budget
    learner = stage.task.learner(network, optimizer=stage.optimizer, clip=stage.clip)
    oracle = alternation.plain(copied, space, stage.layout)
    heads = {"auxiliary_stride": 3} if stage.layout.auxiliary else {}
    optimizer = stage.optimizer(copied.parameters())
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size).to(device)
    labels = torch.randint(10, (arguments.batch,)).to(device)
    batch = images.contiguous(memory_format=torch.channels_last), labels

    def plain() -> None:
        logits, *auxiliary = oracle(images, genotype, **heads)
        loss = F.cross_entropy(logits, labels)
        for other in auxiliary:
            loss = loss + stage.task.auxiliary_weight * F.cross_entropy(other, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if stage.clip is not None:
            torch.nn.utils.clip_grad_norm_(copied.parameters(), stage.clip)
        optimizer.step()
        losses["plain"].append(loss.detach())

    def fast() -> None:
        losses["fast"].append(learner.train([batch], learner.first_lr)["train_loss"])

    return {"plain": plain, "fast": fast}


def gpu_peak(step: Callable[[], None]) -> int:
    """Return the peak bytes of the GPU's allocator in a step, both networks' weights included."""
    import torch

    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


if __name__ == "__main__":
    main()
