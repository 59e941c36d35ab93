"""The pages with tables of claims, and the file of results from which they are made."""

import re
from pathlib import Path

import pytest

from nasrun.claims import reading
from nasrun.claims.results import ResultFile, shipped
from nasrun.claims.tables import BLOCK

DOCS = Path(__file__).parents[2] / "docs"
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
        assert results.protocols(name) <= {claim.frozen}, name
        for line in results.of(name, claim.frozen):
            lines += 1
            if line.seed is None:
                continue
            assert line.arm in claim.arms
            assert 0 <= line.seed - claim.seed(line.arm, 0) < claim.seeds
            assert re.fullmatch("[0-9a-f]{40}", line.commit or ""), line
            assert line.values.keys() <= claim.measures.keys()
    assert lines == len(shipped().read_text("utf-8").splitlines())
