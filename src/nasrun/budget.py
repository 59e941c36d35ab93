"""What a run may spend: the device, its precision and threads, and hours."""

from __future__ import annotations

import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal


class BudgetSpent(Exception):
    """The hours are spent; the state is saved and the same command continues."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Where the work runs and how long this command may take.

    `device` `auto` is CUDA, then Apple's MPS, then the CPU. `precision` `auto` is `bf16` on CUDA
    and `fp32` elsewhere; alphas are always fp32. `threads` are those of a CPU operation, all cores
    when null. `max_hours` counts from the start of the command, null is no limit.
    """

    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16"]
    threads: int | None
    max_hours: float | None
    started: float = field(default_factory=time.monotonic, init=False, compare=False)

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads={self.threads}: at least 1, or null for all cores")
        if self.max_hours is not None and not self.max_hours > 0:
            raise ValueError(f"max_hours={self.max_hours}: more than 0, or null for no limit")

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """The parts that change results, with `auto` and null replaced by what they mean here."""
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
        threads = self.threads or len(os.sched_getaffinity(0) if _HAS_AFFINITY else [0]) or 1
        return {"device": device, "precision": precision, "threads": threads}

    @property
    def torch_device(self) -> Any:
        """The `torch.device` to put tensors on."""
        import torch

        return torch.device(self.resolved["device"])

    def apply(self) -> None:
        """Give this process the configured number of threads."""
        import torch

        torch.set_num_threads(self.resolved["threads"])

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass in the configured precision."""
        import torch

        resolved = self.resolved
        if resolved["precision"] == "fp32":
            return nullcontext()
        return torch.autocast(resolved["device"], dtype=torch.bfloat16)

    def check(self) -> None:
        """Raise BudgetSpent when `max_hours` have passed since the command started."""
        if self.max_hours is not None and time.monotonic() - self.started > self.max_hours * 3600:
            raise BudgetSpent(f"max_hours={self.max_hours} spent")


_HAS_AFFINITY = hasattr(os, "sched_getaffinity")
