"""From overrides to a checked configuration, and from a configuration to objects.

The YAML is the call: `_target_` and a constructor's keywords; the constructor is the schema. What
can be wrong is found in this order: groups, options and keys against the YAML files (no torch),
then keywords and types against the constructors, then values by the constructors themselves.
"""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Union

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

GROUPS = (
    "space",
    "strategy",
    "selector",
    "dataset",
    "task",
    "budget",
    "engine",
    "retrain",
    "transfer",
    "experiment",
)
GENOTYPES = "genotypes"
"""The folder of published cells: by another name than the key `genotype`, or Hydra takes that key
for a group."""
TRUSTED = ("nasrun.", "torch.optim.")


@dataclass
class Frame:
    """The keys of a command that belong to no group; the groups' own keys are in their YAML."""

    seed: int = 0
    stages: list[str] = field(default_factory=list)
    baseline: bool = True
    discretisation: bool = True
    outputs: str = "outputs"
    run: str | None = None
    genotype: str | None = None
    progress: bool = True
    rounds: int = 1
    width: int = 2
    depth: int = 3
    batch_size: int = 2
    alpha_lr: float = 0.0
    images: int | None = None
    epochs: int = 1
    space: Any = None
    strategy: Any = None
    selector: Any = None
    dataset: Any = None
    task: Any = None
    budget: Any = None
    engine: Any = None
    retrain: Any = None
    transfer: Any = None
    experiment: Any = None

    def check(self) -> None:
        """ValueError for a key whose value cannot work, whatever the groups are."""
        least = {"seed": 0, "rounds": 1, "width": 2, "depth": 3, "batch_size": 2, "epochs": 1}
        for key, bound in least.items():
            if getattr(self, key) < bound:
                raise ValueError(f"{key}={getattr(self, key)}: at least {bound}")
        if self.seed >= 2**63:
            raise ValueError(f"seed={self.seed}: below 2 to the power of 63")
        if self.images is not None and self.images < 1:
            raise ValueError(f"images={self.images}: at least 1, or null for all")
        if not 0 < self.alpha_lr < math.inf:
            raise ValueError(f"alpha_lr={self.alpha_lr}: more than 0")
        known = ["search", "select", "retrain", "transfer"]
        for name in self.stages:
            if name not in known:
                raise ValueError(f"stages: unknown stage {name}{did_you_mean(name, known)}")
        if self.stages != known[: len(self.stages)] or not self.stages:
            raise ValueError(
                f"stages=[{','.join(self.stages)}]: a run begins with search and leaves no stage "
                f"out; one of {', '.join('[' + ','.join(known[:n]) + ']' for n in range(1, 5))}"
            )


@dataclass(frozen=True)
class Composed:
    """A composed configuration and the option chosen in each group."""

    config: DictConfig
    choices: dict[str, str]


def conf_folder() -> Path:
    """The folder of the groups: beside the package in a wheel, at the top level in a clone."""
    shipped = Path(__file__).parent / "conf"
    return shipped if shipped.is_dir() else Path(__file__).parents[2] / "conf"


def options(group: str, folders: Sequence[Path] = ()) -> dict[str, str]:
    """The options of a group with the line that their files begin with, and the command in it."""
    found = {}
    for folder in (conf_folder(), *folders):
        for path in sorted((folder / group).glob("[!_]*.yaml")):
            lines = path.read_text().splitlines()
            told = (x.removeprefix("#").strip() for x in lines if not x.startswith("# @package"))
            first = next(told, "")
            found[path.stem] = f"{first}\n{next(told, '')}" if first.endswith(":") else first
    return found


def register() -> None:
    """Tell Hydra the types of the frame's keys."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="frame", node=Frame)


def compose(overrides: Sequence[str]) -> Composed:
    """The configuration of these overrides; ValueError with key, value and what would do."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    register()
    for override in overrides:
        group, _, value = override.partition("=")
        if group in GROUPS and group != "experiment" and value.startswith("["):
            raise ValueError(f"{override}: one option; several need -m {group}={value.strip('[]')}")
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            config = hydra_compose("config", list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ValueError(_explain(overrides, error)) from error
    choices = {
        key: value for key, value in config.hydra.runtime.choices.items() if "hydra/" not in key
    }
    with _open(config):
        del config["hydra"]
    return Composed(config, choices)


def resolve(node: DictConfig) -> dict[str, Any]:
    """A plain dictionary without interpolations; ValueError names a key that is not given."""
    try:
        content = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "a key"
        if "Missing mandatory value" in str(error):
            raise ValueError(f"{key}: has no default, give it on the command line") from error
        raise ValueError(f"{key}: {_first_line(error)}") from error
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def value_at(config: DictConfig | Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key, None where there is none."""
    node = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
    return OmegaConf.select(node, key)


def refers(node: DictConfig, key: str) -> bool:
    """Whether any value of a node is that of a key of the frame."""
    return f"${{{key}}}" in OmegaConf.to_yaml(node)


def put(config: DictConfig, values: Mapping[str, Any]) -> None:
    """Replace top-level keys of a composed configuration."""
    with _open(config):
        for key, value in values.items():
            config[key] = value


def frame(config: DictConfig) -> Frame:
    """The keys of the frame, checked."""
    plain = {name: config[name] for name in Frame.__dataclass_fields__ if name not in GROUPS}
    plain["stages"] = list(plain["stages"])
    checked = Frame(**plain)
    checked.check()
    return checked


def check_targets(node: Any, trusted: Sequence[str], key: str = "") -> None:
    """Every `_target_` is admitted, exists, and takes the keywords and types that are given.

    Numbers are finite.
    """
    if isinstance(node, Mapping):
        for name, child in node.items():
            check_targets(child, trusted, f"{key}.{name}" if key else str(name))
        if "_target_" in node:
            _check_call(node, trusted, key)
    elif isinstance(node, list):
        for index, child in enumerate(node):
            check_targets(child, trusted, f"{key}[{index}]")
    elif isinstance(node, float) and not math.isfinite(node):
        raise ValueError(f"{key}={node}: expected a finite number")


def build(node: Mapping[str, Any], key: str, trusted: Sequence[str] = ()) -> Any:
    """The object that a plain, resolved node describes, its targets and keywords checked first."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    check_targets(node, trusted, key)
    try:
        return instantiate(dict(node), _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError):
            inner = re.search(r"full_key: (\S+)", str(error))
            path = f"{key}.{inner[1]}" if inner else key
            text, last = str(error.__cause__), path.rpartition(".")[2]
            raise ValueError(f"{path}.{text.removeprefix(f'{last}.')}") from error
        raise


def _check_call(node: Mapping[str, Any], trusted: Sequence[str], key: str) -> None:
    target = node["_target_"]
    admitted = (*TRUSTED, *(f"{name.rstrip('.')}." for name in trusted))
    if not isinstance(target, str) or not target.startswith(admitted):
        package = str(target).split(".")[0]
        raise ValueError(
            f"{key}._target_={target}: not trusted; code outside nasrun needs trust=[{package}]"
        )
    call = _locate(target, key)
    parameters = inspect.signature(call).parameters
    try:
        hints = typing.get_type_hints(call.__init__ if inspect.isclass(call) else call)
    except NameError:  # names that only a type checker imports: the types go unchecked
        hints = {}
    given = {name: value for name, value in node.items() if not name.startswith("_")}
    for name, value in given.items():
        if name not in parameters:
            raise ValueError(
                f"{key}.{name}={_shown(value)}: {target} has no such keyword"
                f"{did_you_mean(name, parameters)}"
            )
        if name in hints and not _fits(value, hints[name]):
            raise ValueError(f"{key}.{name}={_shown(value)}: expected {_named(hints[name])}")
    if node.get("_partial_"):
        _check_partial(call, given, key)
        return
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in given:
            raise ValueError(f"{key}.{name}: {target} needs it, and it is not given")


def _check_partial(call: Any, given: Mapping[str, Any], key: str) -> None:
    """A partial passes silently until it is called: so an optimizer is made once, on nothing."""
    if not call.__module__.startswith("torch.optim"):
        return
    import torch

    try:
        partial(call, **given)([torch.zeros(1, requires_grad=True)])
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{key}: {_first_line(error)}") from error


def _locate(target: str, key: str) -> Any:
    module_name, _, name = target.rpartition(".")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise ValueError(f"{key}._target_={target}: there is no module {error.name}") from error
    if not hasattr(module, name):
        hint = did_you_mean(name, dir(module))
        raise ValueError(f"{key}._target_={target}: {module_name} has no {name}{hint}")
    return getattr(module, name)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a YAML value can be meant for a parameter of this type; unsure is yes."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if isinstance(value, Mapping) and "_target_" in value:
        return _makes(value, hint)
    if origin is Literal:
        return value in arguments
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if origin is tuple and isinstance(value, list):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin is Sequence:
        return isinstance(value, list) and all(_fits(item, *arguments) for item in value)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(_fits(x, arguments[1]) for x in value.values())
    module = hint.__module__ if inspect.isclass(hint) else ""
    # a list or an object is needed, and this is neither
    return origin is not tuple and not module.startswith(("nasrun.", "torch"))


def _makes(node: Mapping[str, Any], hint: Any) -> bool:
    """Whether the object that a node describes can be of this type."""
    made = _locate(node["_target_"], "")
    ours = inspect.isclass(hint) and hint.__module__.startswith("nasrun.")
    if ours and inspect.isclass(made) and not node.get("_partial_"):
        return issubclass(made, hint)
    return (
        hint not in (bool, int, float, str, type(None)) and typing.get_origin(hint) is not Literal
    )


def _named(hint: Any) -> str:
    """A type in a user's words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(map(_named, arguments))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return f"a list of {_named(arguments[0])}"
        return f"a list of {len(arguments)} {_named(arguments[0])}"
    if origin is Sequence:
        return f"a list of {_named(*arguments)}"
    if origin is Mapping:
        return f"keys, each with {_named(arguments[1])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return "null" if hint is type(None) else names.get(hint, getattr(hint, "__name__", str(hint)))


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return str(value.get("_target_", "{...}"))
    return "null" if value is None else str(value)


def did_you_mean(word: str, known: typing.Iterable[str]) -> str:
    """`, did you mean X?` if something known is close, else an empty text."""
    near = get_close_matches(word, [name for name in known if not name.startswith("_")], 1)
    return f", did you mean {near[0]}?" if near else ""


# Hydra says what it could not do; a user needs to know which word to change, and to what.


def key_of(override: str) -> str:
    """The key of an override, without `+`, `~` and package."""
    return override.split("=", 1)[0].lstrip("+~").strip()


def root_of(key: str) -> str:
    """The frame's key or the group that a key belongs to: of `strategy@strategy.inner` strategy."""
    return key.split("@")[-1].split(".")[0].split("/")[0]


def _explain(overrides: Sequence[str], error: Exception) -> str:
    """One line for an override that Hydra refused."""
    folders = _search_folders(overrides)
    for override in overrides:
        key, _, value = override.partition("=")
        bare = key_of(override)
        group = bare.split("@")[0]
        if "=" not in override and not key.startswith("~"):
            return f"{override}: expected key=value"
        if not _parses(override):
            return f"{override}: cannot be read; quote special characters: '{key}=\"...\"'"
        if group in GROUPS and group != "experiment" and value == "null":
            return f"{group}=null: needed; leave a stage out with stages=[search,select]"
        if group in GROUPS and not value.startswith(("{", "[")):
            known = options(group, folders)
            for option in value.split(","):
                if option not in known and option != "null":
                    hint = did_you_mean(option, known) or f"; there are {', '.join(known)}"
                    return f"{group}={option}: unknown option{hint}"
        elif bare.split(".")[0].split("/")[0] == "hydra" or key.startswith(("+", "~")):
            continue
        elif (unknown := _unknown_key(bare, overrides)) is not None:
            return f"{override}: unknown key{unknown}"
    key = getattr(getattr(error, "__cause__", None), "full_key", None) or ""
    text = _first_line(error.__cause__ or error)
    if "is not in struct" in text:
        text = "unknown key; a new one is added by + in front of the override"
    return f"{key}: {text}" if key and key not in text else text


def _parses(override: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _unknown_key(key: str, overrides: Sequence[str]) -> str | None:
    """What would do instead of a key that the YAML files do not have, None if they have it."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException

    choices = [o for o in overrides if key_of(o).split("@")[0] in (*GROUPS, "hydra.searchpath")]
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            node: Any = hydra_compose("config", choices)
    except (HydraException, OmegaConfBaseException):
        return None
    known = sorted(set(_keys(node)))
    if key in known:
        return None
    parent, _, name = key.rpartition(".")
    siblings = [k[len(parent) + 1 :] for k in known if k.startswith(f"{parent}.")] if parent else []
    siblings = [k for k in siblings if "." not in k] or [k for k in known if "." not in k]
    near = get_close_matches(name, siblings, 1)
    if near:
        return f", did you mean {parent + '.' if parent and parent in known else ''}{near[0]}?"
    if hint := did_you_mean(key, known):
        return hint
    elsewhere = [k for k in known if k.rpartition(".")[2] == name]
    if elsewhere:
        return f", did you mean {elsewhere[0]}?"
    return f"; {parent or 'the frame'} has {', '.join(siblings)}"


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
        for name in map(str, node):
            yield f"{prefix}{name}"
            yield from _keys(node._get_node(name), f"{prefix}{name}.")


def _search_folders(overrides: Sequence[str]) -> list[Path]:
    """The folders that `hydra.searchpath=[file://DIR]` adds."""
    text = " ".join(o for o in overrides if key_of(o) == "hydra.searchpath")
    return [Path(found) for found in re.findall(r"file://([^,\]\s'\"]+)", text)]


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else error.__class__.__name__


def _open(config: DictConfig) -> Any:
    from omegaconf import open_dict

    return open_dict(config)
