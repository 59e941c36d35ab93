"""Copies of batches to a GPU, made while it works on the batch before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Begun = TypeVar("Begun")


def moved(batches: Iterable[tuple[Tensor, ...]], device: torch.device) -> Iterator[list[Tensor]]:
    """Yield batches on the device; on CUDA, the next one is copied meanwhile, in its own stream.

    Only pinned memory is copied while the GPU works; other memory is waited for.
    """
    if device.type != "cuda":
        yield from ([tensor.to(device) for tensor in batch] for batch in batches)
        return
    copying = torch.cuda.Stream(device)

    def begin(batch: tuple[Tensor, ...]) -> tuple[list[Tensor], torch.cuda.Event]:
        with torch.cuda.stream(copying):
            copies = [tensor.to(device, non_blocking=True) for tensor in batch]
            return copies, copying.record_event()

    def finish(begun: tuple[list[Tensor], torch.cuda.Event]) -> list[Tensor]:
        copies, copied = begun
        working = torch.cuda.current_stream(device)
        working.wait_event(copied)
        for copy in copies:
            copy.record_stream(working)  # else its memory serves the next copy too early
        return copies

    yield from one_ahead(batches, begin, finish)


def one_ahead(
    items: Iterable[Item], begin: Callable[[Item], Begun], finish: Callable[[Begun], list[Tensor]]
) -> Iterator[list[Tensor]]:
    """Yield `finish(begin(item))` of every item; each begins before the one ahead of it is used."""
    waiting: list[Begun] = []
    for item in items:
        waiting.append(begin(item))
        if len(waiting) > 1:
            yield finish(waiting.pop(0))
    for begun in waiting:
        yield finish(begun)
