"""Hydra's own main, for its flags, its sweeps and its completion."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def run_hydra(arguments: Sequence[str], function: Callable[[Any], Any]) -> int:
    """Run Hydra's main with these arguments; ValueError for what it refuses."""
    import hydra

    from nasrun.config import behaviour, conf_folder, explained, register

    register()
    sys.argv = ["nasrun", *arguments]
    decorate = hydra.main(config_path=str(conf_folder()), config_name="config", **behaviour())
    words = [word for word in arguments if "=" in word and not word.startswith("-")]
    try:
        with _raising(), explained(words):
            decorate(function)()
    except AssertionError as error:  # a plugin's check of its input
        of_hydra = " ".join(word for word in words if word.startswith(("hydra.", "hydra/")))
        raise ValueError(f"{of_hydra}: Hydra does not accept this; correct it") from error
    return 0


@contextmanager
def _raising() -> Iterator[None]:
    """Make Hydra raise errors in the context, instead of printing tracebacks."""
    name = "HYDRA_FULL_ERROR"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
