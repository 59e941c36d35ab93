"""The Gaussian process of costs: its kernel, and predictions against the formulas of textbooks."""

import math

import numpy as np
import pytest
import torch

from nasrun.spaces.edit_distance import edit_distance
from nasrun.spaces.morph_layers import Chain
from nasrun.strategies.cost_process import JITTER, CostProcess, standardised


@pytest.fixture(scope="module")
def sixty(morph_space):
    """Sixty random networks."""
    generator = torch.Generator().manual_seed(0)
    return [morph_space.sample(generator) for _ in range(60)]


def process(genotypes, costs, seed=0):
    return CostProcess(genotypes, costs, 1.0, torch.Generator().manual_seed(seed))


def kernel(ones, others):
    """exp(-|a - b|^2), pair by pair."""
    return np.array([[math.exp(-sum((a - b) ** 2)) for b in others] for a in ones])


def test_the_kernel_of_sixty_networks_known_or_new_is_positive_semi_definite(sixty):
    model = process(sixty[:30], range(30))
    placed = model.embed([Chain.of(genotype) for genotype in sixty])
    matrix = model._process.kernel_(placed)
    assert matrix == pytest.approx(kernel(placed, placed), abs=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-8
    assert len({tuple(row) for row in placed.round(9)}) > 10


def test_a_prediction_is_the_conditional_gaussian(sixty):
    known, new, costs = sixty[:8], sixty[8:20], [0.3, 0.1, 0.4, 0.1, 0.5, 0.9, 0.2, 0.6]
    model = process(known, costs)
    y = (np.array(costs) - np.mean(costs)) / np.std(costs)
    old, at = (model.embed([Chain.of(genotype) for genotype in some]) for some in (known, new))
    inverse = np.linalg.inv(kernel(old, old) + JITTER * np.eye(8))
    across = kernel(at, old)
    mean = across @ inverse @ y
    variance = 1 - np.einsum("ij,jk,ik->i", across, inverse, across)
    expected = mean - 2.5 * np.sqrt(np.maximum(variance, 0))
    assert model.lower_bounds(new, 2.5) == pytest.approx(expected, abs=1e-4)


def test_a_network_of_known_cost_is_predicted_to_have_it(sixty):
    different = [sixty[0]]
    for genotype in sixty:  # a distance of zero is one network
        chains = [Chain.of(each) for each in (genotype, *different)]
        if all(edit_distance(chains[0], other, 1.0) > 1 for other in chains[1:]):
            different.append(genotype)
    costs = np.linspace(0.1, 0.9, len(different))
    model = process(different, costs)
    assert model.lower_bounds(different, 0.0) == pytest.approx(standardised(costs), abs=0.05)


def test_costs_are_standardised_and_a_failed_training_is_as_bad_as_the_worst():
    assert standardised([1.0, 3.0]) == pytest.approx([-1, 1])
    assert standardised([1.0, math.inf, 3.0]) == pytest.approx(standardised([1.0, 3.0, 3.0]))
    assert standardised([7.0]) == standardised([math.inf]) == 0
    assert (standardised([2.0, 2.0]) == 0).all()
