"""The time that every choice of a space adds to the retrained network on this device.

A choice's time is the median over forward passes of the network in which only this choice runs,
minus that of the network in which none runs, and at least zero. `budget.latency_table` reads it.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from nasrun.budget import Budget
from nasrun.costs.amounts import Amounts
from nasrun.genotype import NONE, Genotype
from nasrun.machine import finish
from nasrun.spaces.layout import Layout, layout_of
from nasrun.spaces.supernet import SupernetSpace

WARM_UP = 3
"""Untimed passes before the timed ones: the first pass allocates and chooses algorithms."""


class Stopwatch:
    """Times networks of a space in one layout and with one batch size, on the budget's device."""

    def __init__(
        self,
        space: SupernetSpace,
        layout: Layout,
        budget: Budget,
        *,
        inputs: int,
        outputs: int,
        size: int,
        batch: int,
        repeats: int,
    ) -> None:
        self.space, self.layout, self.budget, self.repeats = space, layout, budget, repeats
        self.inputs, self.outputs = inputs, outputs
        self.images = torch.rand(batch, inputs, size, size, device=budget.torch_device)
        self.network = self._network(None)
        self.base = self._alone()
        """Milliseconds of the network in which no choice runs."""

    def choices(self) -> Iterator[tuple[str, str, float]]:
        """Yield (decision, choice, milliseconds) for every choice."""
        for row, decision in enumerate(self.space.decisions):
            for column, choice in enumerate(decision.choices):
                more = 0.0 if choice == NONE else self._alone(row, column) - self.base
                yield decision.name, choice, max(0.0, more)

    def whole(self, genotype: Genotype) -> float:
        """Return the milliseconds of the whole network of a genotype."""
        network = self._network(genotype)
        return self._median(lambda: network(self.images))

    def table(self, amounts: Amounts) -> dict[str, Any]:
        """Return the table: the milliseconds, the networks that they belong to, and the device."""
        batch, _, side, _ = self.images.shape
        where = {key: self.budget.resolved[key] for key in ("device", "precision", "threads")}
        cuda = where["device"] == "cuda"
        return {
            "unit": f"milliseconds for a batch of {batch}, {side}x{side}",
            "machine": torch.cuda.get_device_name() if cuda else platform.machine(),
            **where,
            "repeats": self.repeats,
            "space": self.space.name,
            **layout_of(self.layout),
            "size": side,
            "base": amounts.base,
            "each": amounts.each,
        }

    def _network(self, genotype: Genotype | None) -> nn.Module:
        network = self.space.network(
            genotype, inputs=self.inputs, outputs=self.outputs, layout=self.layout
        )
        return network.to(self.budget.torch_device).eval()

    def _alone(self, row: int = -1, column: int = -1) -> float:
        mixture = self.space.alone(row, column, self.images.device)
        return self._median(lambda: self.network(self.images, mixture))

    def _median(self, forward: Callable[[], object]) -> float:
        spent = []
        with torch.no_grad(), self.budget.autocast():
            for _ in range(WARM_UP + self.repeats):
                started = time.perf_counter()
                forward()
                finish()
                spent.append(1e3 * (time.perf_counter() - started))
        return statistics.median(spent[WARM_UP:])
