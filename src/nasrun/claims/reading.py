"""Claims by name or file: read, checked against their fingerprints, and frozen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nasrun.claims.claim import Claim, protocol
from nasrun.config import build, conf_folder, did_you_mean
from nasrun.files import read_yaml, write_text

GROUP = "claim"
"""The folder of claims in `conf/`."""
FROZEN = re.compile(r"^frozen:.*$", re.MULTILINE)


def names() -> list[str]:
    """Return the names of the claims that come with nasrun."""
    return sorted(path.stem for path in (conf_folder() / GROUP).glob("[!_]*.yaml"))


def file_of(word: str) -> Path:
    """Return the file of a claim, which is named or given by its path; ValueError without one."""
    if word.endswith((".yaml", ".yml")):
        if not Path(word).is_file():
            raise ValueError(f"{word}: there is no such file; name a claim or its file")
        return Path(word)
    if word not in names():
        hint = did_you_mean(word, names()) or "; `nasrun reproduce` lists the claims"
        raise ValueError(f"{word}: unknown claim{hint}")
    return conf_folder() / GROUP / f"{word}.yaml"


def read(path: Path, trusted: Sequence[str] = ()) -> Claim:
    """Return the claim in a file; ValueError names the file and the key of what is wrong."""
    try:
        claim = build(read_yaml(path), GROUP, trusted)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    assert isinstance(claim, Claim)
    return claim


def refuse_changed(path: Path, claim: Claim) -> None:
    """Raise ValueError unless the protocol in a file is the one that was frozen."""
    own = protocol(read_yaml(path))
    if claim.frozen is None:
        raise ValueError(
            f"{path.name}: frozen=null, its protocol can still change; type `nasrun reproduce "
            f"{path} freeze=true` first"
        )
    if claim.frozen != own:
        raise ValueError(
            f"{path.name}: frozen={claim.frozen}, but its protocol is {own} now; undo the change, "
            f"or freeze it as another protocol by `nasrun reproduce {path} freeze=true`"
        )


def freeze(path: Path, trusted: Sequence[str] = ()) -> str:
    """Write the fingerprint of a file's protocol into it, and return it."""
    read(path, trusted)
    content: dict[str, Any] = read_yaml(path)
    own, text = protocol(content), path.read_text("utf-8")
    line = f"frozen: {own}"
    write_text(path, FROZEN.sub(line, text, count=1) if FROZEN.search(text) else f"{text}{line}\n")
    return own
