"""`nasrun analyze ranks` measures how well scores and supernets rank architectures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nasrun.cli import screen
from nasrun.cli.line import Line
from nasrun.cli.verb import Verb
from nasrun.cli.words import apart, whole
from nasrun.config.keys import ROOT, TABLE

if TYPE_CHECKING:
    from nasrun.analysis.scorers import Referee, Sample, Scorer

KEYS = {
    "evaluator": "NAME,...",
    "run": "RUN",
    "against": "EVALUATOR",
    "count": "1000",
    "top": "10",
    "resamples": "1000",
    "column": "NAME",
    "out": "DIR",
}
OF_A_RUN = ("seed", "images", ROOT, TABLE)
"""Keys that may be given with `run=`; the run has its own values for all others."""
READS = (
    *("space", "dataset", "task", "evaluator", "budget", "experiment"),
    *("seed", "width", "depth", "batch_size", "images"),
)


def ranks(words: Sequence[str]) -> int:
    """Score, compare, write `ranks.json` and `ranks.png`, and print."""
    own, others = apart(words, KEYS)
    judges = [word for word in others if word.startswith("against.")]
    line = Line.parse("analyze ranks", [word for word in others if word not in judges])
    line.refuse_flags()
    names = list(dict.fromkeys(name for name in own.get("evaluator", "").split(",") if name))
    if bool(names) == ("run" in own):
        raise ValueError("analyze ranks: give evaluator=NAME,... or run=RUN, one of the two")
    number = whole(own, "count", 1000, least=2)
    top, resamples = whole(own, "top", 10, least=1), whole(own, "resamples", 1000, least=1)
    if top > number:
        raise ValueError(f"top={top}: there are count={number} architectures; use at most {number}")
    table = _path(TABLE, line.overrides)
    if table is not None:
        from pathlib import Path

        from nasrun.data.table import header

        header(Path(table))
        if "against" in own:
            raise ValueError(f"space.table={table}: has no effect with against=; leave one out")
    if "run" in own:
        _refuse_what_a_run_has(own["run"], line.overrides)
    from nasrun.analysis import ranks as measured
    from nasrun.analysis import results
    from nasrun.display import tell

    folder = results.place("ranks", own.get("run"), own.get("out"))
    sample, scorers, judge = _scorers(own, names, line, _judge(own, judges))
    record = measured.analyse(
        sample,
        scorers,
        judge,
        table=table,
        column=own.get("column"),
        number=number,
        top=top,
        resamples=resamples,
        folder=folder,
    )
    tell(screen.console(), (*measured.told(record), str(folder / "ranks.png")))
    return 0


def _refuse_what_a_run_has(run: str, overrides: Sequence[str]) -> None:
    from nasrun.config import key_of

    for override in overrides:
        if key_of(override) not in OF_A_RUN:
            raise ValueError(f"{override}: run={run} has its own; leave it out")


def _path(key: str, overrides: Sequence[str]) -> str | None:
    """Return the path that was typed for a key."""
    from nasrun.config import at_home, key_of

    typed = [override.partition("=")[2] for override in overrides if key_of(override) == key]
    return at_home(typed[-1].strip("'\"")) if typed else None


def _judge(own: Mapping[str, str], words: Sequence[str]) -> Referee | None:
    """Return the evaluator whose scores are the truth, with its settings."""
    from nasrun.analysis.scorers import Referee

    if "against" not in own:
        if words:
            raise ValueError(f"{words[0]}: has no effect without against=EVALUATOR; leave it out")
        return None
    if "column" in own:
        raise ValueError(f"column={own['column']}: has no effect with against=; leave it out")
    settings = [word.replace("against.", "strategy.evaluator.", 1) for word in words]
    return Referee(own["against"], settings)


def _scorers(
    own: Mapping[str, str], names: Sequence[str], line: Line, judge: Referee | None
) -> tuple[Sample, list[Scorer], Scorer | None]:
    """Return the sample, the scorers of the named evaluators or of a run, and the judge."""
    from nasrun.analysis import scorers
    from nasrun.config import key_of

    if names:
        return scorers.of_words(names, line.overrides, judge, line.trusted)
    values = {key_of(override): override.partition("=")[2] for override in line.overrides}
    images = whole(values, "images", 1, least=2) if "images" in values else None
    seed = whole(values, "seed", 0, least=0)
    root = _path(ROOT, line.overrides)
    return scorers.of_run(own["run"], images, seed, judge, line.trusted, root)


PART = Verb(
    name="analyze ranks",
    text="measure how well scores, supernets and alphas rank a sample of architectures",
    examples=(
        "nasrun analyze ranks space=nasbench201 space.table=CSV evaluator=naswot,synflow "
        "dataset=cifar10",
        "nasrun analyze ranks run=outputs/cifar10-nasbench201-darts/v001 space.table=CSV",
        "nasrun analyze ranks evaluator=naswot count=20 against=from_scratch against.epochs=5",
    ),
    run=ranks,
    keeps="scores",
    note="An interrupted command resumes. A table is read after all are scored. Parameters "
    "and multiply-adds are listed as controls.",
    keys=KEYS,
    about={
        "evaluator": "evaluators that give the scores, separated by commas",
        "run": "the finished search whose supernet gives scores; seed=, images=, dataset.root= "
        "for moved data and space.table= may be given too",
        "against": "the evaluator whose scores are the truth; against.KEY sets its keys",
        "count": "number of architectures to draw",
        "top": "number of highest scores among which the regret looks for the best architecture",
        "resamples": "number of samples drawn with replacement, for the intervals",
        "column": "the table's column of true values; the data set's after 200 epochs if left out",
        "out": "folder of the files; the run's analysis/ranks, or outputs/analysis/ranks",
    },
    composed=True,
    reads=READS,
)
