"""A region: a repeated part of a network, which can be compiled separately.

Compiling a whole supernet takes torch many minutes. Its regions are compiled instead, equal ones
only once ("regional compilation" in torch's tutorials). Every change of what runs needs another
compilation, so only one kind of call is compiled: a training step with all candidates, or with the
one of a discretised network, on batches as large as the first. Sampled paths, masked and decided
candidates, the last smaller batch and evaluation are not compiled. So whether a call is compiled
depends on the call alone, and an interrupted run continues with the same results.
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
from nasrun.world import World

Maps = tuple[Tensor, ...]
Probability = float | Tensor
"""A number, or a tensor () where a new value must not cause another compilation."""


class Region(nn.Module, ABC):
    """A part of a network that turns one or more maps (B, C, H, W) into one.

    `columns` maps the row of each of its decisions to the columns that can run. `drop_path` is the
    probability that the candidates' output is dropped for a sample.
    """

    columns: Mapping[int, tuple[int, ...]]

    def __init__(self) -> None:
        super().__init__()
        self.runner: Runner | None = None

    @abstractmethod
    def output(self, maps: Maps, mixture: Mixture | None, drop_path: Probability) -> Tensor:
        """Return the region's output; a mixture has the weights of its candidates."""

    def forward(self, maps: Maps, mixture: Mixture | None, drop_path: float) -> Tensor:
        if self.runner is None:
            return self.output(maps, mixture, drop_path)
        return self.runner(self, maps, mixture, drop_path)


Runner = Callable[[Region, Maps, Mixture | None, float], Tensor]
"""Computes a region's output."""


def running(choices: Sequence[str]) -> tuple[int, ...]:
    """Return the columns of a decision's choices that run: all but `none`."""
    return tuple(column for column, choice in enumerate(choices) if choice != NONE)


def compile_regions(network: nn.Module, budget: Budget) -> None:
    """Compile the regions of a network if the budget says so; names and state stay the same."""
    if budget.compiles:
        compiled = Compiled(graphs=budget.compile == "graphs")
        for module in network.modules():
            if isinstance(module, Region):
                module.runner = compiled


PROGRAMS = 128
"""Ours: at most this many different programs per network, by shape and by required gradients."""


class Compiled:
    """Runs regions compiled by `torch.compile` in training steps, and uncompiled otherwise.

    With `graphs`, a program's kernels are recorded in a CUDA graph and launched as one. A region's
    gradients then live until the next forward pass after them; a level that needs them for longer
    copies them. If recording fails, it warns once and goes on without graphs; if compiling
    fails, it warns once and runs everything uncompiled from then on.
    """

    def __init__(self, *, graphs: bool = False) -> None:
        self._graphs = graphs
        self._program: Callable[..., Tensor] | None = _program(graphs)
        self._shapes: dict[Region, torch.Size] = {}

    def __call__(
        self, region: Region, maps: Maps, mixture: Mixture | None, drop_path: float
    ) -> Tensor:
        if self._program is None or not self._compiles(region, maps, mixture):
            return region.output(maps, mixture, drop_path)
        weights, active = (None, None) if mixture is None else (mixture.weights, mixture.active)
        chance = torch.full((), drop_path, device=maps[0].device) if drop_path else 0.0
        try:
            with _compiler_settings(self._graphs):
                return self._program(region, maps, weights, active, chance)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a compiler fails with
            reason = str(error).strip().split("\n")[0] or type(error).__name__
        if self._graphs:
            self._graphs, self._program = False, _program(graphs=False)
            warnings.warn(
                f"budget.compile=graphs: compiled without CUDA graphs ({reason})", stacklevel=2
            )
            return self(region, maps, mixture, drop_path)
        self._program = None
        warnings.warn(f"budget.compile: not compiled ({reason})", stacklevel=2)
        return region.output(maps, mixture, drop_path)

    def _compiles(self, region: Region, maps: Maps, mixture: Mixture | None) -> bool:
        """Return whether a call is a training step with all candidates and the first shape."""
        if not (region.training and torch.is_grad_enabled()):
            return False
        if mixture is not None and (
            mixture.rest is not None
            or any(mixture.active[row] != columns for row, columns in region.columns.items())
        ):
            return False
        return self._shapes.setdefault(region, maps[0].shape) == maps[0].shape


AT_ONCE = "force_non_lazy_backward_lowering"
"""torch's setting that compiles the backward pass together with the forward; not in 2.6."""
OR_ERROR = "cudagraph_or_error"
"""torch's setting by which a program without a CUDA graph is an error, not a line of a log; not in
all versions, and then such a program runs without a graph and without a word."""


def _program(graphs: bool) -> Callable[..., Tensor]:
    """Return the compiled program of all regions, which torch adapts to each kind of region."""
    return torch.compile(_output, dynamic=False, mode="reduce-overhead" if graphs else None)


def _compiler_settings(graphs: bool) -> AbstractContextManager[Any]:
    """Allow enough programs, and compile backward passes at once, so that failures show here."""
    from torch._dynamo import config as tracing
    from torch._functorch import config as gradients

    settings = ExitStack()
    settings.enter_context(tracing.patch(recompile_limit=PROGRAMS))
    if getattr(gradients, AT_ONCE, None) is not None:
        settings.enter_context(gradients.patch({AT_ONCE: True}))
    if graphs:
        from torch._inductor import config as code

        if hasattr(code.triton, OR_ERROR):
            settings.enter_context(code.patch({f"triton.{OR_ERROR}": True}))
    return settings


def _output(
    region: Region, maps: Maps, weights: Tensor | None, active: Any, drop_path: Probability
) -> Tensor:
    mixture = None if weights is None else Mixture(weights, active)
    return region.output(maps, mixture, drop_path)


def drops(drop_path: Probability) -> bool:
    """Return whether drop path is on."""
    return isinstance(drop_path, Tensor) or drop_path > 0.0


def dropped(y: Tensor, drop_path: Probability, world: World) -> Tensor:
    """Set each sample to zero with probability `drop_path`, and scale the others up."""
    keep = 1.0 - drop_path

    def draw(count: int) -> Tensor:
        return torch.bernoulli(keep * torch.ones(count, 1, 1, 1, device=y.device))

    mask = world.each(draw, len(y))
    return y * (mask / keep).to(y.dtype)
