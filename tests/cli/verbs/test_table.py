"""`nasrun table` makes tables of official files, which are written here in their formats."""

import base64
import bz2
import collections
import csv
import errno
import json
import os
import pickle
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from nasrun.data.table import Table

CELLS = ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
         "|skip_connect~0|+|none~0|none~1|+|none~0|none~1|none~2|"]  # fmt: skip
ACCURACIES = {
    ("cifar10", "ori-test"): {"200": ([10.0], [94.0, 94.246912]), "12": ([11.0], [88.0])},
    ("cifar10-valid", "x-valid"): {"200": ([9.9], [91.0]), "12": ([9.6, 9.8], [84.5])},
    ("cifar100", "x-test"): {"200": ([1.0], [73.0]), "12": ([1.1], [55.0])},
    ("cifar100", "x-valid"): {"200": ([1.2], [72.5]), "12": ([1.3], [54.0])},
    ("ImageNet16-120", "x-test"): {"200": ([0.8], [47.0]), "12": ([0.9], [30.0])},
    ("ImageNet16-120", "x-valid"): {"200": ([0.7], [46.0]), "12": ([0.6], [31.0])},
}
"""(training set, images) -> epochs -> per cell the accuracies of its seeds after the last epoch."""
NAMES = ["test_200ep", "test_12ep", "val_12ep", "val_200ep"]


def trained(cell, epochs, number=float):
    """The state of NATS-Bench's `ArchResults`: its `state_dict`, as its packages write it."""
    results, seeds, last = {}, {}, int(epochs) - 1
    for (data, images), found in ACCURACIES.items():
        for seed, accuracy in enumerate(found[epochs][cell], 777):
            seeds.setdefault(data, [])
            seeds[data] += [seed] * (seed not in seeds[data])
            run = results.setdefault((data, seed), {
                "name": "infer.tiny", "net_state_dict": None, "train_acc1es": {last: 99.0},
                "train_acc5es": None, "train_losses": collections.OrderedDict({last: 0.1}),
                "train_times": None, "arch_config": {"channel": 16, "arch_str": CELLS[cell]},
                "params": 1.0, "flop": 2.0, "seed": seed, "epochs": int(epochs), "latency": [0.1],
                "eval_names": [], "eval_acc1es": {}, "eval_times": {}, "eval_losses": {},
            })  # fmt: skip
            run["eval_names"].append(images)
            run["eval_acc1es"][f"{images}@0"] = 5.0
            run["eval_acc1es"][f"{images}@{last}"] = number(accuracy)
            run["eval_losses"][f"{images}@{last}"] = 0.3
    return {"arch_index": cell, "arch_str": CELLS[cell], "all_results": results,
            "dataset_seed": seeds, "clear_net_done": True}  # fmt: skip


def packed(path, value):
    path.write_bytes(bz2.compress(pickle.dumps(value, protocol=4)))


@pytest.fixture
def archive(here):
    """NATS-Bench's folder: a file of names and one per architecture."""
    folder = Path("NATS-tss")
    folder.mkdir()
    packed(folder / "meta.pickle.pbz2", {"meta_archs": CELLS, "arch2infos": None})
    for cell in range(2):
        states = {epochs: trained(cell, epochs) for epochs in ("12", "200")}
        packed(folder / f"{cell:06d}.pickle.pbz2", states)
    return folder


def whole(names, number=float):
    """NATS-Bench's single file and NAS-Bench-201's differ in the names of the two trainings."""
    found = {cell: {name: trained(cell, epochs, number) for epochs, name in names.items()}
             for cell in range(2)}  # fmt: skip
    return {"meta_archs": CELLS, "arch2infos": found, "evaluated_indexes": {0, 1},
            "total_archs": 2}  # fmt: skip


def rows(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def test_one_call_makes_a_table_of_all_three_data_sets(nasrun, archive):
    answer = nasrun("table", archive, "out=table.csv")
    assert answer.out == "table.csv: 2 architectures\n"
    header, _, best = rows("table.csv")
    data = ["cifar10", "cifar100", "imagenet16"]
    assert header == ["index", "architecture", *(f"{d}_{n}" for d in data for n in NAMES)]
    expected = "94.1235 88.0 84.5 91.0 73.0 55.0 54.0 72.5 47.0 30.0 31.0 46.0"
    assert best == ["1", CELLS[1], *expected.split()]  # the first is the mean of two seeds
    table = Table.read(Path("table.csv"))
    assert table.truth(CELLS[1]) == {
        "cifar10": {"accuracy": pytest.approx(0.941235), "rank": 1, "of": 2, "epochs": 200},
        "cifar100": {"accuracy": 0.73, "rank": 1, "of": 2, "epochs": 200},
        "imagenet16": {"accuracy": 0.47, "rank": 1, "of": 2, "epochs": 200},
    }
    assert table.accuracy(CELLS[0], "cifar10_val_12ep") == pytest.approx(0.097)


def test_all_forms_of_the_benchmark_give_the_same_table(nasrun, archive):
    packed(Path("NATS-tss.pickle.pbz2"), whole({"12": "12", "200": "200"}, np.float64))
    for name, old in {"new.pth": False, "old.pth": True}.items():
        content = whole({"12": "less", "200": "full"}, np.float64 if old else float)
        torch.save(content, name, _use_new_zipfile_serialization=not old)
    for name in (archive, "NATS-tss.pickle.pbz2", "new.pth", "old.pth"):
        answer = nasrun("table", name, "data=[imagenet16,cifar10]", f"out={name}.csv")
        assert answer.status == 0, answer.err
    first, *others = (Path(f"{name}.csv").read_text() for name in
                      (archive, "NATS-tss.pickle.pbz2", "new.pth", "old.pth"))  # fmt: skip
    assert all(other == first for other in others)
    assert rows("new.pth.csv")[0][2] == "imagenet16_test_200ep"
    assert "cifar100" not in first


class Code:
    """Runs a function when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("run",)


# NAS-Bench-101: records of JSON with a protocol buffer inside


def double(number, value):
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def inside(number, message):
    return bytes([number << 3 | 2, len(message)]) + message


def metrics(validation, test):
    """The message `ModelMetrics`: three evaluations, the number of parameters, the time."""
    evaluations = b""
    for epoch, share in ((0, 0.1), (54, 0.8), (108, 1)):
        numbers = (epoch, 9.0, 0.99 * share, validation * share, test * share)
        message = b"".join(double(place, number) for place, number in enumerate(numbers, 1))
        evaluations += inside(1, message + inside(6, b"model.ckpt"))
    return evaluations + bytes([2 << 3, 0xCA, 0xB9, 0xA4, 0x01]) + double(3, 99.0)


def record(name, epochs, matrix, labels, *accuracies):
    message = base64.b64encode(metrics(*accuracies)).decode()
    content = json.dumps([name, epochs, matrix, labels, message]).encode()
    return len(content).to_bytes(8, "little") + b"crc1" + content + b"crc2"


def test_the_records_of_nas_bench_101_become_means_by_epochs(nasrun, here):
    labels = "input,conv3x3-bn-relu,output"
    whole = b"".join(
        record(name, epochs, matrix, labels, *accuracies)
        for name, matrix, low in (("ab", "010001000", 0.0), ("cd", "011001000", 0.01))
        for epochs, accuracies in (
            *((108, (0.94 - low, 0.93)), (108, (0.95 - low, 0.94)), (108, (0.96 - low, 0.923))),
            (4, (0.5, 0.4)),
        )
    )
    Path("nasbench_full.tfrecord").write_bytes(whole)
    answer = nasrun("table", "nasbench_full.tfrecord", "data=[cifar10]")
    assert answer.out == "nasbench101.csv: 2 architectures\n", answer.err
    names = [f"cifar10_{part}_{epochs}ep" for epochs in (108, 4) for part in ("test", "val")]
    assert rows("nasbench101.csv") == [
        ["architecture", "module", *names],
        ["ab", "input conv3x3-bn-relu output 010/001/000", "93.1", "95.0", "40.0", "50.0"],
        ["cd", "input conv3x3-bn-relu output 011/001/000", "93.1", "94.0", "40.0", "50.0"],
    ]
    truth = Table.read(Path("nasbench101.csv")).truth("cd")["cifar10"]
    assert truth == {"accuracy": pytest.approx(0.931), "rank": 1, "of": 2, "epochs": 108, "ties": 1}
    lone = record("ef", 4, "01" + "00", "input,output", 0.1, 0.1)
    for name, content, told in (
        ("cut", whole[:-9], "is cut off, or is not a TFRecord file"),
        ("none", b"", "has no record"),
        ("other", (9).to_bytes(8, "little") + b"crc1" + b'"no list"' + b"crc2", "record 1 is no"),
        ("part", whole + lone, "module ef has no training of 108 epochs"),
    ):
        Path(f"{name}.tfrecord").write_bytes(content)
        assert told in nasrun("table", f"{name}.tfrecord", "out=new.csv").refusal


# TransNAS-Bench-101: one dictionary of all tasks

METRICS = {"class_object": "top1", "room_layout": "neg_loss", "normal": "ssim"}


def tasks(shift):
    """What the file has of one cell: metrics of every epoch, by task."""
    found = {}
    for task, measure in METRICS.items():
        base = {"top1": 40.0, "neg_loss": -0.7, "ssim": 0.5}[measure]
        lists = {f"{s}_{measure}": [0.0, base + shift, base + 2 * shift] for s in ("valid", "test")}
        lists[f"test_{measure}"][-1] += 0.01
        found[task] = {"total_epochs": 3, "model_info": {"model_params": 1.0}, "metrics": lists}
    return found


def test_the_cells_of_transnas_bench_101_have_a_measure_per_task(nasrun, here):
    cells = {"64-41414-1_02_333": tasks(0.1), "64-41414-0_00_000": tasks(0.0)}
    database = {
        "metrics_dict": {task: [f"test_{measure}"] for task, measure in METRICS.items()},
        "info_names": ["model_params"], "task_list": list(METRICS),
        "data": {"macro": {"64-1234-basic": {}}, "micro": cells},
    }  # fmt: skip
    torch.save(database, "transnas.pth")
    refusal = nasrun("table", "transnas.pth").refusal
    assert "64-41414-1_02_333 has no class_scene" in refusal
    answer = nasrun("table", "transnas.pth", f"data=[{','.join(METRICS)}]")
    assert answer.out == "transnas101.csv: 2 architectures\n", answer.err
    header, first, _ = rows("transnas101.csv")
    assert header == [
        *("name", "architecture", "class_object_test_3ep", "class_object_val_3ep"),
        *("room_layout_test_3ep_neg_loss", "room_layout_val_3ep_neg_loss"),
        *("normal_test_3ep_ssim", "normal_val_3ep_ssim"),
    ]
    text = "|skip_connect~0|+|none~0|nor_conv_1x1~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    assert first == ["64-41414-1_02_333", text, "40.21", "40.2", "-0.49", "-0.5", "0.71", "0.7"]
    shown = nasrun("show", "genotype=64-41414-1_02_333", "table=transnas101.csv")
    assert text in shown.out
    assert "class_object 40.21%, rank 1 of 2; room_layout/neg_loss -0.49, rank 1 of 2" in " ".join(
        shown.out.replace("│", " ").split()
    )


def test_a_file_that_names_code_is_refused_before_it_runs(nasrun, archive):
    packed(archive / "000001.pickle.pbz2", {"12": Code()})
    packed(Path("code.pickle.pbz2"), {"meta_archs": CELLS, "arch2infos": Code()})
    torch.save({"meta_archs": CELLS, "arch2infos": Code()}, "code.pth")
    for name in (archive, "code.pickle.pbz2", "code.pth"):
        refusal = nasrun("table", name, "out=table.csv").refusal
        assert "take it only from its authors" in refusal
        assert not Path("run").exists()
        assert not Path("table.csv").exists()


def test_a_full_disk_leaves_no_half_table_and_the_command_can_be_repeated(
    nasrun, archive, monkeypatch
):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert "table.csv" in nasrun("table", archive, "out=table.csv").refusal
    assert not Path("table.csv").exists()
    assert nasrun("table", archive, "out=table.csv").status == 0


def test_what_cannot_be_done_is_one_line_and_leaves_no_table(nasrun, archive):
    Path("text.csv").write_text("x")
    Path("broken.pickle.pbz2").write_bytes(b"no bzip2")
    packed(Path("bare.pickle.pbz2"), {"meta_archs": CELLS})
    packed(Path("part.pickle.pbz2"), {"meta_archs": CELLS, "arch2infos": {0: {}}})
    cut = bz2.compress(pickle.dumps(random.Random(0).randbytes(9999)))[:-999]
    Path("cut.pickle.pbz2").write_bytes(cut)
    packed(Path("number.pickle.pbz2"), 3)
    packed(Path("sizes.pickle.pbz2"), {"meta_archs": ["8:8:8:8:8"], "arch2infos": {}})
    Path("empty").mkdir()
    lacking = whole({"12": "12", "200": "200"})
    del lacking["arch2infos"][1]["200"]["dataset_seed"]["cifar100"]
    packed(Path("lacking.pickle.pbz2"), lacking)
    before = sorted(Path().iterdir())
    for words, told in {
        "": "table: give the file or folder of the benchmark",
        "missing": "missing: there is no such",
        "text.csv": "text.csv: is no file of a known benchmark; give",
        "empty": "empty: has no meta.pickle.pbz2; give the unpacked folder",
        "broken.pickle.pbz2": "broken.pickle.pbz2: is damaged (OSError)",
        "cut.pickle.pbz2": "cut.pickle.pbz2: is damaged (EOFError); take it again",
        "bare.pickle.pbz2": "bare.pickle.pbz2: holds no trainings",
        "part.pickle.pbz2 data=[cifar10]": "architecture 0 has no cifar10_test_200ep",
        "number.pickle.pbz2": "number.pickle.pbz2: lists no architectures",
        "sizes.pickle.pbz2": "are like 8:8:8:8:8; give the topology benchmark",
        "lacking.pickle.pbz2": "architecture 1 has no cifar100_test_200ep; leave cifar100 out",
        "NATS-tss out=text.csv": "out=text.csv: this file exists already",
        "NATS-tss out=nowhere/table.csv": "out=nowhere/table.csv: its folder is missing",
        "NATS-tss data=[cifar20]": "data=cifar20: unknown data set, did you mean cifar10",
        "NATS-tss data=[]": "data=[]: name one or more of cifar10, cifar100, imagenet16",
        "NATS-tss data=[cifar10,cifar10]": "data=cifar10: is named twice",
    }.items():
        assert told in nasrun("table", *words.split()).refusal
        assert sorted(Path().iterdir()) == before
    assert nasrun("table", "lacking.pickle.pbz2", "data=[cifar10]").status == 0


def test_help_says_what_it_reads_and_what_it_refuses(nasrun):
    text = nasrun("table", "--help").out
    assert "NATS-tss-v1_0-3ffb9-simple" in text
    assert "space.table" in text
    assert "refused" in text
