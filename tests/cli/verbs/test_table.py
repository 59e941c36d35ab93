"""`nasrun table` makes a table, with a stand-in for the benchmark's package."""

import csv
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nasrun.data.table import Table

CELLS = ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
         "|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|"]  # fmt: skip
KNOWN = {
    (0, "cifar10", "200", "test-accuracy"): 10.0,
    (0, "cifar10", "12", "test-accuracy"): 11.0,
    (0, "cifar10-valid", "12", "valid-accuracy"): 9.7,
    (1, "cifar10", "200", "test-accuracy"): 94.123456,
    (1, "cifar10", "12", "test-accuracy"): 88.0,
    (1, "cifar10-valid", "12", "valid-accuracy"): 84.5,
    (0, "ImageNet16-120", "200", "test-accuracy"): 0.8,
    (0, "ImageNet16-120", "12", "test-accuracy"): 0.9,
    (0, "ImageNet16-120", "12", "valid-accuracy"): 0.7,
    (1, "ImageNet16-120", "200", "test-accuracy"): 47.0,
    (1, "ImageNet16-120", "12", "test-accuracy"): 30.0,
    (1, "ImageNet16-120", "12", "valid-accuracy"): 31.0,
}


class Api:
    """The part of the official API that is used: its signatures, its mean over all seeds."""

    def __len__(self):
        return len(CELLS)

    def arch(self, index):
        return CELLS[index]

    def get_more_info(self, index, dataset, iepoch=None, hp="12", is_random=True):
        assert is_random is False
        assert iepoch is None
        here = {k[3]: v for k, v in KNOWN.items() if k[:3] == (index, dataset, hp)}
        return {"train-accuracy": 99.0, **here}


@pytest.fixture
def asked(monkeypatch, here):
    """Lists the calls of the official package, of which this is a stand-in with two benchmarks."""
    asked = []

    def create(path, space, fast_mode=False, verbose=True):
        asked.append((Path(path).name, space, fast_mode, verbose))
        return Api()

    monkeypatch.setitem(sys.modules, "nats_bench", SimpleNamespace(create=create))
    Path("NATS-tss").mkdir()
    Path("NATS-tss.pickle.pbz2").touch()
    return asked


def test_the_table_is_read_back(nasrun, asked):
    answer = nasrun("table", "NATS-tss", "out=table.csv")
    assert answer.out == "table.csv: 2 architectures\n"
    assert asked == [("NATS-tss", "tss", True, False)]
    with open("table.csv", newline="") as file:
        rows = list(csv.reader(file))
    names = ["cifar10_test_200ep", "cifar10_test_12ep", "cifar10_val_12ep"]
    assert rows[0] == ["index", "architecture", *names]
    assert rows[2] == ["1", CELLS[1], "94.1235", "88.0", "84.5"]
    table = Table.read(Path("table.csv"))
    assert table.truth(CELLS[1]) == {"cifar10": {"accuracy": 0.941235, "rank": 1, "of": 2}}
    assert table.accuracy(CELLS[0], "cifar10_val_12ep") == pytest.approx(0.097)


def test_several_data_sets_and_the_single_file(nasrun, asked):
    assert nasrun("table", "NATS-tss.pickle.pbz2", "data=[cifar10,imagenet16]").status == 0
    assert asked[0][2] is False
    truth = Table.read(Path("nasbench201.csv")).truth(CELLS[1])
    assert truth["imagenet16"] == {"accuracy": 0.47, "rank": 1, "of": 2}


def test_what_cannot_be_done_is_one_line_and_leaves_no_table(nasrun, asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "nas_201_api", None)
    Path("old.pth").touch()
    for words, told in {
        "": "table: give the file or folder of the benchmark",
        "missing": "missing: there is no such",
        "NATS-tss out=NATS-tss.pickle.pbz2": "out=NATS-tss.pickle.pbz2: this file exists already",
        "NATS-tss out=nowhere/table.csv": "out=nowhere/table.csv: its folder is missing",
        "old.pth": "pip install nas-bench-201",
        "NATS-tss data=[cifar100]": "no test-accuracy on cifar100 after 200 epochs",
        "NATS-tss data=[cifar20]": "data=cifar20: unknown data set, did you mean cifar10",
        "NATS-tss data=[]": "data=[]: name one or more of cifar10, cifar100, imagenet16",
    }.items():
        assert told in nasrun("table", *words.split()).refusal
        assert {path.name for path in Path().iterdir()} == {
            "NATS-tss", "NATS-tss.pickle.pbz2", "old.pth",
        }  # fmt: skip


def test_a_missing_package_is_named(nasrun, asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "nats_bench", None)
    assert "pip install nats_bench" in nasrun("table", "NATS-tss").refusal


def test_help_says_what_it_reads_and_that_it_is_unpickled(nasrun):
    text = nasrun("table", "--help").out
    assert "NATS-tss-v1_0-3ffb9-simple" in text
    assert "space.table" in text
    assert "unpickle" in text
