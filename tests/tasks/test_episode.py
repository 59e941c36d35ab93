"""An episode is played to its end, and filmed where it can be drawn."""

import numpy as np
import torch
from PIL import Image

from nasrun.data.environments import Episodes, Transition
from nasrun.tasks.episode import LONGEST_FILM, earned, film


class Counting(Episodes):
    """An episode of `length` steps; the reward of a step is its action."""

    def __init__(self, length, drawn=True):
        self.length, self.drawn, self.done = length, drawn, 0

    def reset(self, seed):
        self.done = 0
        return np.zeros(1, np.float32)

    def step(self, action):
        self.done += 1
        observation = np.full(1, self.done, np.float32)
        return Transition(observation, float(action[0]), False, self.done == self.length)

    def frame(self):
        if not self.drawn:
            raise RuntimeError("no renderer")
        return np.full((4, 6, 3), 20 * self.done % 256, np.uint8)


def again(observation):
    return observation + 1


def test_an_episode_earns_the_sum_of_its_rewards():
    """The actions are 1, 2, 3, 4: what is seen plus one."""
    assert earned([Counting(4)], again) == [10.0]


def test_episodes_side_by_side_earn_what_they_earn_alone_whenever_they_end():
    lengths = (4, 1, 6, 4)
    alone = [earned([Counting(length)], again)[0] for length in lengths]
    acted = []

    def watched(observations):
        acted.append(len(observations))
        return again(observations)

    assert earned([Counting(length) for length in lengths], watched) == alone == [10, 1, 21, 10]
    assert acted == [4, 3, 3, 3, 1, 1]


def test_a_film_has_a_frame_per_step_and_a_strip_of_eight_beside_it(tmp_path):
    assert film(Counting(12), again, tmp_path / "best") == ["best.gif", "best.png"]
    assert Image.open(tmp_path / "best.gif").n_frames == 12
    assert Image.open(tmp_path / "best.png").size == (8 * 6, 4)


def test_a_film_ends_after_its_most_frames_and_without_a_renderer_there_is_none(tmp_path):
    film(Counting(LONGEST_FILM + 50), again, tmp_path / "long")
    assert Image.open(tmp_path / "long.gif").n_frames == LONGEST_FILM
    assert film(Counting(3, drawn=False), again, tmp_path / "none") == []
    assert not list(tmp_path.glob("none*"))


def test_the_seed_of_an_episode_is_drawn_from_torchs_generator():
    torch.manual_seed(0)
    expected = torch.randint(2**31, ()).item()
    torch.manual_seed(0)
    seeds = []
    episodes = Counting(1)
    episodes.reset = lambda seed: (seeds.append(seed), np.zeros(1, np.float32))[1]
    earned([episodes], again)
    assert seeds == [expected]
