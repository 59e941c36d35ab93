"""The code in docs/adding.md works as it is written, and links of all pages lead somewhere."""

import json
import re
from pathlib import Path

import numpy
import pytest
from conftest import SMALL

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "adding.md").read_text()
FILE = re.compile(
    r"`((?:mynas|conf)/[\w/]+\.(?:py|yaml))`\n\n```(?:python|yaml)\n(.*?)```", re.DOTALL
)
OWN = ["hydra.searchpath=[file://conf]", "trust=[mynas]"]
FEW = ["strategy.num_candidates=2", "strategy.evaluator.epochs=1"]
NUMBERS = ("search/round", "search/train_loss", "result/search/seconds")
SIZES = [word for word in SMALL if not word.startswith("space.")]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A folder with the page's files; once, since an operation is registered once a process."""
    folder = tmp_path_factory.mktemp("page")
    for name, text in FILE.findall(TEXT):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "mynas" / "__init__.py").touch()
    return folder


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ("search,select", ["strategy=shared"]),
        ("search,select", ["strategy=fair"]),
        ("search,select", ["space=blur"]),
        ("search,select", ["strategy=hill", *FEW]),
        ("search,select", ["strategy=hill", "evaluator=ntk", FEW[0]]),
        ("search,select", ["strategy=crossing", "engine=serial"]),
        ("search,select", ["selector=lottery"]),
        ("search,select", ["selector=no_skip"]),
        ("search,select", ["space=chain"]),
        ("search,select", ["space=chain", "strategy=fixed_alpha", "selector=perturb"]),
        ("search,select,retrain", ["space=chain", "retrain.epochs=1", "retrain.auxiliary=false"]),
    ],
)
def test_an_option_of_the_page_runs(stages, words, page, nasrun, monkeypatch):
    monkeypatch.chdir(page)
    sizes = SIZES if {"space=chain", "strategy=crossing"} & {*words} else SMALL
    answer = nasrun("run", f"stages=[{stages}]", *sizes, *words, *OWN)
    assert answer.status == 0, answer.err


def test_a_data_set_of_the_page_is_read_and_divided(page, nasrun, monkeypatch):
    monkeypatch.chdir(page)
    generator = numpy.random.default_rng(0)
    pixels, labels = generator.integers(0, 256, (80, 8, 8, 3), numpy.uint8), numpy.arange(80) % 4
    numpy.savez(
        "set.npz",
        images=pixels[:60],
        labels=labels[:60],
        test_images=pixels[60:],
        test_labels=labels[60:],
    )
    words = [*SMALL, "dataset=arrays", "dataset.root=set.npz", *OWN]
    assert nasrun("search", *words).err == ""
    refusal = nasrun("search", *words, "dataset.validation=0.01").refusal
    assert "has none in a part of 1; use" in refusal


def test_a_tracker_of_the_page_has_every_number_once(page, nasrun, monkeypatch):
    monkeypatch.chdir(page)
    for hours in ("1e-9", "null", "null"):
        words = [*SMALL, "tracker=lines", "seed=7", f"budget.max_hours={hours}", *OWN]
        assert nasrun("search", *words).err == ""
    rows = [json.loads(line) for line in (page / "tracked.jsonl").read_text().splitlines()]
    rounds = {name: [row["round"] for row in rows if row["name"] == name] for name in NUMBERS}
    assert rounds == {"search/round": [1, 2], "search/train_loss": [1, 2], NUMBERS[2]: [2]}
    assert nasrun("search", *SMALL, "tracker=lines", "tracker.lines.file=.", *OWN).refusal


def test_an_operation_of_the_page_is_trained_in_another_process(page, workers, nasrun, monkeypatch):
    monkeypatch.chdir(page)
    words = [*SMALL, "strategy=hill", *FEW, "space=blur", "stages=[search]", *OWN]
    answer = nasrun("run", *words)
    assert answer.status == 0, answer.err


def prose(page):
    """The text of a page without its blocks of code."""
    return re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)


def anchors(page):
    """The names by which GitHub's links reach the headings of a page."""
    for heading in re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        yield re.sub(r"[^\w\- ]", "", words).replace(" ", "-")


def test_every_link_within_the_repository_leads_to_a_file_and_a_heading():
    found = 0
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose(page)):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), (page, link)
            assert not anchor or anchor in anchors(target), (page, link)
            found += 1
    assert found > 500
