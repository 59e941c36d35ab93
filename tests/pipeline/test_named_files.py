"""Files that settings name."""

from nasrun.pipeline.named_files import located


def test_the_paths_of_tables_become_absolute(here):
    strategy = {"latency_table": "a.json", "evaluator": {"table": "b.csv", "column": "c"}}
    assert located({"strategy": strategy, "task": {"distance": "x"}, "budget": {}}) == {
        "strategy": {
            "latency_table": str(here / "a.json"),
            "evaluator": {"table": str(here / "b.csv"), "column": "c"},
        },
        "task": {"distance": "x"},
        "budget": {},
    }
    nothing = {"strategy": {"latency_table": None}}
    assert located(nothing) == nothing
