"""A GAN's learner: losses by hand, its average, and a state that loses nothing."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from nasrun.budget import Budget
from nasrun.data.images import Digits
from nasrun.spaces.gan import OPERATIONS, GanSpace
from nasrun.tasks.frechet import Distance
from nasrun.tasks.gan import ImageGeneration

BUDGET = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
SPACE = GanSpace(
    num_cells=2,
    bottom=2,
    channels=4,
    latent=6,
    projections=2,
    operations=OPERATIONS,
    hard=True,
    blocks=2,
    halvings=2,
    discriminator_channels=4,
    released_sum=False,
)


class Brightness(Distance):
    """Return how far the mean pixel is from the middle."""

    def begin(self, dataset, budget):
        pass

    def search(self, sample):
        return {"fid": abs(float(sample(20).float().mean()) - 127.5)}

    report = search


@pytest.fixture
def task():
    optimizer = partial(torch.optim.AdamW, lr=1e-3, betas=(0.0, 0.9), eps=1e-4, weight_decay=0.0)
    made = ImageGeneration(
        steps=4,
        batch_size=16,
        generator_every=2,
        generator_batch=8,
        ema=0.9,
        optimizer=optimizer,
        distance=Brightness(),
    )
    made.begin(Digits(size=None, images=100, validation=0.25, split_seed=0), BUDGET)
    return made


def network(seed=0):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    genotype = SPACE.stratified(2, generator)[0]
    return SPACE.network(genotype, inputs=1, outputs=1)


def test_the_hinge_losses_are_as_written(task):
    learner = task.learner(network())
    real = torch.rand(16, 1, 8, 8) * 2 - 1
    fake, judge = learner.generator(torch.zeros(16, 6)).detach(), learner.discriminator
    learner.generator = lambda z: fake
    judge.eval()  # so that both passes use one estimate of the spectral norm
    by_hand = F.relu(1 - judge(real)).mean() + F.relu(1 + judge(fake)).mean()
    assert float(learner._train_discriminator(real)) == pytest.approx(
        float(by_hand.detach()), rel=1e-5
    )


def test_the_generator_ascends_what_the_discriminator_says_of_its_images(task):
    learner = task.learner(network())
    learner.network.eval()  # so that all passes use one estimate of the spectral norm
    torch.manual_seed(1)
    z = torch.randn(8, 6)
    with torch.no_grad():
        before = learner.discriminator(learner.generator(z))
    torch.manual_seed(1)
    loss = learner._train_generator()
    with torch.no_grad():
        after = learner.discriminator(learner.generator(z))
    assert float(loss) == pytest.approx(-sum(before.flatten().tolist()) / 8, rel=1e-5)
    assert float(after.mean()) > float(before.mean())


def test_the_average_follows_the_generator(task):
    learner = task.learner(network())
    before = [p.clone() for p in learner.average.parameters()]
    learner.network.train()
    learner._train_generator()
    after = zip(before, learner.generator.parameters(), learner.average.parameters(), strict=True)
    for start, fast, slow in after:
        torch.testing.assert_close(slow, 0.9 * start + 0.1 * fast)


def test_training_one_network_leaves_the_other_alone(task):
    learner = task.learner(network())
    generator = [p.clone() for p in learner.generator.parameters()]
    learner._train_discriminator(torch.zeros(16, 1, 8, 8))
    assert all(map(torch.equal, generator, learner.generator.parameters()))
    judge = [p.clone() for p in learner.discriminator.parameters()]
    learner._train_generator()
    assert all(map(torch.equal, judge, learner.discriminator.parameters()))


def test_a_state_loses_nothing(task):
    learner = task.learner(network())
    learner.train_interval()
    again = task.learner(network())
    again.load(learner.trained())
    results = []
    for one in (learner, again):
        torch.manual_seed(3)
        results.append((one.train_interval(), one.evaluate()))
    assert results[0] == results[1]
    assert learner.steps == again.steps == 8


def test_a_space_of_other_sizes_is_refused(task):
    other = SPACE.network(SPACE.sample(), inputs=1, outputs=1)
    other.size = 16
    with pytest.raises(ValueError, match="images of 16 pixels"):
        task.check(other)
