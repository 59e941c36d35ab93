"""A classifier that trains itself: its training data, its score, and its state."""

import pickle
import re
from functools import partial

import pytest
import torch

from nasrun.budget import Budget
from nasrun.data.augment import Augment
from nasrun.data.images import Digits
from nasrun.spaces.darts import DartsSpace
from nasrun.tasks.classifiers import Classifiers

BUDGET = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
SPACE = DartsSpace(
    operations=("none", "skip_connect", "sep_conv_3x3"), nodes=1, kept_edges=2, channels=2, layers=3
)
SETTINGS = {
    "augment": Augment(padding=0.125, flip=False, cutout=0.0, resized_crop=None, jitter=0.0),
    "label_smoothing": 0.0,
    "auxiliary_weight": 0.0,
    "share": 1.0,
    "epochs": 2,
    "batch_size": 16,
    "optimizer": partial(torch.optim.SGD, lr=0.05, momentum=0.9),
    "clip": 5.0,
}


def begun(**changes):
    task = Classifiers(**{**SETTINGS, **changes})
    task.begin(Digits(images=80, validation=0.25), BUDGET)
    return task


@pytest.fixture
def task():
    return begun()


def member(task, seed=0):
    torch.manual_seed(seed)
    return task.learner(SPACE.network(SPACE.sample(), inputs=1, outputs=10))


@pytest.fixture
def read(task, monkeypatch):
    """The parts of the data in the order in which they are read."""
    parts, split = [], task.images.dataset.split
    monkeypatch.setattr(
        task.images.dataset,
        "split",
        lambda *names, device: parts.extend(names) or split(*names, device=device),
    )
    return parts


def test_an_interval_learns_from_the_training_part_and_a_score_is_of_the_validation_part(
    task, read
):
    trained = member(task)
    before = {name: tensor.clone() for name, tensor in trained.network.named_parameters()}
    losses = trained.train_interval()
    assert read == ["train"]
    assert set(losses) == {"train_loss"}
    assert any(not torch.equal(p, before[n]) for n, p in trained.network.named_parameters())
    metrics = trained.evaluate()
    assert read == ["train", "validation"]

    images, labels = next(Digits(images=80, validation=0.25)
                          .split("validation", device=torch.device("cpu")).batches(20))  # fmt: skip
    with torch.no_grad():
        answers = trained.network.eval()(images)[0].argmax(1)
    assert metrics["validation_accuracy"] == pytest.approx((answers == labels).double().mean())
    assert set(metrics) == {f"validation_{name}" for name in ("loss", "accuracy", "top5_accuracy")}
    assert metrics[task.objective] == metrics["validation_accuracy"]


def test_the_test_part_is_read_when_it_is_asked_for_and_by_nothing_else(task, read):
    tested = member(task)
    task.check(tested.network)
    task.needs(tested.network, 4, 3)
    tested.train_interval(), tested.evaluate(), tested.trained(), tested.show(None)
    assert "test" not in read
    assert set(tested.test()) == {"loss", "accuracy", "top5_accuracy", "balanced_accuracy"}
    assert read[-1] == "test"


def test_an_interval_has_as_many_steps_as_its_epochs(task, monkeypatch):
    steps = []
    step = torch.optim.SGD.step
    monkeypatch.setattr(
        torch.optim.SGD, "step", lambda self, *rest: steps.append(1) or step(self, *rest)
    )
    member(task).train_interval()
    assert len(steps) == 2 * 4  # 60 images, 16 a batch
    assert begun(epochs=250_000).needs(None, 2, 1) == "2 million training steps in all"
    assert task.needs(None, 2, 1) == ""


def test_a_member_goes_on_from_its_state_as_if_it_had_not_stopped(task):
    whole = member(task)
    whole.train_interval()
    state = whole.trained()
    again = member(task, seed=0)
    again.load(state)
    assert again.epochs == 2
    ends = []
    for learner in (whole, again):
        torch.manual_seed(3)
        learner.train_interval()
        ends.append(learner.trained())
    for name, tensor in ends[0].network.items():
        assert torch.equal(tensor, ends[1].network[name]), name
    moments = [end.moments for end in ends]
    assert moments[0].keys() == moments[1].keys()
    assert all(torch.equal(kept["momentum_buffer"], moments[1][n]["momentum_buffer"])
               for n, kept in moments[0].items())  # fmt: skip


def test_a_task_is_sent_without_its_images(task):
    task.part("train")
    sent = pickle.loads(pickle.dumps(task))
    assert sent._parts == {}
    assert len(sent.part("train")) == len(task.part("train"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"epochs": 0}, "epochs=0: use at least 1"),
        ({"batch_size": 1}, "batch_size=1: use at least 2"),
        ({"clip": 0.0}, "clip=0.0: use more than 0"),
        ({"share": 0.0}, "share=0.0"),
    ],
)
def test_settings_that_cannot_train_are_refused(changes, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        Classifiers(**{**SETTINGS, **changes})


def test_without_validation_images_nothing_can_be_scored():
    task = Classifiers(**SETTINGS)
    task.begin(Digits(images=80, validation=0.0), BUDGET)
    with pytest.raises(ValueError, match=r"dataset\.validation=0"):
        task.check(SPACE.network(SPACE.sample(), inputs=1, outputs=10))
