"""From a checked node to the object that it describes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nasrun.config.checking import check_targets


def build(node: Mapping[str, Any], key: str, trusted: Sequence[str] = ()) -> Any:
    """The object that a plain, resolved node describes, its targets and keywords checked first."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    check_targets(node, trusted, key)
    try:
        return instantiate(dict(node), _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError):
            inner = re.search(r"full_key: (\S+)", str(error))
            path = f"{key}.{inner[1]}" if inner else key
            text, last = str(error.__cause__), path.rpartition(".")[2]
            raise ValueError(f"{path}.{text.removeprefix(f'{last}.')}") from error
        raise
