"""One command of stages."""


def test_method_is_another_name_of_selector(nasrun, finished):
    words = ["budget.threads=1", "selector.weight_lr=0.01"]
    assert nasrun("select", "method=argmax", "budget.threads=1").status == 0
    assert (finished / "select/argmax/genotype.json").is_file()
    assert "selector.weight_lr" in nasrun("select", "method=argmax", *words).refusal


def test_a_finished_command_prints_its_result_at_once(nasrun, finished, small, short, moved):
    before = {path: path.read_bytes() for path in finished.rglob("*.jsonl")}
    states = {path: path.stat().st_mtime_ns for path in finished.rglob("state*.pt")}
    assert len(before) >= 6
    assert states
    answer = nasrun("run", *small, *short, *moved)
    assert answer.status == 0
    assert "  round " not in answer.out  # the table of sizes has a column of that name
    for words in ("search", "select magnitude", "retrain magnitude", "retrain random", "transfer"):
        rows = [line for line in answer.out.splitlines() if line.startswith("│")]
        assert any(all(word in row for word in words.split()) for row in rows), words
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in states} == states


def test_limits_may_come_with_the_layout_that_they_are_counted_in(nasrun, small):
    words = ["stages=[search]", "retrain.layers=7", "budget.max_params_m=9", *small]
    assert nasrun("run", *words).status == 0


def test_cfg_prints_the_resolved_configuration_and_runs_nothing(nasrun, here):
    answer = nasrun("search", "--cfg", "job", "strategy=snas", "rounds=7")
    assert answer.status == 0
    assert nasrun("search", "--cfg=job", "strategy=snas", "rounds=7").out == answer.out
    assert "rounds: 7" in answer.out
    assert "tau_end: 0.03" in answer.out
    assert "${" not in answer.out
    assert nasrun("search", "-c", "job", "strategy=snas", "rounds=7").out == answer.out
    assert "--multirun, --cfg" in nasrun("search", "-m", "--cfg", "job", "seed=0,1").refusal
    assert list(here.iterdir()) == []
