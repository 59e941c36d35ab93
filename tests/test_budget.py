"""The budget: device and arithmetic, and when it stops."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nasrun import budget as module
from nasrun.budget import Budget, BudgetSpent
from nasrun.machine import busy as count_busy
from nasrun.machine import cores, forget_peak, memory_gib
from nasrun.world import Launched


def of_a_gpu(monkeypatch, bf16=True):
    """Let torch find a GPU that computes in bf16, or only emulates it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def supported(including_emulation=True):
        return bf16 or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)


def budget(**settings):
    return Budget(
        **{"device": "cpu", "precision": "auto", "threads": 1, "max_hours": None, **settings}
    )


def test_auto_is_what_this_machine_has(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert budget(device="auto").resolved["device"] == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert budget(device="auto").resolved["device"] == "mps"
    of_a_gpu(monkeypatch)
    found = {"device": "cuda", "precision": "bf16", "threads": 1}
    assert budget(device="auto").resolved == found | {"compile": True, "deterministic": False}
    assert budget(device="auto", precision="fp32").resolved["precision"] == "fp32"


def test_a_gpu_that_only_emulates_bf16_gets_fp32_unless_it_is_asked_for(monkeypatch):
    of_a_gpu(monkeypatch, bf16=False)
    assert budget(device="cuda").resolved["precision"] == "fp32"
    assert budget(device="cuda", precision="bf16").resolved["precision"] == "bf16"


def test_a_limit_is_part_of_what_changes_results_only_where_it_is_set():
    assert not set(budget().resolved) & {*module.LIMITS, "limit_weight", "limit_rate"}
    found = budget(min_intensity=3.5)
    assert found.limited
    assert found.resolved["min_intensity"] == 3.5
    with pytest.raises(ValueError, match=r"min_intensity=0: use more than 0"):
        budget(min_intensity=0)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"budget\.device=cuda: .*budget\.device=auto"):
        _ = budget(device="cuda").resolved


def test_null_threads_are_all_cores_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(module, "cores", cores)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert budget(threads=None).resolved["threads"] == 3
    monkeypatch.delattr(module.os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(module.os, "cpu_count", lambda: 6)
    assert budget(threads=None).resolved["threads"] == 6
    assert budget(threads=7).resolved["threads"] == 7


def test_threads_are_given_to_torch():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        budget(threads=1).apply()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="rusage is kept on Linux")
def test_the_peak_is_not_that_of_whoever_started_this_process():
    code = "from nasrun.machine import memory_gib; print(memory_gib())"
    parent = (
        "import subprocess, sys; large = bytearray(2**31); "
        f"subprocess.run([sys.executable, '-c', {code!r}])"
    )
    told = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True)
    assert float(told.stdout) < 1.5


def test_threads_that_run_beside_this_one_are_counted_if_they_run_for_longer_than_a_moment(
    monkeypatch,
):
    told = iter([5, 3, 4, 3, 9])
    monkeypatch.setattr(Path, "read_text", lambda path: f"cpu 1\nprocs_running {next(told)}\n")
    assert count_busy() == 2

    def missing(path):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)  # as on macOS
    assert count_busy() == 0


def test_a_gpu_waits_for_no_cores(monkeypatch, recwarn):
    monkeypatch.setattr(module, "busy", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    on_gpu = budget(threads=2)
    on_gpu.resolved["device"] = "cuda"
    monkeypatch.setattr(Budget, "apply_in_process", lambda self: None)
    on_gpu.apply()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("threads", "others", "warned"),
    [(2, 0, False), (2, 1, True), (1, 9, False), (1, 0, False)],
)
def test_several_threads_beside_others_on_too_few_cores_are_warned_of(
    monkeypatch, recwarn, threads, others, warned
):
    monkeypatch.setattr(module, "busy", lambda: others)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    budget(threads=threads).apply()
    assert [str(warning.message) for warning in recwarn] == warned * [
        "budget.threads=2: other work runs on 1 of 2 cores and operations wait for it; "
        "budget.threads=1 may be several times faster"
    ]


def test_more_processes_than_cores_are_warned_of_once(monkeypatch, recwarn):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    for beside, threads, most in ((2, 1, None), (9, 1, 2), (2, 2, 1)):
        launched = Launched(rank=0, size=9, local=0, beside=beside)
        monkeypatch.setattr(Launched, "here", lambda launched=launched: launched)
        budget(threads=threads).apply()
        told = [str(warning.message) for warning in recwarn.list]
        assert len(told) == (most is not None)
        if told:
            assert told[0].startswith(f"budget.processes=9: {beside} processes with {threads} ")
            assert told[0].endswith(f"; budget.processes={most} is faster here")
        recwarn.clear()


def test_numbers_too_small_for_full_precision_become_zero():
    torch.set_flush_denormal(False)
    small = torch.full((64,), 2e-38)  # a quarter of it is below the smallest normal number
    assert (small * 0.25 > 0).all()
    budget(threads=torch.get_num_threads()).apply()
    assert (small * 0.25 == 0).all()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")
@pytest.mark.parametrize(("before", "frugally"), [(True, False), (False, True)])
def test_freed_memory_is_kept_or_given_back_whatever_an_earlier_job_did(before, frugally):
    # a list that grows would lie between the blocks, where it may keep glibc from trimming the heap
    program = f"""
from nasrun.machine import allocate, resident_gib
allocate(frugally={before})
maps = [None] * 200
for place in range(200):
    maps[place] = bytearray(b"1") * 2**20
del maps
allocate(frugally={frugally})
empty = resident_gib()
maps = [None] * 200
for place in range(200):
    maps[place] = bytearray(b"1") * 2**20
full = resident_gib()
del maps
print(full - empty, full - resident_gib())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    taken, given_back = map(float, done.stdout.split())
    assert taken == pytest.approx(200 / 1024, abs=0.01)
    assert given_back == pytest.approx(200 / 1024 if frugally else 0, abs=0.01)


@pytest.mark.parametrize(("limit", "frugally"), [(None, False), (4.0, True)])
def test_freed_memory_is_kept_unless_memory_is_limited(monkeypatch, limit, frugally):
    asked = {}
    monkeypatch.setattr(module, "allocate", asked.update)
    budget(threads=torch.get_num_threads(), max_memory_gib=limit).apply()
    assert asked == {"frugally": frugally}


def test_the_limit_that_a_refusal_names_is_enough():
    for size in (4.0007, 2.3355, 123.456):
        needed = size * 2**30
        with pytest.raises(ValueError, match="this search needs about") as refused:
            budget(max_memory_gib=1).refuse_beyond(lambda needed=needed: needed, "this search")
        named = float(str(refused.value).split("about ")[1].split(" GiB")[0])
        assert size <= named < size + 0.01
        budget(max_memory_gib=named).refuse_beyond(lambda needed=needed: needed, "this search")


def test_the_hours_count_from_the_start_of_the_command(monkeypatch):
    spent, endless = budget(max_hours=2), budget(max_hours=None)
    monkeypatch.setattr(module.time, "monotonic", lambda: spent.started + 2 * 3600 - 1)
    spent.check()
    monkeypatch.setattr(module.time, "monotonic", lambda: spent.started + 2 * 3600 + 1)
    endless.check()
    told = r"^budget\.max_hours=2 is spent; repeat the command to go on$"
    with pytest.raises(BudgetSpent, match=told):
        spent.check()


def test_hours_and_progress_are_no_part_of_what_makes_a_result():
    assert set(budget(max_hours=3).resolved) == {"device", "precision", "threads"}
    assert budget(max_hours=3).resolved == budget().resolved
    assert budget(deterministic=True, compile=False).resolved == budget().resolved  # a CPU's


def test_a_compiled_run_is_another_run_on_any_device():
    assert budget(compile=True).resolved == {**budget().resolved, "compile": True}
    assert budget(compile=True).compiles and not budget().compiles


def test_cuda_graphs_are_refused_where_there_are_none_and_are_another_run(monkeypatch):
    with pytest.raises(
        ValueError, match=r"budget\.compile=graphs: device=cpu .*; use budget\.compile=true"
    ):
        _ = budget(compile="graphs").resolved
    of_a_gpu(monkeypatch)
    there = budget(device="cuda", compile="graphs")
    assert there.resolved["compile"] == "graphs" and there.compiles


def test_tf32_is_refused_where_there_is_none():
    with pytest.raises(ValueError, match=r"budget\.precision=tf32: device=cpu .*; use fp32"):
        _ = budget(precision="tf32").resolved


@pytest.fixture
def arithmetic(monkeypatch):
    """A machine with CUDA; what was chosen of its arithmetic, by name."""
    chosen = {}
    of_a_gpu(monkeypatch)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for name in ("set_float32_matmul_precision", "use_deterministic_algorithms"):
        monkeypatch.setattr(torch, name, lambda value, name=name: chosen.update({name: value}))
    monkeypatch.setattr(
        torch,
        "are_deterministic_algorithms_enabled",
        lambda: chosen.get("use_deterministic_algorithms", False),
    )
    monkeypatch.setattr(torch.backends, "cudnn", SimpleNamespace())
    yield chosen
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_a_gpu_is_strictly_deterministic_only_if_asked(arithmetic):
    budget(device="cuda").apply_in_process()
    assert torch.backends.cudnn.benchmark and not torch.backends.cudnn.deterministic
    assert not arithmetic.get("use_deterministic_algorithms")
    budget(device="cuda", deterministic=True).apply_in_process()
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert arithmetic["use_deterministic_algorithms"]


def test_cublas_can_be_deterministic_from_the_first_job_of_a_sweep_on(arithmetic):
    budget(device="cuda").apply_in_process()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":16:8"
    budget(device="cuda", deterministic=True).apply_in_process()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.parametrize(("precision", "short"), [("fp32", False), ("tf32", True), ("bf16", True)])
def test_fp32_on_a_gpu_is_fp32_throughout(arithmetic, precision, short):
    budget(device="cuda", precision=precision).apply_in_process()
    assert torch.backends.cudnn.allow_tf32 == short
    assert arithmetic["set_float32_matmul_precision"] == ("high" if short else "highest")


def test_a_cpu_computes_in_its_own_way_also_after_a_job_on_a_gpu(arithmetic):
    budget(device="cuda", precision="tf32", deterministic=True).apply_in_process()
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG")
    budget(deterministic=True).apply_in_process()
    chosen = {"set_float32_matmul_precision": "highest", "use_deterministic_algorithms": False}
    assert arithmetic == chosen
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


@pytest.mark.parametrize(("given", "of_gpu"), [(0, False), (3 * 2**30, True)])
def test_the_peak_of_a_job_on_the_cpu_is_not_what_an_earlier_job_left_on_the_gpu(
    monkeypatch, given, of_gpu
):
    of_a_gpu(monkeypatch)
    left = {"allocated_bytes.all.peak": 2**40, "allocated_bytes.all.allocated": given}
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda: left)
    assert (memory_gib() == 1024) == of_gpu


def test_the_peak_of_a_gpu_begins_anew_with_every_job(monkeypatch):
    reset = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    for name in ("reset_peak_memory_stats", "reset_accumulated_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: reset.append(name))
    forget_peak()
    assert reset == ["reset_peak_memory_stats", "reset_accumulated_memory_stats"]


def test_precision_is_that_of_a_forward_pass():
    layer = torch.nn.Linear(2, 2)
    images = torch.rand(3, 2)
    with budget(precision="fp32").autocast():
        assert layer(images).dtype == torch.float32
    with budget(precision="bf16").autocast():
        assert layer(images).dtype == torch.bfloat16


def test_what_must_be_precise_computes_in_fp32_whatever_the_precision_is(monkeypatch):
    layer, images = torch.nn.Linear(2, 2), torch.rand(3, 2)
    short = budget(precision="bf16")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with short.precisely():
            with pytest.raises(RuntimeError), short.precisely():
                layer(images[:, :1])
            with short.autocast():
                assert layer(images).dtype == torch.float32
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32
        with short.autocast():
            assert layer(images).dtype == torch.bfloat16
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("settings", [{"threads": 0}, {"max_hours": 0}, {"max_hours": -1.0}])
def test_impossible_values_are_refused(settings):
    ((key, value),) = settings.items()
    with pytest.raises(ValueError, match=f"^{key}={value}: .* null"):
        budget(**settings)


def test_a_worker_of_a_launched_process_computes_on_its_gpu(arithmetic, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "1" if name.endswith("RANK") else "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    budget(device="cuda").apply_in_process()
    assert chosen == [1]
