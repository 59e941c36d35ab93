"""A region: what a network repeats, run as it is or compiled by itself.

To compile a whole supernet takes torch many minutes; its regions, many of them alike, are compiled
once for all that are ("regional compilation" in torch's tutorials). Compiling takes long and
every change of what runs needs it anew, so a region is compiled for the one kind of call that comes
twice in a row first: the training step on a full batch with all candidates, or with the one of a
discretised network. Drawn paths, masked candidates, the last smaller batch and evaluation run as
they are.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from nasrun.budget import Budget
from nasrun.spaces.base import Mixture

Maps = tuple[Tensor, ...]
Probability = float | Tensor
"""A number, or a tensor () where a new number must not be a new program."""


class Region(nn.Module, ABC):
    """A part of a network that turns maps (B, C, H, W) into one; its forward calls `run`.

    It runs the candidates of the decisions in `rows`. `drop_path` is the probability that what they
    give is dropped for a sample.
    """

    rows: frozenset[int]

    @abstractmethod
    def output(self, maps: Maps, mixture: Mixture | None, drop_path: Probability) -> Tensor:
        """What the region makes of the maps; a mixture says what its candidates count."""

    @staticmethod
    def run(region: Region, maps: Maps, mixture: Mixture | None, drop_path: float) -> Tensor:
        """How the output is made: as it is written, unless `compile_regions` put another here."""
        return region.output(maps, mixture, drop_path)


def compile_regions(network: nn.Module, budget: Budget) -> None:
    """Have the regions of a network run compiled, if the budget says so; names and state stay."""
    if budget.compiles:
        compiled = Compiled()
        for module in network.modules():
            if isinstance(module, Region):
                module.run = compiled  # type: ignore[method-assign]


Kind = tuple[torch.Size, tuple[tuple[int, ...], ...] | None]
"""What is the same in calls that one program serves: the first map's shape and what runs."""

PROGRAMS = 128
"""Ours: as many differ among a network's regions, by shape and by what needs a gradient."""


class Compiled:
    """Runs regions by programs of `torch.compile` where calls repeat, else as they are written.

    Where compiling fails, it says so once and compiles nothing any more.
    """

    def __init__(self) -> None:
        self._program: Callable[..., Tensor] | None = torch.compile(_output, dynamic=False)
        self._last: dict[Region, Kind] = {}
        self._compiled: dict[Region, Kind] = {}

    def __call__(
        self, region: Region, maps: Maps, mixture: Mixture | None, drop_path: float
    ) -> Tensor:
        if self._program is None or not self._repeats(region, maps, mixture):
            return region.output(maps, mixture, drop_path)
        weights, active = (None, None) if mixture is None else (mixture.weights, mixture.active)
        chance = torch.full((), drop_path, device=maps[0].device) if drop_path else 0.0
        try:
            with _compiler_settings():
                return self._program(region, maps, weights, active, chance)
        except Exception as error:  # noqa: BLE001  whatever a compiler fails with
            self._program = None
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            warnings.warn(f"budget.compile: not compiled ({reason})", stacklevel=2)
        return region.output(maps, mixture, drop_path)

    def _repeats(self, region: Region, maps: Maps, mixture: Mixture | None) -> bool:
        """Whether a call is a training step of the kind that first came twice in a row."""
        if not (region.training and torch.is_grad_enabled()):
            return False
        kind = maps[0].shape, None if mixture is None else mixture.active
        if self._last.get(region) == kind:
            self._compiled.setdefault(region, kind)
        self._last[region] = kind
        return self._compiled.get(region) == kind


def _compiler_settings() -> AbstractContextManager[Any]:
    """As many programs as a network needs; gradients compiled with them, so that they fail here."""
    from torch._dynamo import config as tracing
    from torch._functorch import config as gradients

    settings = ExitStack()
    settings.enter_context(tracing.patch(recompile_limit=PROGRAMS))
    if getattr(gradients, AT_ONCE, None) is not None:  # not in torch 2.6
        settings.enter_context(gradients.patch({AT_ONCE: True}))
    return settings


AT_ONCE = "force_non_lazy_backward_lowering"


def _output(
    region: Region, maps: Maps, weights: Tensor | None, active: Any, drop_path: Probability
) -> Tensor:
    mixture = None if weights is None else Mixture(weights, active)
    return region.output(maps, mixture, drop_path)


def drops(drop_path: Probability) -> bool:
    """Whether anything is dropped at all."""
    return isinstance(drop_path, Tensor) or drop_path > 0.0


def dropped(y: Tensor, drop_path: Probability) -> Tensor:
    """A map in which each sample is zero with this probability, and larger in return."""
    keep = 1.0 - drop_path
    mask = torch.bernoulli(keep * torch.ones(len(y), 1, 1, 1, device=y.device))
    return y * (mask / keep).to(y.dtype)
