"""What holds for every selector with every strategy that it accepts."""

import json

from nasrun.genotype import Genotype
from nasrun.selectors.base import Selector


def test_interrupted_it_chooses_as_uninterrupted(bench, pair, searched):
    strategy, selector = pair
    run = searched(strategy)
    folder = run.path / "select" / selector

    def begin():
        return bench.run("select", f"selector={selector}", "budget.threads=1", run=run)

    begin()
    plan = bench.plan("select", f"selector={selector}", "budget.threads=1", run=run)
    assert isinstance(plan.selector, Selector)
    genotype = plan.space.check(Genotype.read(folder / "genotype.json"))
    assert Genotype.from_json(json.loads(json.dumps(genotype.to_json()))) == genotype
    assert plan.space.parse(plan.space.render(genotype)) == genotype

    metrics = folder / "metrics.jsonl"
    rounds = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    kept = ["genotype.json", *(["metrics.jsonl"] if rounds else [])]
    expected = {name: (folder / name).read_bytes() for name in kept}
    folder.rename(run.path / "whole")
    if rounds:
        bench.interrupted("select", begin, rounds)
    else:
        begin()
    assert {name: (folder / name).read_bytes() for name in kept} == expected
