"""The environment in which a run was made: versions, machine, and the commit of the code."""

from __future__ import annotations

import platform
import subprocess
import time
from pathlib import Path
from typing import Any


def environment() -> dict[str, Any]:
    """Return the versions of packages that results depend on, the machine, and the time."""
    from importlib import metadata

    packages = ("nasrun", "torch", "torchvision", "numpy", "hydra-core")
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "versions": versions,
        "machine": platform.processor() or platform.machine(),
        "git": _git_commit(),
    }


def _git_commit() -> str | None:
    """Return the commit of the checkout that this package runs from, or `None`."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
