"""Activation codes of a network's ReLUs, which NASWOT and SWAP are computed from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

RELU = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default)
CLIPPED = (torch.ops.aten.hardtanh.default, torch.ops.aten.hardtanh_.default)


class Codes(TorchDispatchMode):
    """A context that calls `take` with the code of every ReLU and ReLU6: (N, units), bool.

    A unit is on for an image where its input is positive; the order of units is that in memory.
    Modules, functions and in-place variants are all seen, since all of them end in these operators.
    """

    def __init__(self, take: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.take = take

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in RELU or (function in CLIPPED and args[1:2] == (0,)):
            on = args[0] > 0
            if on.dim() == 4 and on.is_contiguous(memory_format=torch.channels_last):
                on = on.permute(0, 2, 3, 1)
            self.take(on.flatten(1))
        return function(*args, **(kwargs or {}))


def agreements(on: Tensor) -> Tensor:
    """Return in how many units the codes of each two images agree: (N, units) to (N, N), float64.

    With signs S of -1 and 1 that is (units + S S^T) / 2. On a CPU, the bits that differ are counted
    instead, 64 units at a time.
    """
    images, units = on.shape
    if on.device.type != "cpu":
        signs = 2 * on.float() - 1
        return ((units + signs @ signs.T) / 2).cpu().double()  # MPS has no doubles
    packed = np.zeros((images, 8 * -(-units // 64)), dtype=np.uint8)
    packed[:, : -(-units // 8)] = np.packbits(on.numpy(), axis=1)
    words = packed.view(np.uint64)
    differ = np.zeros((images, images))
    for image in range(images - 1):
        unlike = np.bitwise_count(words[image + 1 :] ^ words[image])
        differ[image, image + 1 :] = unlike.sum(axis=1, dtype=np.int64)
    return torch.from_numpy(units - (differ + differ.T))
