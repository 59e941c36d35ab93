"""Estimates of the time of long work from a few small steps."""

import time
from types import SimpleNamespace

import pytest
import torch

from nasrun.data.portion import Portion, PortionOfSplit
from nasrun.data.splits import TensorSplit
from nasrun.pipeline.rehearsal import Rehearsing
from nasrun.stage import tracked


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


class Images:
    """Images in batches: each takes `start` seconds, and `each` for every image."""

    def __init__(self, clock, start, each, count=1000, batch=64, warm=0.0):
        self.portion, self.clock = Portion(), clock
        self.start, self.each, self.warm, self.batch = start, each, warm, batch
        facts = SimpleNamespace(mean=(0.0,), std=(1.0,))
        pixels, labels = torch.zeros(count, 1, 2, 2, dtype=torch.uint8), torch.zeros(count)
        whole = TensorSplit(images=pixels, labels=labels, facts=facts, device="cpu")
        self.split, self.seen = PortionOfSplit(whole, self.portion), []

    def walk(self):
        for images, _ in self.split.batches(self.batch):
            self.clock.now += self.start + self.each * len(images)
            self.seen.append(len(images))
            yield images

    def play(self, step):
        self.clock.now += self.warm
        for _ in tracked(self.walk(), -(-len(self.split) // self.batch), step):
            pass

    def rest(self):
        for _ in self.walk():
            pass


def test_steps_that_are_affordable_are_taken_as_they_are(clock):
    images = Images(clock, start=0.01, each=0.001, warm=9.0)
    rehearsing = Rehearsing(images.portion, 40)
    seconds, steps = rehearsing.step(images.play)
    assert seconds == pytest.approx(0.01 + 64 * 0.001)
    assert (steps, rehearsing.scaled) == (16, False)
    assert images.seen[-4:] == [64] * 4


@pytest.mark.parametrize(("start", "each"), [(0.2, 0.2), (2.0, 0.01), (0.0, 1.0), (5.0, 0.0)])
def test_steps_that_take_too_long_are_scaled_up_from_fewer_images(clock, start, each):
    images = Images(clock, start, each)
    rehearsing = Rehearsing(images.portion, 40)
    seconds, steps = rehearsing.step(images.play)
    assert seconds == pytest.approx(start + 64 * each)
    assert (steps, rehearsing.scaled) == (16, True)
    assert max(images.seen) < 32
    assert clock.now < 8 + 7 * (start + 8 * each)


def test_an_interrupted_step_is_scaled_up_by_no_more_than_its_share(clock):
    class Interrupted(Images):
        def play(self, step):
            if self.portion.share > 1 / 10:  # other work begins before the last steps
                self.each = 2.0
            super().play(step)

    images = Interrupted(clock, start=0.0, each=0.3)
    seconds, _ = Rehearsing(images.portion, 40).step(images.play)
    assert seconds == pytest.approx(64 * 2.0)


def test_an_interruption_of_the_smaller_step_does_not_shorten_the_forecast(clock):
    class Interrupted(Images):
        interrupted = 0

        def play(self, step):
            smaller = 1 / 16 < self.portion.share < 1 / 10
            self.interrupted += smaller
            self.each = 3.0 if smaller and self.interrupted == 1 else 0.3
            super().play(step)

    images = Interrupted(clock, start=0.0, each=0.3)
    seconds, _ = Rehearsing(images.portion, 40).step(images.play)
    assert images.interrupted == 2
    assert seconds == pytest.approx(64 * 0.3)


def test_a_plan_of_slow_stages_takes_about_its_seconds(clock):
    """Steps of 13 seconds and passes of 200, as of a published protocol on two cores."""
    rehearsing = Rehearsing(None, 40)
    for number in range(4):
        images = Images(clock, start=0.05, each=0.2)
        rehearsing.portion = images.portion
        assert rehearsing.step(images.play)[0] == pytest.approx(0.05 + 64 * 0.2), number
        assert rehearsing.rest(images.rest) == pytest.approx(16 * 0.05 + 1000 * 0.2), number
    assert clock.now < 55


@pytest.mark.parametrize(("start", "each"), [(0.5, 0.1), (3.0, 0.0), (0.0, 0.2)])
def test_a_pass_that_takes_too_long_is_scaled_up_from_a_few_batches(clock, start, each):
    images = Images(clock, start, each, count=1001)
    rehearsing = Rehearsing(images.portion, 40)
    assert rehearsing.rest(images.rest) == pytest.approx(16 * start + 1001 * each)
    assert rehearsing.scaled
    assert len(images.seen) <= 6


def test_an_interruption_of_the_shorter_pass_does_not_shorten_the_forecast(clock):
    class Interrupted(Images):
        passes = 0

        def rest(self):
            self.passes += 1
            self.each = 9.0 if self.passes == 1 else 0.2
            super().rest()

    images = Interrupted(clock, start=0.0, each=0.2, count=1001)
    assert Rehearsing(images.portion, 40).rest(images.rest) == pytest.approx(1001 * 0.2)


def test_a_pass_that_is_affordable_is_taken_as_it_is(clock):
    images = Images(clock, start=0.001, each=0.0001)
    rehearsing = Rehearsing(images.portion, 40)
    assert rehearsing.rest(images.rest) == pytest.approx(16 * 0.001 + 1000 * 0.0001)
    assert not rehearsing.scaled


def test_two_images_a_batch_are_never_fewer(clock):
    images = Images(clock, start=1.0, each=1.0, count=40, batch=2)
    rehearsing = Rehearsing(images.portion, 10)
    assert rehearsing.step(images.play) == (pytest.approx(3.0), 20)
    assert rehearsing.rest(images.rest) == pytest.approx(20 * 3.0)
    assert set(images.seen) == {2}


def test_work_without_images_is_taken_as_it_is(clock):
    did = []

    def walk(step):
        for item in tracked(range(10), 10, step):
            clock.now += 1.0
            did.append(item)

    rehearsing = Rehearsing(Portion(), 40)
    assert rehearsing.step(walk) == (1.0, 10)
    assert did == [0, 0, 1, 2, 3]  # one to see that there are none
    assert rehearsing.rest(lambda: did.append("rest")) == 0.0
    assert did == [0, 0, 1, 2, 3, "rest"]
    assert not rehearsing.scaled


def test_where_all_images_are_to_be_taken_nothing_is_left_out(clock):
    images = Images(clock, start=1.0, each=1.0)
    assert Rehearsing(None, 40).step(images.play) == (65.0, 16)
    assert images.seen == [64] * 4


def test_work_that_was_only_given_to_a_gpu_counts_until_it_is_done(clock, monkeypatch):
    given = []

    def synchronize():
        clock.now += sum(given)
        given.clear()

    def play(step):
        for done in range(5):
            clock.now += 0.001  # its launch
            given.append(0.5)
            step(done + 1, 5)

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    given.append(9.0)  # what was given before
    assert Rehearsing(None, 40).step(play) == (pytest.approx(0.501), 5)
    given.append(9.0)
    assert Rehearsing(None, 40).rest(lambda: given.append(0.5)) == pytest.approx(0.5)
