"""Words of reading verbs: keys, names and paths."""

import pytest

from nasrun.cli.words import apart, outputs_of, sorted_out


def test_a_path_with_an_equals_sign_is_a_name_if_it_is_there(here, monkeypatch):
    (here / "seed=3").mkdir()
    monkeypatch.setenv("HOME", str(here))
    words = ["b", "seed=3", "out=seed=3", "~/seed=3"]
    names = ["b", "seed=3", f"{here}/seed=3"]
    assert sorted_out(words, ["out"]) == ({"out": "seed=3"}, names)
    assert sorted_out(["seed=3"], ["seed"]) == ({"seed": "3"}, [])
    with pytest.raises(ValueError, match="seed: unknown key; there are out"):
        sorted_out(["seed=4"], ["out"])
    with pytest.raises(ValueError, match="genotyp: unknown key, did you mean genotype"):
        sorted_out([f"genotyp={'a' * 5000}"], ["genotype"])  # longer than any path


@pytest.mark.parametrize("sort", [sorted_out, apart])
def test_a_key_that_is_typed_twice_is_refused(sort):
    told = "^run=B: run=A is typed, too; leave one of the two out"
    with pytest.raises(ValueError, match=told):
        sort(["run=A", "run=B"], ["run"])


def test_the_folder_of_runs_is_there_and_no_run_is_named_beside_it(here):
    assert str(outputs_of({}, ["a"])) == "outputs"
    with pytest.raises(ValueError, match="outputs=no: there is no such folder"):
        outputs_of({"outputs": "no"})
    with pytest.raises(ValueError, match=r"outputs=\.: has no effect with runs"):
        outputs_of({"outputs": "."}, ["a"])
