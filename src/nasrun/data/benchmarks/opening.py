"""Recognises a benchmark by its file, and opens it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasrun.data.benchmarks.base import Benchmark
from nasrun.data.benchmarks.nasbench101 import NasBench101File
from nasrun.data.benchmarks.nasbench201 import META, FilePerCell, OneFile
from nasrun.data.benchmarks.transnas101 import TransNas101File

KNOWN: tuple[type[Benchmark], ...] = (NasBench101File, OneFile, TransNas101File)
"""A class per benchmark."""


def open_benchmark(path: Path) -> Benchmark:
    """Return the benchmark in a file or folder; ValueError if it is of none."""
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder; name another")
    if path.is_dir():
        if not (path / META).exists():
            raise ValueError(f"{path}: has no {META}; give the unpacked folder NATS-tss-...-simple")
        return FilePerCell(path)
    if path.suffix == ".pbz2":
        return OneFile.read(path)
    if path.suffix == ".tfrecord":
        return NasBench101File(path)
    if path.suffix == ".pth":
        content = _loaded(path)
        if isinstance(content, dict) and {"data", "metrics_dict"} <= content.keys():
            return TransNas101File(content, path)
        return OneFile(content, path)
    raise ValueError(
        f"{path}: is no file of a known benchmark; give NATS-Bench's folder or .pickle.pbz2, the "
        ".pth of NAS-Bench-201 or TransNAS-Bench-101, or NAS-Bench-101's .tfrecord"
    )


def _loaded(path: Path) -> Any:
    """Return the value that torch.save wrote; only tensors and plain values are made."""
    import numpy as np
    import torch

    scalar = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(name)) for name in ("float64", "float32", "int64")]
    plain = [np.dtype, *kinds, scalar, (scalar, "numpy.core.multiarray.scalar")]
    try:
        with torch.serialization.safe_globals(plain):
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError as error:
        raise ValueError(
            f"{path}: needs more memory than there is; take NATS-Bench's folder"
        ) from error
    except Exception as error:
        raise ValueError(
            f"{path}: is damaged or names more than plain values ({type(error).__name__}); take it "
            "only from its authors"
        ) from error
