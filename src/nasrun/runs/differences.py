"""In which settings runs and stages differ, by keys as they are typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

OTHERWISE_TOLD = ("fingerprint", "parent", "source", "genotype")
"""What a stage's configuration says of where its architecture comes from."""
Settings = Mapping[str, str]
"""Values by keys, both as they are typed."""


def settings(
    config: Mapping[str, Any],
    own: Mapping[str, Any] | None = None,
    scale: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """A run's configuration with a stage's own over it; first the keys that others refer to."""
    layout = {"retrain": config["layout"]} if "layout" in config else {}
    groups = {**{key: value for key, value in config.items() if key != "layout"}, **layout}
    groups |= {key: value for key, value in (own or {}).items() if key != "layout"}
    return {
        key: _typed(value)
        for key, value in _leaves({**(scale or {}), **groups})
        if key.split(".")[0] not in OTHERWISE_TOLD
    }


def differing(several: Sequence[Settings]) -> list[str]:
    """The keys in which settings differ; of keys that differ alike, as by reference, the first."""
    columns: dict[tuple[str | None, ...], str] = {}
    for key in dict.fromkeys(key for each in several for key in each):
        column = tuple(each.get(key) for each in several)
        if len(set(column)) > 1:
            columns.setdefault(column, key)
    return list(columns.values())


def told(key: str, value: str | None) -> str:
    """A setting as it is typed."""
    return f"~{key}" if value is None else f"{key}={value}"


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _typed(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    return str(value)
