"""Settings that several owners refuse: numbers below their least, clips that are not positive."""

from __future__ import annotations


def refuse_below(owner: object, **least: float) -> None:
    """Raise ValueError for an attribute, named like its setting, below its least value."""
    for key, bound in least.items():
        if getattr(owner, key) < bound:
            raise ValueError(f"{key}={getattr(owner, key)}: use at least {bound}")


def refuse_clip(**clips: float | None) -> None:
    """Raise ValueError for a largest norm of gradients that is not positive.

    0 would set gradients to zero, and a negative norm would turn them around. `None` is no clip.
    """
    for key, clip in clips.items():
        if clip is not None and not clip > 0:
            raise ValueError(f"{key}={clip}: use more than 0, or null for none")
