"""Results by class: against scikit-learn on every single answer, and by hand."""

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from sklearn.metrics import balanced_accuracy_score, classification_report

from nasrun.tasks.confusion import Confusion

NAMES = ("cat", "dog", "eel", "fox")
ANSWERED = some.lists(
    some.tuples(some.integers(0, 3), some.integers(0, 3)), min_size=1, max_size=40
)


def of(pairs):
    labels, answers = (torch.tensor(column) for column in zip(*pairs, strict=True))
    return Confusion.of(labels, answers, 4)


def test_every_answer_is_counted_by_its_class_the_most_frequent_first():
    found = of([(0, 0), (0, 1), (0, 1), (1, 1), (2, 1)]).by_class(NAMES)
    assert list(found) == list(NAMES)
    assert found["cat"]["images"] == 3
    assert list(found["cat"]["answers"].items()) == [("dog", 2), ("cat", 1)]
    assert found["cat"]["recall"] == pytest.approx(1 / 3)
    assert found["dog"]["precision"] == pytest.approx(1 / 4)
    assert found["dog"]["f1"] == pytest.approx(2 / 5)  # 2 / (1 / precision + 1 / recall)
    assert found["eel"]["recall"] == 0 and math.isnan(found["eel"]["precision"])
    assert found["fox"]["images"] == 0 and math.isnan(found["fox"]["recall"])


def test_the_balanced_accuracy_counts_a_rare_class_as_much_as_a_frequent_one():
    assert of([(0, 0)] * 99 + [(1, 0)]).balanced_accuracy == pytest.approx(1 / 2)


@given(ANSWERED)
def test_the_numbers_are_those_of_scikit_learn_on_every_answer(pairs):
    labels, answers = zip(*pairs, strict=True)
    confusion = of(pairs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # answers of classes that have no images
        balanced = balanced_accuracy_score(labels, answers)
        report = classification_report(
            labels,
            answers,
            labels=range(4),
            target_names=NAMES,
            output_dict=True,
            zero_division=math.nan,
        )
    assert confusion.balanced_accuracy == pytest.approx(balanced)
    for name, found in confusion.by_class(NAMES).items():
        for key, theirs in (("recall", "recall"), ("precision", "precision"), ("f1", "f1-score")):
            assert found[key] == pytest.approx(report[name][theirs], nan_ok=True)
        assert found["images"] == report[name]["support"] == sum(found["answers"].values())
