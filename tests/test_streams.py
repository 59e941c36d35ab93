"""Random streams: named, independent of each other, and of everything that was drawn before."""

import random
from itertools import product

import numpy
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasrun.streams import Streams, restored

PURPOSES = ("order", "augment", "alphas")


def drawn(generator):
    return torch.rand(3, generator=generator).tolist()


def ambient():
    """Numbers of the global generators."""
    return [*torch.rand(2).tolist(), random.random(), numpy.random.rand()]


def placed(seed=0, stage="search", round=0):
    streams = Streams(seed)
    streams.enter(stage)
    streams.at(round)
    return streams


@given(st.lists(st.tuples(st.sampled_from([*PURPOSES, "global"]), st.integers(0, 3))))
def test_the_draws_of_a_purpose_do_not_depend_on_those_of_others(draws):
    streams, found = placed(), {purpose: [] for purpose in [*PURPOSES, "global"]}
    for purpose, count in draws:
        generator = None if purpose == "global" else streams(purpose)
        found[purpose] += torch.rand(count, generator=generator).tolist()
    for purpose, numbers in found.items():
        alone = placed()
        generator = None if purpose == "global" else alone(purpose)
        assert numbers == torch.rand(len(numbers), generator=generator).tolist()


def test_places_and_purposes_never_share_a_stream():
    seen = []
    for seed, stage in product((0, 1), ("search", "select")):
        streams = Streams(seed)
        streams.enter(stage)
        for place in ("begin", 0, 1):
            if place != "begin":
                streams.at(place)
            seen += [drawn(streams(purpose))[0] for purpose in PURPOSES]
            seen += ambient()
        seen += [drawn(streams.throughout("order", epoch))[0] for epoch in (0, 1)]
        with streams.aside("order"):
            seen += [drawn(streams("order"))[0], *torch.rand(2).tolist()]
    assert len(set(seen)) == len(seen)


def test_a_round_draws_the_same_after_any_other():
    for streams in (placed(round=2), placed(round=0)):
        drawn(streams("order")), ambient()
        streams.at(2)
        found = [drawn(streams("order")), drawn(streams("order")), ambient()]
        assert found == [*found_in_round_two()]


def found_in_round_two():
    streams = placed(round=2)
    return drawn(streams("order")), drawn(streams("order")), ambient()


def test_a_purpose_goes_on_within_a_round():
    streams = placed()
    assert drawn(streams("order")) != drawn(streams("order"))
    assert len(set(streams.numbers("candidates", 3) + streams.numbers("candidates", 3))) == 6


def test_draws_aside_change_nothing_outside_and_are_the_same_each_time():
    streams, untouched, found = placed(), placed(), []
    first = drawn(streams("order"))
    for _ in range(2):
        with streams.aside("noise", 1):
            found.append([drawn(streams("order")), torch.rand(2).tolist()])
    rest = [drawn(streams("order")), ambient()]
    assert found[0] == found[1]
    untouched = placed()
    assert [first, *rest] == [drawn(untouched("order")), drawn(untouched("order")), ambient()]


def test_a_stream_throughout_a_stage_is_the_same_in_all_rounds():
    one, other = placed(round=1), placed(round=5)
    assert drawn(one.throughout("order", 0)) == drawn(other.throughout("order", 0))


def test_restoring_the_generators_starts_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: 1 / 0)
    torch.manual_seed(3)
    with restored():
        torch.rand(2)
    after = torch.rand(2)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(2))
