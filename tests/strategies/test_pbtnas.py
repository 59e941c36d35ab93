"""PBT-NAS: which members are replaced when, and that interruptions leave no trace."""

import math
import re
import shutil
from dataclasses import replace

import pytest
import torch
from toys import context, run

from nasrun.budget import Budget
from nasrun.data.base import Data
from nasrun.spaces.gan import OPERATIONS, GanSpace
from nasrun.strategies.members import sweep
from nasrun.strategies.pbtnas import Population
from nasrun.strategies.variation import Mixing
from nasrun.streams import Streams, named
from nasrun.tasks.base import MemberLearner, PopulationTask
from nasrun.trained import Trained

BUDGET = Budget(device="cpu", precision="fp32", threads=1, max_hours=None)
RECIPE = {
    "intervals": 4,
    "size": 12,
    "children": 3,
    "parents": 3,
    "mix_every": 1,
    "mix_always_from": None,
    "burn_in": 0.0,
    "best_ever": False,
}
FEW = {"size": 3, "children": 1, "parents": 2}
SOME = {"size": 5, "children": 2, "parents": 2}
SPACE = GanSpace(
    num_cells=2,
    bottom=2,
    channels=4,
    latent=6,
    projections=2,
    operations=OPERATIONS,
    blocks=2,
    halvings=2,
    discriminator_channels=4,
    released_sum=False,
    hard=False,
)
MIXING = Mixing(probability=0.25, lam=0.4, gam=0.1, with_itself=False, donor_memory=False)


def test_no_two_streams_of_a_search_are_one():
    seeds = {
        named(3, interval, slot, purpose)
        for interval in range(40)
        for slot in range(24)
        for purpose in ("train", "evaluate", "fresh")
    }
    assert len(seeds) == 40 * 24 * 3


class Nothing(Data):
    words = "nothing"

    def check(self):
        pass

    def look(self, watched):
        pass

    def contents(self):
        return None


class Numbers(PopulationTask):
    """Learners that count: the score of a member is its number of trained intervals, and noise."""

    learns_from = Nothing
    objective = tested = "score"
    inputs = outputs = 1

    def begin(self, dataset, budget):
        pass

    def check(self, network):
        pass

    def needs(self, network, members, intervals):
        return ""

    def learner(self, network):
        return Counter(network)


class Counter(MemberLearner):
    def __init__(self, network):
        self.network, self.count = network, 0
        self.draw = 0.0

    def train_interval(self):
        self.count += 1
        self.draw = float(torch.rand(()))
        return {"loss": self.draw}

    def evaluate(self):
        return {"score": self.draw}

    def test(self):
        return {"score": self.draw}

    def show(self, path):
        return []

    def trained(self):
        return Trained(self.network.state_dict(), {}, {}, {"count": self.count, "draw": self.draw})

    def load(self, trained):
        self.network.load_state_dict(trained.network)
        self.count, self.draw = trained.memory["count"], trained.memory["draw"]


def begun(home, variation=None, seed=0, **changes):
    search = Population(**{**RECIPE, **changes}, variation=variation)
    home.mkdir(exist_ok=True)
    search.enter(home)
    search.begin(context(SPACE, Numbers(), BUDGET, streams=Streams(seed)))
    return search


@pytest.mark.parametrize(("size", "children", "parents"), [(24, 6, 6), (12, 3, 3)])
def test_the_worst_make_room_for_children_of_the_best(tmp_path, size, children, parents):
    search = begun(tmp_path, MIXING, size=size, children=children, parents=parents)
    before = list(search.members)
    run(search, 1)
    scores = search.history[0]["scores"]
    ranked = sorted(range(size), key=lambda slot: -scores[slot])
    births = search.history[0]["births"]
    assert {birth["child"] for birth in births} == set(ranked[size - children :])
    assert len(births) == children
    for birth in births:
        assert birth["base"] in ranked[:parents]
        assert birth["donor"] in ranked[:parents]
        assert ranked.index(birth["base"]) < ranked.index(birth["donor"])
        child = search.members[birth["child"]]
        assert math.isnan(child.score.value)  # it enters unevaluated
        for decision, choice in child.genotype.items():
            giver = birth["donor"] if decision in birth["changed"] else birth["base"]
            assert choice == before[giver].genotype[decision]
    survivors = [slot for slot in range(size) if slot in ranked[: size - children]]
    assert all(search.members[slot].genotype == before[slot].genotype for slot in survivors)


def test_with_itself_a_child_has_one_parent(tmp_path):
    search = begun(tmp_path, replace(MIXING, with_itself=True))
    before = list(search.members)
    run(search, 1)
    births = search.history[0]["births"]
    assert any(birth["changed"] for birth in births)
    for birth in births:
        child = search.members[birth["child"]]
        assert birth["donor"] == birth["base"]
        assert child.genotype == before[birth["base"]].genotype
        assert set(child.founders.values()) == {birth["base"]}


@pytest.mark.parametrize(
    ("intervals", "mix_every", "mix_always_from", "mixings"),
    [(30, 1, None, 29), (30, 2, 15, 22), (15, 1, None, 14)],
    ids=["gan", "quadruped and walker", "humanoid"],
)
def test_mixings_are_as_many_as_published(intervals, mix_every, mix_always_from, mixings):
    changes = {"intervals": intervals, "mix_every": mix_every}
    changes["mix_always_from"] = mix_always_from
    search = Population(**{**RECIPE, **changes}, variation=MIXING)
    assert sum(search._mixes_after(done) for done in range(1, intervals + 1)) == mixings


@pytest.mark.parametrize(
    ("intervals", "burn_in", "first"),
    [(12, 0.5, 6), (12, 0.51, 7), (4, 0.0, 1), (100, 0.07, 7)],
)
def test_nobody_is_replaced_in_the_share_that_burns_in(intervals, burn_in, first):
    search = Population(**{**RECIPE, "intervals": intervals, "burn_in": burn_in}, variation=MIXING)
    mixed = [done for done in range(1, intervals + 1) if search._mixes_after(done)]
    assert mixed == [*range(first, intervals)]


@pytest.mark.parametrize("burn_in", [-0.1, 1.0])
def test_a_share_outside_the_search_is_refused(burn_in):
    with pytest.raises(ValueError, match=rf"burn_in={burn_in}: use a share of the search"):
        Population(**{**RECIPE, "burn_in": burn_in}, variation=MIXING)


def test_mixing_always_begins_after_an_interval():
    with pytest.raises(ValueError, match="mix_always_from=0: use 1 or more, or null for never"):
        Population(**{**RECIPE, "mix_always_from": 0}, variation=MIXING)


def test_nobody_is_replaced_after_the_last_interval_or_in_random_search(tmp_path):
    mixing = begun(tmp_path / "mixing", MIXING, **SOME)
    run(mixing)
    assert [len(past["births"]) for past in mixing.history] == [2, 2, 2, 0]
    assert all(member.sound for member in mixing.members)
    random = begun(tmp_path / "random", **SOME)
    run(random)
    assert [past["births"] for past in random.history] == [[]] * 4


def test_arms_of_one_seed_share_the_first_population_and_the_first_interval(tmp_path):
    arms = [begun(tmp_path / "a", MIXING, **SOME), begun(tmp_path / "b", **SOME)]
    assert [m.genotype for m in arms[0].members] == [m.genotype for m in arms[1].members]
    for arm in arms:
        run(arm, 1)
    assert arms[0].history[0]["scores"] == arms[1].history[0]["scores"]


def test_every_member_has_trained_equally_long(tmp_path):
    search = begun(tmp_path, MIXING, **SOME)
    run(search)
    counts = [search.training_of(member).memory["count"] for member in search.members]
    assert counts == [4] * 5


def test_a_search_goes_on_from_its_state_and_its_files(tmp_path):
    whole = begun(tmp_path / "whole", MIXING, **SOME)
    run(whole)
    parts = begun(tmp_path / "parts", MIXING, **SOME)
    run(parts, 2)
    state = parts.state_dict()
    run(parts, 1)  # a round whose state was never saved
    again = begun(tmp_path / "parts", MIXING, seed=5, **SOME)
    again.load_state_dict(state)
    again.round = 2
    run(again)
    assert again.history == whole.history
    assert [m.genotype for m in again.members] == [m.genotype for m in whole.members]


@pytest.fixture
def overtaken(monkeypatch):
    """Who leads after the first interval is overtaken in the third."""
    lead = {1: 1.0, 3: 2.0}

    def evaluate(self):
        return {"score": self.draw + lead.get(self.count, 0.0)}

    monkeypatch.setattr(Counter, "evaluate", evaluate)


@pytest.mark.parametrize("newer", ["there", "gone"])
def test_a_search_goes_on_from_the_state_before_the_last(tmp_path, overtaken, newer):
    """state.previous.pt, where state.pt is damaged: two rounds have begun since it was current."""
    whole = begun(tmp_path, MIXING, **FEW, intervals=4, best_ever=True)
    run(whole, 2)
    state, first_best = whole.state_dict(), whole.best.file
    run(whole)
    members = tmp_path / "members"
    kept = {f"members/0001/{file.name}" for file in (members / "0001").iterdir()}
    assert kept == {first_best} != {whole.best.file}
    if newer == "gone":
        shutil.rmtree(members / "0003")
        shutil.rmtree(members / "0004")

    again = begun(tmp_path, MIXING, seed=5, **FEW, intervals=4, best_ever=True)
    again.load_state_dict(state)
    again.round = 2
    assert again.training_of(again.best).memory["count"] == 1
    assert [again.training_of(member).memory["count"] for member in again.members] == [2] * 3
    run(again)
    assert again.history == whole.history
    assert [m.genotype for m in again.members] == [m.genotype for m in whole.members]
    assert (again.best.file, again.best.score) == (whole.best.file, whole.best.score)


def test_a_members_file_that_is_missing_or_damaged_is_named(tmp_path):
    search = begun(tmp_path, MIXING, **FEW)
    run(search, 1)
    lost = tmp_path / search.members[2].file
    whole = lost.read_bytes()
    for content, what in ((None, "missing"), (b"", "damaged"), (whole[:-99], "damaged")):
        lost.unlink()
        if content is not None:
            lost.write_bytes(content)
        text = f"{lost}: a member's file is {what}; put it back to continue"
        with pytest.raises(ValueError, match=re.escape(text)):
            search.training_of(search.members[2])
        lost.write_bytes(whole)


def test_a_damaged_file_of_an_interval_that_was_stopped_is_trained_again(tmp_path):
    search = begun(tmp_path, MIXING, **SOME)
    run(search, 1)
    state = search.state_dict()
    run(search, 1)
    expected = [member.score.value for member in search.members]
    torn = tmp_path / search.members[0].file
    torn.write_bytes(torn.read_bytes()[:99])
    search.load_state_dict(state)
    search.round = 1
    run(search, 1)
    assert [member.score.value for member in search.members] == expected
    assert torn.stat().st_size > 99


def test_a_member_that_was_trained_before_a_stop_is_not_trained_again(tmp_path):
    search = begun(tmp_path, MIXING, **SOME)
    run(search, 1)
    state = search.state_dict()
    run(search, 1)
    (trained,) = (tmp_path / "members/0002").glob("00.pt")
    stamp = trained.stat().st_mtime_ns
    search.load_state_dict(state)
    search.round = 1
    run(search, 1)
    assert trained.stat().st_mtime_ns == stamp


def test_only_the_files_of_the_last_two_states_and_of_the_best_stay(tmp_path):
    search = begun(tmp_path, MIXING, **SOME, intervals=8, best_ever=True)
    run(search)
    sweep(tmp_path, search.round, {search.best.file, search.former_best.file})
    folders = sorted((tmp_path / "members").iterdir())
    assert [folder.name for folder in folders[-2:]] == ["0007", "0008"]
    old = {f"members/{f.name}/{file.name}" for f in folders[:-2] for file in f.iterdir()}
    assert old <= {member.file for member in (search.best, search.former_best)}
    assert max(search.candidates, key=lambda member: member.score.merit) == search.best


def test_a_best_member_of_the_last_interval_is_one_candidate(tmp_path):
    search = begun(tmp_path, **FEW, intervals=1, best_ever=True)
    run(search)
    files = ["members/0001/00.pt", "members/0001/01.pt", "members/0001/02.pt"]
    assert sorted(member.file for member in search.candidates) == files
    torch.save(search.state_dict(), tmp_path / "state.pt")
    search.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert sorted(member.file for member in search.candidates) == files


@pytest.fixture
def diverging(monkeypatch):
    """Some members diverge: in their losses, or in their weights."""

    def sometimes(self):
        metrics = interval(self)
        if self.draw > 0.95:
            next(self.network.parameters()).data.fill_(math.inf)
        return {"loss": math.nan} if 0.9 < self.draw < 0.95 else metrics

    interval = Counter.train_interval
    monkeypatch.setattr(Counter, "train_interval", sometimes)
    judged = []
    monkeypatch.setattr(Counter, "evaluate", lambda self: {"score": judged.append(1) or self.draw})
    return judged


def test_a_diverged_member_is_replaced_and_never_the_best(tmp_path, diverging):
    search = begun(tmp_path, MIXING, seed=1)
    run(search, 1)
    scores = search.history[0]["scores"]
    lost = {slot for slot, score in enumerate(scores) if score == -math.inf}
    assert lost
    assert len(diverging) == len(scores) - len(lost)  # what diverged is not measured
    assert lost <= {birth["child"] for birth in search.history[0]["births"]}
    assert search.best.score.value == max(scores)


def test_what_diverged_is_in_no_mean_and_nobodys_parent(tmp_path, diverging):
    search = begun(tmp_path, MIXING, seed=1)
    (metrics,) = run(search, 1)
    scores = search.history[0]["scores"]
    sound = sorted(score for score in scores if math.isfinite(score))
    assert metrics["diverged"] == len(scores) - len(sound) > 0
    assert [metrics[f"{rank}_score"] for rank in ("worst", "best")] == [sound[0], sound[-1]]
    assert metrics["loss"] == pytest.approx(sum(sound) / len(sound))
    parents = {birth[role] for birth in search.history[0]["births"] for role in ("base", "donor")}
    assert all(math.isfinite(scores[slot]) for slot in parents)


@pytest.mark.parametrize(("sound", "births"), [(0, None), (1, 0), (2, 1)])
def test_two_sound_members_make_children_one_goes_on_alone_and_none_ends_the_search(
    tmp_path, monkeypatch, sound, births
):
    search = begun(tmp_path, MIXING, size=4, children=1, parents=3)
    left = [0.5] * sound
    monkeypatch.setattr(
        Counter, "train_interval", lambda self: {"loss": left.pop() if left else math.nan}
    )
    if births is None:
        with pytest.raises(ValueError, match=r"round 1: every member's .* smaller task.opt"):
            search.run_round()
    else:
        (metrics,) = run(search, 1)
        assert (metrics["diverged"], metrics["children"]) == (4 - sound, births)


def test_a_member_that_diverged_is_trained_no_further(tmp_path, monkeypatch):
    search = begun(tmp_path, None, size=4, children=1, parents=3)
    trained = []

    def first_diverges(self):
        trained.append(self)
        if len(trained) == 1:
            next(self.network.parameters()).data.fill_(math.nan)
        return {"loss": 0.5}

    monkeypatch.setattr(Counter, "train_interval", first_diverges)
    metrics = run(search, 2)
    assert [each["diverged"] for each in metrics] == [1, 1]
    assert len(trained) == 4 + 3


def test_a_member_that_diverged_in_the_last_interval_is_no_candidate(tmp_path, diverging):
    search = begun(tmp_path, seed=1, intervals=1, best_ever=False)
    run(search)
    scores = search.history[0]["scores"]
    sound = [slot for slot, score in enumerate(scores) if math.isfinite(score)]
    assert 0 < len(sound) < len(scores)
    assert [member.slot for member in search.candidates] == sound


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"size": 3}, "size=3: use more than children=3"),
        ({"parents": 10}, "parents=10: use at most the 9 that survive"),
        ({"parents": 1}, "parents=1: use at least 2"),
        ({"intervals": 0}, "intervals=0: use at least 1"),
    ],
)
def test_a_population_that_cannot_live_is_refused(changes, text):
    with pytest.raises(ValueError, match=text):
        Population(**{**RECIPE, **changes}, variation=MIXING)


def test_without_variation_two_members_may_live_whatever_a_replacement_would_take(tmp_path):
    search = begun(tmp_path, None, size=2, children=3, parents=3)
    assert [metrics["children"] for metrics in run(search)] == [0] * 4
    assert [member.born for member in search.members] == [0, 0]
