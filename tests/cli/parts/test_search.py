"""`nasrun analyze search`: what it prints, writes and refuses."""

import json

WORDS = ["rounds=1", "width=2", "depth=4", "batch_size=16", "images=64", "dataset.size=8"]
WORDS += ["space.nodes=2", "budget.threads=1", "budget.device=cpu"]


def test_it_prints_and_writes_all_three_looks(nasrun, here):
    assert nasrun("search", "space=darts_s3", *WORDS).status == 0
    run = "outputs/digits-darts_s3-darts/v001"
    command = ["analyze", "search", f"run={run}", "edges=1", "rounds=1", "shuffles=2", "images=16"]
    answer = nasrun(*command)
    assert answer.status == 0, answer.err
    folder = here / run / "analysis" / "search"
    written = (folder / "search.json").read_text()
    record = json.loads(written)
    assert len(record["strengths"]) == 3
    assert len(record["shuffled_accuracies"]) == 2
    rows = [line.split() for line in answer.out.splitlines() if line.startswith("│")]
    assert [row[3] for row in rows] == [row["operation"] for row in record["strengths"]]
    assert "skip is likelier than every parametric operation on" in answer.out
    assert "(2 times)" in answer.out
    assert record["verdict"] in {"untrained", "uniform alphas"}  # after two steps
    assert f"verdict: {record['verdict']}: " in answer.out
    assert "\nnext: raise rounds" in answer.out
    assert record["alpha_eigenvalue"]["error"] <= 1e-3 * record["alpha_eigenvalue"]["value"]
    assert (folder / "search.png").stat().st_size > 10_000
    kept = (folder / "measured.jsonl").read_text().splitlines(keepends=True)
    assert len(kept) == 1 + 1 + 1 + 1 + 3 + 2
    for left in (5, len(kept)):  # interrupted, and done
        (folder / "measured.jsonl").write_text("".join(kept[:left]))
        assert nasrun(*command).status == 0
        assert (folder / "measured.jsonl").read_text() == "".join(kept)
        assert (folder / "search.json").read_text() == written


def test_without_a_number_of_images_those_of_a_small_validation_part_are_used(nasrun, here):
    small = [word.replace("images=64", "images=50") for word in WORDS]
    assert nasrun("search", *small, "batch_size=8").status == 0
    (run,) = here.glob("outputs/*/v001")
    command = ["analyze", "search", f"run={run}", "edges=0", "shuffles=0"]
    assert "images=64: there are 13 validation" in nasrun(*command, "images=64").refusal
    answer = nasrun(*command)
    assert answer.status == 0, answer.err
    record = json.loads((run / "analysis/search/search.json").read_text())
    assert record["alpha_eigenvalue"]["products"] > 0


def test_data_without_a_folder_have_no_other_place(nasrun, finished):
    words = ["analyze", "search", f"run={finished}", "dataset.root=x"]
    assert "dataset.root=x: these data lie in no folder; leave it out" in nasrun(*words).refusal


def test_wrong_words_are_refused_in_one_line(nasrun, here):
    for words, told in {
        "": "analyze search: give run=RUN",
        "nowhere": "nowhere: give run=RUN",
        "run=nowhere": "run=nowhere: no run there",
        "run=nowhere shuffles=-1": "shuffles=-1: use 0 or more",
        "run=nowhere edges=-2": "edges=-2: use 0 or more",
        "run=nowhere images=1": "images=1: use 2 or more",
        "run=nowhere rounds=many": "rounds=many: expected a whole number",
        "run=nowhere edge=1": "edge: unknown key, did you mean edges?",
    }.items():
        assert told in nasrun("analyze", "search", *words.split()).refusal
    assert list(here.iterdir()) == []


def test_a_search_without_a_supernet_is_refused(nasrun):
    small = ["strategy.num_candidates=1", "strategy.evaluator.epochs=1", "strategy=random"]
    assert nasrun("search", *WORDS, *small).status == 0
    refusal = nasrun(
        "analyze", "search", "run=outputs/digits-darts-random-from_scratch/v001"
    ).refusal
    assert "run=outputs/digits-darts-random-from_scratch/v001: its strategy leaves" in refusal


def test_the_verb_that_this_was_says_what_to_type(nasrun):
    told = "diagnose: is a part of analyze now; type `nasrun analyze search run=RUN`"
    assert told in nasrun("diagnose", "outputs/digits-darts-darts/v001").refusal
