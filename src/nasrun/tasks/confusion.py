"""The results of a classifier by class: what the images of each class are answered with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Confusion:
    """How many images of each class were answered with each class: `counts` (true, answered)."""

    counts: Tensor

    @classmethod
    def of(cls, labels: Tensor, answers: Tensor, classes: int) -> Confusion:
        """Count labels (B,) and answers (B,), both in 0 .. `classes` - 1."""
        pairs = torch.bincount(labels * classes + answers, minlength=classes**2)
        return cls(pairs.reshape(classes, classes))

    @cached_property
    def _measured(self) -> Sequence[Any]:
        """Precision, recall and F1 per class, NaN where they are not defined."""
        from sklearn.metrics import precision_recall_fscore_support

        true, answered = self.counts.nonzero(as_tuple=True)
        found = precision_recall_fscore_support(
            true.numpy(),
            answered.numpy(),
            labels=range(len(self.counts)),
            sample_weight=self.counts[true, answered].numpy(),
            zero_division=torch.nan,
        )
        return [values.tolist() for values in found[:3]]

    @property
    def balanced_accuracy(self) -> float:
        """Return the mean recall of the classes that have images."""
        return float(torch.tensor(self._measured[1], dtype=torch.float64).nanmean())

    def by_class(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return per class the number of images, recall, precision, F1, and all answers given.

        Answers are sorted by their number, and those that were not given are left out.
        """
        columns = zip(names, self.counts.tolist(), *self._measured, strict=True)
        return {
            name: {
                "images": sum(row),
                "recall": recall,
                "precision": precision,
                "f1": f1,
                "answers": dict(sorted(_given(names, row), key=lambda each: -each[1])),
            }
            for name, row, precision, recall, f1 in columns
        }


def _given(names: Sequence[str], row: Sequence[int]) -> list[tuple[str, int]]:
    return [(name, count) for name, count in zip(names, row, strict=True) if count]
