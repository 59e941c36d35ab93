#!/usr/bin/env python3
"""Computes what a search step needs, and how close it comes to what the machine can do.

    scripts/roofline.py                                      # DARTS, C=16, L=8, batch 32
    scripts/roofline.py --channels 8 --threads 1 --json roofline.json

The step is that of bench_supernet.py, whose options it takes. It needs five times the plain
network's forward pass: two forward passes, two gradients of maps (of the alphas' batch and of the
weights'), one of weights; the plain step computes the weights' gradient twice. Counted is what an
implementation does: the floating-point operations of its convolutions and products, and the bytes
that its operations read and write, each tensor once per operation. The machine's peaks are those of
a product of two matrices and of a copy of 256 MiB, in fp32, measured in the same run. With data in
memory, no step takes less time than the slower of the two; with data in the caches, it can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import alternation
import bench_supernet
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def main() -> None:
    arguments = bench_supernet.parse(__doc__)
    assert arguments.device == "cpu", "the machine's peaks are those of its CPU"
    torch.set_num_threads(arguments.threads)
    peak, bandwidth = (
        best(work, amount, arguments.clock)
        for work, amount in ((product, 2 * 2048**3), (copy, 2 * 2**28))
    )
    print(f"the machine: {peak / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.1f} GB/s")
    steps = bench_supernet.steps(arguments)
    counted = {name: count(step) for name, step in steps.items()}
    needed = 5 * counted["plain"][0] // 6
    times = alternation.in_turn(steps, arguments.repeats, arguments.clock)
    print(f"a step needs {needed / 1e9:.1f} GFLOP")
    reached = {}
    for name, (flops, moved) in counted.items():
        bounds = flops / peak, moved / bandwidth
        reached[name] = max(bounds) / times.median(name)
        print(
            f"{times.line(name, 'a step')}: {flops / 1e9:.1f} GFLOP in {bounds[0]:.2f} s, "
            f"{moved / 1e9:.1f} GB in {bounds[1]:.2f} s at best; "
            f"{100 * reached[name]:.0f} % reached, "
            f"{100 * needed / times.median(name) / peak:.0f} % of the peak useful"
        )
    alternation.write(
        arguments,
        times,
        peak=peak,
        bandwidth=bandwidth,
        needed=needed,
        counted=counted,
        reached=reached,
    )


def best(work: Callable[[], Callable[[], object]], amount: int, clock: str) -> float:
    """Return the largest amount per second of ten runs."""
    run, now = work(), alternation.CLOCKS[clock]
    seconds = []
    for _ in range(11):  # the first one warms up
        start = now()
        run()
        seconds.append(now() - start)
    return amount / min(seconds[1:])


def product() -> Callable[[], object]:
    a, b = torch.randn(2, 2048, 2048)
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


def copy() -> Callable[[], object]:
    a, b = torch.randn(2, 2**26)
    return lambda: b.copy_(a)


def count(step: Callable[[], None]) -> tuple[int, int]:
    """Return the floating-point operations and the bytes moved by a step."""
    formulas = {torch.ops.aten.convolution_backward: backward}
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with counter, Moved() as moved:
        step()
    return counter.get_total_flops(), moved.bytes


def backward(
    grad_out: Sequence[int], x: Sequence[int], weight: Sequence[int], *more: Any, **_: Any
) -> int:
    """Count by shapes, as much as forward for each gradient; torch's counter ignores groups."""
    maps, weights, _ = more[-1]
    return 2 * (maps + weights) * math.prod(grad_out) * math.prod(weight[1:])


class Moved(TorchDispatchMode):
    """Counts bytes of all operations' arguments and results; views and empty tensors move none."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view and "empty" not in func.name():
            tensors = [
                x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)
            ]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


if __name__ == "__main__":
    main()
