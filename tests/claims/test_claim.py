"""Claims and their protocols: what is refused, and what the fingerprint covers."""

import pytest
from claims.conftest import TINY, written

from nasrun.claims import reading
from nasrun.claims.claim import protocol


def changed(**keys):
    return {**TINY, **keys}


def test_a_wrong_key_of_a_claim_is_named_with_its_file(here):
    wrong = {
        "seed": (changed(seed=3), "claim.seed=3: nasrun.claims.claim.Claim has no such keyword"),
        "arms": (changed(arms={}), "it needs arms and measures"),
        "verb": (
            changed(arms={"darts": ["select x=1"]}, comparisons=[], minutes={}),
            "begin with run, search",
        ),
        "quotation": (
            changed(arms={**TINY["arms"], "snas": ["search 'strategy=snas"]}),
            "arms.snas[0]=search 'strategy=snas: No closing quotation; quote it as in a shell",
        ),
        "nothing": (
            changed(arms={**TINY["arms"], "snas": [""]}),
            "arms.snas[0] is empty; give a command",
        ),
        "first": (changed(first={"dart": 1}), "first.dart: no such arm; use one of darts, snas"),
        "alpha": (changed(alpha=1.5), "alpha=1.5: use more than 0"),
        "curtailed": (
            changed(curtailed=True, seeds=4),  # 1/16 is too large
            "seeds=4: too few for a comparison to hold; use more",
        ),
        "many": (
            changed(curtailed=True, seeds=14),
            "seeds=14: curtailed=true tries every order of the missing pairs",
        ),
        "undecided": (
            changed(curtailed=True, comparisons=[{**TINY["comparisons"][0], "decides": False}]),
            "curtailed=true: no comparison decides; leave it out",
        ),
        "needs": (
            changed(needs=["budget.latency_table"]),
            "needs=[budget.latency_table]: use some of dataset.root, space.table, task.distance.w",
        ),
        "floor": (changed(floor={"accuracy": 1}), "floor.accuracy: no such measure"),
        "published": (changed(published={"snas": "92"}), "source: published values need one"),
        "correction": (changed(correction="sidak"), "correction=sidak: use one of holm"),
        "target": (
            changed(measures={"gap": {"_target_": "nasrun.claims.measures.Resolt"}}),
            "has no Resolt, did you mean Result?",
        ),
        "larger": (
            changed(comparisons=[{**TINY["comparisons"][0], "larger": "gdas"}]),
            "no arm gdas; use one of darts, snas",
        ),
    }
    for name, (content, told) in wrong.items():
        with pytest.raises(ValueError, match=f"^{name}.yaml: ") as error:
            reading.read(written(here / f"{name}.yaml", content))
        assert told in str(error.value), name


def test_the_fingerprint_covers_the_protocol_and_not_what_is_told_of_it():
    own = protocol(TINY)
    assert own == protocol(changed(frozen="x", sentence="other", minutes={}, paper="y"))
    arms = {**TINY["arms"], "snas": ["search strategy=snas rounds=3", TINY["arms"]["snas"][1]]}
    for other in (changed(seeds=3), changed(alpha=0.1), changed(arms=arms), changed(words="")):
        assert protocol(other) != own


def test_a_changed_protocol_is_refused_until_it_is_frozen_again(tiny):
    claim = reading.read(tiny)
    reading.refuse_changed(tiny, claim)
    tiny.write_text(tiny.read_text().replace("strategy=snas", "strategy=gdas"))
    with pytest.raises(ValueError, match=f"frozen={claim.frozen}, but its protocol is .* undo"):
        reading.refuse_changed(tiny, reading.read(tiny))
    before = tiny.read_text()
    own = reading.freeze(tiny)
    assert tiny.read_text() == before.replace(f"frozen: {claim.frozen}", f"frozen: {own}")
    reading.refuse_changed(tiny, reading.read(tiny))
    tiny.write_text(before.replace(f"frozen: {claim.frozen}", "frozen: null"))
    with pytest.raises(ValueError, match="freeze=true` first"):
        reading.refuse_changed(tiny, reading.read(tiny))


def test_a_claim_is_found_by_its_name_or_its_file(tiny):
    assert reading.file_of("tiny.yaml").resolve() == tiny
    assert reading.file_of("snas_gap").name == "snas_gap.yaml"
    with pytest.raises(ValueError, match="snas_gab: unknown claim, did you mean snas_gap"):
        reading.file_of("snas_gab")
    with pytest.raises(ValueError, match=r"other.yaml: there is no such file"):
        reading.file_of("other.yaml")


def test_words_of_all_arms_stand_before_their_own(tiny):
    first, later = reading.read(tiny).commands("snas")
    assert first[:2] == ["search", "space=nasbench201"]
    assert first[-1] == "strategy=snas"
    assert later == ["select", "selector=argmax", "budget.threads=1"]
