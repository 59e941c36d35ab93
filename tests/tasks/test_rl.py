"""DrQ-v2's learner: shifts, noise, what an update moves, and a state that loses nothing."""

from functools import partial

import pytest
import torch

from nasrun.budget import Budget
from nasrun.spaces.drqv2 import DrqSpace, Pixels, Vector
from nasrun.tasks.rl import Control, shifted

BUDGET = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
SPACE = DrqSpace(encoder=Vector(hidden=8), hidden=8, feature_dims=(4, 8))


@pytest.fixture
def task():
    pytest.importorskip("gymnasium")
    pytest.importorskip("mujoco")
    from nasrun.data.environments import GymEnvironment

    made = Control(
        interval=60,
        random_steps=20,
        update_every=2,
        batch_size=8,
        n_step=3,
        discount=0.99,
        target_rate=0.01,
        first_noise=1.0,
        last_noise=0.1,
        noise_steps=100,
        noise_clip=0.3,
        pad=0,
        replay=500,
        episodes=1,
        test_episodes=1,
        optimizer=partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.0),
    )
    made.begin(GymEnvironment(id="InvertedDoublePendulum-v5", action_repeat=1), BUDGET)
    return made


def learner(task, seed=0):
    torch.manual_seed(seed)
    genotype = SPACE.sample(torch.Generator().manual_seed(0))
    return task.learner(SPACE.network(genotype, inputs=task.inputs, outputs=task.outputs))


def test_a_state_loses_nothing_and_the_noise_goes_on(task):
    first = learner(task)
    first.train_interval()
    again = learner(task, seed=9)
    again.load(first.trained())
    assert again.noise == first.noise == pytest.approx(1 - 0.9 * 60 / 100)
    results = []
    for one in (first, again):
        torch.manual_seed(3)
        results.append((one.train_interval(), one.evaluate()))
    assert results[0] == results[1]
    assert first.steps == 120
    assert first.noise == pytest.approx(0.1)


def test_an_update_moves_the_target_by_its_rate(task):
    one = learner(task)
    one.train_interval()
    before = [p.clone() for p in one.target.parameters()]
    one._update()
    moved = zip(before, one.critic.parameters(), one.target.parameters(), strict=True)
    for start, fast, slow in moved:
        torch.testing.assert_close(slow, 0.99 * start + 0.01 * fast)


def test_looking_changes_nothing(task):
    one = learner(task)
    before = {name: t.clone() for name, t in one.network.state_dict().items()}
    one.evaluate()
    after = one.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_pixels_need_another_space_and_task(task):
    pixels = DrqSpace(encoder=Pixels(channels=2, size=12), hidden=8, feature_dims=(4,))
    network = pixels.network(pixels.sample(), inputs=9, outputs=task.outputs)
    with pytest.raises(ValueError, match="space=drqv2_state is for states"):
        task.check(network)
    action = network(torch.zeros(2, 9, 12, 12, dtype=torch.uint8))
    assert action.shape == (2, task.outputs)


def test_an_image_is_shifted_by_whole_pixels_and_its_edge_repeated():
    torch.manual_seed(0)
    images = torch.arange(2 * 1 * 6 * 6.0).view(2, 1, 6, 6)
    for original, moved in zip(images, shifted(images, 2), strict=True):
        fits = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                rows = (torch.arange(6) + down).clamp(0, 5)
                columns = (torch.arange(6) + right).clamp(0, 5)
                fits.append(torch.equal(moved[0], original[0][rows][:, columns]))
        assert sum(fits) == 1
