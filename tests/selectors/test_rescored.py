"""The most promising architectures are scored again, and the best is kept."""

import json
import math
from types import SimpleNamespace

import pytest
import torch
from toys import Scores, Toy, context, run

from nasrun.engines.base import OnEngine
from nasrun.engines.local import Serial
from nasrun.genotype import NONE
from nasrun.runs.run import Run
from nasrun.score import Score
from nasrun.selectors.rescored import Rescored
from nasrun.strategies.random_search import RandomSearch
from nasrun.supernet.likeliest import likeliest

CELL = ["rounds=2", "width=2", "depth=3", "batch_size=16", "images=64", "budget.threads=1"]
CELL += ["discretisation=false", "space=nasbench201", "stages=[search,select]"]


class Folder:
    def write(self, name, record):
        self.written = name, json.loads(json.dumps(record))


def begun(found, evaluator, contestants=3, **parts):
    """The selector at a search that ended with such scores, of different architectures."""
    torch.manual_seed(21)
    search = RandomSearch(num_candidates=len(found), together=1, evaluator=Scores(found))
    search.begin(context(Toy()))
    run(search)
    selector = Rescored(contestants=contestants, evaluator=evaluator)
    selector.begin(context(Toy(), **parts), search)
    return selector, [candidate.genotype for candidate in search.candidates]


def test_the_best_of_the_search_are_scored_anew_and_the_best_of_these_scores_is_kept():
    judge = Scores([0.2, 0.9, 0.5])
    selector, genotypes = begun([0.1, 0.4, 0.3, 0.2], judge)
    assert run(selector) == [
        {
            "best_validation_accuracy": 0.9,
            "worst_validation_accuracy": 0.2,
            "contestants": 3.0,
        }
    ]
    assert judge.asked == [genotypes[1], genotypes[2], genotypes[3]]
    assert selector.genotype == genotypes[2]
    folder = Folder()
    report = selector.report(folder)
    assert report == {"judged_by": "validation_accuracy", "validation_accuracy": 0.9,
                      "candidates": 3, "place": 2}  # fmt: skip
    render = Toy().render
    assert folder.written == (
        "scores.json",
        [[render(genotypes[n]), score] for n, score in ((1, 0.2), (2, 0.9), (3, 0.5))],
    )


def test_an_evaluators_warm_up_comes_first_and_a_state_goes_on():
    selector, _ = begun([0.1, 0.4, 0.3], Scores([0.2, 0.9, 0.5], warm_up_rounds=2))
    assert selector.rounds == 3
    run(selector)
    assert selector.evaluator.warmed == [0.0, 0.5]
    other, _ = begun([0.1, 0.4, 0.3], Scores([0.2, 0.9, 0.5], warm_up_rounds=2))
    other.load_state_dict(selector.state_dict())
    assert other.genotype == selector.genotype


def test_a_contestant_without_a_score_is_the_worst_and_none_with_one_is_an_error():
    selector, genotypes = begun([0.1, 0.4, 0.3], Scores([math.nan, 0.5, 0.6]))
    (metrics,) = run(selector)
    assert metrics["diverged"] == 1
    assert selector.genotype == genotypes[0]
    selector, _ = begun([0.1, 0.4, 0.3], Scores([math.nan] * 3))
    with pytest.raises(ValueError, match=r"^selector\.contestants=3: none of them could be"):
        run(selector)


def test_contestants_are_within_the_limits_if_one_is_else_the_nearest():
    def kept(genotype):
        return tuple(name for name, choice in genotype.items() if choice != NONE)

    judge = Scores([0.2, 0.9, 0.5])
    limits = SimpleNamespace(allow=lambda genotype: kept(genotype) == ("e0", "e1"))
    begun_with = begun([0.1, 0.4, 0.3, 0.2, 0.6], judge, limits=limits)
    selector, genotypes = begun_with
    allowed = [genotype for genotype in genotypes if limits.allow(genotype)]
    assert 0 < len(allowed) < 5
    assert set(selector._promising) == set(allowed)
    one = genotypes[0]
    limits = SimpleNamespace(allow=lambda _: False, nearest=lambda genotype: one)
    selector, _ = begun([0.1, 0.4, 0.3], judge, limits=limits)
    assert selector._promising == [one]


def test_without_an_evaluator_the_searchs_own_weights_score_on_all_images():
    class Shared(Scores):
        def shared_score(self, genotype):
            return Score("validation_accuracy", 1.0 if genotype == self.asked[0] else 0.5)

    torch.manual_seed(21)
    search = RandomSearch(num_candidates=3, together=1, evaluator=Shared([0.4, 0.5, 0.6]))
    search.begin(context(Toy()))
    run(search)
    selector = Rescored(contestants=3, evaluator=None)
    selector.begin(context(Toy()), search)
    assert run(selector)[0]["best_validation_accuracy"] == 1.0
    assert selector.genotype == search.candidates[0].genotype
    search.evaluator = Scores([])
    with pytest.raises(ValueError, match=r"^selector\.evaluator=null: this search shares no weig"):
        selector.check(search, Toy())


def test_an_evaluator_on_the_engine_trains_there_and_closes_it():
    class Trained(Scores, OnEngine):
        on_engine = True

        def begin(self, context):
            self.engine = context.engine

    engine, closed = Serial(), []
    engine.close = lambda: closed.append(True)
    selector, _ = begun([0.1, 0.4, 0.3], Trained([0.2, 0.9, 0.5]), engine=engine)
    assert selector.on_engine and not closed
    run(selector)
    assert selector.evaluator.engine is engine and closed == [True]


def test_impossible_numbers_of_contestants_are_refused():
    with pytest.raises(ValueError, match="contestants=1: use at least 2"):
        Rescored(contestants=1, evaluator=None)


def test_the_likeliest_cells_of_a_supernet_are_scored_by_named_formulas_or_its_weights(
    nasrun, here
):
    words = ["run", "strategy=snas", "method=rescored", "selector.contestants=4", *CELL]
    words.append("selector.evaluator.formulas=[params]")
    told = "selector.evaluator.images=128: there are 48 training images; use at most 48"
    answer = nasrun(*words)
    assert answer.refusal == f"nasrun: {told}"
    assert "round" not in answer.out  # before the search
    assert nasrun(*words, "selector.evaluator.images=16").status == 0
    (run_,) = Run.all(here / "outputs")
    scores = json.loads((run_.path / "select/rescored/scores.json").read_text())
    result = json.loads((run_.path / "select/rescored/result.json").read_text())
    assert len({cell for cell, _ in scores}) == len(scores) == 4
    assert result["params"] == max(score for _, score in scores)
    assert result["genotype"] == scores[result["place"] - 1][0]
    select = ["select", f"run={run_.path}", "discretisation=false", "budget.threads=1"]
    assert nasrun(*select, "method=argmax").status == 0
    first = json.loads((run_.path / "select/argmax/result.json").read_text())["genotype"]
    assert scores[0][0] == first
    own = ["method=rescored", "selector.contestants=3", "selector.evaluator=null"]
    assert nasrun(*select, *own).status == 0
    mine = json.loads((run_.path / "select/rescored-2/result.json").read_text())
    assert (mine["judged_by"], mine["candidates"]) == ("validation_accuracy", 3)


def test_after_a_supernet_further_likely_architectures_stand_in_for_those_over_the_limits(begin):
    small = ["width=2", "depth=3", "batch_size=16", "images=64"]
    search = begin("strategy=darts", "space=nasbench201", *small)
    ranked = likeliest(search.supernet.space, search.supernet.probabilities(), 200)
    assert search.promising(3, None) == ranked[:3]
    wanted = [ranked[5], ranked[40], ranked[150], ranked[199]]
    limits = SimpleNamespace(allow=wanted.__contains__, nearest=lambda genotype, likely: ranked[9])
    assert search.promising(3, limits) == wanted[:3]
    assert search.promising(5, limits) == [*wanted, ranked[9]]
    limits.allow = lambda genotype: False
    assert search.promising(3, limits) == [ranked[9]]
