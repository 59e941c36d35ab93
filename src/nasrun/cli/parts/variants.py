"""`nasrun analyze variants` writes random variants of a cell as genotype files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from nasrun.cli import screen
from nasrun.cli.verb import Verb
from nasrun.cli.words import one_of, sorted_out, whole
from nasrun.config.words import packages

KEYS = {
    "genotype": "NAME|FILE",
    "change": "connections|operations",
    "cell": "NAME",
    "count": "12",
    "widths": "[2,2.5,3,3.5]",
    "seed": "0",
    "space": "NAME",
    "out": "DIR",
    "trust": "[PACKAGE]",
}
CHANGES = ("connections", "operations")


def variants(words: Sequence[str]) -> int:
    """Draw, write genotype files and `variants.json`, and print."""
    keys, names = sorted_out(words, KEYS)
    if names or "genotype" not in keys:
        raise ValueError(f"{names[0] if names else 'analyze variants'}: give genotype=NAME")
    change, widths = one_of(keys, "change", CHANGES), _widths(keys)
    number, seed = whole(keys, "count", 12, least=1), whole(keys, "seed", 0, least=0)
    if widths and change == "operations":
        raise ValueError(
            f"widths={keys['widths']}: other operations leave the width as it is; leave it out"
        )
    if widths and number % len(widths):
        raise ValueError(
            f"count={number}: cannot be divided equally among {len(widths)} widths; use a multiple "
            f"of {len(widths)}"
        )
    from nasrun.analysis import results
    from nasrun.analysis import variants as drawn
    from nasrun.display import tell

    folder = results.place("variants", None, keys.get("out"))
    record = drawn.analyse(
        keys["genotype"],
        change=change,
        cell=keys.get("cell"),
        number=number,
        widths=widths,
        seed=seed,
        space=keys.get("space"),
        folder=folder,
        trust=packages(keys.get("trust", "")),
    )
    tell(screen.console(), (*drawn.told(record), f"genotype files: {Path(folder)}"))
    return 0


def _widths(keys: Mapping[str, str]) -> list[Fraction]:
    """Return the requested widths, in units of c."""
    found = []
    for text in packages(keys.get("widths", "")):
        try:
            found.append(Fraction(text.removesuffix("c")))
        except (ValueError, ZeroDivisionError):
            raise ValueError(
                f"widths={keys['widths']}: {text} is no number; use widths=[2,2.5]"
            ) from None
    if "widths" in keys and not found:
        raise ValueError(
            f"widths={keys['widths']}: give one or more, or leave it out for any width"
        )
    return list(dict.fromkeys(found))


PART = Verb(
    name="analyze variants",
    text="write random variants of a cell as genotype files: other connections or operations",
    examples=(
        "nasrun analyze variants genotype=darts_v2 widths=[2,2.5,3,3.5] count=12 out=variants",
        "nasrun analyze variants genotype=darts_v2 change=operations out=operations",
    ),
    run=variants,
    note="Other connections keep the operations of every node; each wiring is drawn once. The same "
    "seed gives the same variants.",
    keys=KEYS,
    about={
        "genotype": "the cell to vary: a published one, or a file",
        "change": "the part that is drawn again; connections if it is left out",
        "cell": "the cell type to vary; the first one if it is left out",
        "count": "number of variants, equally many per width",
        "widths": "only wirings of these widths, in c; any if it is left out",
        "seed": "seed of the draws",
        "space": "the space of the genotype, if its text does not say",
        "out": "folder of the files; outputs/analysis/variants if it is left out",
        "trust": "packages of your own that the space names",
    },
)
