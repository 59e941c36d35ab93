"""Optimizers' moments by the names of parameters, so that they can move together with layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nasrun.trained import Tensors


def parameters(network: nn.Module, module: str) -> list[Tensor]:
    """Return the parameters of a module of the network, as a list."""
    return list(network.get_submodule(module).parameters())


def moments_of(network: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensors]:
    """Return the optimizers' state of each parameter of the network, on the CPU."""
    names: dict[torch.Tensor, str] = {p: name for name, p in network.named_parameters()}
    return {
        names[parameter]: {key: value.detach().cpu().clone() for key, value in kept.items()}
        for optimizer in optimizers
        for parameter, kept in optimizer.state.items()
    }


def restore_moments(
    network: nn.Module, optimizers: list[torch.optim.Optimizer], saved: dict[str, Tensors]
) -> None:
    """Restore the saved moments; parameters without saved moments start with none."""
    names = {parameter: name for name, parameter in network.named_parameters()}
    for optimizer in optimizers:
        optimizer.state.clear()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                kept = saved.get(names[parameter])
                if kept is not None:
                    optimizer.state[parameter] = {
                        key: torch.empty_like(parameter).copy_(value)  # in the same memory format
                        if value.dim() and value.shape == parameter.shape
                        else value.to(device_of(value, parameter, group), copy=True)
                        for key, value in kept.items()
                    }


def device_of(value: Tensor, parameter: Tensor, group: dict[str, Any]) -> torch.device:
    """Return the device on which an optimizer keeps a value of a parameter.

    A step count is a scalar on the CPU, unless a single kernel does the step and counts.
    """
    together = group.get("fused") or group.get("capturable")
    return parameter.device if value.dim() or together else torch.device("cpu")
