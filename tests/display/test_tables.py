"""Tables in terminals of any width: words stay whole."""

import io
import re

import pytest
from rich.console import Console

from nasrun.display import table

RUN = "outputs/digits-darts-darts/v001"
COLUMNS = ("first run", "stage", "n", "mean ± std", "on", "minutes", "with")
ROWS = [
    (RUN, "search", "1", "6.25% ± 0.58", "validation, supernet", "0.1", "rounds=1"),
    (RUN, "transfer magnitude-mnist5k", "1", "10.00%", "test", "0.0", ""),
    (RUN.replace("1", "2"), "retrain magnitude", "1", "-", "-", "10.0", "rounds=2"),
]


def drawn(width, columns=COLUMNS, rows=ROWS):
    text = io.StringIO()
    table(Console(file=text, width=width), "runs", columns, rows)
    return text.getvalue()


def test_a_wide_table_has_a_line_per_row_and_a_narrow_one_has_every_word_whole():
    words = {word for row in ROWS for cell in row for word in cell.split()} - {"-"}
    for width in range(34, 160):
        text = drawn(width)
        assert not words - set(re.split(r"[│\s]+", text)), (width, text)
        longest = max(len(line) for line in text.splitlines())
        assert longest <= width, (width, text)
    row = next(line for line in drawn(159).splitlines() if RUN in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == list(ROWS[0])


def test_a_path_that_has_no_room_stands_above_its_rows():
    lines = [line.rstrip() for line in drawn(80).splitlines()]
    place = lines.index(RUN)
    assert lines.count(RUN) == 1
    assert lines[place + 1].split() == [
        "search",
        "1",
        "6.25%",
        "±",
        "0.58",
        "validation,",
        "0.1",
        "rounds=1",
    ]
    assert any(line.startswith("  transfer magnitude-mnist5k ") for line in lines)


def test_where_columns_have_no_room_a_row_is_a_record_of_what_it_knows():
    lines = [line.rstrip() for line in drawn(40).splitlines()]
    place = lines.index(RUN)
    assert lines[place + 1] == "  stage search  n 1"
    assert lines[place + 2] == "  mean ± std 6.25% ± 0.58"
    assert "  stage retrain magnitude  n 1" in lines
    assert not [line for line in lines if line.endswith((" -", "with"))]


@pytest.mark.parametrize("width", [20, 60, 100])
def test_facts_of_two_columns_fit_anywhere(width):
    text = drawn(width, ("", ""), [("pictures", "search/search.png select/argmax/cells.svg")])
    assert "search/search.png" in text.split()
    assert "select/argmax/cells.svg" in re.split(r"[│\s]+", text)


def test_a_long_text_of_a_record_begins_lines_at_its_words():
    told = "all trains on the validation part too (SNAS's released code)"
    text = drawn(40, ("key", "default", "what it is"), [("strategy.data", "x" * 30, told)])
    assert max(map(len, text.splitlines())) <= 40
    assert " ".join(text.split()).endswith(f"what it is {told}")


def test_two_columns_of_sentences_share_the_width():
    text = drawn(60, ("claim", "what it says", "state"), [("a", "word " * 24, "held " * 8)])
    assert text.count("word word word word") == 6
    assert "claim" in drawn(60, ("claim", ""), [("word " * 24, "")])


def test_numbers_stand_to_the_right_and_texts_to_the_left():
    rows = [("a", "test", "93.8%"), ("b", "-", "-"), ("c", "validation", "< 0.1")]
    ends = [
        line.split("│")[2:4] for line in drawn(80, ("name", "on", "score"), rows).splitlines()[4:-1]
    ]
    assert ends == [
        [" test       ", " 93.8% "],
        [" -          ", "     - "],
        [" validation ", " < 0.1 "],
    ]
