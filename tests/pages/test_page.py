"""The page of `nasrun report`: what it tells, that it is valid, and that nothing in it can run."""

import json
import re
import shutil
import statistics
import struct
import zlib
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy import stats

from nasrun.files import read_json, read_yaml, write_json, write_record, write_yaml
from nasrun.pages.charts import Look
from nasrun.pages.entrants import Entrant
from nasrun.pages.page import page
from nasrun.pages.sources import Sources

RANDOM, CHOSEN = (0.50, 0.54, 0.46), (0.61, 0.60, 0.65)


def told(*names):
    return page(Sources.of([str(name) for name in names], Path("outputs")))


def amended(path, **facts):
    write_record(path, {**read_json(path), **facts})


def with_seed(run, seed, chosen, random):
    """Make a run that has another seed and other test accuracies."""
    other = run.with_name(f"v{seed + 1:03d}")
    if seed:
        shutil.copytree(run, other)
        write_yaml(other / "config.yaml", {**read_yaml(other / "config.yaml"), "seed": seed})
        amended(other / "run.json", seed=seed)
    amended(other / "retrain/magnitude/result.json", test_accuracy=chosen)
    amended(other / "retrain/random/result.json", test_accuracy=random)
    return other


@pytest.fixture
def seeds(finished):
    """Three runs that differ in their seeds and in their results."""
    return [
        with_seed(finished, s, *pair) for s, pair in enumerate(zip(CHOSEN, RANDOM, strict=True))
    ]


def test_a_sweep_of_another_folder_has_its_own_runs(finished, tmp_path, monkeypatch):
    here = finished.relative_to(finished.parents[2])
    other = tmp_path / "other"
    shutil.copytree(finished, other / here)
    sweep = other / "outputs/sweeps/day/time"
    sweep.mkdir(parents=True)
    record = {"overrides": [], "run": str(here)}
    (sweep / "jobs.jsonl").write_text(json.dumps(record) + "\n")
    monkeypatch.chdir(finished.parents[2])
    found = Sources.of([str(sweep)], Path("outputs"))
    assert [run.resolve() for run in found.runs] == [other / here]


def test_a_run_that_is_named_twice_counts_once(finished):
    relative = finished.relative_to(finished.parents[2])
    assert Sources.of([str(finished), str(relative)], Path("outputs")).runs == (finished,)


@pytest.fixture
def parsed():
    """A strict parser of HTML, which refuses what is not valid; its tree has no name spaces."""
    html5lib = pytest.importorskip("html5lib", reason="pip install html5lib")

    def parse(text):
        parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
        return parser.parse(text)

    return parse


def texts(tree, path):
    return [" ".join("".join(found.itertext()).split()) for found in tree.iterfind(path)]


def drawn(tree):
    return [found for found in tree.iter() if str(found.tag).endswith("svg")]


def table(tree, name):
    """Return the cells of the table whose caption has this name, each row by its first cell."""
    for found in tree.iter("table"):
        if found.find("caption").get("id") == name:
            rows = [[*texts(row, "./*")] for row in found.iter("tr")]
            return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]}
    raise AssertionError(name)


def test_a_result_is_the_mean_over_seeds_beside_that_of_random_architectures(seeds, parsed):
    tree = parsed(told(*seeds))
    rows = table(tree, "tested-1")
    spread = f"{100 * statistics.fmean(CHOSEN):.2f} ± {100 * statistics.stdev(CHOSEN):.2f} %"
    row = rows["magnitude"]
    assert (row["runs"], row["test accuracy"]) == ("3", spread)
    differences = [100 * (a - b) for a, b in zip(CHOSEN, RANDOM, strict=True)]
    assert row["minus random"] == f"+{statistics.fmean(differences):.2f} points"
    interval = stats.ttest_1samp(differences, 0).confidence_interval()
    assert row["95 % interval"].replace("−", "-") == (
        f"{interval.low:+.2f} to {interval.high:+.2f} points"
    )
    assert row["p, Holm"] == "0.125"  # all three are won: 1 / 2^3
    assert rows["random (baseline)"]["p, Holm"] == "–"
    single = json.loads((seeds[0] / "retrain/magnitude/result.json").read_text())
    assert row["parameters"] == f"{single['params'] / 1e3:.1f} ± 0.0 k"
    transfer = table(tree, "tested-2")
    assert list(transfer) == ["magnitude"]  # on other data, and without a baseline
    assert "minus random" not in transfer["magnitude"]


def test_scores_on_validation_images_are_in_a_table_of_their_own(finished, parsed):
    tree = parsed(told(finished))
    assert "validation" not in " ".join(texts(tree, ".//table/caption[@id='tested-1']/.."))
    (row,) = table(tree, "validated").values()
    assert row["what it is"] == "validation accuracy of the supernet"
    result = read_json(finished / "search/result.json")
    assert row["score"] == f"{100 * result['validation_accuracy']:.2f} %"


def test_a_score_without_training_is_not_called_an_accuracy(finished):
    result = {
        k: v
        for k, v in read_json(finished / "search/result.json").items()
        if k != "validation_accuracy"
    }
    write_record(
        finished / "search/result.json", {**result, "judged_by": "naswot", "naswot": 12.25}
    )
    shutil.rmtree(finished / "retrain")
    shutil.rmtree(finished / "transfer")
    text = told(finished)
    row = re.search(r'<th scope="row" class="text">search</th>(.*?)</tr>', text, re.DOTALL)[1]
    assert "naswot" in row and "12.25" in row
    assert "accuracy" not in row and "%" not in row


def test_the_page_is_valid_structured_and_asks_for_nothing(seeds, parsed):
    text = told(*seeds)
    tree = parsed(text)
    assert tree.get("lang") == "en"
    assert texts(tree, ".//title")[0]
    assert tree.find(".//meta[@name='viewport']") is not None
    levels = [int(e.tag[1]) for e in tree.iter() if re.fullmatch("h[1-6]", str(e.tag))]
    assert levels.count(1) == 1 and levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    identities = [e.get("id") for e in tree.iter() if e.get("id")]
    assert len(set(identities)) == len(identities)
    for found in tree.iter():
        assert str(found.tag) not in ("script", "link", "iframe", "object", "embed", "base")
        assert not any(name.lower().startswith("on") for name in found.attrib)
        for name in ("href", "src"):
            address = found.get(name, "#")
            assert address.startswith(("#", "data:image/png;base64,")), address
            if address.startswith("#") and len(address) > 1:
                assert address[1:] in identities
        if found.get("aria-labelledby"):
            assert found.get("aria-labelledby") in identities
    assert len(drawn(tree)) > 10
    assert all(each.get("aria-hidden") or each.get("aria-label") for each in drawn(tree))
    for found in tree.iter("table"):
        assert found.find("caption") is not None
        assert all(cell.get("scope") in ("row", "col") for cell in found.iter("th"))
    assert not re.search(r"url\(|@import|https?:", text)
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert len(text.encode()) < 3 * 2**20


def test_text_from_disk_is_escaped(finished, here, parsed):
    bad = "<script>alert(1)</script>\u202e"
    home = here / "outputs" / bad.replace("/", "-")
    shutil.move(finished.parent, home)
    run = home / "v001"
    record = read_json(run / "run.json")
    choices = {**record["choices"], "dataset": bad}
    amended(run / "run.json", choices=choices, machine=f'"><img src=x onerror=alert(2)>{bad}')
    result = read_json(run / "retrain/magnitude/result.json")
    amended(run / "retrain/magnitude/result.json", data={**result["data"], "name": bad})
    amended(run / "select/magnitude/result.json", genotype=bad)
    (run / "commands.jsonl").write_text(json.dumps({"command": bad, "when": bad}) + "\n")
    folder = run / "analysis" / bad.replace("/", "-")
    folder.mkdir(parents=True)
    (run / "analysis/search").mkdir()
    write_json(run / "analysis/search/search.json", {"verdict": bad})
    text = told(run)
    tree = parsed(text)
    assert not any(str(each.tag).endswith(("script", "img")) for each in tree.iter())
    assert "&lt;script&gt;" in text
    assert "\u202e" not in text


def test_the_same_runs_give_the_same_bytes_wherever_they_lie(seeds, here):
    before = told(*seeds)
    assert told(*seeds) == before
    shutil.move(here / "outputs", here / "elsewhere")
    assert told(here / "elsewhere" / seeds[0].parent.name) == before


def test_a_run_that_is_not_finished_has_a_page_that_says_so(seeds, parsed):
    (seeds[1] / "retrain/magnitude/result.json").unlink()
    shutil.rmtree(seeds[2] / "retrain/magnitude")
    log = seeds[1] / "nasrun.log"
    log.write_text("2026  retrain magnitude  ends before it is done: Diverged: loss nan\n")
    tree = parsed(told(*seeds))
    said = texts(tree, ".//section[@class='missing']/ul/li")
    assert said == [
        "digits-darts-darts/v002, retrain magnitude: not finished, 2 of 2 rounds are done; "
        "it ended with Diverged: loss nan.",
        "retrain magnitude: not begun with seed 2.",
    ]
    row = table(tree, "tested-1")["magnitude"]
    assert row["runs"] == "1 of 2"
    assert row["minus random"] == "+11.00 points"
    assert row["95 % interval"] == row["p, Holm"] == "–"


def test_a_damaged_run_is_named_and_the_others_are_told(seeds, parsed):
    (seeds[1] / "config.yaml").write_text("space: {}")
    (seeds[0] / "search/metrics.jsonl").write_text("")
    said = texts(parsed(told(*seeds)), ".//section[@class='missing']/ul/li")
    assert len(said) == 2
    assert said[0].startswith("digits-darts-darts/v002 cannot be read: ")
    assert said[1].startswith("digits-darts-darts/v001/search/metrics.jsonl: damaged")
    assert not any("outputs/" in text for text in said)


def test_a_damaged_run_hides_no_other_run_of_its_name(finished, tmp_path, parsed):
    other = tmp_path / "other" / finished.parent.name / finished.name
    shutil.copytree(finished, other)
    (other / "run.json").write_text("{")
    tree = parsed(told(finished, other))
    (said,) = texts(tree, ".//section[@class='missing']/ul/li")
    assert said.startswith(f"other/{finished.parent.name}/v001 cannot be read: ")
    assert list(table(tree, "tested-1")) == ["magnitude", "random (baseline)"]


def test_a_name_is_put_in_place_of_a_path_once(finished, parsed, monkeypatch):
    (finished / "search/metrics.jsonl").write_text("")
    run, family = finished.absolute(), finished.parent.name
    for here, word, name in ((run.parent, "v001", f"{family}/v001/"), (run, ".", "")):
        monkeypatch.chdir(here)
        (said,) = texts(parsed(told(word)), ".//section[@class='missing']/ul/li")
        assert said.startswith(f"{name}search/metrics.jsonl: damaged"), said
        assert f"{family}/{family}" not in said


def test_configurations_are_told_apart_by_the_settings_that_differ(finished, parsed):
    other = with_seed(finished, 1, *CHOSEN[:1], *RANDOM[:1])
    config = read_yaml(other / "config.yaml")
    config["strategy"]["batch_size"] = 17
    write_yaml(other / "config.yaml", config)
    tree = parsed(told(finished, other))
    rows = table(tree, "differing")
    assert list(rows) == ["strategy.batch_size"]
    assert list(rows["strategy.batch_size"].values())[1:] == ["16", "17"]
    assert list(table(tree, "tested-1")) == [
        "A magnitude", "A random (baseline)", "B magnitude", "B random (baseline)"
    ]  # fmt: skip


def of_another_configuration(run, seed, chosen):
    """Make a run with another batch size of the search, in the version after ten more seeds."""
    other = with_seed(run, seed + 10, chosen, RANDOM[0])
    amended(other / "run.json", seed=seed)
    config = read_yaml(other / "config.yaml")
    config["strategy"]["batch_size"] = 17
    write_yaml(other / "config.yaml", {**config, "seed": seed})
    return other


def test_configurations_are_compared_seed_by_seed_beside_their_results(seeds, parsed):
    others = [of_another_configuration(seeds[0], seed, 0.5) for seed in range(1, 4)]
    tree = parsed(told(*seeds, *others))
    assert {row["runs"] for row in table(tree, "tested-1").values()} == {"3"}
    (row,) = table(tree, "contrasts-1").values()
    differences = [100 * (score - 0.5) for score in CHOSEN[1:]]  # seeds 1 and 2
    low, high = stats.ttest_1samp(differences, 0).confidence_interval()
    assert {name: cell.replace("−", "-") for name, cell in row.items()} == {
        "difference of": "A magnitude minus B magnitude",
        "seeds": "2",
        "mean difference": f"{statistics.fmean(differences):+.2f} points",
        "95 % interval": f"{low:+.2f} to {high:+.2f} points",
        "p, Holm": f"{stats.wilcoxon(differences).pvalue:.3f}",
    }
    said = " ".join(texts(tree, ".//section[@aria-labelledby='results']/p"))
    assert "With 2 seeds, no p before the correction can be below 0.5" in said
    assert list(table(tree, "contrasts-2")) == ["A magnitude minus B magnitude"]  # of transfers


def test_scores_of_searches_are_not_compared_between_configurations(finished, parsed):
    other = of_another_configuration(finished, 0, 0.5)
    note = "These scores are not compared between configurations"
    assert note not in told(finished)
    assert note in told(finished, other)
    assert "Type nasrun run" not in told(finished, other)
    for run in (finished, other):
        for kind in ("retrain", "transfer"):
            shutil.rmtree(run / kind)
    text = told(finished, other)
    assert "contrasts-" not in text
    assert f"{note}: " in text and "Type nasrun run with the same words" in text


def test_a_stage_is_named_with_its_kind_once():
    for kind, name, title in (
        ("search", "A search", "A search"),
        ("search", "search", "search"),
        ("select", "A magnitude", "select A magnitude"),
    ):
        assert Entrant(name, SimpleNamespace(kind=kind), Look(0)).title == title


def looks(text):
    """Return, per chart with a legend, the names in it by the classes of their lines and dots."""
    for legend in re.findall(r'<ul class="legend">(.*?)</ul>', text, re.DOTALL):
        entries = re.findall(r'<path class="(?:line|dot) (c\d d\d)"[^>]*/></svg>(.*?)</li>', legend)
        if entries:
            yield entries


def test_every_line_and_dot_of_a_chart_has_its_own_look(finished):
    runs = [with_seed(finished, place, *CHOSEN[:1], *RANDOM[:1]) for place in range(8)]
    for place, run in enumerate(runs):
        config = read_yaml(run / "config.yaml")
        config["strategy"]["batch_size"] = 16 + place
        write_yaml(run / "config.yaml", config)
    for some in (runs[:1], runs[:3]):
        for entries in looks(told(*some)):
            assert len({classes for classes, _ in entries}) == len(entries), entries
    searches = [each for each in looks(told(*runs)) if each[0][1].startswith("A search")]
    assert searches
    for entries in searches:
        assert len({classes for classes, _ in entries}) == len(entries) >= 8, entries
    neutral = {name for entries in looks(told(runs[0])) for look, name in entries if "c7" in look}
    assert neutral == {"random"}


def test_runs_without_a_search_are_not_said_to_begin_with_one(finished):
    assert "The run begins with a search" in told(finished)
    other = with_seed(finished, 1, *CHOSEN[:1], *RANDOM[:1])
    assert "Each run begins with a search" in told(finished, other)
    shutil.rmtree(other / "search")
    assert "1 of 2 runs begins with a search" in told(finished, other)


def test_true_results_of_a_choice_are_told_per_data_set(finished, parsed):
    path = finished / "select/magnitude/result.json"
    true = {
        "cifar10": {"accuracy": 0.94, "rank": 2, "of": 9, "ties": 1},
        "cifar100": {"accuracy": 0.7, "rank": 1, "of": 9},
    }
    amended(path, true=true)
    shown = "True results: cifar10 94.00%, rank 2 of 9 (shared by 2); cifar100 70.00%, rank 1 of 9"
    tree = parsed(told(finished))
    assert shown in texts(tree, ".//section/div[@class='cells']/figure/p")
    headings = texts(tree, ".//section[@aria-labelledby='results']/h3")
    assert headings[:2] == ["True accuracy on cifar10", "True accuracy on cifar100"]
    rows = [table(tree, f"tested-{place}") for place in (1, 2)]
    assert rows == [
        {"magnitude": {"architecture": "magnitude", "runs": "1", "true accuracy": f"{x} %"}}
        for x in ("94.00", "70.00")
    ]
    cells = [texts(row, "./*") for row in tree.iterfind(".//section[@aria-labelledby='seeds']//tr")]
    assert [tuple(row[2:5]) for row in cells if row[1] == "select"] == [
        ("0", "94.00 %", "true accuracy on cifar10, from a table"),
        ("0", "70.00 %", "true accuracy on cifar100, from a table"),
    ]


def test_architectures_are_drawn_once_with_those_who_chose_them(seeds, parsed):
    tree = parsed(told(*seeds))
    titles = texts(tree, ".//section/div[@class='cells']/figure/figcaption")
    assert titles == ["magnitude, seeds 0, 1, 2", "random, seeds 0, 1, 2"]
    section = ".//section[@aria-labelledby='architectures']"
    assert texts(tree, f"{section}/h3") == [
        "Chosen by the runs",
        "Drawn at random, as the baseline",
    ]
    labels = [each.get("aria-label", "") for each in drawn(tree)]
    label = next(label for label in labels if label.startswith("normal"))
    result = read_json(seeds[0] / "select/magnitude/result.json")
    operations = re.findall(r"(\w+)@\d", result["genotype"].split(";")[0])
    assert operations and all(f"by {operation}" in label for operation in operations)


def test_an_analysis_in_a_run_is_told_with_its_pictures(finished, parsed):
    from PIL import Image

    folder = finished / "analysis" / "variants"
    folder.mkdir(parents=True)
    variant = {"name": "a-1", "genotype": "normal ...", "width": 2.5, "depth": 3}
    write_json(folder / "variants.json", {"settings": {}, "variants": [variant]})
    Image.new("RGB", (30, 20), "red").save(folder / "variants.png")
    (folder / "torn.png").write_bytes(b"\x89PNG")
    size = struct.pack(">II", 40_000, 40_000) + b"\x08\x02\x00\x00\x00"
    header = b"\x00\x00\x00\rIHDR" + size + struct.pack(">I", zlib.crc32(b"IHDR" + size))
    data = b"\x00\x00\x00\x00IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (folder / "vast.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + data)
    (finished / "analysis" / "search").mkdir()
    (finished / "analysis" / "search" / "measured.jsonl").write_text("{}\n")
    tree = parsed(told(finished))
    assert table(tree, "analysis-2-1")["a-1"]["width"] == "2.5c"
    (picture,) = tree.iter("img")
    assert (picture.get("width"), picture.get("height")) == ("30", "20")
    assert picture.get("alt").startswith("variants")
    said = " ".join(texts(tree, ".//p"))
    assert "torn.png is no picture" in said
    assert "vast.png is no picture that can be read (DecompressionBombError)" in said
    assert "This analysis is not finished" in said


def test_a_score_that_is_not_known_is_none(seeds, parsed):
    amended(seeds[0] / "retrain/magnitude/result.json", test_accuracy=None)
    amended(seeds[1] / "retrain/magnitude/result.json", params=None)
    row = table(parsed(told(*seeds)), "tested-1")["magnitude"]
    assert row["runs"] == "2 of 3"
    assert row["test accuracy"].startswith(f"{50 * (CHOSEN[1] + CHOSEN[2]):.2f} ± ")


def test_a_branch_without_a_readable_origin_is_told_as_damaged(finished, parsed):
    path = finished / "retrain/random/config.yaml"
    config = {key: value for key, value in read_yaml(path).items() if key != "genotype"}
    write_yaml(path, config)
    assert "Not drawn: " in told(finished)
    write_yaml(path, {**config, "parent": ["a"]})
    with pytest.raises(ValueError, match="damaged, parent is no str"):
        told(finished)
