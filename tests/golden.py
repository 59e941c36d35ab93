#!/usr/bin/env python
"""Compares results with recorded digests of small runs over all families of strategies.

    python tests/golden.py record [RUN ...]    records the digests of all runs, or of these
    python tests/golden.py check [RUN ...]     prints the fields that differ; status 1 if any

A run is one command on the embedded data with one thread on the CPU. For every stage, golden.json
has a digest per field of `metrics.jsonl` (of its values over the rounds), per field of
`genotype.json`, and of the trained network: the logits of `nasrun.load`, or a population's weights.
So a renamed field shows up as one missing and one new field, and no other field differs. The bytes
depend on the release of torch and the kind of CPU, which are recorded, too.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import torch

RECORD = Path(__file__).with_name("golden.json")
COMMON = ("budget.threads=1", "budget.device=cpu", "progress=false")
SCALE = ("rounds=2", "width=2", "depth=3", "batch_size=16", "images=64")
CELLS = (*SCALE, "space.nodes=2", "space.kept_edges=1")
SEARCHED = (*CELLS, "stages=[search,select]")
RETRAINED = ("retrain.epochs=2", "retrain.channels=2", "retrain.layers=3")
TRANSFERRED = ("transfer.epochs=1", "transfer.channels=2", "transfer.layers=3", "baseline=false")
WHOLE = (*CELLS, *RETRAINED, *TRANSFERRED)
EXPLORED = (
    "strategy.explore.updates=2",
    "strategy.explore.samples=2",
    "strategy.explore.images=32",
)
BRIEF = ("strategy.num_candidates=3", "strategy.together=2", "strategy.evaluator.epochs=1")
BRIEF += ("engine=serial",)
INHERITED = ("strategy.num_candidates=4", "strategy.together=2")
FEW = ("strategy.num_candidates=6",)
BRED = ("strategy.population=2", "strategy.tournament=2")
NB201 = (*SCALE, "space=nasbench201", "stages=[search,select]")
GANS = ("rounds=3", "width=4", "batch_size=8", "images=64", "stages=[search,select]")
GANS += ("engine=serial", "task.steps=4", "task.generator_batch=8", "task.distance.epochs=1")
GANS += ("task.distance.samples=40", "task.distance.report_samples=40")
GANS += ("strategy.size=4", "strategy.children=1", "strategy.parents=2")
GROWN = ("rounds=3", "width=2", "batch_size=16", "images=64", "stages=[search,select]")
GROWN += ("engine=serial", "strategy.intervals=2", "strategy.patience=null")
RUNS: dict[str, tuple[str, ...]] = {
    "darts": ("strategy=darts", *CELLS, *RETRAINED, *TRANSFERRED[:-1]),
    "darts_2nd": ("strategy=darts_2nd", *SEARCHED),
    "darts_limited": ("strategy=darts", *SEARCHED, *RETRAINED[1:], "budget.max_params_m=0.0031"),
    "darts_healthy": ("strategy=darts", *SEARCHED, "method=healthy", "seed=1"),
    "dsnas": ("strategy=dsnas", *SEARCHED),
    "snas_constrained": ("strategy=snas_constrained", *WHOLE),
    "gdas": ("strategy=gdas", *SEARCHED, "seed=1"),
    "milenas": ("strategy=milenas", *SEARCHED),
    "milenas_2nd": ("strategy=milenas_2nd", *SEARCHED),
    "pcdarts": ("strategy=pcdarts", *SEARCHED, "width=4"),
    "drnas": ("strategy=drnas", *SEARCHED),
    "sdarts_adversarial": ("strategy=sdarts_adversarial", *SEARCHED),
    "sgas": ("strategy=sgas", *SEARCHED, "rounds=4"),
    "fixed_alpha_perturb": ("strategy=fixed_alpha", *WHOLE, "method=perturb"),
    "mobile": ("strategy=darts", *SCALE, "space=mobile_28", "stages=[search,select]"),
    "radars": ("strategy=radars", *SEARCHED, *EXPLORED),
    "radars_lstm": ("strategy=radars_lstm", *SEARCHED, *EXPLORED),
    "reinforce": ("strategy=reinforce", *SEARCHED, *EXPLORED),
    "random": ("strategy=random", *SEARCHED, *BRIEF),
    "random_nasbench201": ("strategy=random", *NB201, *BRIEF),
    "random_inherited": ("strategy=random", "evaluator=inherited", *WHOLE, *INHERITED),
    "random_halving": (
        *(
            "strategy=random",
            "evaluator=inherited",
            *SEARCHED,
            *INHERITED,
            "method=halving",
            "engine=serial",
        ),
        *("selector.contestants=2", "selector.evaluator.epochs=1"),
    ),
    "en2as": (
        *("strategy=en2as", *SEARCHED, *INHERITED, "strategy.evaluator.sampler.alpha=5"),
        *("method=rescored", "selector.evaluator=null"),
    ),
    "evolution": ("strategy=evolution", *SEARCHED, *BRIEF, *BRED),
    "evolution_tabular": (
        "strategy=evolution",
        "evaluator=tabular",
        *NB201,
        "space.table=table.csv",
    ),
    "epnas": ("strategy=epnas", *SEARCHED, *BRIEF, *FEW, "strategy.beam=2", "strategy.children=2"),
    "bayesian": ("strategy=bayesian", *SEARCHED, *BRIEF, *FEW, "strategy.initial=2"),
    "nsga2": ("strategy=nsga2", *SEARCHED, *BRIEF, *FEW, "strategy.population=2"),
    "autokeras": ("strategy=autokeras", *GROWN),
    "pbtnas": ("strategy=pbtnas", *GANS),
    "pbtnas_soup": ("strategy=pbtnas", "space=gan_hard", *GANS, "method=soup"),
    "pbt_mutation": ("strategy=pbt_mutation", "space=gan_hard", *GANS, "seed=1"),
}
"""The words of every run after `nasrun run`; later words win."""

Digests = dict[str, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("verb", choices=("record", "check"))
    parser.add_argument("runs", nargs="*", metavar="RUN")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.runs if name not in RUNS]:
        print(f"{unknown[0]}: no such run; there are {', '.join(RUNS)}", file=sys.stderr)
        return 2
    kept = json.loads(RECORD.read_text()) if RECORD.exists() else {"made": made(), "runs": {}}
    if kept["made"]["torch"] != torch.__version__ and (arguments.verb == "check" or arguments.runs):
        theirs = kept["made"]["torch"]
        text = f"the digests are those of torch {theirs}, this is {torch.__version__}: record them"
        print(f"golden: {text} anew with the code before your change", file=sys.stderr)
        return 2
    if kept["made"] != made():
        print(f"golden: recorded on {kept['made']}, this is {made()}: bytes may differ by it")
    found = {name: digests(name) for name in arguments.runs or RUNS}
    if arguments.verb == "record":
        runs = {**kept["runs"], **found} if arguments.runs else found
        RECORD.write_text(json.dumps({"made": made(), "runs": runs}, indent=1) + "\n")
        return 0
    differences = [line for name in found for line in compared(name, kept["runs"], found)]
    print("\n".join(differences) or f"{len(found)} runs agree")
    return int(bool(differences))


def made() -> dict[str, str]:
    """Return what the bytes depend on besides the code."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    kernels = torch.backends.cpu.get_cpu_capability()
    return {
        "torch": torch.__version__,
        "cpu": f"{next(iter(names), platform.machine())}, {kernels}",
    }


def compared(name: str, kept: Mapping[str, Digests], found: Mapping[str, Digests]) -> Iterator[str]:
    """Return a line per field that differs, is missing or is new."""
    if name not in kept:
        yield f"{name}: not recorded"
        return
    for field in sorted({**kept[name], **found[name]}):
        before, now = kept[name].get(field), found[name].get(field)
        if before != now:
            word = "new" if before is None else "gone" if now is None else "differs"
            yield f"{name}: {field} {word}"


def digests(name: str) -> Digests:
    """Run a command in an empty folder, and return the digests of its results."""
    started = time.monotonic()
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            write_table(Path("table.csv"))
            command("run", *COMMON, *RUNS[name])
            (run,) = Path("outputs").glob("*/v001")
            found = dict(sorted(left(run)))
        finally:
            os.chdir(home)
    print(f"{name}: {len(found)} digests, {time.monotonic() - started:.1f} s", file=sys.stderr)
    return found


def command(*words: str) -> None:
    """Run a command in this process; its output is printed only if it fails."""
    from nasrun.cli.main import main

    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            main(words)
    except SystemExit as end:
        if end.code:
            raise SystemExit(f"nasrun {' '.join(words)}\n{said.getvalue()}") from end


def left(run: Path) -> Iterator[tuple[str, str]]:
    """Return the names and digests of all fields of a run's results."""
    import nasrun

    for path in run.rglob("metrics.jsonl"):
        rounds = [json.loads(line) for line in path.read_text().splitlines()]
        for field in {name for record in rounds for name in record}:
            values = [record.get(field) for record in rounds]
            yield f"{path.relative_to(run).parent}/metrics.{field}", digest(values)
    for path in run.rglob("genotype.json"):
        for field, value in json.loads(path.read_text()).items():
            yield f"{path.relative_to(run).parent}/genotype.{field}", digest(value)
    for path in run.rglob("weights.safetensors"):
        where = path.parent.relative_to(run)
        if where.parts[0] == "select":
            yield f"{where}/weights", weights(path)
        else:
            yield f"{where}/logits", logits(nasrun.load(path.parent))


def digest(value: Any) -> str:
    """Return the first half of a SHA-256 of a value's JSON, numbers with all their digits."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def logits(network: Any) -> str:
    """Return the digest of a loaded network's logits for five images of noise."""
    generator = torch.Generator().manual_seed(0)
    shape = (5, network.channels, network.size, network.size)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    with torch.inference_mode():
        return digest(network(images).double().tolist())


def weights(path: Path) -> str:
    """Return the digest of all tensors of a file, in the order of their names."""
    from safetensors.torch import load_file

    return digest({name: tensor.double().tolist() for name, tensor in load_file(path).items()})


def write_table(path: Path) -> None:
    """Write a table of all NAS-Bench-201 architectures with made-up, distinct accuracies."""
    operations = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    with path.open("w") as file:
        file.write("index,architecture,cifar10_test_200ep,cifar10_val_12ep\n")
        for index, (a, b, c, d, e, f) in enumerate(product(operations, repeat=6)):
            cell = f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
            score = index * 7919 % 15625  # a prime spreads them
            file.write(f"{index},{cell},{10 + score / 200},{10 + score / 210}\n")


if __name__ == "__main__":
    sys.exit(main())
