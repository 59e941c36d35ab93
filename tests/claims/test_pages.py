"""The pages with tables of claims, and the file of results from which they are made."""

import re
from pathlib import Path

import pytest

from nasrun.claims import reading
from nasrun.claims.results import ResultFile, shipped
from nasrun.claims.tables import BLOCK
from nasrun.files import read_lines

DOCS = Path(__file__).parents[2] / "docs"
METHODS = [
    page
    for room in ("strategies", "selectors", "evaluators", "spaces")
    for page in sorted((DOCS / room).glob("*.md"))
]
MEAN = re.compile(r"\d+\.\d+\s±\s\d+\.\d+")
"""A mean and its standard deviation; a line may end between them."""
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if BLOCK.search(page.read_text("utf-8"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tables_of_a_page_are_made_from_the_results_byte_for_byte(nasrun, here, page):
    copy = here / page.name
    text = page.read_text("utf-8")
    copy.write_text(re.sub(r"^\| .*\n", "", text, flags=re.MULTILINE))  # its tables are lost
    blocks = [found[0] for found in BLOCK.finditer(text)]
    assert nasrun("reproduce", f"page={copy}").status == 0
    assert [found[0] for found in BLOCK.finditer(copy.read_text("utf-8"))] == blocks
    copy.write_text(text)
    assert nasrun("reproduce", f"page={copy}").status == 0
    assert copy.read_bytes() == page.read_bytes()


def test_every_claim_is_on_one_page():
    found = [block["name"] for page in PAGES for block in BLOCK.finditer(page.read_text("utf-8"))]
    assert sorted(found) == reading.names()


def test_every_line_is_of_a_frozen_protocol_and_names_its_commit():
    assert shipped().stat().st_size < 2**20
    results, lines = ResultFile(shipped()), 0
    for name in reading.names():
        claim = reading.read(reading.file_of(name))
        protocols = {line["protocol"] for line in read_lines(shipped()) if line["claim"] == name}
        assert protocols <= {claim.frozen}, name
        for line in results.of(name, claim.frozen):
            lines += 1
            if line.seed is None:
                continue
            assert line.arm in claim.arms
            assert 0 <= line.seed - claim.seed(line.arm, 0) < claim.seeds
            assert re.fullmatch("[0-9a-f]{40}", line.commit or ""), line
            assert line.values.keys() <= claim.measures.keys()
    assert lines == len(shipped().read_text("utf-8").splitlines())


def test_a_mean_that_a_method_has_measured_is_in_a_table_of_claims_or_of_the_readme():
    pages = [DOCS / "results.md", DOCS.parent / "README.md"]
    lines = [line for page in pages for line in page.read_text("utf-8").splitlines()]
    kept = {mean for line in lines if line.startswith("|") for mean in MEAN.findall(line)}
    for page in METHODS:
        _, _, measured = page.read_text("utf-8").partition("\n## Measured\n")
        measured = BLOCK.sub("", measured)  # tables that are made from the results themselves
        assert {" ".join(mean.split()) for mean in MEAN.findall(measured)} <= kept, page


def test_a_claim_that_a_page_names_exists():
    naming = re.compile(r"(?:the claims?|nasrun\s+reproduce)\s+\[?`?([a-z]+_[a-z0-9_]+)\b(?!=)")
    named = {
        name for page in DOCS.rglob("*.md") for name in naming.findall(page.read_text("utf-8"))
    }
    assert "snas_gap" in named
    assert named <= {*reading.names()}
