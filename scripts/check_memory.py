#!/usr/bin/env python3
"""Compares the predicted memory of a search step with the measured one.

    scripts/check_memory.py                      # 4 subspaces calibrate, 20 others are compared
    scripts/check_memory.py space=darts count=8 calibrate=3

Every subspace runs two steps of DARTS's first order in a fresh process, with the allocator that a
memory budget sets; the increment over the imported process is measured (on CUDA, the allocator's
peak). The factor and offset of the calibration subspaces predict the others. Prints a table and
the line that belongs into conf/budget/default.yaml.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

SETTINGS = {
    "space": "mobile_28",
    "count": "20",
    "calibrate": "4",
    "batch_size": "64",
    "width": "16",
    "depth": "8",
    "size": "32",
    "device": "cpu",
    "least_gib": "0.5",
    "most_gib": "4",
    "steps": "2",
    "strategy": "darts",
}


def main() -> None:
    """Draw subspaces of the sizes asked for, measure each in its own process, compare."""
    settings = SETTINGS | dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    unknown = sorted(set(settings) - set(SETTINGS))
    if unknown:
        sys.exit(f"{unknown[0]}: unknown key; there are {', '.join(SETTINGS)}")
    if "--one" in sys.argv:
        print(json.dumps(measure(settings, json.loads(sys.stdin.read()))))
        return
    calibrate, count = int(settings["calibrate"]), int(settings["count"])
    drawn = draw(settings, calibrate + count)
    rows = []
    for number, (predicted, kept) in enumerate(drawn):
        words = [f"{key}={value}" for key, value in settings.items()]
        done = subprocess.run(
            [sys.executable, __file__, "--one", *words],
            input=json.dumps(kept),
            capture_output=True,
            text=True,
            check=True,
        )
        answer = json.loads(done.stdout.splitlines()[-1])
        rows.append((predicted, answer["increment"]))
        base = answer["base"]
        shown = f"by shape {gib(predicted):6.3f}  measured {gib(rows[-1][1]):6.3f} GiB"
        print(f"{number:3}  {shown}", flush=True)
    factor, offset = fit(rows[:calibrate])
    errors = [(factor * p + offset) / m - 1 for p, m in rows[calibrate:]]
    print(f"calibration on {calibrate}: measured = {factor:.3f} by shape + {gib(offset):.3f} GiB")
    print(f"largest error on {count} others: {max(map(abs, errors)):.1%}")
    print(f"the imported process takes {gib(base):.2f} GiB")
    largest = max(measured / predicted for predicted, measured in rows)
    print(f"reserve_gib: {gib(base):.1f}  memory_factor: {largest:.2f} # covers every subspace")


def build(settings: dict[str, str]):  # type: ignore[no-untyped-def]
    """Return the space and the strategy, as the command line composes them."""
    from nasrun.config import build as make
    from nasrun.config import compose, resolve

    words = [f"{key}={settings[key]}" for key in ("space", "strategy", "batch_size")]
    composed = compose([*words, f"width={settings['width']}", f"depth={settings['depth']}"])
    parts = ("space", "strategy")
    return tuple(make(resolve(composed.config[part]), part) for part in parts)


def draw(settings: dict[str, str], count: int) -> list[tuple[int, dict[str, list[str]]]]:
    """Return random subspaces whose predictions are in the range, in the order drawn."""
    from nasrun.costs.memory import Shapes, optimizer_slots

    space, strategy = build(settings)
    shapes = Shapes(
        space,
        inputs=3,
        outputs=10,
        size=int(settings["size"]),
        slots=optimizer_slots(strategy.weight_optimizer),
    )
    low, high = (float(settings[key]) * 2**30 for key in ("least_gib", "most_gib"))
    generator = random.Random(0)
    found: list[tuple[int, dict[str, list[str]]]] = []
    while len(found) < count:
        most = generator.randint(1, max(len(d.choices) for d in space.decisions))
        kept = {}
        for decision in space.decisions:
            choices = [choice for choice in decision.choices if choice != "none"]
            size = generator.randint(1, min(most, len(choices)))
            kept[decision.name] = generator.sample(choices, size)
        predicted = strategy.footprint(shapes, kept)
        if low <= predicted <= high:
            found.append((predicted, kept))
    return found


def measure(settings: dict[str, str], kept: dict[str, list[str]]) -> dict[str, int]:
    """Return the bytes that a few steps of a subspace add to this process."""
    import torch

    from nasrun.budget import Budget
    from nasrun.spaces.supernet import batch_statistics
    from nasrun.strategies.descent import Search
    from nasrun.streams import Streams
    from nasrun.supernet.supernet import Supernet

    budget = Budget(
        device=settings["device"],  # type: ignore[arg-type]
        precision="fp32",
        threads=None,
        max_hours=None,
        max_memory_gib=1e6,
    )
    budget.apply()
    space, strategy = build(settings)
    device, size = budget.torch_device, int(settings["size"])
    batch_size = strategy.batch_size
    torch.conv2d(torch.zeros(1, 1, 3, 3, device=device), torch.zeros(1, 1, 3, 3, device=device))
    base = peak(device)
    supernet = Supernet(
        space.restrict({name: tuple(choices) for name, choices in kept.items()}),
        space.restrict({name: tuple(choices) for name, choices in kept.items()}).network(
            inputs=3, outputs=10
        ),
        strategy.relaxation,
        alpha_mean=0.0,
        alpha_std=1e-3,
    ).to(device)
    supernet.to(memory_format=torch.channels_last)

    def loss(batch):  # type: ignore[no-untyped-def]
        return torch.nn.functional.cross_entropy(supernet(batch[0])[0], batch[1])

    weights = supernet.weights()
    search = Search(
        streams=Streams(0),
        loss=loss,
        alphas=[supernet.alpha],
        weights=weights,
        alpha_optimizer=strategy.alpha_optimizer([supernet.alpha]),
        weight_optimizer=strategy.weight_optimizer(weights),
        weight_clip=strategy.weight_clip,
    )
    for _ in range(int(settings["steps"])):
        batches = []
        for _ in range(2):
            images = torch.rand(batch_size, 3, size, size, device=device)
            labels = torch.randint(10, (batch_size,), device=device)
            batches.append((images.contiguous(memory_format=torch.channels_last), labels))
        strategy.level.step(search, *batches)
    with batch_statistics(supernet), torch.no_grad():
        supernet(torch.rand(8 * batch_size, 3, size, size, device=device))
    return {"increment": peak(device) - base, "base": base}


def peak(device) -> int:  # type: ignore[no-untyped-def]
    """Return the peak bytes so far: the allocator's on CUDA, else the process's."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    sys.exit("no /proc/self/status: the peak of a process is read there")


def fit(rows: list[tuple[int, int]]) -> tuple[float, float]:
    """Return factor and offset by least squares of relative errors."""
    weights = [1 / measured for _, measured in rows]
    a = sum((w * p) ** 2 for w, (p, _) in zip(weights, rows, strict=True))
    b = sum(w * w * p for w, (p, _) in zip(weights, rows, strict=True))
    c = sum(w * w for w in weights)
    d = sum(w * p for w, (p, _) in zip(weights, rows, strict=True))
    e = sum(weights)
    determinant = a * c - b * b
    return (d * c - e * b) / determinant, (a * e - b * d) / determinant


def gib(size: float) -> float:
    """Return bytes in GiB."""
    return size / 2**30


if __name__ == "__main__":
    main()
