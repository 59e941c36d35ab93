"""The words of an override, and suggestions for mistyped ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean X?` if a known word is close, else an empty text."""
    near = get_close_matches(word, [name for name in known if not name.startswith("_")], 1)
    return f", did you mean {near[0]}?" if near else ""


def suggestion(word: str, known: Iterable[str], there_are: str = "there are") -> str:
    """Return `, did you mean X?` if a known word is close, else all known: `; there are A, B`."""
    names = list(known)
    return did_you_mean(word, names) or f"; {there_are} {', '.join(names) or 'none'}"


def key_of(override: str) -> str:
    """Return the key of an override, without `+`, `~` and package."""
    return override.split("=", 1)[0].lstrip("+~").strip()


def parsed(override: str) -> Any:
    """Return an override as Hydra reads it; ValueError if it cannot be read."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except RecursionError as error:
        raise ValueError(f"{override[:40]}...: nested too deeply; nest less") from error
    except HydraException as error:
        key, equals, _ = override.partition("=")
        text = f"cannot be read; quote special characters: '{key}=\"...\"'"
        raise ValueError(
            f"{override}: {text if equals else 'expected key=value; give a value'}"
        ) from error


def root_of(key: str) -> str:
    """Return the frame key or group of a key: `strategy` for `strategy@strategy.inner`."""
    return key.split("@")[-1].split(".")[0].split("/")[0]


def packages(text: str) -> list[str]:
    """Return the names in `[a,b]`."""
    return [name.strip() for name in text.strip("[]").split(",") if name.strip()]


def fault_of_path(group: str, option: str) -> str:
    """Return the error about an option given by a path; empty if it is given by its name."""
    if re.search(r"(^|/)\.|^/|//|\.ya?ml$", option) is None:
        return ""
    name = Path(option).name.removesuffix(".yaml").removesuffix(".yml")
    return f"{group}={option}: is a path; name the option, {group}={name}"


def quoted(text: str) -> str:
    """Return a value that Hydra reads as exactly this text."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text, Quote.single).with_quotes()
