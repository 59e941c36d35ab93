"""The settings of a layout that determine a network's costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasrun.spaces.layout import Layout

LAYOUT = ("channels", "layers", "stem")
"""Keys of the retrained network's layout in which limits are counted."""


def layout_of(layout: Layout) -> dict[str, Any]:
    """Return the settings of a layout that determine a network's costs."""
    return {key: getattr(layout, key) for key in LAYOUT}
