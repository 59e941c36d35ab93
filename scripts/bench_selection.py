#!/usr/bin/env python3
"""Times perturbation's masked validation passes against the plain loop over the candidates.

    scripts/bench_selection.py                  # DARTS, C=16, L=8, an event: an edge per cell type
    scripts/bench_selection.py --decisions 7 --images 256 --json selection.json

Ours is what the selector runs: a judge that asks a strategy for its loss without each candidate.
The plain loop sets the candidate's weight to zero and runs the plain network, edge by edge, which
is the oracle of the tests: eagerly, channels first, without gradients. Both see the same random
images in the same batches in fp32 and must decide alike; a decided operation then runs alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import alternation

Decided = dict[str, tuple[str, dict[str, float]]]


def main() -> None:
    arguments = parse()
    import torch

    torch.set_num_threads(arguments.threads)
    strategy = begun(arguments)
    decided: dict[str, Decided] = {}
    runs = {
        "plain": plain(arguments, strategy, decided),
        "fast": fast(arguments, strategy, decided),
    }
    times = alternation.in_turn(runs, arguments.repeats)
    difference = compared(decided["plain"], decided["fast"])
    passes = sum(len(scores) for _, scores in decided["fast"].values())
    for name in runs:
        print(times.line(name, f"for {passes} passes over {arguments.images} images"))
    print(times.compared("plain", "fast"))
    chosen = ", ".join(f"{name} {choice}" for name, (choice, _) in decided["fast"].items())
    print(f"both decide {chosen}; losses differ by at most {difference:.1e}")
    ratio = times.ratio("plain", "fast")
    alternation.write(arguments, times, ratio=ratio, passes=passes, difference=difference)


def parse() -> argparse.Namespace:
    parser = alternation.parser(__doc__, repeats=3)
    parser.add_argument("--space", default="darts", help="an option of conf/space, of cells")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument(
        "--decisions", type=int, default=1, help="decisions per cell type, evenly spread"
    )
    parser.add_argument("--images", type=int, default=64, help="of validation")
    parser.add_argument(
        "--batch", type=int, default=8, help="of training; a validation batch is 8 times as large"
    )
    parser.add_argument("--size", type=int, default=32, help="the images' side in pixels")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def begun(arguments: argparse.Namespace) -> Any:
    """Return a strategy with a randomly initialised supernet, on random images."""
    import torch

    from nasrun.budget import Budget
    from nasrun.config import build, compose, resolve
    from nasrun.context import Context
    from nasrun.data.facts import Facts
    from nasrun.data.splits import TensorSplit
    from nasrun.streams import Streams

    class Noise:
        """Equally many random images in every part."""

        def facts(self) -> Facts:
            classes, thirds = tuple("abcdefghij"), (0.5,) * 3
            return Facts("noise", classes, 3, arguments.size, thirds, thirds, flip=True)

        def split(self, *parts: str, device: torch.device) -> TensorSplit:
            shape = (arguments.images, 3, arguments.size, arguments.size)
            images = torch.randint(256, shape, dtype=torch.uint8)
            labels = torch.arange(arguments.images) % 10
            return TensorSplit(images=images, labels=labels, facts=self.facts(), device=device)

    torch.manual_seed(0)
    words = [f"space={arguments.space}", "strategy=fixed_alpha", f"width={arguments.channels}"]
    words += [f"depth={arguments.layers}", f"batch_size={arguments.batch}"]
    config = compose([*words, "strategy.alpha_std=0.1"]).config
    space, task, strategy = (
        build(resolve(config[key]), key) for key in ("space", "task", "strategy")
    )
    budget = Budget(device="cpu", precision="fp32", threads=arguments.threads, max_hours=None)
    task.begin(Noise(), budget)
    strategy.begin(Context(space=space, task=task, budget=budget, streams=Streams(0)))
    return strategy


def asked(space: Any, count: int) -> list[Any]:
    """Return `count` decisions per cell type, evenly spread over its edges, the types in turns."""
    groups = [[d for d in space.decisions if d.group == group] for group in space.groups]
    return [group[len(group) * step // count] for step in range(count) for group in groups]


def fast(
    arguments: argparse.Namespace, strategy: Any, decided: dict[str, Decided]
) -> Callable[[], None]:
    """Return the judge of `selector=perturb`, by the loss, since accuracies are often equal."""
    from nasrun.strategies.judges import Masked

    judge = Masked(criterion="loss", images=None, batch_size=8 * arguments.batch)
    space = strategy.space

    def run() -> None:
        strategy.supernet.fixed.clear()
        found = decided["fast"] = {}
        for decision in asked(space, arguments.decisions):
            possible = space.candidates(decision)
            found[decision.name] = judge.decide(strategy, decision, possible)
            strategy.supernet.fixed[decision.name] = found[decision.name][0]

    return run


def plain(
    arguments: argparse.Namespace, strategy: Any, decided: dict[str, Decided]
) -> Callable[[], None]:
    """Loop over the candidates of every decision."""
    import copy

    import torch
    import torch.nn.functional as F

    space = strategy.space
    network = copy.deepcopy(strategy.supernet.network).to(memory_format=torch.contiguous_format)
    oracle = alternation.plain(network, space, strategy.layout)
    mixed = torch.softmax(strategy.supernet.logits.detach(), 1)
    batches = [(x.contiguous(), y) for x, y in strategy.validation.batches(8 * arguments.batch)]

    @torch.no_grad()
    def run() -> None:
        mix = mixed.clone()
        found = decided["plain"] = {}
        for decision in asked(space, arguments.decisions):
            row, scores = space.rows[decision.name], {}
            for column, choice in enumerate(decision.choices):
                masked = mix.clone()
                masked[row, column] = 0
                losses = [
                    F.cross_entropy(oracle(images, mix=masked)[0], labels, reduction="sum")
                    for images, labels in batches
                ]
                scores[choice] = -float(sum(losses)) / arguments.images
            chosen = min(space.candidates(decision), key=scores.__getitem__)
            found[decision.name] = chosen, scores
            mix[row] = torch.eye(space.width)[decision.choices.index(chosen)]

    return run


def compared(plain: Decided, fast: Decided) -> float:
    """Return the largest difference between scores; both must have decided alike."""
    ours = {name: choice for name, (choice, _) in fast.items()}
    theirs = {name: choice for name, (choice, _) in plain.items()}
    assert ours == theirs, f"ours decides {ours}, the plain loop {theirs}"
    pairs = [(fast[name][1][k], score) for name in plain for k, score in plain[name][1].items()]
    return max(abs(one - other) for one, other in pairs)


if __name__ == "__main__":
    main()
