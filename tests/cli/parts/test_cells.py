"""`nasrun analyze cells`: what it prints, writes and refuses."""

import json
import re


def test_cells_are_measured_beside_all_of_their_space(nasrun, here):
    (here / "mine.txt").write_text("normal skip_connect@0 | skip_connect@0; reduce - | -")
    words = ["genotype=nb201_resnet,mine.txt", "network=nasbench201", "out=o"]
    answer = nasrun("analyze", "cells", *words)
    assert answer.status == 0, answer.err
    resnet, mine = json.loads((here / "o" / "cells.json").read_text())["cells"]
    (cell,) = resnet["types"].values()
    assert (cell["width"], cell["depth"], cell["wirings"]) == (1, 3, 64)
    assert resnet["params"] > 0
    assert 0 < resnet["params_share"] < 1
    assert resnet["activation_bytes"] > 2**20
    assert mine["name"] == "mine"
    assert mine["types"]["normal"]["width"] == 2
    nothing = {"width": 0, "depth": 0, "edges": 0, "parameter_free_share": None}
    assert nothing.items() <= mine["types"]["reduce"].items()
    assert re.search(r"│ nb201_resnet cell │ +1c ", answer.out)


def test_what_a_run_selected_is_measured_in_the_run(nasrun, finished, here, pictures):
    answer = nasrun("analyze", "cells", f"run={finished}")
    assert answer.status == 0, answer.err
    folder = here / finished / "analysis" / "cells"
    names = [row["name"] for row in json.loads((folder / "cells.json").read_text())["cells"]]
    assert names == ["magnitude"]
    drawn = {path.name for path in folder.glob("*.png")}
    assert {"magnitude.png", "widths-darts-normal.png"} <= drawn
    assert nasrun("list", "runs").status == 0  # its folder is no stage


def test_cells_are_judged_on_each_data_set_of_a_table(nasrun, here):
    cells = {
        "nb201_resnet": "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+"
        "|skip_connect~0|none~1|skip_connect~2|",
        "mine.txt": "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
    }
    (here / "mine.txt").write_text(cells["mine.txt"])
    lines = [f"{text},{94 - n},{73 - n}" for n, text in enumerate(cells.values())]
    header = "architecture,cifar10_test_200ep,cifar100_test_200ep"
    (here / "t.csv").write_text("\n".join([header, *lines]))
    answer = nasrun("analyze", "cells", f"genotype={','.join(cells)}", "table=t.csv", "out=o")
    assert answer.status == 0, answer.err
    rows = json.loads((here / "o" / "cells.json").read_text())["cells"]
    assert rows[1]["true"] == {
        "cifar10": {"accuracy": 0.93, "rank": 2, "of": 2, "epochs": 200},
        "cifar100": {"accuracy": 0.72, "rank": 2, "of": 2, "epochs": 200},
    }
    assert "72.00%" in answer.out
    assert "rank 2 of 2" in answer.out
    refusal = nasrun("analyze", "cells", "genotype=darts_v2", "table=t.csv").refusal
    assert "table=t.csv: it has no architecture normal" in refusal


def test_wrong_words_are_refused_in_one_line(nasrun, here):
    for words, told in {
        "cells": "analyze cells: give genotype=NAME,..., run=RUN or both",
        "cells darts_v2": "darts_v2: give genotype=NAME or run=RUN",
        "cells genotype=,": "genotype=: give a name",
        "cells genotype=darts_v3": "genotype=darts_v3: neither a published cell nor a file",
        "cells genotype=random,darts_v2,random": "genotype=random: is one architecture, the same",
        "cells genotype=darts_v2 network=x": "network=x: unknown network",
        "cells run=nowhere": "run=nowhere: no run there",
        "cells run=nowhere space=darts": "space=darts: has no effect on a run",
        "cells genotyp=darts_v2": "genotyp: unknown key, did you mean genotype?",
        "cell genotype=darts_v2": "analyze cell: unknown part, did you mean cells?",
        "": "analyze: name a part first; the parts are cells",
        "run=x": "analyze: name a part first",
    }.items():
        assert told in nasrun("analyze", *words.split()).refusal
    layers = "genotype=" + " ".join(["k3e3"] * 4)
    assert "space=mobile: has no cells with edges" in nasrun("analyze", "cells", layers).refusal
    assert list(here.iterdir()) == []


def test_where_nothing_can_be_written_is_told_before_anything_is_counted(nasrun, here):
    (here / "file").write_text("")
    words = ["genotype=darts_v2", "out=file/below"]
    assert "is no folder; name another" in nasrun("analyze", "cells", *words).refusal


def test_every_part_has_its_help(nasrun):
    from nasrun.cli.parts import PARTS

    text = nasrun("analyze", "--help").out
    for name, part in PARTS.items():
        assert f"\n  {name} " in text
        answer = nasrun("analyze", name, "--help").out
        assert answer.startswith(f"nasrun analyze {name}: ")
        assert all(f"  {key}=" in answer for key in part.keys)
