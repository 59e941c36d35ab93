"""The fittest: the candidate with the best score."""

from toys import Scores, Task, Toy, run

from nasrun.genotype import Genotype
from nasrun.selectors.fittest import Fittest
from nasrun.strategies.random_search import RandomSearch


def test_the_fittest_is_the_first_of_the_best():
    search = RandomSearch(num_candidates=3, together=1, evaluator=Scores([0.2, 0.5, 0.5]))
    search.begin(Toy(), Task(), None)
    run(search)
    selector = Fittest()
    selector.begin(search, Toy())
    assert selector.rounds == 0
    assert selector.done
    assert selector.genotype == search.candidates[1].genotype
    assert isinstance(selector.genotype, Genotype)
    assert selector.report(None) == {"validation_score": 0.5, "candidates": 3}
