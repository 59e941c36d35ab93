"""Shows an architecture and its costs: tables, JSON and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasrun.config import build, import_trusted, suggestion
from nasrun.config.stages import RETRAIN
from nasrun.data.table import Table, describe
from nasrun.genotype import Genotype

if TYPE_CHECKING:
    from nasrun.networks import ImageClassifier
    from nasrun.spaces.base import ClassifierSpace

NETWORKS: dict[str, dict[str, Any]] = {
    "cifar": {"channels": 36, "layers": 20, "stem": "cifar", "size": 32, "classes": 10},
    "imagenet": {"channels": 48, "layers": 14, "stem": "imagenet", "size": 224, "classes": 1000},
    "nasbench201": {"channels": 16, "layers": 15, "stem": "cifar", "size": 32, "classes": 10},
    "nasbench101": {"channels": 128, "layers": 9, "stem": "cifar", "size": 32, "classes": 10},
    "morph": {"channels": 64, "layers": None, "stem": "cifar", "size": 32, "classes": 10},
}
"""The networks of the papers; a space with a network of its name uses that one by default."""


def genotype(
    name: str,
    network: str | None,
    space_name: str | None,
    out: str | None,
    trusted: Sequence[str],
    table: str | None = None,
) -> dict[str, Any]:
    """Return the record of an architecture, and draw it into `out` (default: outputs/genotypes)."""
    from nasrun.config.given import architecture_of

    import_trusted(trusted)
    short, chosen, space = architecture_of(name, space_name, trusted)
    record = _record(short, chosen, space, network)
    truth = _truth(space, chosen, table)
    record["pictures"] = _drawn(short, chosen, space, Path(out or "outputs/genotypes") / short)
    return record | truth


def run(
    path: str, network: str | None, trusted: Sequence[str], table: str | None = None
) -> dict[str, Any]:
    """Return an overview of a run and its newest selected architecture; nothing is written."""
    from nasrun.runs.finding import find_run, find_source, refuse_folder
    from nasrun.runs.overview import overview

    import_trusted(trusted)
    refuse_folder(RETRAIN.name, path)
    try:
        source = find_source(RETRAIN.name, Path(), path, None, None)
    except ValueError:
        source = None
    whole = find_run(path)
    record = overview(whole)
    if source is None or source.selected is None:
        typed = [f"{k}={v}" for k, v in (("network", network), ("table", table)) if v is not None]
        if typed:
            of_search = "strategy" in whole.record["choices"]
            instead = ", or type `nasrun select` first" if of_search else ", or show its genotype"
            raise ValueError(
                f"{typed[0]}: {whole.path} has no selected architecture; leave it out{instead}"
            )
    else:
        space = build(source.run.config["space"], "space", trusted)
        folder = source.selected.path
        chosen = space.check(Genotype.read(folder / "genotype.json"))
        record |= _record(source.selected.branch, chosen, space, network)
        record["pictures"] = [str(path) for path in sorted(folder.glob("cells.*"))]
        known = {"true": source.selected.result.get("true")}
        record |= _truth(space, chosen, table) or (known if known["true"] else {})
    return record


def _truth(space: Any, chosen: Genotype, table: str | None) -> dict[str, Any]:
    from nasrun.spaces.base import listed

    return {"true": Table.read(Path(table)).truth(listed(space, chosen))} if table else {}


def print_record(console: Any, record: dict[str, Any]) -> None:
    """Print the record as tables."""
    from nasrun.display import table
    from nasrun.runs.overview import print_overview

    if "run" in record:
        print_overview(console, record)
    if "genotype" not in record:
        return
    title, costs = record["name"], []
    if "network" in record:
        facts = record["network"]
        title += f"  as a {facts['name']} network, C={facts['channels']}"
        title += "" if facts["layers"] is None else f" L={facts['layers']}"
        costs = [
            ("parameters", f"{record['params']:,}"),
            ("multiply-adds", f"{record['macs'] / 1e6:,.1f} M at {facts['size']}x{facts['size']}"),
        ]
    table(console, title, ("", ""), [
        *costs,
        *_lines(record["genotype"]),
        *([("true accuracy", describe(record["true"]))] if "true" in record else []),
        ("pictures", " ".join(record["pictures"])),
    ])  # fmt: skip


def _lines(genotype: str) -> list[tuple[str, str]]:
    """Return one row per part of the notation, or one row if it has no parts."""
    if ";" not in genotype:
        return [("genotype", genotype)]
    parts = (part.strip().partition(" ") for part in genotype.split(";"))
    return [(cell, text.strip()) for cell, _, text in parts]


def _record(name: str, chosen: Genotype, space: Any, network: str | None) -> dict[str, Any]:
    from nasrun.spaces.base import ClassifierSpace

    costs: dict[str, Any] = {}
    if isinstance(space, ClassifierSpace):
        costs = _costs(chosen, space, network)
    elif network is not None:
        raise ValueError(f"network={network}: has no effect on space={chosen.space}, leave it out")
    return {
        "name": name,
        "space": chosen.space,
        "genotype": space.render(chosen),
        "choices": dict(chosen),
        **costs,
    }


def _drawn(name: str, chosen: Genotype, space: Any, stem: Path) -> list[str]:
    """Draw an architecture beside `stem`, and return the names of the pictures."""
    from nasrun.pictures.cells import draw_cells

    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        return [str(path) for path in draw_cells(space.cells(chosen), stem, name)]
    except OSError as error:
        raise ValueError(
            f"out={stem.parent}: cannot write there ({error.strerror}); name another folder"
        ) from error


def published_network(
    chosen: Genotype, space: ClassifierSpace, network: str | None
) -> tuple[dict[str, Any], ImageClassifier]:
    """Return the facts of a published network, and the genotype as this network on `meta`."""
    import torch

    from nasrun.spaces.layout import Layout

    if network is None:
        network = space.name if space.name in NETWORKS else "cifar"
    if network not in NETWORKS:
        raise ValueError(f"network={network}: unknown network{suggestion(network, NETWORKS)}")
    facts = dict(NETWORKS[network])
    if space.layer_wise:
        facts |= {"channels": 16, "layers": len(chosen)}  # MobileNetV2's, 1801.04381 table 2
    elif space.self_sized:
        facts["layers"] = None
    elif facts["layers"] is None:
        raise ValueError(
            f"network={network}: its depth is that of its genotype, and one of space={space.name} "
            "has none; use another"
        )
    layout = Layout(
        channels=facts["channels"],
        layers=facts["layers"],
        stem=facts["stem"],
        auxiliary=not (space.layer_wise or space.self_sized),
    )
    with torch.device("meta"):
        built = space.network(chosen, inputs=3, outputs=facts["classes"], layout=layout)
    return {"name": network, **facts}, built


def _costs(chosen: Genotype, space: ClassifierSpace, network: str | None) -> dict[str, Any]:
    """Return the costs of the genotype as one of the published networks."""
    from nasrun.costs.cost import count

    facts, built = published_network(chosen, space, network)
    cost = count(built, 3, facts["size"])
    return {"network": facts, "params": cost.params, "macs": cost.macs}
