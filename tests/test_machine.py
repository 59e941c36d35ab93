"""The machine: copies to its devices, and its name."""

from types import SimpleNamespace

import pytest

from nasrun import machine
from nasrun.machine import hardware, sent


@pytest.mark.parametrize(("kind", "waits"), [("cuda", False), ("cpu", False), ("mps", True)])
def test_a_copy_waits_for_no_device_but_mps_which_may_read_a_freed_source(kind, waits):
    asked = {}
    source = SimpleNamespace(to=lambda device, **how: asked.update(how))
    sent(source, SimpleNamespace(type=kind), copy=True)
    assert asked == {"non_blocking": not waits, "copy": True}


@pytest.mark.parametrize(
    ("models", "told"),
    [([], ""), (["NVIDIA H200"], ", NVIDIA H200"), (["A 1", "B", "A 1"], ", 2 x A 1, B")],
)
def test_the_hardware_is_the_processor_and_the_gpus_of_the_driver(
    tmp_path, monkeypatch, models, told
):
    monkeypatch.setattr(machine, "NVIDIA", tmp_path)
    monkeypatch.setattr(machine, "processor", lambda: "AMD EPYC")
    for place, model in enumerate(models):
        folder = tmp_path / f"0000:0{place}:00.0"
        folder.mkdir()
        lines = [f"Model: \t\t {model}", "IRQ:   \t\t 28", "GPU UUID: \t GPU-1"]
        (folder / "information").write_text("\n".join(lines))
    assert hardware() == f"AMD EPYC{told}"
