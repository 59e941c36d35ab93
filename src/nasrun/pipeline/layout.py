"""What of a network's layout its cost depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasrun.spaces.layout import Layout

LAYOUT = ("channels", "layers", "stem")
"""Of the retrained network: what limits on it are counted in."""


def layout_of(layout: Layout) -> dict[str, Any]:
    """What of a layout a network's cost depends on."""
    return {key: getattr(layout, key) for key in LAYOUT}
