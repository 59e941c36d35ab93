"""The settings that a later verb inherits, and the overrides that it refuses."""

import yaml
from golden import write_table


def test_an_upstream_value_may_be_repeated_but_not_changed(nasrun, finished):
    given = ["strategy=darts", "seed=0", "width=2", "space.nodes=1", "rounds=2", "dataset=digits"]
    assert nasrun("select", *given, "budget.threads=1").status == 0
    for word, theirs in {
        "strategy=snas": "strategy=darts",
        "seed=3": "seed=0",
        "width=4": "width=2",
        "space.nodes=2": "space.nodes=1",
        "dataset=mnist5k": "dataset=digits",
        "strategy.weight_optimizer.lr=0.5": "strategy.weight_optimizer.lr=0.025",
        "images=null": "images=64",
    }.items():
        refusal = nasrun("select", word).refusal
        assert word in refusal
        assert f"with {theirs}" in refusal
        assert str(finished) in refusal


def test_a_run_that_is_continued_by_name_keeps_its_threads(nasrun, finished):
    (finished / "search/result.json").unlink()
    assert nasrun("search", f"run={finished}").status == 0  # budget.threads=1, as it was searched
    (finished / "search/result.json").unlink()
    refusal = nasrun("search", f"run={finished}", "budget.threads=3").refusal
    assert "budget.threads=3" in refusal
    assert "budget.threads=1" in refusal


def test_what_cannot_be_compared_is_refused_and_so_is_another_branch(nasrun, finished):
    refusal = nasrun("select", "+strategy@strategy.inner=snas", f"run={finished}").refusal
    assert "is searched already" in refusal
    refusal = nasrun("retrain", f"run={finished}/select/magnitude", "selector=argmax").refusal
    assert "selector=argmax" in refusal
    assert "the choice of another selector" in refusal


def test_a_search_does_not_go_on_within_other_limits(nasrun, finished):
    (finished / "search/result.json").unlink()
    refusal = nasrun("search", f"run={finished}", "budget.max_params_m=0.1").refusal
    assert "budget.max_params_m=0.1: " in refusal
    assert "budget.max_params_m=null" in refusal


def test_a_search_that_took_too_much_memory_goes_on_with_more(nasrun, here, small, monkeypatch):
    """In the same folder, with the bytes of one that was never stopped; by either way to go on."""
    whole = nasrun("search", *small, "outputs=whole")
    assert whole.status == 0
    monkeypatch.setattr("nasrun.budget.memory_gib", lambda: 5.0)
    for number, more in enumerate(([*small], ["run={run}"])):
        outputs = here / str(number)
        run = outputs / "digits-darts-darts/v001"
        limited = nasrun("search", *small, f"outputs={outputs}", "budget.max_memory_gib=4")
        assert "budget.max_memory_gib=4: 5.00 GiB were needed; allow more" in limited.refusal
        assert len((run / "search/metrics.jsonl").read_text().splitlines()) == 1
        words = [word.format(run=run) for word in more]
        again = nasrun("search", *words, f"outputs={outputs}", "budget.max_memory_gib=6")
        assert again.status == 0, again.err
        assert [path.name for path in run.parent.glob("v*")] == ["v001"]
        for name in ("config.yaml", "search/metrics.jsonl"):
            same = here / "whole/digits-darts-darts/v001" / name
            assert (run / name).read_bytes() == same.read_bytes()


def test_what_fits_into_less_memory_is_another_search_of_radars(nasrun, here, small):
    words = [*small, "space=mobile", "strategy=radars", "budget.max_hours=1e-9"]
    words = [word for word in words if not word.startswith("space.")]
    for limit in (4, 6):
        assert nasrun("search", *words, f"budget.max_memory_gib={limit}").status == 75  # of hours
    family = here / "outputs/digits-mobile-radars"
    assert sorted(path.name for path in family.glob("v*")) == ["v001", "v002"]
    refusal = nasrun("search", f"run={family}/v001", "budget.max_memory_gib=6").refusal
    assert "is searched with budget.max_memory_gib=4" in refusal


def test_an_unfinished_search_of_an_earlier_version_noted_its_limit_on_memory(nasrun, finished):
    (finished / "search/result.json").unlink()
    config = finished / "config.yaml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("check:")]
    config.write_text("\n".join(lines).replace("  threads: 1", "  threads: 1\n  max_memory_gib: 4"))
    assert "max_memory_gib" in config.read_text()
    assert nasrun("search", f"run={finished}", "budget.max_memory_gib=7").status == 0


def test_a_run_whose_configuration_does_not_fit_is_refused_by_name(nasrun, finished):
    config = finished / "config.yaml"
    content = yaml.safe_load(config.read_text())
    del content["strategy"]["batch_size"], content["check"]
    config.write_text(yaml.safe_dump(content))
    refusal = nasrun("select", "budget.threads=1").refusal
    assert f"{finished}: its configuration does not fit this version" in refusal
    assert "strategy.batch_size" in refusal
    assert refusal.endswith("search again, or use that version")


def test_a_limited_search_reads_the_layout_of_a_recipe_and_no_more(nasrun, small, finished):
    limits = ["budget.max_params_m=1e-6", "retrain.layers=3"]
    for verb, words in (("search", small), ("select", [])):
        for word in ("retrain=cifar", "retrain.channels=8", "retrain.stem=imagenet"):
            assert "the cheapest network" in nasrun(verb, *words, word, *limits).refusal
            refusal = nasrun(verb, *words, word).refusal
            told = f"{word}: has no effect on `nasrun {verb}`; type it with `nasrun retrain`"
            assert told in refusal
        refusal = nasrun(verb, *words, *limits, "retrain.epochs=3").refusal
        assert f"retrain.epochs=3: has no effect on `nasrun {verb}`" in refusal


def test_a_later_verb_counts_limits_in_the_layout_of_the_search(nasrun, here, small):
    limit = "budget.max_params_m=0.05"
    layout = ["retrain.channels=8", "retrain.layers=3"]
    assert nasrun("search", *small, *layout, limit).status == 0
    run = here / "outputs/digits-darts-darts/v001"
    words = ["discretisation=false", "budget.threads=1", "budget.device=cpu", limit]
    assert nasrun("select", *words).status == 0
    kept = (run / "select/magnitude/config.yaml").read_text()
    assert "channels: 8\n  layers: 3\n" in kept
    assert nasrun("select", *words, "retrain.channels=10").status == 0
    kept = (run / "select/magnitude-2/config.yaml").read_text()
    assert "channels: 10\n  layers: 3\n" in kept
    told = nasrun("select", *words[:-1], "method=argmax").out
    assert "the search was limited by budget.max_params_m=0.05, this selection is not" in told
    (run / "search/result.json").unlink()
    refusal = nasrun("search", f"run={run}", "budget.max_params_m=null").refusal
    assert f"budget.max_params_m=null: {run} is searched with budget.max_params_m=0.05" in refusal
    refusal = nasrun("search", f"run={run}", "retrain.channels=10").refusal
    assert f"retrain.channels=10: {run} is searched with retrain.channels=8" in refusal
    assert nasrun("search", f"run={run}").status == 0


def test_a_run_knows_where_its_tables_lie_from_any_folder(nasrun, here, monkeypatch):
    write_table(here / "table.csv")
    words = ["search", "strategy=random", "evaluator=tabular", "space=nasbench201", "width=2"]
    words += ["images=64", "batch_size=16", "depth=3", "strategy.num_candidates=3"]
    words += ["space.table=table.csv", "budget.threads=1", "budget.device=cpu"]
    assert nasrun(*words).status == 0
    (run,) = here.glob("outputs/*/v001")
    recorded = yaml.safe_load((run / "config.yaml").read_text())["strategy"]
    assert recorded["evaluator"]["table"] == str(here / "table.csv")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    answer = nasrun("select", f"run={run}", "budget.threads=1", "budget.device=cpu")
    assert answer.status == 0, answer.err
    monkeypatch.chdir(here)
    same = ["strategy.evaluator.table=table.csv", "budget.threads=1", "budget.device=cpu"]
    assert nasrun("select", f"run={run}", *same).status == 0
    other = ["strategy.evaluator.table=other.csv", *same[1:]]
    (here / "other.csv").write_text((here / "table.csv").read_text() + "\n")
    refusal = nasrun("select", f"run={run}", *other).refusal
    assert f"{here / 'other.csv'}: {run} was searched with another file" in refusal
    (here / "table.csv").rename(here / "other.csv")  # the file of then, in another place
    assert nasrun("select", f"run={run}", *other, "space.table=other.csv").status == 0


def test_a_training_needs_no_table_and_a_selection_may_leave_it_out(nasrun, here, short):
    write_table(here / "table.csv")
    words = ["run", "stages=[search,select]", "space=nasbench201", "rounds=1", "width=2", "depth=3"]
    words += ["images=64", "batch_size=16", "space.table=table.csv", "discretisation=false"]
    assert nasrun(*words, "budget.threads=1").status == 0
    (here / "table.csv").unlink()
    (run,) = here.glob("outputs/*/v001")
    answer = nasrun("retrain", f"run={run}", *short, "retrain.epochs=1")
    assert answer.status == 0, answer.err
    selecting = ["select", f"run={run}", "method=argmax", "budget.threads=1"]
    assert f"space.table={here / 'table.csv'}: cannot be read" in nasrun(*selecting).refusal
    answer = nasrun(*selecting, "discretisation=false", "space.table=null")
    assert answer.status == 0, answer.err


def test_a_search_is_another_one_with_other_contents_of_its_table(nasrun, here):
    write_table(here / "table.csv")
    words = ["search", "strategy=random", "evaluator=tabular", "space=nasbench201", "width=2"]
    words += ["images=64", "batch_size=16", "depth=3", "strategy.num_candidates=3"]
    words += ["space.table=table.csv", "budget.threads=1", "budget.device=cpu"]
    assert nasrun(*words).status == 0
    assert nasrun(*words).status == 0
    (here / "table.csv").write_text((here / "table.csv").read_text() + "\n")
    assert nasrun(*words).status == 0
    assert sorted(path.name for path in here.glob("outputs/*/v*")) == ["v001", "v002"]
