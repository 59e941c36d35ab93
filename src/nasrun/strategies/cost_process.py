"""A Gaussian process of costs over networks by their edit distance: Auto-Keras (1806.10282).

    k(a, b) = exp(-|e(a) - e(b)|^2)

where `e` is Bourgain's embedding of the edit distance, which makes the kernel positive
semi-definite on known and on new networks (sec. 3.2). The process is scikit-learn's. It has no
parameter to fit, so it shares nothing with `nasrun.strategies.bayesian`, whose kernel is fitted to
the scores. Ours: costs are standardised, so that beta and a temperature mean the same on every
task, and the jitter is 1e-6 (the released code's is 1e-10).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from nasrun.genotype import Genotype
from nasrun.spaces.edit_distance import edit_distance
from nasrun.spaces.morph_layers import Chain
from nasrun.strategies.bourgain import Bourgain

JITTER = 1e-6
"""Variance of the noise of a standardised cost."""


class CostProcess:
    """Standardised costs (n,) of known networks, and predictions for others.

    `lam` weighs skip connections in the distance. The anchors are drawn with `generator`.
    """

    def __init__(
        self,
        known: Sequence[Genotype],
        costs: Sequence[float],
        lam: float,
        generator: torch.Generator,
    ) -> None:
        self.known = [Chain.of(genotype) for genotype in known]
        self.costs = standardised(costs)
        self.lam = lam
        self.bourgain = Bourgain.drawn(len(known), generator)

    def embed(self, chains: Sequence[Chain]) -> np.ndarray:
        """Return the coordinates of networks."""
        distances = [[edit_distance(one, its, self.lam) for its in self.known] for one in chains]
        return self.bourgain.embed(np.array(distances))

    def lower_bounds(self, genotypes: Sequence[Genotype], beta: float) -> list[float]:
        """Return alpha(f) = mu(f) - beta sigma(f): the least cost that a network may well have."""
        chains = [Chain.of(genotype) for genotype in genotypes]
        mean, deviation = self._process.predict(self.embed(chains), return_std=True)
        return (mean - beta * deviation).tolist()

    @cached_property
    def _process(self) -> Any:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF

        kernel = RBF(math.sqrt(0.5))  # exp(-d^2 / 2 l^2) = exp(-d^2)
        process = GaussianProcessRegressor(kernel, alpha=JITTER, optimizer=None)
        return process.fit(self.embed(self.known), self.costs)


def standardised(costs: Sequence[float]) -> np.ndarray:
    """Return costs with mean 0 and deviation 1; a cost that is not finite is the worst finite one.

    Equal costs, and a single one, are 0.
    """
    found = np.array(costs, dtype=float)
    sound = np.isfinite(found)
    found[~sound] = found[sound].max() if sound.any() else 0.0
    centred = found - found.mean()
    deviation = centred.std()
    return centred / deviation if deviation > 0 else np.zeros_like(centred)
