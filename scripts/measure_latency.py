#!/usr/bin/env python3
"""Measures what every choice of a space adds to the time of the retrained network on this device.

    scripts/measure_latency.py space=mobile out=latency.json
    scripts/measure_latency.py space=mobile depth=12 retrain.channels=32 batch=8 device=cuda

Other words than its own go to the configuration, as for nasrun. A choice's time is the median over
`repeats` forward passes of the network in which it alone runs, less that of the network in which
nothing does, never below zero. `holdout` random networks are then measured as they
are retrained, and the error of the sum is printed. `budget.latency_table=FILE` reads the result.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from pathlib import Path

OWN = {
    "out": "latency.json",
    "device": "cpu",
    "batch": "1",
    "repeats": "30",
    "holdout": "10",
    "threads": "1",
}


def main() -> None:
    """Measure, write the table, compare with whole networks."""
    import torch

    from nasrun.config import build, compose, resolve
    from nasrun.costs.limits import Amounts
    from nasrun.genotype import NONE
    from nasrun.supernet.mixture import Mixture

    words = [word for word in sys.argv[1:] if word.split("=")[0] not in OWN]
    own = OWN | dict(word.split("=", 1) for word in sys.argv[1:] if word.split("=")[0] in OWN)
    device, repeats = torch.device(own["device"]), int(own["repeats"])
    torch.set_num_threads(int(own["threads"]))
    composed = compose(words)
    parts = {
        part: build(resolve(composed.config[part]), part)
        for part in ("space", "retrain", "dataset")
    }
    space, layout, facts = parts["space"], parts["retrain"].layout, parts["dataset"].facts()
    size = {"inputs": facts.channels, "outputs": facts.num_classes}
    images = torch.rand(int(own["batch"]), facts.channels, facts.size, facts.size, device=device)
    network = space.network(**size, layout=layout).to(device).eval()

    def median(call) -> float:  # type: ignore[no-untyped-def]
        """Milliseconds of a call, the first three left out."""
        spent = []
        with torch.no_grad():
            for _ in range(repeats + 3):
                started = time.perf_counter()
                call()
                if device.type == "cuda":
                    torch.cuda.synchronize()
                spent.append(1e3 * (time.perf_counter() - started))
        return statistics.median(spent[3:])

    def alone(row: int = -1, column: int = -1) -> float:
        active = tuple((column,) if row == r else () for r in range(len(space.decisions)))
        weights = torch.ones(len(active), space.width, device=device)
        return median(lambda: network(images, Mixture(weights, active)))

    base = alone()
    each = {
        decision.name: {
            choice: 0.0 if choice == NONE else max(0.0, alone(row, column) - base)
            for column, choice in enumerate(decision.choices)
        }
        for row, decision in enumerate(space.decisions)
    }
    table = {
        "unit": f"milliseconds for a batch of {own['batch']}, {facts.size}x{facts.size}",
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "threads": int(own["threads"]),
        "repeats": repeats,
        "space": space.name,
        "channels": layout.channels,
        "layers": layout.layers,
        "base": base,
        "each": each,
    }
    path = Path(own["out"])
    path.write_text(json.dumps(table, indent=2) + "\n")
    amounts, errors = Amounts(base, each), []
    for seed in range(int(own["holdout"])):
        genotype = space.sample(torch.Generator().manual_seed(seed))
        whole = space.network(genotype, **size, layout=layout).to(device).eval()
        measured = median(lambda whole=whole: whole(images))
        errors.append(amounts.of(genotype) / measured - 1)
        print(f"{amounts.of(genotype):9.3f} ms by the table {measured:9.3f} ms measured")
    print(f"{path}: {table['unit']}, on {table['device']}")
    print(
        f"mean absolute error on {len(errors)} networks: {statistics.fmean(map(abs, errors)):.1%}"
    )


if __name__ == "__main__":
    main()
