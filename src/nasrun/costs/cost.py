"""The costs of a network, and those of every candidate of a search network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from nasrun.costs.ledger import Results
from nasrun.genotype import Decision

POOLS = (torch.ops.aten.max_pool2d_with_indices, torch.ops.aten.avg_pool2d)


@dataclass(frozen=True)
class Cost:
    """`params`, and `macs`: multiply-adds of convolutions and linear layers for one image."""

    params: int
    macs: int


def count(network: nn.Module, inputs: int, size: int) -> Cost:
    """Return the cost of a network at inference on square images, without auxiliary heads.

    `inputs` is the number of channels, `size` the side in pixels. Nothing is computed: shapes are
    inferred on the meta device. The network stays as it is.
    """
    held = chain(network.named_parameters(), network.named_buffers())
    shapes = {name: tensor.to("meta") for name, tensor in held}
    image = torch.empty(1, inputs, size, size, device="meta")
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with Meter(Results()) as meter, torch.no_grad():
            functional_call(network, shapes, (image,))
    finally:
        for module, training in modes:
            module.training = training
    return Cost(params(network), meter.macs)


def params(network: nn.Module) -> int:
    """Return the number of parameters, without those of an auxiliary head."""
    return sum(
        parameter.numel()
        for name, parameter in network.named_parameters()
        if not name.startswith("auxiliary")
    )


class Candidates(nn.Module):
    """A place in a network where all candidates of one decision read the same map.

    `row` is the decision's, `candidates` has the operations by choice (`none` has no module). A
    forward pass calls it with an object that has a `map` as first argument, even if no candidate
    runs, so that costs can be read from shapes.
    """

    row: int
    candidates: nn.ModuleDict


@dataclass(frozen=True)
class CandidateCosts:
    """The costs of every candidate in every place, for one image; `none` costs 0.

    A place is an edge of one cell; all cells of a type share their decisions. Costs are (places,
    choices), in float64 on the CPU, and 0 for choices that a decision does not have. `macs` is
    counted as in `count`; `flops` adds one step per pixel of a pooling window to the multiply-adds;
    `moved` counts the numbers that convolutions and pools read and write, weights included;
    `access` is the same, or the numbers of input and output if the candidate has neither. `rows`
    (places,) has the row of each place's decision, `places` (decisions,) the number of places per
    decision. `rest` is the cost that no decision changes, and `rest_moved` what it moves.
    """

    rows: Tensor
    places: Tensor
    params: Tensor
    macs: Tensor
    flops: Tensor
    moved: Tensor
    access: Tensor
    rest: Cost
    rest_moved: int

    def by_decision(self, costs: Tensor) -> Tensor:
        """Sum costs (places, ...) over the places of each decision: (decisions, ...)."""
        total = costs.new_zeros(len(self.places), *costs.shape[1:])
        return total.index_add(0, self.rows, costs)

    def expected(self, costs: Tensor, weights: Tensor) -> Tensor:
        """Return the cost of every place, (places,), weighted by `weights` (decisions, choices).

        It is linear in the weights: with probabilities, it is the exact expectation over genotypes.
        """
        return (costs * weights[self.rows]).sum(1)

    def to(self, device: torch.device, dtype: torch.dtype) -> CandidateCosts:
        """Return the same costs on another device and in another precision."""
        return CandidateCosts(
            rows=self.rows.to(device),
            places=self.places.to(device),
            params=self.params.to(device, dtype),
            macs=self.macs.to(device, dtype),
            flops=self.flops.to(device, dtype),
            moved=self.moved.to(device, dtype),
            access=self.access.to(device, dtype),
            rest=self.rest,
            rest_moved=self.rest_moved,
        )


def candidate_costs(
    network: nn.Module, decisions: Sequence[Decision], idle: Any, *, inputs: int, size: int
) -> CandidateCosts:
    """Return the costs of all candidates in a network on the meta device, on square images.

    `idle` is the mixture in which no candidate runs. Most callers need `SupernetSpace.costs`.
    """
    found: list[tuple[Candidates, Tensor]] = []
    results = Results()

    def meet(place: nn.Module, arguments: tuple[Any, ...]) -> None:
        assert isinstance(place, Candidates)
        found.append((place, arguments[0].map))

    network.eval()
    places = [module for module in network.modules() if isinstance(module, Candidates)]
    handles = [place.register_forward_pre_hook(meet) for place in places]
    with torch.no_grad(), Meter(results) as rest:
        network(torch.empty(1, inputs, size, size, device="meta"), idle)
    for handle in handles:
        handle.remove()
    if not found:
        raise ValueError(
            "the network of this space has no nasrun.costs.cost.Candidates, so the cost of its "
            "choices is unknown; use penalty=null"
        )
    shape = (len(found), max(len(decision.choices) for decision in decisions))
    zeros = (torch.zeros(shape, dtype=torch.float64) for _ in range(5))
    sizes, macs, flops, moved, access = zeros
    for position, (place, x) in enumerate(found):
        for choice, module in place.candidates.items():
            cell = position, decisions[place.row].choices.index(choice)
            with torch.no_grad(), Meter(results) as meter:
                y = module(x)
            sizes[cell] = sum(parameter.numel() for parameter in module.parameters())
            macs[cell], flops[cell] = meter.macs, meter.macs + meter.pooling
            moved[cell] = meter.access
            access[cell] = meter.access or x.numel() + y.numel()
    rows = torch.tensor([place.row for place, _ in found])
    return CandidateCosts(
        rows=rows,
        places=torch.bincount(rows, minlength=len(decisions)),
        params=sizes,
        macs=macs,
        flops=flops,
        moved=moved,
        access=access,
        rest=Cost(params(network) - int(sizes.sum()), rest.macs),
        rest_moved=rest.access,
    )


class Meter(TorchDispatchMode):
    """A context that adds up the costs of convolutions, matrix products and pools that run in it.

    Elementwise operations (activations, batch norms, sums) are considered fused with them. On the
    meta device, meters of the same shapes are quicker if they share their `results`.
    """

    def __init__(self, results: Results | None = None) -> None:
        super().__init__()
        self._results = results
        self.macs, self.pooling, self.access = 0, 0, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        from torch.utils.flop_counter import flop_registry

        kwargs = kwargs or {}
        known = self._results
        answer = func(*args, **kwargs) if known is None else known.of(func, args, kwargs)
        y = answer[0] if isinstance(answer, tuple) else answer
        if func.overloadpacket in flop_registry:
            flops = flop_registry[func.overloadpacket](*args, **kwargs, out_val=y)
            self.macs += flops // 2
        elif func.overloadpacket in POOLS:
            self.pooling += math.prod(args[1]) * y.numel()
        else:
            return answer
        read = sum(value.numel() for value in args if isinstance(value, Tensor))
        self.access += read + y.numel()
        return answer
