"""The architecture on a command line: by name, in a file, or written out."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nasrun.config import (
    GENOTYPES,
    build,
    compose,
    conf_folder,
    options,
    resolve,
    suggestion,
)
from nasrun.genotype import Genotype, Misfit, fingerprint, from_text, read_text
from nasrun.spaces.notation import literals, looks

if TYPE_CHECKING:
    from nasrun.spaces.base import Space

RANDOM = "random"
SHOWN = 60
"""Number of characters of a name that an error quotes."""
FORMS = "NAME, FILE, FILE:NAME or the architecture itself"


@dataclass(frozen=True)
class Given:
    """An architecture as it was given, before a space parses it.

    `name` is what was typed, `short` a word for folders, `written` what is to be parsed, `None` for
    a random one, and `home` the option of `space` that it names or looks like.
    """

    name: str
    short: str
    written: str | Genotype | None
    home: str | None

    @classmethod
    def find(cls, name: str) -> Given:
        """Return the architecture that `genotype=` means; ValueError if there is none."""
        published = options(GENOTYPES)
        if name == RANDOM:
            return cls(name, name, None, None)
        if name in published:
            record = yaml.safe_load((conf_folder() / GENOTYPES / f"{name}.yaml").read_text())
            return cls(name, name, record["cell"], record["space"])
        file, _, entry = name.rpartition(":")
        if (path := _file(name)) is not None:
            return cls._of_file(name, path, path.stem, None)
        if re.fullmatch(r"[A-Za-z_]\w*", entry) and (path := _file(file)) is not None:
            return cls._of_file(name, path, entry, entry)
        if (home := looks.home(name)) is not None:
            text = name.strip()
            short = f"nats_{text}" if text.isdigit() else f"cell_{fingerprint(text)}"
            return cls(name, short, text, home)
        if os.path.isdir(name):
            raise ValueError(f"genotype={name}: is a folder; give the genotype.json in it")
        hint = suggestion(name, [*published, RANDOM])
        raise ValueError(
            f"genotype={shortened(name)}: neither a published cell nor a file{hint}; give {FORMS}"
        )

    @classmethod
    def _of_file(cls, name: str, path: Path, short: str, entry: str | None) -> Given:
        if short == RANDOM:
            raise ValueError(
                f"genotype={shortened(name)}: its name is that of an architecture that is drawn; "
                "rename the file or the entry"
            )
        try:
            text = read_text(path)
            if entry is not None:
                text = literals.named(text, entry)
            elif path.suffix == ".json":
                record = _record(text)
                if isinstance(record, str):
                    text = record
                elif record is not None:
                    genotype = Genotype.from_json(record)
                    home = genotype.space if genotype.space in options("space") else None
                    return cls(name, short, genotype, home)
        except ValueError as error:
            raise ValueError(f"genotype={name}: {error}") from error
        bare = literals.uncommented(text).strip().strip("'\"")
        if looks.home(bare) is not None:  # else a comment may hold it, or a space of one's own
            text = bare
        return cls(name, short, text, looks.home(text))

    @property
    def drawn(self) -> bool:
        """Return whether the architecture is drawn at random."""
        return self.written is None

    def within(self, space: Space, option: str, seed: int) -> Genotype:
        """Return the genotype in `space`, which is `option`; ValueError if it does not fit.

        The error is a Misfit if the space would have it with other settings.
        """
        try:
            if self.written is None:
                return random_genotype(space, seed)
            if isinstance(self.written, Genotype):
                return space.check(self.written)
            return space.parse(self.written)
        except ValueError as error:
            elsewhere = self.home is not None and self.home not in (option, space.name)
            hint = f"; it is one of space={self.home}, give that" if elsewhere else ""
            line = f"genotype={shortened(self.name)}: space={option} does not fit: "
            if isinstance(error, Misfit):
                raise Misfit(f"{line}{error.reason}{hint}", error.settings) from error
            raise ValueError(f"{line}{error}{hint}") from error


def several(text: str) -> list[str]:
    """Return the names in a text, separated by commas; an architecture itself is one name."""
    written = looks.home(text) is not None
    return [text] if written else [name for name in text.split(",") if name]


def architecture_of(
    name: str, space_name: str | None, trusted: Sequence[str]
) -> tuple[str, Genotype, Space]:
    """Return a short name, the genotype and the space that `genotype=` means.

    The space is the named option, else the one that the text looks like, else `darts`.
    """
    short, genotype, space, _ = placed_architecture(name, space_name, trusted)
    return short, genotype, space


def placed_architecture(
    name: str, space_name: str | None, trusted: Sequence[str]
) -> tuple[str, Genotype, Space, dict[str, Any]]:
    """Return what `architecture_of` returns, and the settings of the space."""
    given = Given.find(name)
    option = space_name or given.home or "darts"
    settings = resolve(compose([f"space={option}"]).config["space"])
    settled: set[str] = set()
    while True:
        space = build(settings, "space", trusted)
        try:
            return given.short, given.within(space, option, seed=0), space, settings
        except Misfit as misfit:  # the space with other settings has it
            if not misfit.settings.keys() - settled:
                raise
            settled |= misfit.settings.keys()
            settings = settings | misfit.settings


def random_genotype(space: Space, seed: int) -> Genotype:
    """Return the random genotype of this seed."""
    import torch

    from nasrun.spaces.base import DrawnSpace

    assert isinstance(space, DrawnSpace)
    return space.sample(torch.Generator().manual_seed(seed))


def shortened(name: str) -> str:
    """Return a name on one line, shortened for an error."""
    line = " ".join(name.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."


def _record(text: str) -> object:
    """Return the content of a JSON text of ours, or a text; `None` if a space has to read it."""
    ours = '"choices"' in text or '"schema"' in text
    try:
        record = from_text(text)
    except ValueError:
        if ours or looks.home(text) is None:  # else Python, whatever the name of the file
            raise
        return None
    foreign = isinstance(record, dict | list) and not ours and looks.home(text) is not None
    return None if foreign else record


def _file(name: str) -> Path | None:
    """Return the file of this name, with `~` expanded, or `None`."""
    try:
        path = Path(name).expanduser()
        return path if path.is_file() else None
    except (RuntimeError, OSError, ValueError):  # no such home, or not a valid name
        return None
