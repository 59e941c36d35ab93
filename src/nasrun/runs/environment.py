"""The environment in which a run was made: versions, machine, and the commit of the code."""

from __future__ import annotations

import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from nasrun.machine import hardware


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
        "machine": hardware(),
        "git": _git_commit(),
    }


def _git_commit() -> str | None:
    """Return the commit of the checkout that has this package, or `None`."""
    try:  # the first command fails for a package that is installed below another project
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*words: str) -> str:
    answer = subprocess.run(
        ["git", *words],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=5,
        check=True,
    )
    return answer.stdout.strip()
