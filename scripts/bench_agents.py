#!/usr/bin/env python3
"""Times the evaluation of agents by episodes side by side against one after the other.

    scripts/bench_agents.py
    scripts/bench_agents.py --repeats 5 dataset.id=HalfCheetah-v5 task.episodes=10

The words are those of `nasrun search` after `experiment=hopper`; the agent is untrained, and the
architecture random. The extra `rl` is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import alternation
import torch

from nasrun.config import build_all, compose, resolve
from nasrun.data.environments import Environment
from nasrun.tasks.base import MemberLearner

SIDES = {"alone": 1, "side_by_side": 10}


def main() -> None:
    parser = alternation.parser(__doc__, repeats=5)
    parser.add_argument("words", nargs="*", help="of `nasrun search`")
    arguments = parser.parse_args()
    fixed = ["experiment=hopper", "budget.threads=1", "budget.device=cpu"]
    config = compose([*fixed, *arguments.words]).config
    nodes = {key: resolve(config[key]) for key in ("space", "dataset", "task", "budget")}
    space, environment, task, budget = build_all(nodes).values()
    budget.apply()
    task.begin(environment, budget)
    torch.manual_seed(0)
    genotype = space.sample(torch.Generator().manual_seed(0))
    agent = task.learner(space.network(genotype, inputs=task.inputs, outputs=task.outputs))
    runs = {name: evaluation(agent, environment, number) for name, number in SIDES.items()}
    times = alternation.in_turn(runs, arguments.repeats)
    for name in SIDES:
        print(times.line(name, f"{task.episodes} episodes"))
    ratios = times.ratios("alone", "side_by_side")
    print(f"{times.ratio('alone', 'side_by_side'):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})")
    alternation.write(arguments, times, ratio=times.ratio("alone", "side_by_side"))


def evaluation(
    agent: MemberLearner, environment: Environment, side_by_side: int
) -> Callable[[], None]:
    """Return an evaluation that plays this number of episodes at a time."""

    def run() -> None:
        torch.manual_seed(0)
        environment.side_by_side = side_by_side
        agent.evaluate()

    return run


if __name__ == "__main__":
    main()
