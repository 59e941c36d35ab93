"""The restrictions on foreign YAML files, and checks that they have an effect."""

import json

import pytest
import yaml

import nasrun as package
from nasrun.config import compose, frame, options, resolve
from nasrun.files import write_record, write_yaml
from nasrun.genotype import unsealed

CALLED = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path"}}
LOGGING = {"version": 1, "handlers": {"x": {"()": "os.mkdir", "path": "pwned"}}}
HYDRA = {
    "callbacks": {"callbacks": {"x": {"_target_": "os.mkdir", "path": "pwned"}}},
    "job_logging.handlers": {"job_logging": LOGGING},
    "hydra_logging.handlers": {"hydra_logging": LOGGING},
    "launcher._target_": {"launcher": {"_target_": "os.getcwd"}},
    "sweeper._target_": {"sweeper": {"_target_": "os.getcwd"}},
    "job.env_set": {"job": {"env_set": {"PATH": "."}}},
    "sweep.dir": {"sweep": {"dir": "pwned"}},
}
HEAD = "# @package _global_\n"


@pytest.fixture
def folder(here):
    """Somebody's folder of YAML files."""
    (here / "theirs" / "experiment").mkdir(parents=True)
    return here / "theirs"


def refused(call, *arguments):
    with pytest.raises(ValueError) as error:  # noqa: PT011  the text is what the tests look at
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def words(name):
    return [f"experiment={name}", "hydra.searchpath=[file://theirs]"]


def test_options_of_hydra_are_never_taken_from_a_file(folder, here, nasrun):
    path = folder / "experiment" / "x.yaml"
    for key, content in HYDRA.items():
        path.write_text(HEAD + yaml.safe_dump({"rounds": 1, "hydra": content}))
        assert f"hydra.{key}" in refused(compose, words("x"))
    path.write_text(
        HEAD + yaml.safe_dump({"hydra": HYDRA["callbacks"] | HYDRA["job_logging.handlers"]})
    )
    for more in (["--cfg=job"], ["--info=all"], ["-m", "seed=0,1"]):
        assert "from the command line only" in nasrun("search", *words("x"), *more).refusal
        assert sorted(path.name for path in here.iterdir()) == ["theirs"]
    (folder / "hydra" / "launcher").mkdir(parents=True)
    text = "# @package hydra.launcher\n_target_: os.mkdir\npath: pwned\n"
    (folder / "hydra" / "launcher" / "mine.yaml").write_text(text)
    answer = nasrun("search", "-m", "seed=0,1", words("")[1], "hydra/launcher=mine")
    assert "mine" in answer.refusal
    assert sorted(path.name for path in here.iterdir()) == ["theirs"]


def test_options_of_hydra_are_taken_from_the_command_line(folder):
    (folder / "experiment" / "good.yaml").write_text(f"{HEAD}rounds: 3\n")
    typed = ["hydra.sweep.dir=there", "hydra/launcher=basic", "+hydra.callbacks.x=3"]
    assert compose([*words("good"), *typed]).config.rounds == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rounds: 3\n", "theirs/experiment/x.yaml has no effect; make `# @package"),
        ("# About\nrounds: 3\n", "theirs/experiment/x.yaml has no effect"),
        (f"\ufeff{HEAD}rounds: 3\n", "without a byte order mark before it"),
        (HEAD, "experiment=x: theirs/experiment/x.yaml has no keys"),
        ("", "experiment=x: theirs/experiment/x.yaml has no keys"),
        (f"{HEAD}strategy:\n\trounds: 3\n", "theirs/experiment/x.yaml, line 3: found character"),
        (f"{HEAD}rounds 3\nwidth: 4\n", "theirs/experiment/x.yaml, line 3: mapping values"),
        (f"{HEAD}rounds: [3\n", "expected ',' or ']'"),
        (f"{HEAD}rounds: 3\nrounds: 4\n", "theirs/experiment/x.yaml, line 3: found duplicate key"),
        (f"{HEAD}x: \x1b[3m\n", "theirs/experiment/x.yaml, character 24: "),
        (f"{HEAD}rounds: 3 # \udcff\n", "theirs/experiment/x.yaml, byte 32: not in UTF-8"),
        (f"{HEAD}rounds: {'[' * 5000}{']' * 5000}\n", "nested too deeply"),
        (f"{HEAD}- rounds\n", "experiment/x.yaml: "),
        (f"{HEAD}roundz: 3\n", "experiment/x.yaml: unknown key roundz, did you mean rounds?"),
        (
            f"{HEAD}defaults:\n  - override /strategy: dart\n",
            "strategy=dart: unknown option, did you mean darts?",
        ),
        (
            f"{HEAD}defaults:\n  - /strategy: snas\n",
            "defaults: - /strategy: snas: is chosen already; write `override` before it",
        ),
        (
            f"{HEAD}defaults:\n  - strategy: snas\n",
            "defaults: - strategy: snas: is no option of this file; choose an option by `- over",
        ),
        (
            f"{HEAD}defaults:\n  - override strategy: snas\n",
            "experiment/x.yaml: defaults: - override strategy: is not found; choose an option by",
        ),
        (
            f"{HEAD}defaults:\n  override /strategy: snas\n",
            "experiment/x.yaml: defaults: is no list; choose an option by `- override /GROUP: OPT",
        ),
        (
            f"{HEAD}strategy: snas\n",
            "strategy: snas: a file gives strategy no keys; choose an option of it under `defau",
        ),
        (f"{HEAD}rounds: ${{hydra:job.num}}\n", "other resolvers are refused"),
    ],
)
def test_a_file_without_effect_or_that_cannot_be_read_is_named(folder, text, expected):
    path = folder / "experiment" / "x.yaml"
    path.write_bytes(text.encode("utf-8", errors="surrogateescape"))
    assert expected in refused(compose, words("x"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- rounds\n", "strategy: ['rounds']: a file gives strategy no keys"),
        (
            f"{HEAD}rounds: 3\n",
            "strategy=x: its file gives strategy no keys; write them at its top",
        ),
        (
            "defaults: [_self_, darts]\nbatch_size: 5\n",
            "strategy=x: theirs/strategy/x.yaml: darts comes behind _self_ and overwrites the",
        ),
    ],
)
def test_an_option_of_a_group_has_keys_that_arrive(folder, text, expected):
    (folder / "strategy").mkdir()
    (folder / "strategy" / "x.yaml").write_text(text)
    assert expected in refused(compose, ["strategy=x", words("x")[1]])
    good = "defaults: [darts, _self_]\nbatch_size: 5\n"
    (folder / "strategy" / "x.yaml").write_text(good)
    assert compose(["strategy=x", words("x")[1]]).config.strategy.batch_size == 5


def test_only_the_file_without_effect_of_several_is_named(folder):
    (folder / "experiment" / "x.yaml").write_text("rounds: 3\n")
    assert "experiment=x: theirs/experiment/x.yaml has no effect" in refused(
        compose, words("[smoke,x]")
    )
    (folder / "experiment" / "x.yaml").write_text(f"{HEAD}rounds: 3\n")
    both = compose(words("[smoke,x]")).config
    assert (both.rounds, both.width) == (3, 4)


def test_an_unreadable_file_hides_no_other(folder, nasrun):
    (folder / "strategy").mkdir()
    (folder / "strategy" / "a.yaml").write_bytes(b"\xff\xfe\x00")
    (folder / "strategy" / "b.yaml").write_text("# Good\ndefaults:\n  - darts\n")
    found = options("strategy", [folder])
    assert "cannot be read" in found["a"]
    assert found["b"] == "Good"
    assert "did you mean darts" in nasrun("search", "strategy=dart", words("")[1]).refusal


def test_folders_to_search_are_there(folder, nasrun):
    for missing in ("file://nope", "nope", "pkg://nope", "file:///nope"):
        told = nasrun("search", f"hydra.searchpath=[{missing}]").refusal
        assert "nope is not there; name a folder" in told


def test_an_option_is_named_not_its_file(nasrun):
    for word, name in (("../strategy/darts", "darts"), ("darts.yaml", "darts"), ("./snas", "snas")):
        told = nasrun("search", f"strategy={word}").refusal
        assert told.endswith(f"strategy={word}: is a path; name the option, strategy={name}")


def test_a_value_may_refer_to_keys_and_to_the_environment(monkeypatch):
    monkeypatch.setenv("PLACE", "there")
    given = compose(["outputs=${oc.env:PLACE}/x", "space.nodes=${rounds}", "rounds=3"]).config
    assert frame(given).outputs == "there/x"
    assert resolve(given.space)["nodes"] == 3
    monkeypatch.delenv("PLACE")
    for word, expected in (
        ("outputs=${oc.env:PLACE}", "there is no environment variable PLACE; set it"),
        ("outputs=${nothing}", "outputs=${nothing}: there is no key nothing"),
    ):
        assert expected in refused(lambda word=word: frame(compose([word]).config))
    word = "space.nodes=${nothing}"
    assert refused(lambda: resolve(compose([word]).config.space)).startswith(f"{word}: there is no")


@pytest.mark.parametrize(
    "value",
    [
        "${oc.create:'{_target_: os.mkdir, path: pwned}'}",
        "${oc.decode:'{a: 1}'}",
        "${oc.deprecated:rounds}",
        "${oc.dict.keys:space}",
        "${hydra:runtime.cwd}",
        "${now:%Y}",
        "${oc.select:${oc.env:HOME}}",
    ],
)
def test_other_resolvers_are_refused(folder, value):
    (folder / "experiment" / "x.yaml").write_text(HEAD + yaml.safe_dump({"outputs": value}))
    assert "outputs=" in refused(compose, words("x"))
    (folder / "experiment" / "x.yaml").write_text(
        HEAD + yaml.safe_dump({"space": {"choices": {"a": [value]}}})
    )
    assert "space.choices.a[0]=" in refused(compose, words("x"))


def test_a_recorded_configuration_refers_to_nothing(finished, nasrun, here):
    """The text of a stranger's run is data: it is neither resolved nor called."""
    value = "${oc.create:{_target_:torch.load,f:x.pt,weights_only:false}}"
    path = finished / "config.yaml"
    content = unsealed(yaml.safe_load(path.read_text()))
    content["space"]["choices"] = {"a": value}
    before = path.read_text()
    write_yaml(path, content)
    words = ["run=" + str(finished)]
    for command in (
        ["show", finished],
        ["export", finished],
        ["select", *words, "method=argmax"],
        ["retrain", *words],
    ):
        refusal = nasrun(*command).refusal
        assert "config.yaml: space.choices.a=${oc.create" in refusal
    with pytest.raises(ValueError, match=r"config\.yaml: space\.choices\.a="):
        package.load(finished)
    path.write_text(before)
    own = finished / "retrain" / "magnitude" / "config.yaml"
    content = unsealed(yaml.safe_load(own.read_text()))
    content["retrain"]["optimizer"]["lr"] = "${oc.env:HOME}"
    write_yaml(own, content)
    with pytest.raises(ValueError, match=r"retrain\.optimizer\.lr=\$\{oc\.env"):
        package.load(finished)


def test_a_choice_in_a_run_is_an_option(finished, nasrun):
    record = unsealed(json.loads((finished / "run.json").read_text()))
    record["choices"]["space"] = "../space/darts"
    write_record(finished / "run.json", record)
    assert "space=../space/darts: is a path" in nasrun("select", f"run={finished}").refusal


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{HEAD}images: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
            f"{key}: &{key} [{', '.join([f'*{before}'] * 10)}]\n"
            for before, key in zip("abcdefgh", "bcdefghi", strict=True)
        ), "more than 1,000,000 values"),
        (f"{HEAD}images: {'[' * 3000}", "nested too deep"),
    ],
    ids=["aliases", "nested"],
)  # fmt: skip
def test_a_file_that_stands_for_too_much_is_refused_before_hydra_reads_it(
    folder, nasrun, text, told
):
    path = folder / "experiment/bomb.yaml"
    path.write_text(text)
    words = ["hydra.searchpath=[file://theirs]", "experiment=bomb"]
    for verb in ("search", "plan"):
        refusal = nasrun(verb, *words).refusal
        assert f"{path.relative_to(folder.parent)}: damaged" in refusal
        assert told in refusal
