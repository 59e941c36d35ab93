"""Rules for every selector with a strategy that it accepts."""

import json

from nasrun.genotype import Genotype
from nasrun.selectors.base import Selector
from nasrun.strategies.base import SupernetStrategy


def test_it_chooses_a_legal_genotype_and_interrupted_the_same(bench, pair, searched):
    strategy, selector = pair
    run = searched(strategy)
    folder = run.path / "select" / selector

    words = [f"selector={selector}", "budget.threads=1"]

    def begin():
        return bench.run("select", *words, run=run)

    plan = bench.plan("select", *words, run=run)
    assert isinstance(plan.selector, Selector)
    if isinstance(plan.strategy, SupernetStrategy):
        words.append("discretisation=false")  # tests/selectors/test_discretisation.py looks at it
    begin()
    genotype = plan.space.check(Genotype.read(folder / "genotype.json"))
    assert Genotype.from_json(json.loads(json.dumps(genotype.to_json()))) == genotype
    assert plan.space.parse(plan.space.render(genotype)) == genotype

    metrics = folder / "metrics.jsonl"
    rounds = len(metrics.read_text().splitlines()) if metrics.exists() else 0
    if rounds:
        kept = ("genotype.json", "metrics.jsonl")
        expected = {name: (folder / name).read_bytes() for name in kept}
        folder.rename(run.path / "whole")
        bench.interrupted("select", begin, rounds)
        assert {name: (folder / name).read_bytes() for name in kept} == expected
