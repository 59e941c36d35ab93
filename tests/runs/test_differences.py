"""The settings in which runs and stages differ."""

from nasrun.runs.differences import differing, settings, unlike, why_new

CONFIG = {"seed": 0, "strategy": {"rounds": 2, "clip": None}, "budget": {"threads": 1}}


def test_settings_have_keys_and_values_as_they_are_typed():
    own = {"fingerprint": "a", "parent": "b", "source": "c", "retrain": {"x": [1, True], "y": {}}}
    assert settings(CONFIG, own, {"rounds": 2}) == {
        "rounds": "2",
        "seed": "0",
        "strategy.rounds": "2",
        "strategy.clip": "null",
        "budget.threads": "1",
        "retrain.x": "[1,true]",
        "retrain.y": "{}",
        "extend": "false",
    }


def test_of_keys_that_differ_alike_the_first_is_named():
    several = [{"rounds": "1", "a.rounds": "1", "b": "1"}, {"rounds": "2", "a.rounds": "2"}]
    assert differing(several) == ["rounds", "b"]
    assert unlike(several) == ["rounds", "a.rounds", "b"]
    assert differing(several[:1]) == unlike(several[:1]) == []


def test_what_is_begun_anew_says_why_and_what_cannot_be_extended():
    other = {**CONFIG, "budget": {"threads": 2}}
    ours, theirs = settings(CONFIG), settings(other)
    text = why_new(ours, theirs, "v001")
    assert text.startswith("new beside v001: budget.threads=1, not 2 (")
    assert "type budget.threads=2 to go on with v001" in text
    assert why_new(ours, settings({**CONFIG, "seed": 1}), "v001") is None
    seeded = settings({**other, "seed": 1})
    assert (
        why_new(ours, seeded, "v001") == "new beside v001: seed=0, not 1; budget.threads=1, not 2"
    )
    longer = settings({**CONFIG, "strategy": {"rounds": 4, "clip": None}})
    text = why_new(longer, ours, "v001")
    assert text.startswith(
        "new beside v001: strategy.rounds=4, not 2 (it is trained from the start"
    )
    assert text.endswith("v001 stays as it is)")
    assert why_new(ours, ours, "magnitude") == "new beside magnitude: trains another architecture"
    many = {f"k{number}": str(number) for number in range(7)}
    assert why_new(many, {}, "v001").endswith("; 3 more")
