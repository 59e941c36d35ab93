"""A region: what a network repeats, run as it is or compiled by itself.

To compile a whole supernet takes torch many minutes; its regions, many of them alike, are compiled
once for all that are ("regional compilation" in torch's tutorials). Compiling takes long and
every change of what runs needs it anew, so only one kind of call is compiled: a training step with
all candidates, or with the one of a discretised network, on batches as large as the first. Drawn
paths, masked and decided candidates, the last smaller batch and evaluation run as they are written.
What is compiled so depends on the call alone, and a run that was interrupted goes on as it was.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from nasrun.budget import Budget
from nasrun.genotype import NONE
from nasrun.supernet.mixture import Mixture

Maps = tuple[Tensor, ...]
Probability = float | Tensor
"""A number, or a tensor () where a new number must not be a new program."""


class Region(nn.Module, ABC):
    """A part of a network that turns maps (B, C, H, W) into one.

    `columns` says which columns can run in the row of each decision that it has. `drop_path` is the
    probability that what the candidates give is dropped for a sample.
    """

    columns: Mapping[int, tuple[int, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.runner: Runner | None = None

    @abstractmethod
    def output(self, maps: Maps, mixture: Mixture | None, drop_path: Probability) -> Tensor:
        """What the region makes of the maps; a mixture says what its candidates count."""

    def forward(self, maps: Maps, mixture: Mixture | None, drop_path: float) -> Tensor:
        if self.runner is None:
            return self.output(maps, mixture, drop_path)
        return self.runner(self, maps, mixture, drop_path)


Runner = Callable[[Region, Maps, Mixture | None, float], Tensor]
"""Makes a region's output."""


def running(choices: Sequence[str]) -> tuple[int, ...]:
    """The columns of a decision's choices that run: `none` does not."""
    return tuple(column for column, choice in enumerate(choices) if choice != NONE)


def compile_regions(network: nn.Module, budget: Budget) -> None:
    """Have the regions of a network run compiled, if the budget says so; names and state stay."""
    if budget.compiles:
        compiled = Compiled()
        for module in network.modules():
            if isinstance(module, Region):
                module.runner = compiled


PROGRAMS = 128
"""Ours: as many differ among a network's regions, by shape and by what needs a gradient."""


class Compiled:
    """Runs regions by programs of `torch.compile` in training steps, else as they are written.

    Where compiling fails, it says so once and compiles nothing any more.
    """

    def __init__(self) -> None:
        self._program: Callable[..., Tensor] | None = torch.compile(_output, dynamic=False)
        self._shapes: dict[Region, torch.Size] = {}

    def __call__(
        self, region: Region, maps: Maps, mixture: Mixture | None, drop_path: float
    ) -> Tensor:
        if self._program is None or not self._compiles(region, maps, mixture):
            return region.output(maps, mixture, drop_path)
        weights, active = (None, None) if mixture is None else (mixture.weights, mixture.active)
        chance = torch.full((), drop_path, device=maps[0].device) if drop_path else 0.0
        try:
            with _compiler_settings():
                return self._program(region, maps, weights, active, chance)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a compiler fails with
            self._program = None
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            warnings.warn(f"budget.compile: not compiled ({reason})", stacklevel=2)
        return region.output(maps, mixture, drop_path)

    def _compiles(self, region: Region, maps: Maps, mixture: Mixture | None) -> bool:
        """Whether a call is a training step with all candidates, of the first such one's shape."""
        if not (region.training and torch.is_grad_enabled()):
            return False
        if mixture is not None and (
            mixture.rest is not None
            or any(mixture.active[row] != columns for row, columns in region.columns.items())
        ):
            return False
        return self._shapes.setdefault(region, maps[0].shape) == maps[0].shape


AT_ONCE = "force_non_lazy_backward_lowering"
"""torch's name of the setting by which a gradient is compiled with its forward; not in 2.6."""


def _compiler_settings() -> AbstractContextManager[Any]:
    """As many programs as a network needs; gradients compiled with them, so that they fail here."""
    from torch._dynamo import config as tracing
    from torch._functorch import config as gradients

    settings = ExitStack()
    settings.enter_context(tracing.patch(recompile_limit=PROGRAMS))
    if getattr(gradients, AT_ONCE, None) is not None:
        settings.enter_context(gradients.patch({AT_ONCE: True}))
    return settings


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
