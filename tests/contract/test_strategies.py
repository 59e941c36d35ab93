"""Rules for every strategy, including a user's own."""

import json
import math

from nasrun.config import options
from nasrun.genotype import Genotype
from nasrun.strategies.base import Strategy, SupernetStrategy


def test_it_composes_and_builds_and_names_selectors_that_can_read_it(bench, small, strategy):
    plan = bench.plan("run", f"strategy={strategy}", "stages=[search,select]", *small)
    assert isinstance(plan.strategy, Strategy)
    assert isinstance(plan.strategy, plan.selector.accepts)
    readable = plan.strategy.read_by.replace(" or ", ", ").split(", ")
    assert set(readable) <= set(options("selector", bench.folders))


def test_interrupted_it_ends_as_uninterrupted_in_a_legal_genotype(bench, small, strategy, searched):
    whole = searched(strategy)
    expected = (whole.path / "search/metrics.jsonl").read_bytes()
    rounds = len(expected.splitlines())
    assert rounds >= 2
    assert [json.loads(line)["round"] for line in expected.splitlines()] == [*range(1, rounds + 1)]
    assert all(len(json.loads(line)) > 1 for line in expected.splitlines())
    result = json.loads((whole.path / "search/result.json").read_text())
    assert 0 <= result.get("validation_accuracy", 0) <= 1
    assert math.isfinite(result[result.get("judged_by", "validation_accuracy")])

    words = [f"strategy={strategy}", "stages=[search,select]", *small]
    plan = bench.plan("run", *words)
    if isinstance(plan.strategy, SupernetStrategy):
        words.append("discretisation=false")  # tests/selectors/test_discretisation.py looks at it
    bench.run("run", *words)
    (file,) = whole.path.glob("select/*/genotype.json")
    bench.outputs = bench.outputs / "parts"
    parts = bench.interrupted("search", lambda: bench.run("run", *words), rounds)
    assert parts.path != whole.path
    assert (parts.path / "search/metrics.jsonl").read_bytes() == expected
    for left in (file, *whole.path.glob("search/history.json")):
        assert (parts.path / left.relative_to(whole.path)).read_bytes() == left.read_bytes()

    genotype = plan.space.check(Genotype.read(file))
    assert Genotype.from_json(json.loads(json.dumps(genotype.to_json()))) == genotype
    assert plan.space.parse(plan.space.render(genotype)) == genotype


def test_another_seed_searches_otherwise(bench, small, family, searched):
    first = searched(family)
    second = bench.run("search", f"strategy={family}", *small, "seed=1")
    metrics = [(run.path / "search/metrics.jsonl").read_text() for run in (first, second)]
    assert first.path != second.path
    assert metrics[0] != metrics[1]


def test_an_evaluator_scores_by_a_name_of_its_own(bench, small, evaluator):
    words = ["strategy=random", f"evaluator@strategy={evaluator}", *small]
    run = bench.run("search", *words)
    result = json.loads((run.path / "search/result.json").read_text())
    rounds = (run.path / "search/metrics.jsonl").read_text().splitlines()
    name = result["judged_by"]
    assert json.loads(rounds[-1])[f"best_{name}"] == result[name]
