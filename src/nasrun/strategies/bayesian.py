"""Bayesian optimisation: a Gaussian process predicts scores, expected improvement picks the next.

Jones et al., Efficient Global Optimization (1998); the candidates of a round by the Kriging
believer of Ginsbourger et al. (2010). The process is scikit-learn's, which the embedded data need
anyway: for some hundred scores it is fitted in milliseconds, and BoTorch's gradients would have
nothing to ascend here, since architectures are discrete.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nasrun.evaluators.base import Evaluator
from nasrun.genotype import Genotype
from nasrun.strategies.evaluated import EvaluatedSearch


class Bayesian(EvaluatedSearch):
    """Random architectures first, then those with the largest expected improvement.

    The first `initial` are drawn at random, in whole rounds. Each later one has the largest
    expected improvement over the best score among `draws` random architectures and all neighbours
    of the `parents` best. No architecture is scored twice while the space has others. The process
    is fitted again in every round, so it is not part of the state.
    """

    def __init__(
        self,
        *,
        num_candidates: int,
        together: int,
        initial: int,
        draws: int,
        parents: int,
        evaluator: Evaluator,
    ) -> None:
        super().__init__(num_candidates=num_candidates, together=together, evaluator=evaluator)
        if initial < 1 or draws < 1 or parents < 1:
            raise ValueError(
                f"initial={initial} draws={draws} parents={parents}: use at least 1 of each"
            )
        first = together * math.ceil(initial / together)  # a round is proposed at once
        if num_candidates <= first:
            raise ValueError(
                f"num_candidates={num_candidates} initial={initial} together={together}: use more "
                f"candidates than {first}, or no score is predicted"
            )
        self.initial = initial
        self.draws = draws
        self.parents = parents

    def propose(self, count: int) -> list[Genotype]:
        taken = dict.fromkeys(candidate.genotype for candidate in self.candidates)
        model = self._model() if len(self.candidates) >= self.initial else None
        proposed: list[Genotype] = []
        while len(proposed) < count:
            if model is None:
                chosen = self._drawn(taken)
            else:
                pool = self._pool(taken)
                features = self._features(pool)
                place = int(np.argmax(model.expected_improvement(features)))  # the first of several
                chosen = pool[place]
                if len(proposed) + 1 < count:
                    model = model.believing(features[place])
            taken[chosen] = None
            proposed.append(chosen)
        return proposed

    def _model(self) -> GaussianProcess | None:
        """Return a process fitted to the scores, or `None` if that is impossible."""
        merits = torch.tensor([c.score.merit for c in self.candidates], dtype=torch.float64)
        features = self._features([candidate.genotype for candidate in self.candidates])
        try:
            return GaussianProcess.fitted(features, normal_scores(merits).numpy())
        except np.linalg.LinAlgError as error:
            warnings.warn(
                f"round {self.round + 1}: no Gaussian process fits the scores ({error}); this "
                "round's candidates are drawn at random",
                stacklevel=2,
            )
            return None

    def _features(self, genotypes: Iterable[Genotype]) -> np.ndarray:
        return torch.stack([self.space.features(g) for g in genotypes]).double().numpy()

    def _pool(self, taken: dict[Genotype, None]) -> list[Genotype]:
        """Return new architectures within the limits: random ones, then neighbours."""
        best = sorted(self.candidates, key=lambda c: c.score.merit, reverse=True)[: self.parents]
        offered = [self.space.sample(self.stream) for _ in range(self.draws)]
        offered += [near for c in best for near in self.space.neighbours(c.genotype)]
        return self._new(offered, taken) or [self._drawn(taken)]

    def _drawn(self, taken: dict[Genotype, None]) -> Genotype:
        """Return a random architecture, a new one if possible."""
        for _ in range(self.draws):
            drawn = self.within_limits(self.space.sample(self.stream))
            if drawn not in taken:
                return drawn
        # every neighbour of every one is known only where everything is
        near = (near for genotype in taken for near in self.space.neighbours(genotype))
        return next(iter(self._new(near, taken)), drawn)

    def _new(self, offered: Iterable[Genotype], taken: dict[Genotype, None]) -> list[Genotype]:
        limits = self.limits
        return [
            genotype
            for genotype in dict.fromkeys(offered)
            if genotype not in taken and (limits is None or limits.allow(genotype))
        ]


class GaussianProcess:
    """Normal scores y (n,) over features x (n, d), with an isotropic Matérn 5/2 kernel and noise.

    Between one-hot features, the squared distance is twice the number of differing decisions.
    """

    def __init__(self, process: Any, x: np.ndarray, y: np.ndarray) -> None:
        self.process, self.x, self.y = process.fit(x, y), x, y

    @classmethod
    def fitted(cls, x: np.ndarray, y: np.ndarray) -> GaussianProcess:
        """Fit amplitude, length and noise by maximum likelihood."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        amplitude, length = ConstantKernel(1.0, (0.05, 20.0)), Matern(2.0, (0.2, 50.0), nu=2.5)
        noise = WhiteKernel(0.1, (1e-4, 1.0))
        with warnings.catch_warnings():
            # a likelihood may be largest at a bound, or flat
            warnings.simplefilter("ignore", ConvergenceWarning)
            return cls(GaussianProcessRegressor(amplitude * length + noise), x, y)

    def believing(self, x: np.ndarray) -> GaussianProcess:
        """Return the same process with one more score (d,), the one that it predicts."""
        from sklearn.gaussian_process import GaussianProcessRegressor

        same = GaussianProcessRegressor(self.process.kernel_, optimizer=None)
        mean, _ = self.predict(x[None])
        return GaussianProcess(same, np.vstack([self.x, x]), np.concatenate([self.y, mean]))

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation (m,) of the true scores without noise at x (m, d)."""
        mean, deviation = self.process.predict(x, return_std=True)
        noise = self.process.kernel_.k2.noise_level
        return mean, np.sqrt(np.maximum(deviation**2 - noise, 0.0))

    def expected_improvement(self, x: np.ndarray) -> np.ndarray:
        """Return the expected improvement over the best score, (m,), at x (m, d)."""
        mean, deviation = map(torch.from_numpy, self.predict(x))
        return expected_improvement(mean, deviation, float(self.y.max())).numpy()


def expected_improvement(mean: Tensor, deviation: Tensor, best: float) -> Tensor:
    """E max(0, f - best) = (mean - best) Φ(z) + deviation φ(z), z = (mean - best) / deviation."""
    gain = mean - best
    z = gain / deviation.clamp(min=torch.finfo(deviation.dtype).tiny)
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return gain * torch.special.ndtr(z) + deviation * density


def normal_scores(merits: Tensor) -> Tensor:
    """Return Φ⁻¹((rank - 1/2) / n), rank 1 for the smallest; ties share ranks (1909.13595 sec. 4).

    So the model depends neither on the scale of scores, nor on minus infinity of failed trainings.
    """
    from scipy.stats import rankdata

    ranks = torch.from_numpy(rankdata(merits))
    return torch.special.ndtri((ranks - 0.5) / len(merits))
