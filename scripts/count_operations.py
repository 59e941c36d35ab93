#!/usr/bin/env python3
"""Counts the operations of a search step, for which a GPU waits, against the plain network's.

    scripts/count_operations.py                              # DARTS, L=8
    scripts/count_operations.py --space nasbench201 --most 9 --json operations.json
    scripts/count_operations.py --relaxation gdas            # one sampled path
    scripts/count_operations.py --way cpu                    # sums folded into matrices

A step is DARTS's first order with its optimizers: for the alphas on one batch (Adam), for the
weights on another (clipping, SGD). Both networks run eagerly, on a CPU and on small maps, since the
number depends on neither; `--way cuda` runs ours as on a GPU. Counted is each aten operation that
is dispatched; `launched` leaves out views and empty tensors, which launch nothing. Optimizers are
`foreach`, torch's default on a GPU, and our Adam is fused, as there: a call for all tensors counts
once. The tables show the launched operations by kind and by part of the step.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import alternation
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", default="darts", help="an option of conf/space, of cells")
    parser.add_argument("--relaxation", choices=["softmax", "gdas"], default="softmax")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--way", choices=["cuda", "cpu"], default="cuda", help="how ours computes")
    parser.add_argument("--most", type=int, default=0, help="also print the most frequent ones")
    parser.add_argument("--json", help="a file for all numbers")
    arguments = parser.parse_args()
    with as_on_a_gpu() if arguments.way == "cuda" else nullcontext():
        made = steps(arguments.space, arguments.layers, arguments.relaxation)
        found = {name: count(step) for name, step in made.items()}
    for name, counted in found.items():
        print(f"{name}: {counted.all.total()} dispatched, {counted.launched.total()} launched")
        print(counted.table())
        for operation, number in counted.launched.most_common(arguments.most):
            print(f"    {number:6}  {operation}")
    ours, plain = found["ours"], found["plain"]
    shares = {
        "dispatched": ours.all.total() / plain.all.total(),
        "launched": ours.launched.total() / plain.launched.total(),
    }
    print("ours / plain: " + ", ".join(f"{share:.2f} {of}" for of, share in shares.items()))
    if arguments.json:
        each = {
            name: {"dispatched": c.all, "launched": c.launched, "parts": c.parts}
            for name, c in found.items()
        }
        record = {**vars(arguments), "torch": torch.__version__, "ratios": shares, **each}
        Path(arguments.json).write_text(json.dumps(record, indent=1) + "\n")


KINDS = {
    "convolutions": ("convolution",),
    "norms": ("batch_norm",),
    "pools": ("pool2d",),
    "relus": ("relu", "threshold"),
    "sums and products": ("add", "mul", "sum", "mm"),
    "copies": ("cat", "stack", "copy", "clone", "repeat", "slice", "select", "pad"),
}
"""Parts of operations' names, of which the first that fits tells the kind."""

PARTS = ("forward", "backward", "optimizers")


class Count(TorchDispatchMode):
    """Counts operations by name: `all` of them, and those `launched`, these by part and kind."""

    def __init__(self) -> None:
        super().__init__()
        self.all: Counter[str] = Counter()
        self.launched: Counter[str] = Counter()
        self.parts: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
        self._inside = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "aten":
            self.all[func.name()] += 1
            if not func.is_view and "empty" not in func.name():
                self.launched[func.name()] += 1
                self.parts[self._part()][_kind(func.name())] += 1
        return func(*args, **(kwargs or {}))

    def _part(self) -> str:
        if torch._C._current_graph_task_id() >= 0:
            return "backward"
        return "optimizers" if self._inside else "forward"

    @contextmanager
    def optimizing(self) -> Iterator[None]:
        """Count what optimizers do inside as theirs."""
        hooks = [
            register_optimizer_step_pre_hook(lambda *_: self._moved(1)),
            register_optimizer_step_post_hook(lambda *_: self._moved(-1)),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _moved(self, by: int) -> None:
        self._inside += by

    def table(self) -> str:
        """Return a table of the launched operations: kinds by parts."""
        lines = [f"    {'':18}" + "".join(f"{part:>11}" for part in PARTS)]
        for kind in (*KINDS, "others"):
            numbers = "".join(f"{self.parts[part][kind]:11}" for part in PARTS)
            lines.append(f"    {kind:18}{numbers}")
        return "\n".join(lines)


def _kind(operation: str) -> str:
    """Return the kind of an operation by its name."""
    fitting = (kind for kind, parts in KINDS.items() if any(part in operation for part in parts))
    return next(fitting, "others")


def count(step: Callable[[], object]) -> Count:
    """Count the operations of the second step: the first one makes the optimizers' states."""
    step()
    counted = Count()
    with counted.optimizing(), counted:
        step()
    return counted


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Switch off, inside, all that our operations do in another way on a CPU."""
    from nasrun.ops import pool, state
    from nasrun.ops.conv import DepthwiseConv
    from nasrun.ops.term import Term

    with (
        patch.object(state, "awaits_launches", lambda x: True),
        patch.object(Term, "folds", False),
        patch.object(DepthwiseConv, "forward", nn.Conv2d.forward),
        patch.object(pool, "_frugal", lambda x: False),
    ):
        yield


def steps(
    space_name: str, layers: int, relaxation_name: str = "softmax"
) -> dict[str, Callable[[], object]]:
    """Return a step of the plain network, of all candidates, and one of ours."""
    from nasrun.config import build, compose, resolve
    from nasrun.strategies.descent import Search
    from nasrun.strategies.levels import Bilevel
    from nasrun.streams import Streams
    from nasrun.supernet.relaxation import Concrete, HardGumbel, Softmax
    from nasrun.supernet.supernet import Supernet

    torch.manual_seed(0)
    words = [f"space={space_name}", "width=4", f"depth={layers}", "space.stem=cifar"]
    space = build(resolve(compose(words).config["space"]), "space")
    copied = space.network(inputs=3, outputs=10)
    oracle = alternation.plain(copied, space, space.search_layout)
    network = space.network(inputs=3, outputs=10)
    soft = Softmax()
    relaxations = {"softmax": soft, "gdas": HardGumbel(soft=Concrete(tau_start=10, tau_end=0.1))}
    relaxation = relaxations[relaxation_name]
    supernet = Supernet(space, network, relaxation, alpha_mean=0.0, alpha_std=1e-3).train()
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
        weight_optimizer=sgd(supernet.weights(), foreach=True),
        weight_clip=5.0,
    )
    return {"plain": plain, "ours": lambda: Bilevel().step(search, *batches)}


if __name__ == "__main__":
    main()
