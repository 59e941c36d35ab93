"""What a run may spend: device, precision, threads, hours and memory; and what it may find."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from nasrun.machine import allocate, busy, cores, forget_peak, memory_gib

LIMITS = ("max_params_m", "max_macs_m", "max_latency_ms")
"""The keys that limit what the found network costs."""
MEMORY = ("max_memory_gib", "reserve_gib", "memory_factor")
"""The keys that limit what the process takes."""


class BudgetSpent(Exception):
    """The hours are spent; the state is saved and the same command continues."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Where the work runs, what this command may take, and what the found network may cost.

    `device` `auto` is CUDA, then Apple's MPS, then the CPU. `precision` `auto` is `bf16` on CUDA
    and `fp32` elsewhere; `tf32` is `fp32` with shorter factors in products and convolutions on
    CUDA, which is what `bf16` leaves in fp32 has too. Alphas are always fp32. `threads` are those
    of a CPU operation, all cores when null. `compile` has torch compile the regions of supernets
    and retrained networks, `auto` on CUDA. `deterministic` gives the same bytes from the same seed
    on CUDA, or an error that names what cannot; a CPU always does. `max_hours` counts from the
    start of the command. `max_memory_gib` is that of the whole process, on a GPU of its allocator:
    a search that would need more is refused before it starts. `reserve_gib` of it are the
    interpreter's, the libraries' and the data's, and a step is taken for `memory_factor` times what
    its tensors' shapes say. The other limits are those of the retrained network: millions of
    parameters and of multiply-adds for an image, milliseconds by the table in the file
    `latency_table`. A search adds `limit_weight` times the share by which the expected cost exceeds
    them to the alphas' loss, and a selection obeys them. After every round the weight of a limit
    moves by `limit_rate` times that share, below zero where the cost is below the limit. Null is no
    limit.
    """

    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "tf32", "bf16"]
    threads: int | None
    max_hours: float | None
    compile: Literal["auto", True, False] = "auto"
    deterministic: bool = False
    max_memory_gib: float | None = None
    max_params_m: float | None = None
    max_macs_m: float | None = None
    max_latency_ms: float | None = None
    latency_table: str | None = None
    limit_weight: float = 1.0
    limit_rate: float = 0.0
    reserve_gib: float = 0.0
    memory_factor: float = 1.0
    started: float = field(default_factory=time.monotonic, init=False, compare=False)

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads={self.threads}: use at least 1, or null for all cores")
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
                "that too, or leave it out"
            )
        if self.reserve_gib < 0 or not self.memory_factor > 0:
            raise ValueError(
                f"reserve_gib={self.reserve_gib} memory_factor={self.memory_factor}: "
                "use 0 or more for the first, more than 0 for the second"
            )
        if self.max_memory_gib is not None and self.max_memory_gib <= self.reserve_gib:
            raise ValueError(
                f"max_memory_gib={self.max_memory_gib}: the process itself takes "
                f"reserve_gib={self.reserve_gib}; allow more"
            )
        if self.max_latency_ms is not None and self.latency_table is None:
            raise ValueError(
                f"max_latency_ms={self.max_latency_ms}: needs latency_table=FILE, which "
                "`nasrun latency` writes"
            )

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The parts that change results, with `auto` and null replaced by what they mean here.

        `memory` is apart: it changes those of strategies only that search what fits.
        """
        import torch

        have = {
            "cuda": torch.cuda.is_available(),
            "mps": torch.backends.mps.is_available(),
            "cpu": True,
        }
        device = self.device
        if device == "auto":
            device = next(name for name in ("cuda", "mps", "cpu") if have[name])
        if not have[device]:
            raise ValueError(
                f"budget.device={device}: this machine has none, use budget.device=auto"
            )
        precision = self.precision
        if precision == "auto":
            precision = "bf16" if device == "cuda" else "fp32"
        if precision == "tf32" and device != "cuda":
            raise ValueError(f"budget.precision=tf32: device={device} has none; use fp32")
        threads = self.threads or cores()
        limits = {key: getattr(self, key) for key in LIMITS}
        if self.max_latency_ms is not None:
            limits["latency_table"] = self.latency_table
        if self.limited:
            limits |= {"limit_weight": self.limit_weight, "limit_rate": self.limit_rate}
        given = {key: value for key, value in limits.items() if value is not None}
        if self.deterministic and device == "mps":
            raise ValueError("budget.deterministic=true: device=mps cannot; use device=cpu")
        compiles = device == "cuda" if self.compile == "auto" else bool(self.compile)
        if compiles or device == "cuda":
            given["compile"] = compiles
        if device == "cuda":
            given["deterministic"] = self.deterministic
        return {"device": device, "precision": precision, "threads": threads, **given}

    @property
    def memory(self) -> dict[str, float]:
        """The limit on memory and what goes into it; nothing without a limit."""
        if self.max_memory_gib is None:
            return {}
        return {key: getattr(self, key) for key in MEMORY}

    @property
    def limited(self) -> bool:
        """Whether the found network's cost is limited."""
        return any(getattr(self, key) is not None for key in LIMITS)

    @property
    def compiles(self) -> bool:
        """Whether regions of networks are compiled."""
        return self.resolved.get("compile", False)

    @property
    def torch_device(self) -> Any:
        """The `torch.device` to put tensors on."""
        import torch

        return torch.device(self.resolved["device"])

    @property
    def room(self) -> float:
        """The bytes that a step may take by its tensors' shapes, infinite without a limit."""
        if self.max_memory_gib is None:
            return math.inf
        return (self.max_memory_gib - self.reserve_gib) * 2**30 / self.memory_factor

    def whole(self, size: float) -> float:
        """The GiB that the whole process takes for a step of so many bytes by shapes."""
        return self.reserve_gib + self.memory_factor * size / 2**30

    def refuse_beyond(
        self,
        step_bytes: Callable[[], float],
        what: str,
        instead: str = "a smaller batch_size",
    ) -> None:
        """ValueError if a step of so many bytes by shapes exceeds the limit on memory."""
        if self.max_memory_gib is None:
            return
        need = self.whole(step_bytes())
        if need > self.max_memory_gib:
            raise ValueError(
                f"budget.max_memory_gib={self.max_memory_gib}: {what} needs about {need:.3g} GiB; "
                f"allow that, or use {instead}"
            )

    def apply(self) -> None:
        """Give this process the configured number of threads, and an allocator that fits.

        Numbers too small for full precision become zero: at low temperatures a CPU would spend most
        of its time on them, since mixtures weigh most choices by about 1e-40. On CUDA arithmetic is
        chosen too. The peak of memory is counted from now on: a sweep's jobs share a process.
        """
        import torch

        if self.resolved["device"] == "cpu":
            self._warn_of_others()
        forget_peak()
        torch.set_flush_denormal(True)  # threads inherit it, so before there are others
        torch.set_num_threads(self.resolved["threads"])
        self.apply_to_cuda()
        allocate(frugally=self.max_memory_gib is not None)

    def _warn_of_others(self) -> None:
        """Where others leave too few cores the threads of an operation wait for the last one."""
        threads, others, there = self.resolved["threads"], busy(), os.cpu_count() or 1
        if threads > 1 and threads + others > there:
            warnings.warn(
                f"budget.threads={threads}: other work runs on {min(others, there)} of {there} "
                "cores and operations wait for it; budget.threads=1 may be several times faster",
                stacklevel=3,
            )

    def apply_to_cuda(self) -> None:
        """Choose this process's arithmetic on CUDA, before anything runs there."""
        import torch

        if self.resolved["device"] != "cuda":
            return
        short = self.resolved["precision"] != "fp32"
        torch.set_float32_matmul_precision("high" if short else "highest")
        torch.backends.cudnn.allow_tf32 = short
        torch.backends.cudnn.benchmark = not self.deterministic
        torch.backends.cudnn.deterministic = self.deterministic
        torch.use_deterministic_algorithms(self.deterministic)
        if self.deterministic:  # cuBLAS reads it when it starts
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass in the configured precision."""
        import torch

        resolved = self.resolved
        if resolved["precision"] != "bf16":
            return nullcontext()
        return torch.autocast(resolved["device"], dtype=torch.bfloat16)

    def check(self) -> None:
        """Raise BudgetSpent when `max_hours` have passed since the command started.

        ValueError when more memory than allowed was needed: then the prediction was wrong.
        """
        if self.max_memory_gib is not None and memory_gib() > self.max_memory_gib:
            raise ValueError(
                f"budget.max_memory_gib={self.max_memory_gib}: {memory_gib():.2f} GiB were needed; "
                "allow more and repeat the command, or search again with a larger "
                f"budget.memory_factor than {self.memory_factor}, which predicts more"
            )
        if self.max_hours is not None and time.monotonic() - self.started > self.max_hours * 3600:
            raise BudgetSpent(f"max_hours={self.max_hours} spent")
