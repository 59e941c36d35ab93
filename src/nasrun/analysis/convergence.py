"""How fast architectures learn (Shu, Wang, Cai, 1909.09569): short trainings side by side.

The paper finds that wide and shallow cells converge faster and do not generalise better. Every
architecture is trained by the recipe of a retraining with several seeds, and tested after every
epoch, as in the paper. Nothing is chosen by these tests. A finished training is kept with its
weights, so that an interrupted command resumes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from safetensors.torch import save
from scipy import stats

from nasrun.analysis import results
from nasrun.analysis.cells import Named, given, unlike
from nasrun.analysis.kept import Measurements
from nasrun.analysis.wiring import Wiring, cells_of
from nasrun.budget import Budget
from nasrun.config import build_all, compose, import_trusted, resolve
from nasrun.config.stages import RETRAIN
from nasrun.context import Context
from nasrun.costs.cost import params
from nasrun.data.contents import placed
from nasrun.display import Exhibit, watched
from nasrun.divergence import Diverged, finite
from nasrun.engines.base import Engine, refuse_unseen
from nasrun.files import digest_of, write_json, write_whole
from nasrun.genotype import Genotype, fingerprint
from nasrun.pictures import measured
from nasrun.pipeline.idle import refuse_idle_keys
from nasrun.retrain import Retrain
from nasrun.runs.recorded import identity
from nasrun.spaces.base import ClassifierSpace
from nasrun.stage import Metrics
from nasrun.streams import Streams

RECORD, PICTURE = "convergence.json", "convergence.png"
WEIGHTS = "weights"
SOLUTION = "solution"
"""Key of the metadata of a file of weights: how they were trained."""
FEWEST = 3
"""Number of architectures from which ranks are correlated."""
MEASURES = {
    "area": "area under the test loss",
    "epochs_to_threshold": "epochs to the threshold",
    "accuracy": "last accuracy",
    "loss": "last loss",
}
SHAPES = ("width", "depth", "params")


@dataclass(frozen=True)
class TrainingOrder:
    """A training for the engine: an architecture, in one of the job's spaces, and a seed.

    The weights are written into `file`, with the `solution` that says what they are.
    """

    space: int
    genotype: dict[str, object]
    seed: int
    file: Path
    solution: str


@dataclass(frozen=True)
class Train:
    """The engine's job: train one architecture, and return its losses and tests per epoch.

    A training that diverges has fewer epochs, and no weights are written.
    """

    spaces: tuple[ClassifierSpace, ...]
    recipe: Retrain
    budget: Budget

    def __call__(self, order: TrainingOrder) -> dict[str, Any]:
        refuse_unseen(order.file.parent)
        self.budget.apply_in_process()
        stage, streams = copy.copy(self.recipe), Streams(order.seed)
        space = self.spaces[order.space]
        streams.enter(RETRAIN.name)
        context = Context(space=space, task=stage.task, budget=self.budget, streams=streams)
        stage.begin(context, space.check(Genotype.from_json(order.genotype)))
        test, batch_size = stage.task.split("test"), 2 * stage.batch_size
        curve: list[Metrics] = []
        losses: list[float] = []
        while not stage.done:
            streams.at(stage.round)
            try:
                metrics = stage.run_round()
            except Diverged:
                return {"curve": curve, "digest": None}
            stage.round += 1
            losses.append(metrics["train_loss"])
            if stage.round % stage.rounds_per_epoch == 0:
                tested = stage.learner.evaluate(test, batch_size)
                if not finite(tested):
                    return {"curve": curve, "digest": None}
                curve.append({"train_loss": fmean(losses), **tested})
                losses.clear()
        weights = stage.learner.delivered.state_dict()
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        content = save(plain, {SOLUTION: order.solution})
        return {"curve": curve, "digest": write_whole(order.file, lambda f: f.write(content))}


def analyse(
    names: Sequence[str],
    overrides: Sequence[str],
    *,
    space: str | None,
    seeds: int,
    threshold: float | None,
    out: str | None,
    trust: Sequence[str],
) -> dict[str, Any]:
    """Train what is not trained yet, compare, write and draw."""
    import_trusted(trust)
    found = unlike(list(given(names, space, trust)))
    for each in found:
        if not isinstance(each.space, ClassifierSpace):
            raise ValueError(f"space={each.space.name}: has no classifiers to train; use another")
    composed = compose(overrides)
    config = composed.config
    nodes = {key: resolve(config[key]) for key in ("budget", "dataset", RETRAIN.name, "engine")}
    refuse_idle_keys(overrides, composed, (RETRAIN.name, "dataset"))
    budget, dataset, recipe, engine = build_all(nodes, trust).values()
    assert isinstance(recipe, Retrain)
    dataset.check()
    engine.check(budget)
    budget.apply()
    first = int(config["seed"])
    recipe.task.begin(dataset, budget)
    contents = dataset.contents()
    folder = results.place("convergence", None, out)
    settings = [nodes[RETRAIN.name], identity({"dataset": nodes["dataset"]}), budget.arithmetic]
    kept = Measurements(folder, ["convergence", *settings, contents and contents.digest])
    nodes["dataset"], nodes["contents"] = placed(nodes["dataset"]), contents and contents.digest
    with results.writing(folder):
        orders = _orders(found, range(first, first + seeds), nodes, kept)
        (folder / WEIGHTS).mkdir(parents=True, exist_ok=True)
        _train(found, orders, recipe, budget, engine, kept)
        rows = [_row(each, own, recipe, kept) for each, own in zip(found, orders, strict=True)]
        record = {"epochs": recipe.epochs, "first_seed": first, "seeds": seeds}
        record |= _compared(rows, threshold, recipe.epochs)
        write_json(folder / RECORD, record)
        measured.convergence(record, MEASURES, folder / PICTURE)
    return {**record, "picture": str(folder / PICTURE)}


def _orders(
    found: Sequence[Named], seeds: Sequence[int], nodes: Mapping[str, Any], kept: Measurements
) -> list[list[TrainingOrder]]:
    """Return the trainings of every architecture, one per seed.

    The name of a file of weights ends with the fingerprint of what it was made with, since other
    trainings in the folder may be of an architecture of the same name.
    """
    orders, folder = [], (kept.path.parent / WEIGHTS).absolute()
    for place, each in enumerate(found):
        parts = {"space": each.settings, "genotype": each.genotype.to_json()}
        parts |= {key: nodes[key] for key in ("dataset", "contents", RETRAIN.name)}
        mark = fingerprint([kept.shared, each.settings, parts["genotype"]])[:8]
        orders.append(
            [
                TrainingOrder(
                    place,
                    each.genotype.to_json(),
                    seed,
                    folder / f"{each.name}-seed{seed}-{mark}.safetensors",
                    json.dumps({"name": f"{each.name}, seed {seed}", **parts}, sort_keys=True),
                )
                for seed in seeds
            ]
        )
    return orders


def _train(
    found: Sequence[Named],
    orders: Sequence[Sequence[TrainingOrder]],
    recipe: Retrain,
    budget: Budget,
    engine: Engine,
    kept: Measurements,
) -> None:
    """Run the trainings that are not kept with their weights, side by side."""
    waiting = [order for own in orders for order in own if not _known(order, kept)]
    spaces = tuple(each.space for each in found if isinstance(each.space, ClassifierSpace))
    job = Train(spaces, recipe, budget)
    done = engine.run(job, waiting, budget.resolved["threads"])
    try:
        for number, (place, trained) in enumerate(watched(done, "training", len(waiting)), 1):
            kept.add(trained, *_what(waiting[place]))
            if number < len(waiting):
                budget.check()
    finally:
        engine.close()


def _what(order: TrainingOrder) -> tuple[object, ...]:
    return order.file.name, order.genotype, order.seed


def _known(order: TrainingOrder, kept: Measurements) -> bool:
    if not kept.has(*_what(order)):
        return False
    digest = kept.of(*_what(order))["digest"]
    return digest is None or (order.file.is_file() and digest_of(order.file) == digest)


def _row(
    each: Named, orders: Sequence[TrainingOrder], recipe: Retrain, kept: Measurements
) -> dict[str, Any]:
    """Return what an architecture is, and the curves of its seeds."""
    import torch

    cell = cells_of(each.space)[0]
    shape = Wiring.of(each.space, each.genotype, cell).shape
    assert isinstance(each.space, ClassifierSpace)
    with torch.device("meta"):
        network = each.space.network(
            each.genotype,
            inputs=recipe.task.inputs,
            outputs=recipe.task.outputs,
            layout=recipe.layout,
        )
    return {
        "name": each.name,
        "genotype": each.space.render(each.genotype),
        "width": float(shape.width),
        "depth": shape.depth,
        "params": params(network),
        "curves": [kept.of(*_what(order))["curve"] for order in orders],
        "weights": [f"{WEIGHTS}/{order.file.name}" for order in orders],
    }


def _compared(
    rows: Sequence[dict[str, Any]], threshold: float | None, epochs: int
) -> dict[str, Any]:
    """Return the threshold, the measures of every architecture, and their rank correlations.

    Without a given threshold it is the accuracy that every training reaches. A training that
    diverged, whose curve is shorter, counts nowhere.
    """
    curves = [curve for row in rows for curve in row["curves"] if len(curve) == epochs]
    if not curves:
        raise ValueError("retrain.optimizer.lr: every training diverged; use a smaller one")
    best = [max(epoch["accuracy"] for epoch in curve) for curve in curves]
    used = min(best) if threshold is None else threshold
    for row in rows:
        each = [_measures(curve, used) if len(curve) == epochs else {} for curve in row["curves"]]
        row["measures"] = {key: _spread([one.get(key) for one in each]) for key in MEASURES}
    return {
        "threshold": used,
        "rows": rows,
        "correlations": {
            shape: {key: _correlation(rows, shape, key) for key in MEASURES} for shape in SHAPES
        },
    }


def _measures(curve: Sequence[Metrics], threshold: float) -> dict[str, float | None]:
    """Return the measures of one training; `None` if it does not reach the threshold."""
    reached = [n for n, epoch in enumerate(curve, 1) if epoch["accuracy"] >= threshold]
    return {
        "area": fmean(epoch["loss"] for epoch in curve),
        "epochs_to_threshold": float(reached[0]) if reached else None,
        "accuracy": curve[-1]["accuracy"],
        "loss": curve[-1]["loss"],
    }


def _spread(values: Sequence[float | None]) -> dict[str, float | int | None]:
    known = [value for value in values if value is not None]
    return {
        "n": len(known),
        "mean": fmean(known) if known else None,
        "std": stdev(known) if len(known) > 1 else None,
    }


def _correlation(
    rows: Sequence[Mapping[str, Any]], shape: str, key: str
) -> dict[str, float | int | None]:
    """Return Spearman's coefficient over architectures, of means over seeds, and its p."""
    pairs = [(row[shape], row["measures"][key]["mean"]) for row in rows]
    known = [pair for pair in pairs if pair[1] is not None]
    xs, ys = ({pair[side] for pair in known} for side in (0, 1))
    if len(known) < FEWEST or len(xs) < 2 or len(ys) < 2:
        return {"n": len(known), "spearman": None, "p": None}
    found = stats.spearmanr(*zip(*known, strict=True))
    return {"n": len(known), "spearman": float(found.statistic), "p": float(found.pvalue)}


def told(record: Mapping[str, Any]) -> Iterator[Exhibit | str]:
    """Yield a row per architecture, and the rank correlations."""
    columns = ("architecture", "width", "depth", "params", "epochs", "area", "accuracy", "loss")
    rows = []
    for row in record["rows"]:
        of = row["measures"]
        rows.append(
            (
                row["name"],
                f"{row['width']:g}c",
                row["depth"],
                f"{row['params']:,}",
                _told(of["epochs_to_threshold"], 1.0, 1),
                _told(of["area"], 1.0, 3),
                _told(of["accuracy"], 100.0, 2),
                _told(of["loss"], 1.0, 3),
            )
        )
    title = (
        f"{record['epochs']} epochs, {record['seeds']} seeds; threshold "
        f"{100 * record['threshold']:.2f}%"
    )
    yield Exhibit(title, columns, rows)
    found = record["correlations"]
    if any(each["spearman"] is not None for row in found.values() for each in row.values()):
        correlated = [
            (shape, *(_told_correlation(found[shape][key]) for key in MEASURES)) for shape in SHAPES
        ]
        yield Exhibit("Spearman's rank correlation", ("", *MEASURES.values()), correlated)


def _told(spread: Mapping[str, Any], scale: float, digits: int) -> str:
    if spread["mean"] is None:
        return "-"
    text = f"{scale * spread['mean']:.{digits}f}"
    return text if spread["std"] is None else f"{text} ± {scale * spread['std']:.{digits}f}"


def _told_correlation(found: Mapping[str, Any]) -> str:
    if found["spearman"] is None:
        return "-"
    return f"{found['spearman']:+.2f} (p = {found['p']:.2g})"
