"""Hydra's own main: for its flags, its sweeps and its completion."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any


def run_hydra(arguments: Sequence[str], function: Callable[[Any], Any]) -> int:
    """Hydra's own main with these arguments."""
    import hydra

    from nasrun.config import conf_folder, register

    register()
    sys.argv = ["nasrun", *arguments]
    decorate = hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
    decorate(function)()
    return 0
