"""`nasrun analyze convergence`: how fast architectures learn, several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nasrun.cli import screen
from nasrun.cli.line import Line
from nasrun.cli.verb import Verb
from nasrun.cli.words import apart, whole

KEYS = {"genotype": "NAME|FILE,...", "seeds": "3", "threshold": "ACCURACY", "out": "DIR"}
READS = ("space", "dataset", "retrain", "budget", "engine", "seed", "images", "epochs")


def convergence(words: Sequence[str]) -> int:
    """Train, compare, write `convergence.json` and `convergence.png`, and print."""
    from nasrun.config import key_of

    own, rest = apart(words, KEYS)
    line = Line.parse("analyze convergence", rest)
    line.refuse_flags()
    line.refuse_idle(READS)
    for override in line.overrides:
        if key_of(override).startswith("space."):
            raise ValueError(f"{override}: the genotypes have their spaces; leave it out")
    spaces = [o.partition("=")[2] for o in line.overrides if key_of(o) == "space"]
    seeds, threshold = whole(own, "seeds", 3, least=1), _threshold(own)
    from nasrun.config.given import several

    names = several(own.get("genotype", ""))
    if not names:
        raise ValueError("analyze convergence: give genotype=NAME,...")
    from nasrun.analysis import convergence as measured
    from nasrun.display import tell

    record = measured.analyse(
        names,
        line.overrides,
        space=spaces[-1] if spaces else None,
        seeds=seeds,
        threshold=threshold,
        out=own.get("out"),
        trust=line.trusted,
    )
    tell(screen.console(), (*measured.told(record), record["picture"]))
    return 0


def _threshold(own: Mapping[str, str]) -> float | None:
    """Return the typed accuracy, a fraction."""
    if "threshold" not in own:
        return None
    try:
        value = float(own["threshold"])
    except ValueError:
        raise ValueError(f"threshold={own['threshold']}: expected a number; use 0.8") from None
    if not 0 < value <= 1:
        raise ValueError(f"threshold={own['threshold']}: a fraction; use more than 0, at most 1")
    return value


PART = Verb(
    name="analyze convergence",
    text="train cells side by side and compare how fast they learn, by width and depth",
    examples=(
        "nasrun analyze convergence genotype=darts_v2,snas_mild dataset=cifar10 epochs=10",
        "nasrun analyze convergence genotype=a.json,b.json,c.json seeds=5 retrain.channels=16",
    ),
    run=convergence,
    keeps="trainings",
    note="The recipe is that of a retraining. The test images are read after every epoch, as in "
    "the paper; nothing is chosen by them. An interrupted command resumes.",
    keys=KEYS,
    about={
        "genotype": "published cells and files, separated by commas",
        "seeds": "number of trainings per cell; their seeds count up from seed=",
        "threshold": "the accuracy to reach, as a fraction; the highest one that every training "
        "reaches if it is left out",
        "out": "folder of the files; outputs/analysis/convergence if it is left out",
    },
    composed=True,
    reads=READS,
)
