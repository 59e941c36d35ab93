"""The fittest: the candidate with the best score."""

import math
from types import SimpleNamespace

import pytest
from toys import Scores, Toy, context, run

from nasrun.genotype import NONE, Genotype
from nasrun.selectors.fittest import Fittest
from nasrun.strategies.random_search import RandomSearch


def test_the_fittest_is_the_first_of_the_best():
    search = RandomSearch(num_candidates=3, together=1, evaluator=Scores([0.2, 0.5, 0.5]))
    search.begin(context(Toy()))
    run(search)
    selector = Fittest()
    selector.begin(context(Toy()), search)
    assert selector.rounds == 0
    assert selector.done
    assert selector.genotype == search.candidates[1].genotype
    assert isinstance(selector.genotype, Genotype)
    assert selector.report(None) == {
        "candidates": 3,
        "judged_by": "validation_accuracy",
        "validation_accuracy": 0.5,
    }


@pytest.mark.parametrize(
    ("first", "most", "best", "scored"),
    [(0.2, 1, 0.2, True), (0.2, 0, 0.5, False), (-math.inf, 1, 0.5, False)],
)
def test_a_score_is_that_of_the_chosen_network_and_not_of_one_beyond_the_limits(
    first, most, best, scored
):
    """The architectures have 1, 2 and 2 operations; where none may have that many, one is made.

    So it is where the only one that may have as many diverged.
    """
    search = RandomSearch(num_candidates=3, together=1, evaluator=Scores([first, 0.5, 0.4]))
    search.begin(context(Toy()))
    proposed = iter(
        Genotype("toy", dict(zip(Toy().rows, row, strict=True)))
        for row in (("a", NONE, NONE), ("a", "b", NONE), ("b", "b", NONE))
    )
    search.propose = lambda count: [next(proposed)]
    run(search)
    selector = Fittest()
    limits = SimpleNamespace(
        allow=lambda genotype: sum(c != NONE for c in genotype.values()) <= most
    )
    selector.begin(context(Toy(), limits=limits), search)
    search.limits = limits
    assert selector._best.score.value == search.best.score.value == best
    assert ("validation_accuracy" in selector.report(None)) == scored
