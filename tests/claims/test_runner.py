"""The runner of a claim: what each command of an arm continues, and how arms fail."""

from nasrun.claims.runner import ArmRun, Lane


def test_a_training_continues_the_selection_of_its_own_arm_also_if_another_is_newer(
    nasrun, finished
):
    assert nasrun("select", "method=argmax", "budget.threads=1").status == 0
    made = {"search": ["search"], "select": ["select/magnitude"], "retrain": ["retrain/magnitude"]}
    continued = {}

    def perform(words, folder):
        continued[words[0]] = words[-1]
        return [finished / name for name in made.get(words[0], [])]

    later = (("select", "method=magnitude"), ("retrain",), ("transfer",), ("analyze", "search"))
    trial = ArmRun("tiny", "p", "darts", 0, (("search", "seed=0"), *later), {}, finished)
    (done,) = Lane(perform)([trial])
    assert done.error == ""
    assert continued == {
        "search": "seed=0",
        "select": f"run='{finished}'",
        "retrain": f"run='{finished}/select/magnitude'",
        "transfer": f"run='{finished}/select/magnitude'",
        "analyze": f"run={finished}",
    }
