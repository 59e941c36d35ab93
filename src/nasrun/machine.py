"""The machine that a process runs on: its cores, its memory and its load."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NVIDIA = Path("/proc/driver/nvidia/gpus")
"""Where the driver of NVIDIA's GPUs describes each of them."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def devices() -> list[str]:
    """Return the kinds of devices that this machine has, the fastest first."""
    import torch

    have = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    return [device for device, there in have.items() if there]


def processor() -> str:
    """Return the processor's model, or its architecture if the system has no /proc."""
    import platform

    with suppress(OSError, IndexError):
        found = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        return str(found[0])
    return platform.processor() or platform.machine()


def graphics() -> list[str]:
    """Return the models of the NVIDIA GPUs, one each, as their driver tells them.

    CUDA is not asked, since it would take memory of the GPU in every process that asks.
    """
    with suppress(OSError):
        texts = [path.read_text() for path in sorted(NVIDIA.glob("*/information"))]
        return [model for text in texts for model in re.findall(r"Model:\s*(.*\S)", text)]
    return []


def hardware() -> str:
    """Return the processor and the GPUs, as a run records them: `AMD EPYC, 2 x NVIDIA H200`."""
    counted = Counter(graphics())
    return ", ".join(
        [processor(), *(f"{n} x {model}" if n > 1 else model for model, n in counted.items())]
    )


def installed_bytes() -> int:
    """Return the machine's memory in bytes, or its container's limit if that is less."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # no Linux, no container, or no limit
            found = min(found, int(Path("/sys/fs/cgroup", limit).read_text()))
    return found


def busy() -> int:
    """Return the number of other running threads, or 0 if the system has no /proc.

    It is the minimum of a few counts, so that threads that run only for a moment do not count.
    """
    counts = []
    for _ in range(5):
        try:
            text = Path("/proc/stat").read_text()
        except OSError:
            return 0
        counts += [int(count) - 1 for count in re.findall(r"procs_running (\d+)", text)]
        time.sleep(0.01)
    return min(counts, default=0)


TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`."""


def allocate(*, frugally: bool) -> None:
    """Make glibc return freed blocks of 64 KiB and more to the system at once, or keep them all.

    Keeping them fragments the heap, which then needs at least half as much again as the tensors.
    Returning them costs time, since every map of the next step needs new pages. glibc's default is
    in between. Other C libraries are left alone.
    """
    import ctypes
    import platform

    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(MMAP_THRESHOLD, 2**16 if frugally else 2**30)
    library.mallopt(TRIM_THRESHOLD, 2**17 if frugally else 2**31 - 1)
    if frugally:
        library.malloc_trim(0)  # blocks that an earlier job of a sweep kept


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def compute(*, on_cuda: bool, short: bool, deterministic: bool) -> None:
    """Configure the arithmetic of this process, in which another job may have run.

    `short` allows TF32, `deterministic` only operations whose sums have a fixed order.
    """
    import torch

    torch.set_float32_matmul_precision("high" if short else "highest")
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call takes a second
        torch.use_deterministic_algorithms(deterministic)
    if not on_cuda:
        return
    torch.backends.cudnn.allow_tf32 = short
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    # cuBLAS reads it when it starts, and a later job of this process may be deterministic
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def without_tf32() -> Iterator[None]:
    """Compute matrix products and convolutions of fp32 numbers in fp32 on CUDA, too."""
    import torch

    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


def sent(tensor: Tensor, device: torch.device, *, copy: bool = False) -> Tensor:
    """Return a tensor on a device, without waiting for the work that a GPU still has to do.

    MPS is waited for, where such a copy may read the source after it is freed (pytorch#189690).
    """
    return tensor.to(device, non_blocking=device.type != "mps", copy=copy)


def finish() -> None:
    """Wait until a GPU has done all that it was given; steps only give it work."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    if torch.backends.mps.is_available():
        torch.mps.synchronize()


def resident_gib() -> float | None:
    """Return this process's current memory in GiB, or `None` if the system has no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def forget_peak() -> None:
    """Reset the peak of memory, if the system can."""
    import torch

    with suppress(OSError):  # no Linux
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_initialized():  # else the call would start the GPU, also for work on the CPU
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.reset_accumulated_memory_stats()


def memory_gib() -> float:
    """Return the peak memory in GiB: the GPU allocator's if one is used, else this process's.

    It is used if it has given memory since `forget_peak`; an earlier job may have left some there.
    /proc is preferred to `getrusage`, which keeps the peak of the process that started this one.
    """
    import platform

    import torch

    if torch.cuda.is_available():
        of_gpu = torch.cuda.memory_stats()
        if of_gpu.get("allocated_bytes.all.allocated", 0):
            return of_gpu["allocated_bytes.all.peak"] / 2**30
    with suppress(OSError, IndexError):  # no Linux
        status = Path("/proc/self/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    scale = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 2**30


ASKING = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
"""Signals that ask a process to end, which libraries answer in their own ways."""


@contextmanager
def own_signals() -> Iterator[None]:
    """Put this process's answers to such signals back after a library has replaced them."""
    before = {
        number: signal.getsignal(number) for number in signal.Signals if number.name in ASKING
    }
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, answer in before.items():
                if answer is not None:  # it was not set by Python
                    signal.signal(number, answer)
