"""Classification: losses, steps and metrics by hand, and which optimizers are fused."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from conftest import SMALL
from sklearn.utils.class_weight import compute_class_weight

from nasrun.budget import Budget
from nasrun.data.augment import Augment
from nasrun.data.images import Digits
from nasrun.data.splits import Subset
from nasrun.tasks.base import FUSED, optimizer_of
from nasrun.tasks.classification import Classification
from nasrun.tasks.classification import balanced as balanced_weights
from nasrun.world import ALONE

BUDGET = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
LABELS = torch.tensor([2, 0, 9, 2])


@pytest.fixture
def strategy(begin):
    return begin(*SMALL, "images=70")


@pytest.fixture
def task():
    augment = Augment(padding=0.0, flip=False)
    made = Classification(augment=augment, label_smoothing=0.1, auxiliary_weight=0.4, share=1.0)
    made.begin(Digits(images=100), BUDGET)
    return made


def wanted(labels):
    """Nine tenths of the probability on the label, a tenth on all classes alike."""
    return 0.9 * torch.eye(10)[labels] + 0.1 / 10


def cross_entropy(logits, labels):
    log_probabilities = logits - logits.exp().sum(1, keepdim=True).log()
    return float(-(wanted(labels) * log_probabilities).sum(1).mean())


def test_the_loss_is_the_smoothed_cross_entropy_and_four_tenths_of_the_auxiliary_heads(task):
    torch.manual_seed(0)
    images, main, auxiliary = torch.randn(4, 7), torch.randn(4, 10), torch.randn(4, 10)
    alone = float(task.loss(lambda x: (main,), (images, LABELS)))
    both = float(task.loss(lambda x: (main, auxiliary), (images, LABELS)))
    assert alone == pytest.approx(cross_entropy(main, LABELS))
    assert both == pytest.approx(
        cross_entropy(main, LABELS) + 0.4 * cross_entropy(auxiliary, LABELS)
    )


class OneLayer(torch.nn.Linear):
    def forward(self, x):
        return (super().forward(x),)


@pytest.mark.parametrize(
    ("clip", "clipped"), [(0.2, True), (20.0, False), (None, False)], ids=["small", "large", "no"]
)
def test_a_step_descends_the_gradient_cut_to_the_clip_as_one_vector(task, clip, clipped):
    torch.manual_seed(0)
    network = OneLayer(7, 10)
    learner = task.learner(network, optimizer=partial(torch.optim.SGD, lr=9.0), clip=clip)
    weight, bias = network.weight.detach().clone(), network.bias.detach().clone()
    batches, losses = [(torch.randn(4, 7), LABELS), (torch.randn(2, 7), LABELS[:2])], []
    for images, labels in batches:
        logits = images @ weight.T + bias
        losses.append(cross_entropy(logits, labels))
        blame = (logits.softmax(1) - wanted(labels)) / len(labels)
        of_weight, of_bias = blame.T @ images, blame.sum(0)
        norm = float(of_weight.square().sum() + of_bias.square().sum()) ** 0.5
        assert (clip is not None and norm > clip) == clipped
        kept = min(1.0, clip / norm) if clip is not None else 1.0
        weight, bias = weight - 0.5 * kept * of_weight, bias - 0.5 * kept * of_bias
    assert learner.train(batches, lr=0.5) == {"train_loss": pytest.approx(sum(losses) / 2)}
    torch.testing.assert_close(network.weight.detach(), weight)
    torch.testing.assert_close(network.bias.detach(), bias)


def test_several_networks_are_measured_in_order_as_each_alone(strategy):
    task, split = strategy.task, strategy.validation
    weights = torch.randn(3, 64, 10)
    forwards = [lambda x, w=w: (x.flatten(1) @ w,) for w in weights]
    found = task.compare(lambda x: [forward(x) for forward in forwards], split, 8)
    assert len(split) % 8  # the last batch is smaller
    assert found == [task.evaluate(forward, split, 8) for forward in forwards]
    assert len({metrics["loss"] for metrics in found}) == 3
    images, labels = zip(*split.batches(len(split)), strict=True)
    logits, labels = forwards[1](images[0])[0], labels[0]
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert found[1]["loss"] == pytest.approx(float(loss), rel=1e-6)
    assert found[1]["accuracy"] == float((logits.argmax(1) == labels).double().mean())
    five = (logits.argsort(dim=1, descending=True)[:, :5] == labels[:, None]).any(1)
    assert found[1]["top5_accuracy"] == float(five.double().mean())


def test_an_examination_measures_the_same_and_counts_the_answers_of_every_class(strategy):
    task, split = strategy.task, strategy.validation
    weights = torch.randn(64, 10)
    (images, labels), *_ = split.batches(len(split))
    answers = (images.flatten(1) @ weights).argmax(1)
    metrics, confusion = task.examine(lambda x: (x.flatten(1) @ weights,), split, 8)
    assert metrics == task.evaluate(lambda x: (x.flatten(1) @ weights,), split, 8)
    for true in range(10):
        given = [int(((labels == true) & (answers == other)).sum()) for other in range(10)]
        assert confusion.counts[true].tolist() == given
    assert int(confusion.counts.trace()) == round(metrics["accuracy"] * len(split))


class Unequal(Digits):
    """Digits of which all images of one class but a few are left out."""

    def split(self, *parts, device):
        split = super().split(*parts, device=device)
        return Subset(
            split, ((split.labels != 3) | (split.labels.cumsum(0) % 5 == 0)).nonzero()[:, 0]
        )


@pytest.fixture
def balanced():
    augment = Augment(padding=0.0, flip=False)
    made = Classification(
        augment=augment,
        label_smoothing=0.0,
        auxiliary_weight=0.4,
        share=1.0,
        class_weight="balanced",
    )
    made.begin(Unequal(images=400), BUDGET)
    return made


def test_balanced_weights_are_those_of_scikit_learn_and_every_class_weighs_the_same(balanced):
    labels = balanced.split("train").labels
    wanted = compute_class_weight("balanced", classes=np.arange(10), y=labels.numpy())
    torch.testing.assert_close(balanced.class_weights.double(), torch.tensor(wanted))
    counts = labels.bincount(minlength=10)
    assert counts[3] < counts.float().mean() / 2
    torch.testing.assert_close(balanced.class_weights * counts, torch.full((10,), len(labels) / 10))
    assert float(balanced.class_weights[labels].mean()) == pytest.approx(1)


def test_a_balanced_loss_is_the_mean_of_weighted_losses_whatever_classes_are_in_a_batch(balanced):
    torch.manual_seed(0)
    main, auxiliary = torch.randn(4, 10), torch.randn(4, 10)
    labels = torch.tensor([3, 3, 0, 3])

    def by_hand(logits):
        losses = -logits.log_softmax(1)[range(4), labels]
        return float((balanced.class_weights[labels] * losses).sum() / 4)

    loss = balanced.loss(lambda x: (main, auxiliary), (torch.zeros(4), labels))
    assert float(loss) == pytest.approx(by_hand(main) + 0.4 * by_hand(auxiliary))


def test_smoothing_leaves_the_best_answer_to_an_image_as_it_is_without_weights(balanced):
    balanced.label_smoothing = 0.1
    labels = torch.tensor([0])
    logits = torch.zeros(1, 10, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=100)

    def closure():
        optimizer.zero_grad()
        loss = balanced.loss(lambda x: (logits,), (torch.zeros(1), labels))
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(logits.softmax(1), wanted(labels), atol=1e-3, rtol=0)


def test_a_mixed_image_has_the_mean_weight_of_its_classes(balanced):
    torch.manual_seed(0)
    logits, mixed = torch.randn(1, 10), 0.3 * torch.eye(10)[[3]] + 0.7 * torch.eye(10)[[5]]
    weight = 0.3 * balanced.class_weights[3] + 0.7 * balanced.class_weights[5]
    plain = -(mixed * logits.log_softmax(1)).sum()
    loss = balanced.loss(lambda x: (logits,), (torch.zeros(1), mixed))
    assert float(loss) == pytest.approx(float(weight * plain))


def test_a_class_without_training_images_has_no_weight():
    with pytest.raises(ValueError, match="no training image shows dog; add some, or use null"):
        balanced_weights(torch.tensor([0, 0, 2]), ["cat", "dog", "eel"])


def test_another_process_gets_the_weights_of_classes_on_the_cpu(balanced):
    balanced.class_weights = balanced.class_weights.to("meta")
    with pytest.raises(NotImplementedError):
        pickle.dumps(balanced)  # a tensor of no data cannot be brought to the CPU
    balanced.begin(Unequal(images=400), BUDGET)
    copy = pickle.loads(pickle.dumps(balanced))
    assert torch.equal(copy.class_weights, balanced.class_weights)


def test_another_class_weight_is_refused():
    augment = Augment(padding=0.0, flip=False)
    with pytest.raises(ValueError, match="class_weight=equal: use balanced or null"):
        Classification(
            augment=augment,
            label_smoothing=0.0,
            auxiliary_weight=0.0,
            share=1.0,
            class_weight="equal",
        )


@pytest.mark.parametrize(
    ("size", "batches"), [(12, [13]), (6, [6, 7]), (4, [4, 4, 5]), (5, [5, 5, 3])]
)
def test_no_image_is_measured_alone_and_none_is_left_out(strategy, size, batches):
    split, seen, labels = strategy.task.subset(strategy.validation, 13), [], []

    def forward(images):
        seen.append(len(images))
        return [(images.flatten(1)[:, :10],)]

    strategy.task.compare(forward, split, size)
    assert seen == batches
    for _, part in strategy.task._whole(split, size, ALONE):
        labels += part.tolist()
    assert labels == split.labels.tolist()


def test_what_is_tracked_are_the_batches(strategy):
    told = []

    def track(batches, count):
        told.append(count)
        return batches

    forward = partial(torch.flatten, start_dim=1)
    strategy.task.compare(lambda x: [(forward(x),)], strategy.validation, 8, track=track)
    assert told == [len(list(strategy.validation.batches(8)))]


class Fake(torch.Tensor):
    is_cuda = True


@pytest.mark.parametrize(
    ("settings", "on_cuda", "fused"),
    [
        ({}, True, True),
        ({}, False, None),
        ({"fused": False}, True, False),
        ({"foreach": True}, True, None),
    ],
)
def test_an_optimizer_is_fused_on_cuda_unless_its_settings_say_how_it_steps(
    settings, on_cuda, fused, monkeypatch
):
    asked = []

    class Recorded(torch.optim.SGD):
        def __init__(self, parameters, **keywords):
            asked.append(keywords.get("fused"))

    monkeypatch.setattr("nasrun.tasks.base.FUSED", (Recorded,))
    weight = torch.zeros(2).as_subclass(Fake) if on_cuda else torch.zeros(2)
    optimizer_of(partial(Recorded, lr=0.1, **settings), [weight])
    assert asked == [fused]


def test_an_optimizer_is_fused_only_if_it_bears_a_first_gradient_after_others():
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        weights = [torch.ones(2, requires_grad=True) for _ in range(2)]
        momentum = {"momentum": 0.9} if kind is torch.optim.SGD else {}
        optimizer = kind(weights, lr=0.1, fused=True, **momentum)
        bears = True
        for weight in weights:  # a sampled path has other candidates in each step
            weight.grad = torch.ones(2)
            try:
                optimizer.step()
            except TypeError:
                bears = False
        assert bears == (kind in FUSED), kind


def test_a_factory_that_is_no_partial_is_left_alone():
    made = optimizer_of(lambda parameters: list(parameters), [torch.zeros(2).as_subclass(Fake)])
    assert len(made) == 1
