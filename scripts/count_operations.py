#!/usr/bin/env python3
"""Counts the operations of a search step, for which a GPU waits, against the plain network's.

    scripts/count_operations.py                              # DARTS, L=8
    scripts/count_operations.py --space nasbench201 --most 9 --json operations.json
    scripts/count_operations.py --way cpu                    # sums folded into matrices

A step is DARTS's first order with its optimizers: for the alphas on one batch (Adam), for the
weights on another (clipping, SGD). Both networks run eagerly, on a CPU and on small maps, since the
number depends on neither; `--way cuda` runs ours as on a GPU. Counted is each aten operation that
is dispatched; `launched` leaves out views and empty tensors, which launch nothing. Ours has fused
optimizers, as on a GPU, the plain network `foreach`, torch's default there: a call for all tensors
counts once.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import alternation
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", default="darts", help="an option of conf/space, of cells")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--way", choices=["cuda", "cpu"], default="cuda", help="how ours computes")
    parser.add_argument("--most", type=int, default=0, help="also print the most frequent ones")
    parser.add_argument("--json", help="a file for all numbers")
    arguments = parser.parse_args()
    if arguments.way == "cuda":
        as_on_a_gpu()
    found = {name: count(step) for name, step in steps(arguments.space, arguments.layers).items()}
    for name, counted in found.items():
        print(f"{name:6}{counted.all.total():8} dispatched, {counted.launched.total():8} launched")
        for operation, number in counted.launched.most_common(arguments.most):
            print(f"    {number:6}  {operation}")
    ours, plain = found["ours"], found["plain"]
    shares = {
        "dispatched": ours.all.total() / plain.all.total(),
        "launched": ours.launched.total() / plain.launched.total(),
    }
    print("ours / plain: " + ", ".join(f"{share:.2f} {of}" for of, share in shares.items()))
    if arguments.json:
        each = {name: {"dispatched": c.all, "launched": c.launched} for name, c in found.items()}
        record = {**vars(arguments), "torch": torch.__version__, "ratios": shares, **each}
        Path(arguments.json).write_text(json.dumps(record, indent=1) + "\n")


class Count(TorchDispatchMode):
    """Counts operations by name: `all` of them, and those `launched`."""

    def __init__(self) -> None:
        super().__init__()
        self.all: Counter[str] = Counter()
        self.launched: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "aten":
            self.all[func.name()] += 1
            if not func.is_view and "empty" not in func.name():
                self.launched[func.name()] += 1
        return func(*args, **(kwargs or {}))


def count(step: Callable[[], object]) -> Count:
    """Count the operations of the second step: the first one makes the optimizers' states."""
    step()
    with Count() as counted:
        step()
    return counted


def as_on_a_gpu() -> None:
    """Switch off, in this process, all that our operations do in another way on a CPU."""
    from nasrun.ops import pool
    from nasrun.ops.conv import DepthwiseConv
    from nasrun.ops.term import Term

    Term.folds = False
    DepthwiseConv.forward = nn.Conv2d.forward
    pool._frugal = lambda x: False


def steps(space_name: str, layers: int) -> dict[str, Callable[[], object]]:
    """Return a step of the plain network and one of ours."""
    from nasrun.config import build, compose, resolve
    from nasrun.strategies.descent import Search
    from nasrun.strategies.levels import Bilevel
    from nasrun.streams import Streams
    from nasrun.supernet.relaxation import Softmax
    from nasrun.supernet.supernet import Supernet

    torch.manual_seed(0)
    words = [f"space={space_name}", "width=4", f"depth={layers}", "space.stem=cifar"]
    space = build(resolve(compose(words).config["space"]), "space")
    copied = space.network(inputs=3, outputs=10)
    oracle = alternation.plain(copied, space, space.search_layout)
    network = space.network(inputs=3, outputs=10)
    supernet = Supernet(space, network, Softmax(), alpha_mean=0.0, alpha_std=1e-3).train()
    supernet.to(memory_format=torch.channels_last)
    batches = [(torch.randn(2, 3, 16, 16), torch.randint(10, (2,))) for _ in range(2)]
    alpha = torch.zeros_like(supernet.alpha).requires_grad_()
    weights = list(copied.parameters())

    def adam(parameters: Any, **how: bool) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3, **how)

    def sgd(parameters: Any, **how: bool) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.025, momentum=0.9, weight_decay=3e-4, **how)

    optimizers = adam([alpha], foreach=True), sgd(weights, foreach=True)

    def plain() -> None:
        for optimizer, (images, labels) in zip(optimizers, batches, strict=True):
            logits = oracle(images, mix=torch.softmax(alpha, 1))[0]
            F.cross_entropy(logits, labels).backward()
            if optimizer is optimizers[1]:
                nn.utils.clip_grad_norm_(weights, 5.0, foreach=True)
            optimizer.step()
            for each in optimizers:
                each.zero_grad(set_to_none=True)

    def loss(batch: Any) -> torch.Tensor:
        images, labels = batch
        images = images.contiguous(memory_format=torch.channels_last)
        return F.cross_entropy(supernet(images)[0], labels)

    search = Search(
        streams=Streams(0),
        loss=loss,
        supernet=supernet,
        alphas=supernet.alphas(),
        weights=supernet.weights(),
        alpha_optimizer=adam(supernet.alphas(), fused=True),
        weight_optimizer=sgd(supernet.weights(), fused=True),
        weight_clip=5.0,
    )
    return {"plain": plain, "ours": lambda: Bilevel().step(search, *batches)}


if __name__ == "__main__":
    main()
