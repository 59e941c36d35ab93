#!/usr/bin/env python3
"""Feeds nasrun hostile configurations, runs and data, and counts the outcomes.

    scripts/check_attack.py run         runs the missing trials, one after the other
    scripts/check_attack.py tables      prints the results so far, as Markdown

Every trial is drawn with its own seed: one hostile thing of one kind is put into a copy of a small
finished run, or beside it, and one command reads it, in this process. The trial passes if the
command refuses on one line or does harmless work. A Python audit hook reports everything else: an
import of a module that undamaged runs do not need, execution of code that is not installed, another
process, a socket, unpickling, a file written, moved or deleted outside of `outputs`. Files outside
are compared, too, the output must have no escape codes, and a trial has limits of time and memory.
A finished trial is a line of WORK/attack.jsonl and is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import resource
import shutil
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from check_damage import HERE, RECIPE, TRIAL, Case, make_images, prepare
from trials import FAILED, REFUSED, Answer, Journal, answered, loaded, print_counts

CASE = Case(
    "finished",
    "rounds=1 width=2 depth=3 batch_size=16 images=64 space.nodes=1 space.kept_edges=1 "
    + " ".join(f"retrain.{word}" for word in RECIPE.replace("epochs=2", "epochs=1").split())
    + " stages=[search,select,retrain] baseline=false discretisation=false",
)
SEARCH = [*CASE.words.split(" retrain.")[0].split(), *HERE.split()]
RUN = Path("outputs/digits-darts-darts/v001")
SECONDS, GIB = 20.0, 1.0
"""Limits of a trial; everything it reads is small."""
OUTCOMES = ("refused", "accepted")
Drawn = random.Random
Command = list[str]
"""The words of a command; `load RUN` is `nasrun.load`."""

# --- what must not happen ---

UNHARMED = ("/dev/null", "/proc/self/clear_refs")  # the second: how memory is measured
HARMLESS = (
    ("subprocess.Popen", "git", "['git', 'rev-parse', 'HEAD']"),  # the commit that a run records
    ("os.putenv", "b'HYDRA_FULL_ERROR'", "b'1'"),  # so that Hydra raises
)


class Watch:
    """An audit hook, which Python never removes; it is active while `on`."""

    MOVES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink")
    MOVES += ("os.truncate", "os.chmod", "os.chown", "os.utime", "shutil.rmtree")
    NEVER = ("subprocess.", "socket.", "os.system", "os.exec", "os.posix_spawn", "os.spawn")
    NEVER += ("os.fork", "os.kill", "os.putenv", "pickle.find_class", "webbrowser.", "ftplib.")
    NEVER += ("smtplib.", "urllib.Request", "code.__new__", "sys.remote_exec")

    def __init__(self, allowed: tuple[Path, ...]) -> None:
        places = (*map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")),)
        ours = Path(__file__).parents[1]
        self.sources = tuple({*places, str(ours / "src"), str(ours / "scripts"), "<frozen"})
        self.allowed = tuple(map(str, allowed))
        self.modules: set[str] | None = None
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        self.on = False  # its own actions are no events
        try:
            if (found := self._wrong(event, arguments)) is not None:
                self.seen.append(found)
        finally:
            self.on = True

    def _wrong(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        told = f"{event} {', '.join(map(str, arguments))[:150]}"
        if event == "import":
            top = str(arguments[0]).split(".")[0]
            return told if self.modules is not None and top not in self.modules else None
        if event == "exec":
            return None if self._installed(arguments[0].co_filename) else told
        if event == "open":
            path, mode, flags = arguments
            writes = (set(mode or "r") & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR)
            return told if writes and not self._inside(path) else None
        if event in self.MOVES:
            paths = [each for each in arguments[:2] if isinstance(each, str | bytes | os.PathLike)]
            return None if all(map(self._inside, paths)) else told
        if (event, *map(str, arguments[:2])) in HARMLESS:
            return None
        return told if event.startswith(self.NEVER) else None

    def _installed(self, filename: str) -> bool:
        """Return whether code is of a package, or text that a package executes."""
        if filename.startswith(self.sources):
            return True
        frames = traceback.extract_stack(limit=8)[::-1]
        caller = next((f.filename for f in frames if f.filename != __file__), "")
        foreign = not caller.startswith(self.sources) or "/nasrun/" in caller
        return filename.startswith("<") and not foreign

    def _inside(self, path: Any) -> bool:
        if isinstance(path, int):
            return True
        text = os.fsdecode(path)
        folder = os.path.realpath(os.path.dirname(os.path.abspath(text)))
        whole = os.path.join(folder, os.path.basename(text))
        return text in UNHARMED or whole.startswith(self.allowed)


# --- what is hostile: one function a kind, which prepares the folder and gives the command ---


def names() -> list[str]:
    """Return everything that can be named: modules, and their attributes."""
    import nasrun

    package = Path(nasrun.__file__).parent
    files = (path.relative_to(package.parent) for path in package.rglob("*.py"))
    ours = [".".join(path.with_suffix("").parts) for path in files]
    found = []
    for name in sorted({*ours, *sys.modules}):
        inside = sorted(vars(sys.modules[name])) if name in sys.modules else ("main", "Path")
        found += [name, *(f"{name}.{inner}" for inner in inside)]
    found += ["nasrun.files.Path.write_text", "nasrun.config.trust.import_trusted"]
    return [*found, "nasrun.files._told", "nasrun.cli.main.main", "nasrun.__main__.main"]


def places(node: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Return all nodes and values in which something else can be put, with their keys."""
    for key, child in node.items() if isinstance(node, dict) else enumerate(node):
        found.append((node, key))
        if isinstance(child, dict | list):
            places(child, found)
    return found


WAYS = ("{}", '{"_args_": ["x"]}', '{"_partial_": true}', '{"_recursive_": false}', '{"x": "y"}')
WAYS += ('{"_convert_": "all"}', '{"_args_": ["touch outside/x"]}', '{"_args_": [["touch", "x"]]}')


def plant(nodes: Any, drawn: Drawn, known: list[str]) -> list[str]:
    """Put one to three targets somewhere into nodes, and return them."""
    targets = []
    for _ in range(drawn.randint(1, 3)):
        where, key = drawn.choice(places(nodes, []))
        targets.append(drawn.choice(known))
        if isinstance(where, dict) and drawn.random() < 0.3:
            where["_target_"] = targets[-1]
        else:
            where[key] = {"_target_": targets[-1], **json.loads(drawn.choice(WAYS))}
    return targets


CALLS = ("os.system", "subprocess.check_output", "stranger.Stranger", "builtins.exec", "torch.load")
CALLS += ("nasrun.config.trust.import_trusted", "nasrun.files.write_text", "builtins.eval")
CALLS += ("hydra.utils.instantiate", "hydra.utils.get_method", "pathlib.Path.unlink", "os.remove")
RESOLVERS = (
    "${oc.create:{_target_:os.system,_args_:['touch outside/x']}}",
    "${oc.create:{_target_:torch.load,f:evil.pt,weights_only:false}}",
    "${oc.env:HOME}",
    "${oc.env:NOWHERE,x}",
    "${oc.decode:'{_target_: os.system}'}",
    "${oc.dict.keys:space}",
    "${oc.dict.values:space}",
    "${oc.deprecated:seed}",
    "${now:%Y}",
    "${hydra:runtime.cwd}",
    "${python_version:}",
    "${oc.select:seed}",
    "${seed}",
    "${.x}",
    "${oc.env:${oc.env:HOME}}",
    "${oc.create:${oc.env:HOME}}",
    "${",
    "$${oc.env:HOME}",
    "${:}",
    "${oc.select:hydra,${oc.create:{_target_:stranger.Stranger}}}",
    "\\${oc.env:HOME}",
    "${${seed}}",
)
READING: tuple[Command, ...] = (
    ["show", str(RUN)], ["show", str(RUN), "format=json"], ["load", str(RUN)],
    ["list", "runs"], ["list", "runs", "format=csv"], ["predict", str(RUN), "images/dark/00.png"],
    ["select", f"run={RUN}", "method=argmax", *HERE.split()], ["clean"], ["clean", "yes=true"],
    ["retrain", f"run={RUN}", "retrain.epochs=1", *HERE.split()], ["export", str(RUN)],
    ["run", *CASE.command[1:]],
    ["analyze", "search", f"run={RUN}", "edges=1", "rounds=0", "shuffles=0"],
    ["plan", "retrain", f"run={RUN}"], ["transfer", f"run={RUN}", "transfer.epochs=1"],
)  # fmt: skip


def recorded(drawn: Drawn) -> tuple[Path, dict[str, Any]]:
    """Return a configuration that a run has recorded."""
    path = RUN / drawn.choice(["config.yaml", "config.yaml", "retrain/magnitude/config.yaml"])
    return path, yaml.safe_load(path.read_text())


def put(path: Path, content: Any) -> None:
    """Write a record as nasrun would: with the right fingerprint, since anybody can compute it."""
    from nasrun.files import write_record, write_yaml
    from nasrun.genotype import CHECK

    if not isinstance(content, dict):
        path.write_text(json.dumps(content))
        return
    plain = {key: value for key, value in content.items() if key != CHECK}
    (write_yaml if path.suffix == ".yaml" else write_record)(path, plain)


def targets_in_runs(drawn: Drawn) -> Command:
    """Put targets of all importable names into nested trees of what a run has recorded."""
    path, content = recorded(drawn)
    plant(content, drawn, [*names(), *CALLS] if drawn.random() < 0.7 else [*CALLS])
    put(path, content)
    return drawn.choice(READING)


def resolvers_in_runs(drawn: Drawn) -> Command:
    """Put values with references into what a run has recorded."""
    path, content = recorded(drawn)
    where, key = drawn.choice(places(content, []))
    text = drawn.choice(RESOLVERS)
    where[key] = drawn.choice([text, [text], {text: 1}, {"_target_": text}, f"x{text}y"])
    put(path, content)
    return drawn.choice(READING)


def own(drawn: Drawn, group: str, content: Any, head: str = "# @package _global_\n") -> Command:
    """Return a command with somebody's option of a group: `content` is its YAML, or its nodes."""
    path = Path("theirs") / group / "x.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    path.write_text(head * (group == "experiment") + text)
    verb = drawn.choice(
        [["search"], ["run"], ["search", "-m"], ["plan", "search"], ["search", "-m"]]
    )
    asked = drawn.choice([[], [], ["--cfg", "job"]]) if "-m" not in verb else ["seed=0,1"]
    return [
        *verb,
        "hydra.searchpath=[file://theirs]",
        f"{group}=x",
        *(word for word in SEARCH if not word.startswith(f"{group}.")),
        *asked,
    ]


def targets_in_files(drawn: Drawn) -> Command:
    """Put targets into somebody's experiment, or an option of a group."""
    group = drawn.choice(["experiment", "space", "strategy", "budget", "task", "selector"])
    nodes: dict[str, Any] = {"_target_": drawn.choice(CALLS), "x": {"y": [1, {"z": 2}]}}
    plant(nodes, drawn, list(CALLS))
    option = drawn.choice(["space", "strategy", "budget", "task", "retrain", "dataset"])
    return own(drawn, group, {option: nodes} if group == "experiment" else nodes)


def resolvers_in_files(drawn: Drawn) -> Command:
    """Put values with references into somebody's experiment or option."""
    text = drawn.choice(RESOLVERS)
    key = drawn.choice(["outputs", "seed", "space.nodes", "strategy.alpha_optimizer.lr", "rounds"])
    nodes: dict[str, Any] = {}
    at = nodes
    *outer, last = key.split(".")
    for word in outer:
        at = at.setdefault(word, {})
    at[last] = drawn.choice([text, [text], {"a": text}])
    return own(drawn, "experiment", nodes)


HYDRA: tuple[Any, ...] = (
    {"callbacks": {"x": {"_target_": "stranger.Stranger"}}},
    {"callbacks": {"x": {"_target_": "os.system", "_args_": ["touch outside/x"]}}},
    {"job_logging": {"version": 1, "formatters": {"x": {"()": "stranger.Stranger"}}}},
    {"job_logging": {"version": 1, "handlers": {"x": {
        "class": "logging.FileHandler", "filename": "outside/x"}}, "root": {"handlers": ["x"]}}},
    {"hydra_logging": {"version": 1, "filters": {"x": {"()": "os.system", "command": "x"}}}},
    {"launcher": {"_target_": "stranger.Stranger"}},
    {"sweeper": {"_target_": "stranger.Stranger"}},
    {"run": {"dir": "outside"}}, {"sweep": {"dir": "outside", "subdir": "x"}},
    {"job": {"chdir": True}}, {"mode": "MULTIRUN"}, {"output_subdir": "../outside"},
    {"searchpath": ["pkg://stranger", "file://outside"]}, {"env": {"x": "y"}},
    {"job": {"env_set": {"LD_PRELOAD": "x.so"}}}, {"help": {"template": "${oc.env:HOME}"}},
)  # fmt: skip


def hydra_in_files(drawn: Drawn) -> Command:
    """Put Hydra's own options into somebody's experiment: keys, defaults, or groups of Hydra."""
    options = drawn.choice(HYDRA)
    way = drawn.randrange(3)
    if way == 0:
        return own(drawn, "experiment", {"hydra": options, "rounds": 1})
    group, content = next(iter(options.items()))
    if way == 1 and group in ("callbacks", "job_logging", "hydra_logging", "launcher", "sweeper"):
        path = Path("theirs/hydra") / group / "evil.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump(content))
        override = f"override /hydra/{group}" if group != "callbacks" else f"/hydra/{group}"
        return own(drawn, "experiment", {"defaults": [{override: "evil"}], "rounds": 1})
    head = drawn.choice(["# @package hydra\n", "# @package _global_.hydra\n"])
    return own(drawn, "experiment", options, head)


TEXTS: tuple[str, ...] = (
    "!!python/object/apply:os.system ['touch outside/x']\n",
    "x: !!python/name:os.system\n",
    "x: !!python/object/new:stranger.Stranger []\n",
    "[" * 3000,
    "{a: " * 3000,
    "- " * 5000 + "x",
    "x: &a [*a, *a]\n",
    "x: &a {b: *a}\n",
    "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else '1'] * 12)}]\n" for i in range(12)),
    "x: " + "9" * 6000 + "\n",
    "x: 1e999999\n",
    "x: 0x" + "f" * 5000 + "\n",
    "rounds: 1\nrounds: 2\n",
    "\x00",
    "\x1b[31m: 1\n",
    "x: \x1b]0;owned\x07\n",
    "%YAML 9.9\n---\nx: 1\n",
    "--- 1\n--- 2\n",
    "? [a, b]\n: 1\n",
    "1: 2\n2.5: 3\ntrue: 4\nnull: 5\n",
    "<<: [1, 2]\n",
    "x: !!binary |\n  ///\n",
    "x: !!timestamp 9999-99-99\n",
    "x: 2020-01-01\n",
    "x: !!set {a, b}\n",
    "defaults: [x]\n",
    "defaults: [{experiment: x}]\n",
    "defaults: [{/strategy: ../../outside}]\n",
    "defaults: 3\n",
    "defaults: [{override hydra/launcher: x}]\n",
    "x" * 10**6,
    "\ufeffrounds: 1\n",
    "\t\n",
    "rounds:1\n",
)


def texts_as_yaml(drawn: Drawn) -> Command:
    """Put deep nesting, growing aliases and tags into a recorded configuration or an option."""
    text = drawn.choice(TEXTS)
    if drawn.random() < 0.5:
        path, _ = recorded(drawn)
        path.write_text(drawn.choice([text, path.read_text() + text]))
        return drawn.choice(READING)
    return own(drawn, drawn.choice(["experiment", "strategy", "space"]), text)


JSONS: tuple[str, ...] = (
    "[" * 10**5, '{"a":' * 10**5, "{}", "[]", "3", '"x"', "null", "9" * 6000, "NaN", "-Infinity",
    '{"seconds": NaN}', '{"seconds": "x"}', '{"seconds": 1e999}', '{"seconds": -1}', "\ufeff{}",
    '{"\x1b[31m": 1}', '{"seconds": 1, "seconds": [2]}', "[" + "1," * 10**6 + "1]", "\x00",
)  # fmt: skip
RECORDS = ("run.json", "search/result.json", "select/magnitude/result.json", "search/history.json")
RECORDS += ("select/magnitude/genotype.json", "retrain/magnitude/result.json", "search/state.json")
RECORDS += ("search/metrics.jsonl", "retrain/magnitude/metrics.jsonl", "search/timing.jsonl")


def texts_as_json(drawn: Drawn) -> Command:
    """Replace what a run has recorded by JSON of another shape, or too deep."""
    path = RUN / drawn.choice(RECORDS)
    if path.suffix == ".json" and drawn.random() < 0.6:
        content = json.loads(path.read_text())
        where, key = drawn.choice(places(content, []))
        wrong = [None, -1, 1e308, "\x1b[31mred", [], {}, "x" * 9999, True, [[1]], {"a": {}}, 10**40]
        where[key] = drawn.choice(wrong)
        put(path, content)
    else:
        path.write_text(drawn.choice(JSONS))
    return drawn.choice(READING)


def links_in_runs(drawn: Drawn) -> Command:
    """Put links into a run folder that lead outside, to themselves, or nowhere."""
    target = drawn.choice(["outside/treasure", "outside", "outside/new", "/dev/zero", "loop", "."])
    inside = sorted(path for path in RUN.rglob("*") if not path.is_symlink())
    path = drawn.choice(inside)
    way = drawn.randrange(3)
    if way == 0:
        path = path.with_name(drawn.choice([path.name + ".tmp", f".{path.name}.{'0' * 32}.part"]))
    elif way == 1:
        path = path.parent / drawn.choice(["members", "report.json", "network.onnx", ".lock", "x"])
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(path.name if target == "loop" else Path(target).absolute())
    return drawn.choice(READING)


def pickles_in_runs(drawn: Drawn) -> Command:
    """Replace states and weights by pickles that call something."""
    found = [path for path in RUN.rglob("*") if path.suffix in (".pt", ".safetensors")]
    path = drawn.choice(sorted(found))
    evil = pickle.dumps(Evil(), protocol=drawn.choice([0, 2, 4]))
    if drawn.random() < 0.5:
        import torch

        torch.save({"round": 1, "stage": Evil(), "random": {}, "seconds": 0.0}, path)
    else:
        path.write_bytes(evil)
    if drawn.random() < 0.5:
        (path.parent / "state.json").unlink(missing_ok=True)
    if (result := path.parent / "result.json").exists() and path.suffix == ".safetensors":
        content = json.loads(result.read_text())
        content.pop("digests", None)
        put(result, content)
    return drawn.choice(READING)


class Evil:
    """An object that runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch outside/x",)


NAMES: tuple[bytes, ...] = (
    b"caf\xe9", b"\xff\xfe", b"\x1b[31mred", b"a\nb", b"[bold]x[/bold]", b"x" * 200, b"-rf", b"=",
    b"a=b", b"\xe2\x80\xaetxt", b"%s{}", b"${oc.env:HOME}", b"~", b" ", b"'", b'"', b"a,b", b"[a]",
    "é".encode(), "e\u0301".encode(), b"..x", b"con", b"\x07", b"a\rb", b"*", b"\\", b"\t",
)  # fmt: skip


def names_of_files(drawn: Drawn) -> Command:
    """Use strange names of images, classes, roots, runs and output folders."""
    name = drawn.choice(NAMES)
    way = drawn.randrange(5)
    if way == 0:
        os.rename(b"images/dark/00.png", b"images/dark/" + name + b".png")
    elif way == 1:
        os.rename(b"images/dark", b"images/" + name)
    elif way == 2:
        os.rename(b"images", name)
        return [*data_words(os.fsdecode(name)), *drawn.choice([[], ["-m"]])]
    elif way == 3:
        os.rename("outputs/digits-darts-darts", b"outputs/" + name)
        run = f"outputs/{os.fsdecode(name)}/v001"
        return [word.replace(str(RUN), run) for word in drawn.choice(READING)]
    else:
        os.rename(b"outputs", name)
        words = [["list", "runs"], ["clean"], ["search", *SEARCH]]
        return [*drawn.choice(words), f"outputs={os.fsdecode(name)}"]
    return drawn.choice([data_words("images"), ["predict", str(RUN), "images"]])


def data_words(root: str) -> Command:
    """Return the words of a search on a folder of images."""
    return [
        "search",
        *SEARCH,
        "dataset=image_folder",
        f"dataset.root={root}",
    ]


def links_in_data(drawn: Drawn) -> Command:
    """Put links into a folder of images: loops, other classes, other folders, devices."""
    to = drawn.choice([".", "..", "../images", "dark", "light/00.png", "/dev/zero", "/etc/passwd",
                       "/proc/self/mem", "nowhere", "x", "../outside", "/"])  # fmt: skip
    at = drawn.choice(["dark/x", "dark/x.png", "x", "light/00.png", "dark"])
    path = Path("images") / at
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(to)
    return drawn.choice([data_words("images"), ["predict", str(RUN), "images"],
                         ["predict", str(RUN), f"images/{at}"]])  # fmt: skip


def files_in_data(drawn: Drawn) -> Command:
    """Put files into a folder of images that are no images, or more than that."""
    path = Path("images/dark") / drawn.choice(["00.png", "x.jpg", "x.gif", "x.tif", "x.webp"])
    path.unlink(missing_ok=True)
    content = drawn.choice(HOSTILE)
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content())
    if drawn.random() < 0.2:
        path.chmod(0)
    return drawn.choice(
        [
            data_words("images"),
            ["predict", str(RUN), "images"],
            ["predict", str(RUN), str(path)],
            ["show", f"genotype={path}"],
        ]
    )


def png(*chunks: tuple[bytes, bytes], width: int = 8, height: int = 8) -> bytes:
    """Return a PNG file of a size with these chunks before its picture."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(min(height, 64) * (min(width, 64) + 1)))
    parts = [(b"IHDR", head), *chunks, (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def text_bomb() -> bytes:
    """Return a small PNG whose text is 200 MB when it is unpacked."""
    import zlib

    packed = zlib.compress(bytes(200 * 2**20), 9)
    return png((b"zTXt", b"x\0\0" + packed), (b"iTXt", b"x\0\1\0\0\0" + packed))


HOSTILE: tuple[Callable[[], bytes] | None, ...] = (
    None,
    text_bomb,
    lambda: png(width=60_000, height=60_000),
    lambda: png(width=2**31 - 1),
    lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(outside/x) (w) file closefile\n",
    lambda: b"%PDF-1.4\n1 0 obj<<>>endobj\n",
    lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    lambda: png()[:30],
    lambda: b"",
    lambda: bytes(1000),
    lambda: b"GIF89a\xff\xff\xff\xff\0\0\0",
    lambda: b"BM" + b"\xff" * 60,
    lambda: b"II*\0\x08\0\0\0\xff\xff" + bytes(500),
    lambda: b"P5 99999 9 9 ",
    lambda: pickle.dumps(Evil()),
    lambda: b"\x1b[31m",
    lambda: b"RIFF\xff\xff\xff\xffWEBPVP8 ",
    lambda: png((b"tEXt", b"\x1b[31m\0\x1b]0;owned\x07")),
    lambda: png((b"acTL", b"\xff" * 8)),
)


def tables(drawn: Drawn) -> Command:
    """Use files that are no tables of accuracies."""
    head = b"architecture,cifar10_test_200ep\n"
    cell = b"|none~0|+|none~0|none~1|+|none~0|none~1|none~2|,1\n"
    content = drawn.choice(
        (
            head + b'"' + cell,
            head + cell.replace(b"none", b"n\xf6ne"),
            b"",
            head,
            head + cell * 2,
            head + cell.replace(b",1", b",1e999"),
            head + cell.replace(b",1", b",nan"),
            head + cell.replace(b",1", b",-1"),
            head + b"\0" * 9,
            head + b"x" * 200_000 + b",1\n",
            head + b"\x1b[31m,1\n\x1b[31m,1\n",
            head + b"=cmd|' /C calc'!A0,1\n",
            head.replace(b",", b";"),
            b"\xff\xfe" + (head + cell).decode().encode("utf-16-le"),
            pickle.dumps(Evil()),
            b"\x1b[31marchitecture,x\n",
            head + cell.replace(b",1", b",9" + b"9" * 5000),
            head.replace(b"\n", b",cifar10_test_200ep\n") + cell,
        )
    )
    Path("t.csv").write_bytes(content)
    if drawn.random() < 0.1:
        Path("t.csv").unlink()
        drawn.choice([lambda: os.mkfifo("t.csv"), lambda: os.mkdir("t.csv"),
                      lambda: os.symlink("t.csv", "t.csv")])()  # fmt: skip
    search = ["search", "space=nasbench201", "rounds=1", "width=2", "depth=3", "images=64"]
    return drawn.choice(
        [
            ["show", "genotype=nb201_best", "table=t.csv"],
            [*search, "space.table=t.csv", *HERE.split()],
            [
                "search",
                "space=nasbench201",
                "strategy=random",
                "evaluator=tabular",
                "rounds=1",
                "space.table=t.csv",
                "strategy.evaluator.table=t.csv",
                *HERE.split(),
            ],
            ["show", "genotype=t.csv"],
            ["show", str(RUN), "table=t.csv"],
        ]
    )


GENOTYPES: tuple[str, ...] = (
    "__import__('os').system('touch outside/x')",
    "exec(open('outside/x','w'))",
    "(" * 5000,
    "[" * 10**5,
    "A = Genotype(*[__import__('os')])",
    "Genotype(normal=[f'{__import__(\"stranger\")}'])",
    "lambda: 0",
    "A = B\nB = A\n",
    "Genotype(" + "(" * 90 + ")" * 90 + ")",
    "[('sep_conv_3x3', 10**10**10)]",
    "1" * 9999,
    "Genotype(normal=[('\x1b[31m', 0)])",
    "|none~0|+|\x1b[31m~0|none~1|",
    "{'normal': {**x}}",
    "x" * 2**21,
    "[x for x in (1).__class__.__base__.__subclasses__()]",
    "Genotype(normal=[('none', -1)] * 10**9)",
    "\x00",
    "'a' * 10**12",
    "-" * 3000 + "1",
    "0" + "+1" * 9999,
    '{"schema": 1, "space": "\x1b[31m", "choices": {}}',
    '{"schema": 1, "space": "../../outside", "choices": {}}',
    '{"choices": {"normal/2-0": "\x1b[31m"}}',
)


def genotypes(drawn: Drawn) -> Command:
    """Use texts in place of an architecture, which must be parsed and never executed."""
    text = drawn.choice(GENOTYPES)
    if drawn.random() < 0.3 and len(text) < 1000:
        given = text
    else:
        given = drawn.choice(["g.py", "g.txt", "g.json", "g.py:A"])
        Path(given.partition(":")[0]).write_text(text)
    verb = drawn.choice([["show"], ["retrain", "epochs=1", *HERE.split()], ["plan", "retrain"]])
    return [*verb, f"genotype={given}"]


KINDS: dict[str, Callable[[Drawn], Command]] = {
    "targets in runs": targets_in_runs,
    "targets in files": targets_in_files,
    "references in runs": resolvers_in_runs,
    "references in files": resolvers_in_files,
    "Hydra's options in files": hydra_in_files,
    "YAML": texts_as_yaml,
    "JSON": texts_as_json,
    "links in runs": links_in_runs,
    "pickles in runs": pickles_in_runs,
    "names": names_of_files,
    "links in data": links_in_data,
    "files in data": files_in_data,
    "tables": tables,
    "genotypes": genotypes,
}

# --- the trials ---


def main() -> None:
    """Run the missing trials, or print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "tables"])
    parser.add_argument("--work", type=Path, default=Path("outputs/attack"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=100, help="trials of a kind")
    words = parser.parse_args()
    work = words.work.absolute()
    journal = Journal(work / "attack.jsonl")
    if words.what == "run":
        watch = begin(work)
        journal.run(trials(work, watch, words.seed, words.each))
    print_counts(journal.rows(), "kind", OUTCOMES)


def begin(work: Path) -> Watch:
    """Return the run to attack, and the watch, which knows the imports of harmless commands."""
    work.mkdir(parents=True, exist_ok=True)
    prepare(work, (CASE,))
    watch = Watch((work / TRIAL / "outputs", work / "cache"))
    enter(work)
    for words in READING:
        answer(words)
        enter(work)
    answer(data_words("images"))
    answer(own(random.Random(0), "experiment", {"rounds": 1}))
    answer(["search", "space=nasbench201", "strategy=random", "evaluator=tabular", "rounds=1"])
    stdlib = {"encodings", "_pytest", "importlib", "ntpath", "unicodedata", "linecache", "tokenize"}
    watch.modules = {name.split(".")[0] for name in sys.modules} | stdlib
    return watch


def trials(
    work: Path, watch: Watch, seed: int, each: int
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Return `count` trials of every kind, in turns."""
    for number in range(each):
        for kind in KINDS:
            name = f"{kind} {seed} {number}"
            yield name, lambda kind=kind, name=name: attack(work, watch, kind, name)  # type: ignore[misc]


def attack(work: Path, watch: Watch, kind: str, name: str) -> dict[str, Any]:
    """Run one trial, and return what it did and what else happened."""
    enter(work)
    words = KINDS[kind](random.Random(name))
    before, memory = outside(), peak()
    watch.seen, watch.on = [], True
    try:
        found = answer(words)
    finally:
        watch.on = False
    grown = peak() - memory
    told = found.out + found.err
    if watch.seen:
        outcome = f"{FAILED}: {watch.seen[0]}"
    elif outside() != before:
        outcome = f"{FAILED}: files outside have changed"
    elif found.fault is not None:
        outcome = found.fault
    elif any(not (char.isprintable() or char == "\n") for char in told):
        outcome = f"{FAILED}: control characters are printed"
    elif grown > GIB:
        outcome = f"{FAILED}: {grown:.1f} GiB"
    elif found.status == REFUSED:
        outcome = f"refused: {found.errors[0][:300]}"
    elif found.status == 0:
        outcome = "accepted"
    else:
        outcome = f"{FAILED}: status {found.status}"
    return {
        "kind": kind,
        "words": [os.fsencode(w).decode("latin-1") for w in words],
        "outcome": outcome,
    }


def answer(words: Command) -> Answer:
    """Return the answer of a command; `load` is the function."""
    return loaded(Path(words[1]), SECONDS) if words[0] == "load" else answered(words, SECONDS)


def enter(work: Path) -> None:
    """Enter a new folder with the run, images, a stranger's module, and files not to change."""
    place = work / TRIAL
    os.chdir(work)
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(work / CASE.name, place)
    os.chdir(place)
    make_images(Path("images"))
    Path("outside").mkdir()
    Path("outside/treasure").write_text("treasure")
    Path("stranger.py").write_text("raise SystemExit('a stranger ran')\n")


def outside() -> Mapping[str, bytes | None]:
    """Return all files beside `outputs`, with their contents."""
    found: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk("."):
        if folder == ".":
            folders[:] = [name for name in folders if name != "outputs"]
        for name in (*folders, *files):
            path = Path(folder, name)
            plain = path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
            found[str(path)] = path.read_bytes() if plain else None
    return found


def peak() -> float:
    """Return the peak memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
