"""The replay buffer: n-step returns against a plain sum, ends of episodes, the ring, its state."""

import pytest
import torch

from nasrun.tasks.replay import Replay


def filled(capacity, lengths, terminated=()):
    """Episodes whose observation is [episode, time] and whose reward is 10^time."""
    replay = Replay(capacity, (2,), 1, pixels=False, stack=1)
    for episode, length in enumerate(lengths):
        replay.begin(torch.tensor([float(episode), 0.0]))
        for time in range(length):
            last = time == length - 1
            seen = torch.tensor([float(episode), time + 1.0])
            replay.add(torch.tensor([time / 10]), 10.0**time, last and episode in terminated, seen)
    return replay


def expected(length, terminated, time, steps, discount):
    """The return, the discount after it and the time that is reached."""
    total, factor = 0.0, 1.0
    for step in range(min(steps, length - time)):
        total += factor * 10.0 ** (time + step)
        factor *= discount
        if terminated and time + step == length - 1:
            factor = 0.0
    return total, factor, min(time + steps, length)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_return_is_the_sum_of_its_steps_and_ends_with_the_episode(steps):
    lengths = (5, 2, 4)
    replay = filled(100, lengths, terminated=(1,))
    torch.manual_seed(0)
    batch = replay.draw(400, steps, 0.9)
    found = set()
    for seen, action, reward, discount, then in zip(*batch, strict=True):
        episode, time = int(seen[0]), int(seen[1])
        total, factor, reached = expected(lengths[episode], episode == 1, time, steps, 0.9)
        assert float(action) == pytest.approx(time / 10)
        assert float(reward) == pytest.approx(total)
        assert float(discount) == pytest.approx(factor)
        assert then.tolist() == [episode, reached]
        found.add((episode, time))
    assert found == {(e, t) for e, length in enumerate(lengths) for t in range(length)}


def test_the_oldest_steps_make_room_for_new_ones():
    replay = filled(70, (30,) * 5)
    torch.manual_seed(0)
    batch = replay.draw(500, 3, 0.9)
    assert replay.size == 70
    assert set(batch.observation[:, 0].tolist()) == {2.0, 3.0, 4.0}
    assert (batch.next_observation[:, 0] == batch.observation[:, 0]).all()
    ahead = batch.next_observation[:, 1] - batch.observation[:, 1]
    assert set(ahead.tolist()) <= {1.0, 2.0, 3.0}


def test_a_state_brings_back_what_is_drawn():
    replay, again = filled(100, (5, 4)), Replay(100, (2,), 1, pixels=False, stack=1)
    again.load_state_dict(replay.state_dict())
    draws = []
    for one in (replay, again):
        torch.manual_seed(1)
        draws.append(one.draw(16, 2, 0.9))
    assert all(torch.equal(a, b) for a, b in zip(*draws, strict=True))


@pytest.mark.parametrize("capacity", [100, 70], ids=["all kept", "oldest overwritten"])
def test_stacked_frames_are_put_together_again(capacity):
    """An observation is the three last frames; frame t of an episode is filled with its number."""
    replay = Replay(capacity, (3, 2, 2), 1, pixels=True, stack=3)
    seen, number = {}, 0
    for _ in range(3):
        frames = [number] * 3
        replay.begin(torch.tensor(frames, dtype=torch.uint8)[:, None, None].expand(3, 2, 2))
        for _ in range(28):
            seen[number] = list(frames)
            number += 1
            frames = [*frames[1:], number]
            stacked = torch.tensor(frames, dtype=torch.uint8)[:, None, None].expand(3, 2, 2)
            replay.add(torch.zeros(1), 0.0, False, stacked)
        seen[number] = list(frames)
        number += 1
    torch.manual_seed(0)
    batch = replay.draw(500, 2, 0.9)
    for part in (batch.observation, batch.next_observation):
        assert part.shape == (500, 3, 2, 2)
        for drawn in part[:, :, 0, 0].tolist():
            assert drawn == seen[drawn[-1]]
    assert len(set(batch.observation[:, -1, 0, 0].tolist())) > 60
