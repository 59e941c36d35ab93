#!/usr/bin/env python3
"""Times a training step of a published cell's network against the plain network.

    scripts/bench_retrain.py                                 # darts_v2, C=16, L=8, batch 32
    scripts/bench_retrain.py --channels 36 --layers 20 --batch 96          # as published

A step is what the stage runs: forward with the auxiliary head, backward, the clipped gradient,
SGD. Without drop path, which the plain network does not have. The plain network runs eagerly,
channels first, edge by edge. Both begin with the same weights, on the same images, and their losses
must agree in the first steps.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import alternation


def main() -> None:
    arguments = parse()
    import torch

    torch.set_num_threads(arguments.threads)
    losses: dict[str, list[float]] = {"plain": [], "fast": []}
    times = alternation.in_turn(steps(arguments, losses), arguments.repeats)
    first = [(losses["plain"][step], losses["fast"][step]) for step in range(2)]
    assert all(abs(one - other) < 1e-3 * one for one, other in first), first
    for name in losses:
        print(times.line(name, "a step"))
    print(times.compared("plain", "fast"))
    alternation.write(arguments, times, ratio=times.ratio("plain", "fast"), losses=losses)


def parse() -> argparse.Namespace:
    parser = alternation.parser(__doc__, repeats=5)
    parser.add_argument("--genotype", default="darts_v2", help="a published cell of DARTS's space")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=32, help="the images' side in pixels")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def steps(
    arguments: argparse.Namespace, losses: dict[str, list[float]]
) -> dict[str, Callable[[], None]]:
    """A step of the plain network and one of ours, of the stage `retrain=cifar`."""
    import copy

    import torch
    import torch.nn.functional as F
    import yaml

    from nasrun.budget import Budget
    from nasrun.config import GENOTYPES, build, compose, conf_folder, resolve

    torch.manual_seed(0)
    words = ["retrain=cifar", f"retrain.channels={arguments.channels}"]
    config = compose([*words, f"retrain.layers={arguments.layers}"]).config
    space, stage = (build(resolve(config[key]), key) for key in ("space", "retrain"))
    cell = yaml.safe_load((conf_folder() / GENOTYPES / f"{arguments.genotype}.yaml").read_text())
    genotype = space.parse(cell["cell"])
    network = space.network(genotype, inputs=3, outputs=10, layout=stage.layout)
    copied = copy.deepcopy(network)
    stage.task.budget = Budget(device="cpu", precision="fp32", threads=None, max_hours=None)
    learner = stage.task.learner(network, optimizer=stage.optimizer, clip=stage.clip)
    oracle = alternation.plain(copied, space, stage.layout)
    optimizer = stage.optimizer(copied.parameters())
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size)
    labels = torch.randint(10, (arguments.batch,))
    batch = images.contiguous(memory_format=torch.channels_last), labels

    def plain() -> None:
        logits, auxiliary = oracle(images, genotype, auxiliary_stride=3)
        loss = F.cross_entropy(logits, labels)
        loss = loss + stage.task.auxiliary_weight * F.cross_entropy(auxiliary, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(copied.parameters(), stage.clip)
        optimizer.step()
        losses["plain"].append(float(loss.detach()))

    def fast() -> None:
        losses["fast"].append(learner.train([batch], learner.first_lr)["train_loss"])

    return {"plain": plain, "fast": fast}


if __name__ == "__main__":
    main()
