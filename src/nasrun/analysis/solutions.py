"""Solutions: trained networks with their data, from a run or from `nasrun analyze convergence`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nasrun.analysis.convergence import SOLUTION
from nasrun.budget import Budget
from nasrun.config import build_all, refuse_references
from nasrun.config.stages import RETRAIN
from nasrun.data.splits import Part
from nasrun.files import digest_of
from nasrun.genotype import Genotype
from nasrun.networks import ImageClassifier
from nasrun.retrain import Retrain
from nasrun.runs.finished import moved, trained_folder
from nasrun.runs.run import Run
from nasrun.runs.stage_folder import WEIGHTS
from nasrun.spaces.base import ClassifierSpace
from nasrun.stage import Metrics
from nasrun.tasks.base import Split


@dataclass(frozen=True)
class Solution:
    """A trained network: its parts as settings, and the file of its weights.

    `full_name` tells it from others of this `name`. `digest` is that of the weights; it can be sent
    to another process. `run` is the one that trained it, `None` for `nasrun analyze convergence`.
    `contents` is the digest of the files of its data, `None` where it is not known.
    """

    name: str
    full_name: str
    nodes: Mapping[str, Any]
    genotype: Mapping[str, object]
    file: Path
    digest: str
    run: Run | None = None
    contents: str | None = None

    @classmethod
    def at(cls, path: str, branch: str | None, root: str | None = None) -> Solution:
        """Return the solution in a file of weights, or in a run; ValueError if there is none.

        `root` is the place of its data, if they were moved.
        """
        file = Path(path).expanduser()
        if file.suffix == ".safetensors" and file.is_file() and file.name != WEIGHTS:
            found = cls._of_file(path, file)
        else:
            found = cls._of_run(file.parent if file.name == WEIGHTS else file, branch)
        data = moved(found.nodes["dataset"], root)
        return replace(found, nodes={**found.nodes, "dataset": data})

    @classmethod
    def _of_file(cls, path: str, file: Path) -> Solution:
        try:
            with safe_open(file, framework="pt") as content:
                record = json.loads((content.metadata() or {})[SOLUTION])
            nodes = {key: record[key] for key in ("space", "dataset", RETRAIN.name)}
            name, genotype = str(record["name"]), record["genotype"]
            contents = record.get("contents")  # earlier versions did not write it
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"solution={path}: not weights that `nasrun analyze convergence` wrote; give one "
                "of its files or a run"
            ) from error
        refuse_references(nodes, path)
        full = str(file.with_suffix(""))
        digest = digest_of(file)
        return cls(name, full, nodes, genotype, file.absolute(), digest, contents=contents)

    @classmethod
    def _of_run(cls, path: Path, branch: str | None) -> Solution:
        folder = trained_folder(path, branch)
        if folder.kind != RETRAIN.name:
            raise ValueError(f"solution={path}: a transfer; give a folder of {RETRAIN.name}/")
        run = Run.open(folder.path.parents[1])
        nodes = {key: run.config[key] for key in ("space", "dataset")}
        nodes[RETRAIN.name] = folder.config[RETRAIN.name]
        file = folder.path / WEIGHTS
        name, genotype = folder.branch, folder.config["genotype"]
        full = str(folder.path)
        return cls(name, full, nodes, genotype, file.absolute(), digest_of(file), run)

    def opened(self, budget: Budget, trust: Sequence[str]) -> Opened:
        """Return its network and data; ValueError if these are not those of its run."""
        from safetensors.torch import load_file

        space, dataset, recipe = build_all(dict(self.nodes), trust).values()
        assert isinstance(recipe, Retrain) and isinstance(space, ClassifierSpace)
        dataset.check()
        contents = dataset.contents()
        if self.run is not None:
            self.run.refuse_other(contents)
        if None not in (contents, self.contents) and contents.digest != self.contents:
            raise ValueError(
                f"dataset.root={self.nodes['dataset'].get('root')}: solution={self.full_name} was "
                "trained on other images; give the folder of these"
            )
        recipe.task.begin(dataset, budget)
        genotype = space.check(Genotype.from_json(self.genotype))
        network = space.network(
            genotype,
            inputs=recipe.task.inputs,
            outputs=recipe.task.outputs,
            layout=recipe.layout,
        )
        network.load_state_dict(load_file(self.file))
        network = network.to(budget.torch_device).eval()
        return Opened(network, recipe, contents and contents.digest)


def told_apart(found: Sequence[Solution]) -> list[Solution]:
    """Return the solutions with distinct names; ValueError if two are the same training."""
    names = Counter(each.name for each in found)
    known: set[str] = set()
    for each in found:
        if each.digest in known:
            raise ValueError(f"solution={each.full_name}: the same training twice; give each once")
        known.add(each.digest)
    return [each if names[each.name] == 1 else replace(each, name=each.full_name) for each in found]


@dataclass(frozen=True)
class Opened:
    """A solution's network, and the recipe, whose task has its data.

    contents: digest of the files of these data; `None` if settings already identify them.
    """

    network: ImageClassifier
    recipe: Retrain
    contents: str | None

    def count(self, part: Part) -> int:
        """Return the number of images of a part."""
        return len(self.recipe.task.split(part))

    def images(self, part: Part, count: int) -> Split:
        """Return a fixed stratified part of `count` images; ValueError if there are fewer."""
        return self.recipe.task.subset(self.recipe.task.split(part), count)

    def weights(self) -> dict[str, Tensor]:
        """Return copies of its parameters, by name."""
        return {name: w.detach().clone() for name, w in self.network.named_parameters()}


def moments(network: ImageClassifier, split: Split, batch_size: int) -> Metrics:
    """Return loss, accuracy, and the spread of the gradient over batches, in evaluation mode.

    `variance` is the mean over batches of |g_b - mean g|^2, `gradient` is |mean g|^2. The mean and
    the sum of squares are updated batch by batch (Welford, 1962), so that only one gradient and
    their mean are in memory.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    mean, squares, number = [torch.zeros_like(p) for p in parameters], 0.0, 0
    losses, hits, images = 0.0, 0, 0
    for batch, labels in split.batches(batch_size):
        logits, *_ = network(batch)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        found = torch.autograd.grad(loss, parameters, materialize_grads=True)
        number += 1
        for average, gradient in zip(mean, found, strict=True):
            away = gradient - average
            average += away / number
            squares += _sum(away * (gradient - average))
        losses += float(loss.detach()) * len(labels)
        hits += int((logits.argmax(1) == labels).sum())
        images += len(labels)
    return {
        "loss": losses / images,
        "accuracy": hits / images,
        "variance": squares / number,
        "gradient": sum(_sum(average, squared=True) for average in mean),
    }


def _sum(values: Tensor, *, squared: bool = False) -> float:
    """Return the sum of values or of their squares in double precision, which MPS does not have."""
    precise = (values.cpu() if values.device.type == "mps" else values).double()
    return float((precise.square() if squared else precise).sum())
