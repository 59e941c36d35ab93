"""The picture of a search whose networks grow from each other: who grew from whom, and how well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from nasrun.pictures.figure import COLOURS, INK, blank, count_along, dress, save

LONGEST = 58
"""The most characters of a trial's morphs that are written out."""


def ancestry(trials: Sequence[Mapping[str, Any]], path: Path, score: str) -> None:
    """Draw the tree of morphs, and the score and the seconds of every trial, a row per trial.

    The place in the tree is the number of morphs since a first network. A trial has `grew_from`
    (the number of its ancestor or `None`), `morphs`, `score` (`None` if there is none), and the
    `seconds` of its intervals. `score` names the scores.
    """
    figure = blank(12, 0.24 * len(trials) + 1.6, w_pad=0.1)
    tree, scores, times = figure.subplots(1, 3, sharey=True, width_ratios=[5, 3, 1.5])
    places = places_of(trials)
    known = [
        (trial["score"], row) for row, trial in enumerate(trials) if trial["score"] is not None
    ]
    _, best = max(known, key=lambda each: each[0])
    for row, trial in enumerate(trials):
        if (ancestor := trial["grew_from"]) is not None:
            line = ([places[ancestor], places[ancestor], places[row]], [ancestor, row, row])
            tree.plot(*line, color="#999999", linewidth=0.8, zorder=1)
        failed = trial["score"] is None
        colour = COLOURS[1] if row == best else COLOURS[5] if failed else COLOURS[0]
        tree.plot(places[row], row, "x" if failed else "o", color=colour, markersize=6)
        tree.annotate(
            shortened(", ".join(trial["morphs"])),
            (places[row], row),
            xytext=(6, 0),
            textcoords="offset points",
            fontsize=6,
            color=INK,
            va="center",
        )
    dress(tree, "Who grew from whom", "morphs since the first network")
    tree.set_xlim(-0.5, 1.6 * max(places) + 2)  # room for the last texts
    tree.set_ylim(len(trials) - 0.5, -0.5)
    tree.set_ylabel("trial", color=INK)
    values, rows = zip(*known, strict=True)
    scores.plot(values, rows, "o", color=COLOURS[0], markersize=5, label="trial")
    highest = list(accumulate(values, max))
    scores.step(highest, rows, color=COLOURS[1], where="pre", label="best so far")
    dress(scores, score.replace("_", " "), "")
    scores.legend(frameon=False, labelcolor=INK)
    spent = [sum(trial["seconds"]) for trial in trials]
    times.barh(range(len(trials)), spent, color=COLOURS[4], height=0.6)
    dress(times, "seconds", "")
    count_along(tree)
    save(figure, path, dpi=110)


def places_of(trials: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the number of morphs between each trial and the first network that it comes from."""
    places: list[int] = []
    for trial in trials:
        ancestor = trial["grew_from"]
        places.append(0 if ancestor is None else places[ancestor] + len(trial["morphs"]))
    return places


def shortened(text: str) -> str:
    """Return a text that fits behind its trial."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
