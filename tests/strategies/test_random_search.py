"""Random search: uniform draws."""

import pytest
from toys import Scores, Toy, context, run

from nasrun.genotype import NONE
from nasrun.strategies.random_search import RandomSearch


def test_draws_are_uniform():
    search = RandomSearch(num_candidates=2000, together=1, evaluator=Scores([0.0] * 2000))
    search.begin(context(Toy()))
    run(search)
    genotypes = [candidate.genotype for candidate in search.candidates]
    for name in ("e0", "e1", "e2"):
        shares = [sum(g[name] == choice for g in genotypes) / 2000 for choice in (NONE, "a", "b")]
        assert shares == pytest.approx([1 / 3] * 3, abs=0.05)  # two of three edges are kept
