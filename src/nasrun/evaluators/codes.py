"""Activation codes of a network's ReLUs, which NASWOT and SWAP are computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

RELU = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default)
CLIPPED = (torch.ops.aten.hardtanh.default, torch.ops.aten.hardtanh_.default)


class Codes(TorchDispatchMode):
    """A context that calls `take` with the code of every ReLU and ReLU6: (N, units), bool.

    A unit is on for an image where its input is positive. Modules, functions and in-place variants
    are all seen, since all of them end in these operators.
    """

    def __init__(self, take: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.take = take

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in RELU or (function in CLIPPED and args[1:2] == (0,)):
            self.take(args[0].flatten(1) > 0)
        return function(*args, **(kwargs or {}))
