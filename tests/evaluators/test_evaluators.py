"""Evaluators: scores of architectures with shared weights, and after a short training."""

import math
import pickle
from contextlib import nullcontext

import pytest
import torch
from toys import context

from nasrun.budget import Budget
from nasrun.config import build, compose, resolve
from nasrun.costs.ledger import Ledger, sizes
from nasrun.costs.memory import Shapes, optimizer_slots
from nasrun.divergence import Diverged
from nasrun.engines.base import Engine
from nasrun.engines.local import Serial
from nasrun.evaluators.from_scratch import TrainFromScratch
from nasrun.stage import Stage
from nasrun.streams import Streams

CPU = Budget(device="cpu", precision="auto", threads=1, max_hours=None)
SMALL = ["rounds=2", "width=2", "depth=3", "batch_size=16", "images=64"]
CELL = ["space.nodes=1", "space.kept_edges=1"]
CELL += ["space.operations=[none,max_pool_3x3,skip_connect,sep_conv_3x3]"]


class Bare(Stage):
    rounds = run_round = state_dict = load_state_dict = finish = None


Bare.__abstractmethods__ = frozenset()


@pytest.fixture
def begun():
    """An evaluator that has begun on a few digits, and its space."""

    def make(option, *overrides):
        words = (
            [*SMALL, *overrides]
            if "space=nasbench201" in overrides
            else [*SMALL, *CELL, *overrides]
        )
        composed = compose([*words, "strategy=random", f"evaluator@strategy={option}"]).config
        space, dataset, task, search = (
            build(resolve(composed[key]), key) for key in ("space", "dataset", "task", "strategy")
        )
        streams = Streams(0)
        streams.enter("test")
        task.begin(dataset, CPU)
        search.evaluator.begin(context(space, task, CPU, streams=streams))
        return search.evaluator, space

    return make


def test_an_inherited_score_is_the_supernets_at_the_genotype(begun):
    evaluator, space = begun("inherited")
    assert evaluator.warm_up_rounds == 2
    evaluator.warm_up(Bare(), 0.0)
    genotype = space.sample()
    score = evaluator(genotype)
    images, labels = next(iter(evaluator.validation.batches(64)))
    assert len(labels) == 16
    network = evaluator.path.network
    network.train()  # batch statistics are those of the one batch
    with torch.no_grad():
        (logits,) = network(images, space.one_hot(genotype))
    assert score.name == "validation_accuracy"
    assert score.value == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    expected = float(torch.nn.functional.cross_entropy(logits, labels))
    assert score.others["validation_loss"] == pytest.approx(expected, rel=1e-4)


def test_an_inherited_score_leaves_no_trace(begun):
    evaluator, space = begun("inherited")
    genotype, other = space.sample(), space.sample()
    state = {name: value.clone() for name, value in evaluator.path.state_dict().items()}
    generator = torch.get_rng_state()
    first = evaluator(genotype)
    evaluator(other)
    assert evaluator(genotype) == first
    assert torch.equal(torch.get_rng_state(), generator)
    for name, value in evaluator.path.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_warm_up_trains_single_paths_at_the_scheduled_rate(begun):
    evaluator, space = begun("inherited")
    drawn = []
    sample = type(space).sample

    class Watched(type(space)):
        def sample(self, generator=None):
            drawn.append(sample(self, generator))
            return drawn[-1]

    object.__setattr__(evaluator.path.space, "__class__", Watched)
    before = evaluator.path.network.classifier.weight.detach().clone()
    metrics = evaluator.warm_up(Bare(), 0.5)
    assert set(metrics) == {"train_loss"}
    assert len(drawn) == 3  # 48 images by 16, a path each
    assert not torch.equal(evaluator.path.network.classifier.weight, before)
    rate = evaluator.learner.optimizer.param_groups[0]["lr"]
    assert rate == pytest.approx(0.001 + (0.025 - 0.001) / 2)


def test_an_inherited_state_continues(begun):
    evaluator, space = begun("inherited")
    evaluator.warm_up(Bare(), 0.0)
    other, _ = begun("inherited")
    other.load_state_dict(evaluator.state_dict())
    genotype = space.sample()
    assert other(genotype) == evaluator(genotype)


def test_a_warm_up_trains_what_its_sampler_draws_and_logs_what_that_tells(begun):
    evaluator, _ = begun("novelty", "strategy.evaluator.sampler.alpha=50")
    drawn, draw = [], evaluator.sampler.draw
    evaluator.sampler.draw = lambda stream: drawn.append(draw(stream)) or drawn[-1]
    metrics = evaluator.warm_up(Bare(), 0.0)
    assert set(metrics) == {"train_loss", "changed_genes", "archive_novelty"}
    assert len(drawn) == 3  # 48 images by 16, a path each
    other, _ = begun("novelty")
    other.load_state_dict(evaluator.state_dict())
    for mine, theirs in zip(evaluator.sampler.archives, other.sampler.archives, strict=True):
        assert torch.equal(mine.genes, theirs.genes)


def test_an_inherited_score_can_be_that_on_a_part_of_the_validation_images(begun):
    evaluator, space = begun("inherited", "images=200", "strategy.evaluator.images=20")
    genotype, kept = space.sample(), evaluator.validation
    assert (len(evaluator.measured), len(kept)) == (20, 50)
    part, whole = evaluator(genotype), evaluator.shared_score(genotype)
    evaluator.validation = None
    assert evaluator(genotype) == part
    evaluator.measured = kept
    assert evaluator(genotype) == whole != part
    with pytest.raises(ValueError, match=r"^evaluator\.images=51: there are 50; use at most 50"):
        begun("inherited", "images=200", "strategy.evaluator.images=51")


def test_a_trained_score_is_that_of_a_fresh_network_each_time(begun):
    evaluator, space = begun("from_scratch", "strategy.evaluator.epochs=1")
    assert evaluator.warm_up_rounds == 0
    genotype = space.sample()
    evaluator.streams.at(0)
    first = evaluator(genotype)
    evaluator.streams.at(0)
    assert evaluator(genotype) == first
    assert evaluator(genotype) != first  # other weights to begin with
    assert 0 <= first.value <= 1
    assert evaluator.state_dict() == {"any_sound": True}


class Backwards(Engine):
    """Runs copies of a job, as other processes would, the last order first."""

    elsewhere = True

    def check(self, budget):
        """Accept every budget."""

    def run(self, job, orders, cores):
        for position in reversed(range(len(orders))):
            with torch.random.fork_rng():
                result = pickle.loads(pickle.dumps(job))(orders[position])
            yield position, result

    def side_by_side(self, cores):
        return 2

    def close(self):
        """Do nothing, since no process is kept."""


def test_several_are_trained_elsewhere_in_any_order_with_the_same_scores(begun):
    """Of real processes see tests/engines."""
    evaluator, space = begun("from_scratch", "strategy.evaluator.epochs=1")
    genotypes = [space.sample() for _ in range(3)]
    evaluator.streams.at(0)
    before = torch.get_rng_state()
    one_by_one = evaluator.evaluate(genotypes)
    assert torch.equal(torch.get_rng_state(), before)
    shown = []

    def track(results, total):
        for result in results:
            shown.append((result[0], total))
            yield result

    evaluator.engine = Backwards()
    evaluator.streams.at(0)
    assert evaluator.evaluate(genotypes, track) == one_by_one
    assert torch.equal(torch.get_rng_state(), before)
    assert shown == [(2, 3), (1, 3), (0, 3)]


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_no_network_takes_more_than_what_is_foreseen(space, begun):
    words = [f"space={space}", "width=16", "images=600"]  # 150 to measure on, 32 at once
    evaluator, space = begun("from_scratch", *words)
    job, batch_size = evaluator.job, evaluator.batch_size
    slots = optimizer_slots(evaluator.optimizer)
    batch = next(job.task.batches(job.task.split("train"), batch_size, torch.arange(batch_size)))
    shapes = Shapes.of(space, job.task, CPU, evaluator.optimizer)
    drawn = [space.sample(torch.Generator().manual_seed(seed)) for seed in range(5)]
    found = []
    for genotype in (shapes.largest(batch_size), *drawn):
        learner = job.learner(genotype)
        weights = list(learner.network.parameters())
        given = sizes([*weights, *learner.network.buffers()])
        with Ledger(given) as training:
            job.task.loss(learner.network, batch).backward()
        with Ledger(given) as measuring:
            job.measure(learner)
        own = 4 * sum(weight.numel() for weight in weights) * (1 + slots)
        found.append(own + max(training.most, measuring.most))
    assert max(found) < 1.02 * evaluator.step_bytes()
    assert found[0] > 0.9 * evaluator.step_bytes()


def test_a_training_can_be_asked_to_be_longer(begun):
    evaluator, space = begun("from_scratch", "strategy.evaluator.epochs=1")
    genotype = space.sample()
    evaluator.streams.at(0)
    (longer,) = evaluator.evaluate([genotype], epochs=3)
    other, _ = begun("from_scratch", "strategy.evaluator.epochs=3")
    other.streams.at(0)
    assert other(genotype) == longer


@pytest.mark.parametrize("last", [1, 2, 3])
def test_training_speed_is_minus_the_mean_loss_of_the_last_epochs_and_reads_no_validation(
    last, begun, monkeypatch
):
    words = ["strategy.evaluator.epochs=3", f"strategy.evaluator.speed_epochs={last}"]
    evaluator, space = begun("from_scratch", *words)
    losses, trained = [], TrainFromScratch.train

    def noted(job, *given):
        losses.append(trained(job, *given)["train_loss"])
        return {"train_loss": losses[-1]}

    monkeypatch.setattr(TrainFromScratch, "train", noted)
    monkeypatch.setattr(TrainFromScratch, "measure", None)
    score = evaluator(space.sample())
    assert len(losses) == 3
    assert score.name == "training_speed"
    assert score.merit == pytest.approx(-sum(losses[-last:]) / last)
    assert evaluator.rehearsal(space.sample(), 1, 1).rest is None


def test_a_longer_training_scores_better(begun):
    losses = []
    for epochs in (1, 12):
        evaluator, space = begun(
            "from_scratch",
            f"strategy.evaluator.epochs={epochs}",
            "strategy.evaluator.optimizer.lr=0.1",
        )
        genotype = space.parse("normal sep_conv_3x3@1; reduce sep_conv_3x3@1")
        losses.append(evaluator(genotype).others["validation_loss"])
    assert losses[1] < losses[0]


@pytest.mark.parametrize(
    ("option", "setting"),
    [
        ("from_scratch", "epochs=0"),
        ("from_scratch", "batch_size=1"),
        ("from_scratch", "channels=3"),
        ("from_scratch", "layers=2"),
        ("from_scratch", "speed_epochs=0"),
        ("from_scratch", "speed_epochs=14"),
        ("from_scratch", "clip=0"),
        ("from_scratch", "clip=-1"),
        ("inherited", "clip=0"),
        ("inherited", "clip=-1"),
        ("inherited", "rounds=0"),
        ("inherited", "batch_size=1"),
        ("inherited", "images=0"),
    ],
)
def test_impossible_values_are_refused(option, setting):
    words = ["strategy=random", f"evaluator@strategy={option}", f"strategy.evaluator.{setting}"]
    node = resolve(compose(words).config["strategy"])
    with pytest.raises(ValueError, match=rf"^strategy\.evaluator\..*{setting}"):
        build(node, "strategy")


def test_a_warm_up_that_diverges_ends(begun):
    evaluator, _ = begun("inherited")
    with torch.no_grad():
        next(evaluator.path.parameters()).fill_(math.nan)
    with pytest.raises(Diverged, match=r"warm-up diverged .train_loss .*use a smaller optim"):
        evaluator.warm_up(Bare(), 0.0)


@pytest.mark.parametrize("speed", ["null", 1])
def test_a_candidate_whose_training_diverges_has_the_worst_score_and_all_of_a_search_none(
    speed, begun
):
    words = [f"strategy.evaluator.speed_epochs={speed}", "engine=serial"]
    evaluator, space = begun("from_scratch", *words)
    evaluator.engine = Serial()
    trained = TrainFromScratch.train

    def sometimes(job, learner, progress, streams, step=None):
        losses = trained(job, learner, progress, streams)
        lost = streams.seed in bad
        return {"train_loss": math.nan} if lost else losses

    evaluator.streams.at(0)
    seeds = evaluator.streams.numbers("candidates", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainFromScratch, "train", sometimes)
        bad = seeds[:1]
        evaluator.streams.at(0)
        lost, sound = evaluator.evaluate([space.sample(torch.Generator())] * 2)
        assert (lost.merit, lost.sound) == (-math.inf, False)
        assert sound.sound
        bad = seeds
        evaluator.streams.at(0)
        assert not any(s.sound for s in evaluator.evaluate([space.sample(torch.Generator())] * 2))
        state = evaluator.state_dict()
        for earlier in (state, {}):
            evaluator.load_state_dict(earlier)
            evaluator.streams.at(0)
            with nullcontext() if earlier else pytest.raises(Diverged, match="every candidate div"):
                evaluator.evaluate([space.sample(torch.Generator())] * 2)
