"""The budget: device, precision, threads, hours and memory of a run, and limits on its result."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from nasrun.machine import (
    allocate,
    busy,
    compute,
    cores,
    devices,
    forget_peak,
    memory_gib,
    without_tf32,
)
from nasrun.world import ALONE, Launched, World

LIMITS = ("max_params_m", "max_macs_m", "max_latency_ms", "min_intensity")
"""The keys that limit the costs of the found network."""
MEMORY = ("max_memory_gib", "reserve_gib", "memory_factor")
"""The keys that limit the memory of the process."""
ARITHMETIC = ("device", "precision", "compile", "deterministic")
"""The keys that say how a network is computed."""


class BudgetSpent(Exception):
    """`max_hours` have passed; the state is saved, and the same command continues."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The device and precision of the work, its time and memory, and limits on the found network.

    `device=auto` is CUDA, else Apple's MPS, else the CPU. `precision=auto` is `bf16` on GPUs that
    compute in it (NVIDIA's since Ampere) and `fp32` elsewhere; `tf32`, for CUDA only, is `fp32`
    whose matrix products and convolutions run in TF32 (`bf16` uses TF32, too, for what stays in
    fp32). Alphas are always fp32. `threads` is the number of threads of a CPU operation, `None` for
    all cores. `compile` compiles the regions of supernets and retrained networks with torch; `auto`
    does so on CUDA, and `graphs` also records the launches of a compiled region in CUDA graphs.
    `deterministic` makes the same seed give the same bytes on CUDA, or raises an error that names
    the operation that cannot; a CPU always does. `max_hours` counts from the start of the command.

    `processes` train one network together, each on its slice of every batch; a batch, as all other
    settings, is that of the whole command. `auto` is one per GPU, or on a CPU as many as have
    `threads` cores each. `sync_batch_norm` takes the statistics of batch norms over the whole
    batch, so that results are those of one process up to rounding; else each process has its own.
    Both may differ from command to command of a run. They are here and not in the recipes, since
    they say where and how exactly the work is done. `world` is the processes, once joined; `exact`
    is true inside of `precisely`.

    `max_memory_gib` limits the whole process, or on a GPU its allocator: a search that needs more
    is refused before it starts. The prediction is `reserve_gib` for interpreter, libraries and
    data, plus `memory_factor` times the bytes of a step by tensor shapes.

    The other limits are those of the retrained network: millions of parameters and of multiply-adds
    per image, milliseconds by the table in the file `latency_table`, and at least `min_intensity`
    FLOPs per byte that operations move (`nasrun.costs.amounts.ChoiceCosts`). A search adds
    `limit_weight` times the share by which the expected cost exceeds a limit to the alphas' loss; a
    selection obeys the limits. After every round, the weight of a limit changes by `limit_rate`
    times that share, which is negative if the cost is below the limit. `None` is no limit.
    """

    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "tf32", "bf16"]
    threads: int | None
    max_hours: float | None
    compile: Literal["auto", True, False, "graphs"] = "auto"
    deterministic: bool = False
    max_memory_gib: float | None = None
    max_params_m: float | None = None
    max_macs_m: float | None = None
    max_latency_ms: float | None = None
    min_intensity: float | None = None
    latency_table: str | None = None
    limit_weight: float = 1.0
    limit_rate: float = 0.0
    reserve_gib: float = 0.0
    memory_factor: float = 1.0
    processes: int | Literal["auto"] = 1
    sync_batch_norm: bool = False
    exact: bool = field(default=False, init=False, compare=False)
    world: World = field(default=ALONE, init=False, compare=False)
    started: float = field(default_factory=time.monotonic, init=False, compare=False)

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads={self.threads}: use at least 1, or null for all cores")
        if self.processes != "auto" and self.processes < 1:
            raise ValueError(f"processes={self.processes}: use at least 1, or auto")
        for key in ("max_hours", "max_memory_gib", *LIMITS):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise ValueError(f"{key}={value}: use more than 0, or null for no limit")
        for key in ("limit_weight", "limit_rate"):
            if getattr(self, key) < 0:
                raise ValueError(f"{key}={getattr(self, key)}: use 0 or more")
        if self.latency_table is not None and self.max_latency_ms is None:
            raise ValueError(
                f"latency_table={self.latency_table}: has no effect without max_latency_ms; give "
                "max_latency_ms, too, or leave latency_table out"
            )
        if self.reserve_gib < 0 or not self.memory_factor > 0:
            raise ValueError(
                f"reserve_gib={self.reserve_gib} memory_factor={self.memory_factor}: "
                "use 0 or more for the first, more than 0 for the second"
            )
        if self.max_memory_gib is not None and self.max_memory_gib <= self.reserve_gib:
            raise ValueError(
                f"max_memory_gib={self.max_memory_gib}: use more than "
                f"reserve_gib={self.reserve_gib}, which the process itself needs"
            )
        if self.max_latency_ms is not None and self.latency_table is None:
            raise ValueError(
                f"max_latency_ms={self.max_latency_ms}: needs latency_table=FILE, which "
                "`nasrun latency` writes"
            )

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """Settings that change results, with `auto` and `None` replaced by their values here.

        `memory` is separate: it changes only results of strategies that search what fits.
        """
        import torch

        have = devices()
        device = have[0] if self.device == "auto" else self.device
        if device not in have:
            raise ValueError(
                f"budget.device={device}: this machine has none, use budget.device=auto"
            )
        precision = self.precision
        if precision == "auto":
            bf16 = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
            precision = "bf16" if bf16 else "fp32"
        if precision == "tf32" and device != "cuda":
            raise ValueError(
                f"budget.precision=tf32: device={device} does not support it; use fp32"
            )
        threads = self.threads or cores()
        limits = {key: getattr(self, key) for key in LIMITS}
        if self.max_latency_ms is not None:
            limits["latency_table"] = self.latency_table
        if self.limited:
            limits |= {"limit_weight": self.limit_weight, "limit_rate": self.limit_rate}
        given = {key: value for key, value in limits.items() if value is not None}
        if self.deterministic and device == "mps":
            raise ValueError(
                "budget.deterministic=true: device=mps has no such mode; use budget.device=cpu"
            )
        if self.compile == "graphs" and device != "cuda":
            raise ValueError(
                f"budget.compile=graphs: device={device} has no CUDA graphs; use "
                "budget.compile=true"
            )
        compiles = device == "cuda" if self.compile == "auto" else self.compile
        if compiles or device == "cuda":
            given["compile"] = compiles
        if device == "cuda":
            given["deterministic"] = self.deterministic
        return {"device": device, "precision": precision, "threads": threads, **given}

    @property
    def arithmetic(self) -> dict[str, Any]:
        """The resolved settings that say how a network is computed, limits and threads aside."""
        return {key: self.resolved[key] for key in ARITHMETIC if key in self.resolved}

    @property
    def size(self) -> int:
        """Number of processes: that with which torch's launcher has started this one, if it has."""
        if (launched := Launched.here()) is not None:
            return launched.size
        if self.processes != "auto":
            return self.processes
        if self.resolved["device"] == "cuda":
            import torch

            return torch.cuda.device_count()
        return max(1, cores() // self.resolved["threads"])

    @property
    def smallest_slice(self) -> int:
        """The smallest slice of a batch that a process can train on, as batch norms need it."""
        return 1 if self.sync_batch_norm else 2

    def refuse_thin(self, images: int, batch_size: int) -> None:
        """Raise ValueError if a process would get too few images of the last, smaller batch."""
        last = images % batch_size
        if 1 < last < self.smallest_slice * self.size:
            raise ValueError(
                f"budget.processes={self.size}: the last batch of {images} images has {last}, and "
                f"each process needs {self.smallest_slice}; use another batch_size than "
                f"{batch_size}, or fewer processes"
            )

    @property
    def own_threads(self) -> int:
        """Number of threads of an operation: `threads`, else this process's part of all cores."""
        launched = Launched.here()
        beside = 1 if launched is None else launched.beside
        return self.threads or max(1, self.resolved["threads"] // beside)

    def join(self, world: World) -> None:
        """Work as a part of this world from now on."""
        object.__setattr__(self, "world", world)

    @property
    def memory(self) -> dict[str, float]:
        """Settings of the memory limit; empty without a limit."""
        if self.max_memory_gib is None:
            return {}
        return {key: getattr(self, key) for key in MEMORY}

    @property
    def limited(self) -> bool:
        """Return whether the budget limits costs of the found network."""
        return any(getattr(self, key) is not None for key in LIMITS)

    @property
    def compiles(self) -> bool:
        """Return whether regions of networks are compiled."""
        return bool(self.resolved.get("compile", False))

    @property
    def torch_device(self) -> Any:
        """The `torch.device` to put tensors on."""
        import torch

        return torch.device(self.resolved["device"])

    @property
    def room(self) -> float:
        """Largest number of bytes of a step by shapes, infinite without a limit."""
        if self.max_memory_gib is None:
            return math.inf
        return (self.max_memory_gib - self.reserve_gib) * 2**30 / self.memory_factor

    def whole(self, size: float) -> float:
        """Return the GiB of the whole process for a step of `size` bytes by shapes."""
        return self.reserve_gib + self.memory_factor * size / 2**30

    def refuse_beyond(
        self,
        step_bytes: Callable[[], float],
        what: str,
        instead: str = "a smaller batch_size",
    ) -> None:
        """Raise ValueError if a step of `step_bytes()` by shapes exceeds the memory limit."""
        if self.max_memory_gib is None:
            return
        need = self.whole(step_bytes())
        if need > self.max_memory_gib:
            enough = math.ceil(100 * need) / 100
            raise ValueError(
                f"budget.max_memory_gib={self.max_memory_gib}: {what} needs about {enough:.2f} "
                f"GiB; allow that, or use {instead}"
            )

    def apply(self) -> None:
        """Configure threads, allocator and arithmetic of this process, and reset its memory peak.

        Denormal numbers become zero: at low temperatures, mixtures weigh most choices by about
        1e-40, and a CPU would spend most of its time on them. The peak is reset because a sweep's
        jobs share a process.
        """
        import torch

        if self.resolved["device"] == "cpu":
            self._warn_of_others()
        forget_peak()
        torch.set_flush_denormal(True)  # threads inherit it, so set it before there are others
        torch.set_num_threads(self.own_threads)
        self.apply_in_process()
        allocate(frugally=self.max_memory_gib is not None)

    def _warn_of_others(self) -> None:
        """Warn if other processes leave too few cores for the threads of an operation."""
        threads, there = self.own_threads, os.cpu_count() or 1
        launched = Launched.here()
        if launched is not None and launched.beside * threads > there:
            warnings.warn(
                f"budget.processes={self.size}: {launched.beside} processes with {threads} threads "
                f"each share {there} cores and wait for one another; "
                f"budget.processes={max(1, there // threads)} is faster here",
                stacklevel=3,
            )
            return
        others = busy()
        if threads > 1 and threads + others > there:
            warnings.warn(
                f"budget.threads={threads}: other work runs on {min(others, there)} of {there} "
                "cores and operations wait for it; budget.threads=1 may be several times faster",
                stacklevel=3,
            )

    def apply_in_process(self) -> None:
        """Configure this process's GPU, and its arithmetic on any device, before it computes."""
        import torch

        on_cuda = self.resolved["device"] == "cuda"
        if on_cuda and (launched := Launched.here()) is not None:  # workers inherit its environment
            torch.cuda.set_device(launched.local)
        compute(
            on_cuda=on_cuda,
            short=on_cuda and self.resolved["precision"] != "fp32",
            deterministic=on_cuda and self.deterministic,
        )

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass in the configured precision."""
        import torch

        resolved = self.resolved
        if self.exact or resolved["precision"] != "bf16":
            return nullcontext()
        return torch.autocast(resolved["device"], dtype=torch.bfloat16)

    @contextmanager
    def precisely(self) -> Iterator[None]:
        """Compute inside in fp32 whatever `precision` is, without TF32 and without `autocast`."""
        before = self.exact
        object.__setattr__(self, "exact", True)
        try:
            with without_tf32():
                yield
        finally:
            object.__setattr__(self, "exact", before)

    def check(self) -> None:
        """Raise BudgetSpent if `max_hours` have passed since the command started.

        Raises ValueError if the process exceeded the memory limit, so the prediction was wrong.
        """
        most, needed = self.max_memory_gib, 0.0
        if most is not None and (needed := max(self.world.together(memory_gib()))) > most:
            raise ValueError(
                f"budget.max_memory_gib={most}: {needed:.2f} GiB were needed; "
                "allow more and repeat the command, or search again with budget.memory_factor "
                f"above {self.memory_factor}, so that the prediction is higher"
            )
        if self.max_hours is not None and self.world.first(self._spent):
            raise BudgetSpent(
                f"budget.max_hours={self.max_hours:g} is spent; repeat the command to go on"
            )

    def _spent(self) -> bool:
        assert self.max_hours is not None
        return time.monotonic() - self.started > self.max_hours * 3600
