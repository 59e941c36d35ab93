"""Several processes that train one network, started by torch's launcher (torchrun).

Each has a copy of everything and computes on its slice of every batch; gradients are averaged where
they are applied, so that all copies stay equal. Random numbers are drawn for whole batches, by all
processes in the same way. Tensors on a GPU travel by NCCL, all others by Gloo.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from threading import Thread
from time import sleep
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nasrun.ops.shared import OfImages, Synchronised
from nasrun.world import Alone, Closed, Launched, Lost, Slice, World

Value = TypeVar("Value")
BUCKET = 25 * 2**20
"""Bytes of gradients that are sent together; that of torch's DistributedDataParallel."""
PATIENCE = timedelta(days=1)
"""How long a process waits for the others: one may check a million images meanwhile.

A process that dies is noticed at once, since its connections are closed.
"""
ON_GPUS = timedelta(minutes=30)
"""How long a gradient waits for those of the others on GPUs: only training comes in between.

NCCL does not notice a process that fails and whose connections stay; this one then ends.
"""
CLOSED = re.compile("closed|reset by peer|broken pipe|remote process", re.IGNORECASE)
"""Words of Gloo, the store and NCCL if the other end is gone, whatever the reason."""
OFTEN = 0.5
"""Seconds between two looks whether the launcher is still there."""


class Ranks(World):
    """The world of torch's process group."""

    def __init__(self, *, synchronised: bool) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.synchronised = synchronised
        self.part: Slice | None = None
        self._shares: dict[Any, Tensor] = {}

    def __reduce__(self) -> tuple[Callable[[], World], tuple[()]]:
        return Alone, ()  # a copy works for one process, here or in another one

    def meet(self) -> None:
        with _connection():
            dist.barrier()

    def first(self, make: Callable[[], Value]) -> Value:
        made = [make() if self.leads else None]
        with _connection():
            dist.broadcast_object_list(made, src=0)
        return made[0]  # type: ignore[return-value]

    def together(self, value: Value) -> list[Value]:
        values: list[Any] = [None] * self.size
        with _connection():
            dist.all_gather_object(values, value)
        return values

    def share(self, make: Callable[[], Value], take: Callable[[Value], None]) -> None:
        content = self.first(lambda: _written(make()))
        if not self.leads:  # tensors arrive on the CPU, and not on the leader's GPU
            take(torch.load(BytesIO(content), map_location="cpu", weights_only=True))

    def averaged(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        found, sent = [*tensors], []
        for places in _buckets(tensors):
            sent.append((places, Pending.begin([tensors[place] for place in places])))
        for places, total in sent:
            for place, mean in zip(places, total.over(self.size), strict=True):
                found[place] = mean
        return found

    def average(self, tensors: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for tensor, mean in zip(tensors, self.averaged(tensors), strict=True):
                tensor.copy_(mean)

    def stacked(self, tensor: Tensor) -> Tensor:
        each = [torch.empty_like(tensor) for _ in range(self.size)]
        with _connection():
            dist.all_gather(each, tensor.contiguous())
        return torch.stack(each)

    def total(self, *tensors: Tensor) -> Sequence[Tensor]:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _connection():
            dist.all_reduce(flat)
        pieces = flat.split([tensor.numel() for tensor in tensors])
        return [piece.view(x.shape) for piece, x in zip(pieces, tensors, strict=True)]

    def shares(self, like: Tensor) -> Tensor | None:
        assert self.part is not None
        whole = self.part.whole
        key = whole, like.dtype, like.device
        if key not in self._shares:
            ends = torch.arange(self.size + 1) * whole // self.size
            self._shares[key] = (ends.diff() / whole).to(like)
        return self._shares[key]

    @contextmanager
    def dividing(self, part: Slice) -> Iterator[None]:
        self.part = part
        try:
            yield
        finally:
            self.part = None

    def weighed(self, loss: Tensor, part: Slice) -> Tensor:
        return loss * ((part.stop - part.start) * self.size / part.whole)

    def each(self, draw: Callable[[int], Tensor], count: int) -> Tensor:
        if self.part is None:
            return draw(count)
        return draw(self.part.whole)[self.part.range]

    def enter(self, network: nn.Module) -> None:
        for module in network.modules():
            if isinstance(module, OfImages):
                module.world = self
            elif self.synchronised and type(module) is nn.BatchNorm2d:
                module.__class__ = Synchronised  # it stays the same object to all who refer to it
                assert isinstance(module, Synchronised)
                module.world = self

    def settle(self, network: nn.Module) -> None:
        self.average([buffer for buffer in network.buffers() if buffer.is_floating_point()])

    def reduction(self, network: nn.Module) -> Callable[[], None]:
        return Backward(self.size, network).finish


@dataclass(frozen=True)
class Pending:
    """A sum of tensors over all processes, which is computed while this one goes on."""

    shapes: list[torch.Size]
    flat: Tensor
    work: Any

    @classmethod
    def begin(cls, tensors: Sequence[Tensor]) -> Pending:
        """Begin to add tensors of one type."""
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with _connection():
            work = dist.all_reduce(flat, async_op=True)
        return cls([x.shape for x in tensors], flat, work)

    def over(self, count: int) -> list[Tensor]:
        """Wait for the sum, and return it divided by `count`."""
        with _connection():
            self.work.wait()
        pieces = self.flat.div_(count).split([shape.numel() for shape in self.shapes])
        return [piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)]


class Backward:
    """Averages the gradients of a network, in buckets.

    On GPUs they arrive in the same order in all processes, and are sent while the backward pass
    still runs. On CPUs the order may differ with the size of the slices (`nasrun.ops.operation`),
    so they are sent at the end, in the order of the parameters. Parameters that a forward pass
    leaves out, as those off a sampled path, take no part.
    """

    def __init__(self, size: int, network: nn.Module) -> None:
        self.size = size
        self.ready: list[Tensor] = []
        self.sent: list[tuple[list[Tensor], Pending]] = []
        self.places: dict[Tensor, int] = {
            parameter: place for place, parameter in enumerate(network.parameters())
        }
        for parameter in self.places:
            parameter.register_post_accumulate_grad_hook(self._arrives)

    def _arrives(self, parameter: Tensor) -> None:
        self.ready.append(parameter)
        ordered = parameter.device.type != "cpu"
        if ordered and sum(each.nbytes for each in self.ready) >= BUCKET:
            self._send()

    def _send(self) -> None:
        for places in _buckets(self.ready):
            bucket = [self.ready[place] for place in places]
            gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
            self.sent.append((bucket, Pending.begin(gradients)))
        self.ready = []

    def finish(self) -> None:
        """Send what is left, and set all gradients to their means."""
        self.ready.sort(key=self.places.__getitem__)
        self._send()
        for bucket, total in self.sent:
            for parameter, mean in zip(bucket, total.over(self.size), strict=True):
                assert parameter.grad is not None
                parameter.grad.copy_(mean)
        self.sent = []


def _written(value: Any) -> bytes:
    content = BytesIO()
    torch.save(value, content)
    return content.getvalue()


@contextmanager
def _connection() -> Iterator[None]:
    """Raise Lost for an error of torch's communication inside, with its first line as the reason.

    It is Closed if the other end is gone, so that its own error is the reason.
    """
    try:
        yield
    except RuntimeError as error:
        if CLOSED.search(str(error)):
            raise Closed("another process of this command has ended") from error
        why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise Lost(f"the processes of this command cannot exchange numbers ({why})") from error


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[int]]:
    """Yield the places of tensors of one type, of at most `BUCKET` bytes unless one has more."""
    kinds: dict[Any, list[int]] = {}
    for place, tensor in enumerate(tensors):
        kinds.setdefault((tensor.dtype, tensor.device), []).append(place)
    for alike in kinds.values():
        bucket: list[int] = []
        size = 0
        for place in alike:
            if bucket and size + tensors[place].nbytes > BUCKET:
                yield bucket
                bucket, size = [], 0
            bucket.append(place)
            size += tensors[place].nbytes
        yield bucket


@contextmanager
def connected(
    device: str, launched: Launched, synchronised: bool
) -> Iterator[tuple[Ranks, dist.Store]]:
    """Connect the processes in the context; the store outlives each of them."""
    if device == "cuda":
        torch.cuda.set_device(launched.local)
    store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    if device == "cuda":
        set_patience(torch.device(device), ON_GPUS)
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    yield Ranks(synchronised=synchronised), store
    # not after an error: NCCL would wait for work that the others may never do
    dist.destroy_process_group()


def set_patience(device: torch.device, patience: timedelta) -> None:
    """Set how long tensors on this kind of device wait for those of the other processes."""
    group = dist.group.WORLD
    assert group is not None
    # torch has no public function for one kind of device
    group._get_backend(device)._set_default_timeout(patience)


def _end_with(launcher: int) -> None:
    """End this process at once when its launcher has died."""
    while os.getppid() == launcher:
        sleep(OFTEN)
    os._exit(1)
