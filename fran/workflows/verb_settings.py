"""Which settings a verb takes: read without Hydra, so that help and completion are instant.

The settings stand where they stand anyway: names and types in the schema, defaults and meanings in the lines of the
configuration files and in the docstrings of the schema.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fran.errors import choices
from fran.workflows.locations import conf_dir, user_conf_dirs
from fran.workflows.schema import SCHEMAS
from fran.workflows.verbs import Verb

FEW, MANY_NEAR = 12, 5
"""Keys that are listed all where none is near, and of more than that."""
_LINE = re.compile(r"(\w+): *(.*?)(?: +# *(.*))?$")
_GROUP = re.compile(r"  - (?:optional )?(?!override )([\w/]+): *(\S+)")


@dataclass(frozen=True)
class Key:
    """A setting.

    Attributes:
        name: dotted.
        default: as a command line would state it; "???" where it must be given.
        meaning: one line, may be empty.
        kind: its type as the schema writes it, empty where no schema has it.
    """

    name: str
    default: str
    meaning: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Settings:
    """Everything that a verb can be told.

    Attributes:
        own: keys that its primary configuration states, in that order.
        groups: chosen option by configuration group.
        further: keys of the schema that `own` does not have, those of groups included.
    """

    own: list[Key] = field(default_factory=list)
    groups: dict[str, str] = field(default_factory=dict)
    further: list[Key] = field(default_factory=list)

    @property
    def keys(self) -> list[Key]:
        """All keys."""
        return [*self.own, *self.further]


def settings_of(verb: Verb) -> Settings:
    """What a verb can be told; nothing where it has no configuration."""
    if not verb.primary:
        return Settings()
    text = (conf_dir() / f"{verb.primary}.yaml").read_text(encoding="utf-8")
    includes = re.findall(r"^  - (\w+)$", text, re.MULTILINE)
    schema = {key.name: key for key in schema_keys(SCHEMAS[next(name for name in includes if name in SCHEMAS)])}
    groups = dict(_GROUP.findall(text))
    if "common" in includes:
        common = (conf_dir() / "common.yaml").read_text(encoding="utf-8")
        groups = {group: option for group, option in _GROUP.findall(common) if "/" not in group} | groups
    stated = [key for key in _stated(text) if key.name in schema]
    own = [Key(key.name, key.default, key.meaning or schema[key.name].meaning, schema[key.name].kind) for key in stated]
    taken = {key.name for key in own} | groups.keys()
    further = [key for name, key in schema.items() if name not in taken]
    if "model" in groups:
        further += network_keys(groups["model"])
    return Settings(own, {g: o for g, o in groups.items() if g not in ("paths", "project/train")}, further)


def _stated(text: str) -> list[Key]:
    """Keys at the root of a configuration file, with their comments."""
    lines = (_LINE.match(line) for line in text.splitlines())
    return [
        Key(*(part or "" for part in line.groups())) for line in lines if line and line[1] not in ("defaults", "hydra")
    ]


def network_keys(model: str) -> list[Key]:
    """Keys of a network's file; none where there is no such file."""
    file = next((f for folder in folders() if (f := folder / "model" / f"{model}.yaml").is_file()), None)
    found = _stated(file.read_text(encoding="utf-8")) if file else []
    return [Key(f"model.{key.name}", key.default, key.meaning) for key in found]


def schema_keys(schema: type, prefix: str = "") -> Iterator[Key]:
    """Keys of a schema and of those inside it, dotted, with what the docstrings say of them."""
    said = meanings(schema)
    for item in fields(schema):
        factory: Any = item.default_factory
        if isinstance(factory, type) and is_dataclass(factory):
            yield from schema_keys(factory, f"{prefix}{item.name}.")
            continue
        default = item.default if factory is MISSING else factory()
        yield Key(prefix + item.name, _text(default), said.get(item.name, ""), str(item.type))


def meanings(schema: type) -> dict[str, str]:
    """What the docstrings of a schema and of those that it extends say about each key, on one line."""
    found: dict[str, str] = {}
    for kind in reversed(schema.__mro__[:-1]):
        text = inspect.cleandoc(kind.__doc__ or "").partition("Attributes:\n")[2]
        for keys, body in re.findall(r"^    (\w+(?:, \w+)*): (.*(?:\n        .*)*)", text, flags=re.MULTILINE):
            found |= dict.fromkeys(keys.split(", "), " ".join(body.split()))
    return found


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value) if isinstance(value, tuple) else value).replace("'", "")


def folders() -> list[Path]:
    """Configuration folders, the strongest first."""
    return [*user_conf_dirs(), conf_dir()]


def options(group: str) -> list[str]:
    """Names of the files of a configuration group; those that begin with _ are fran's own."""
    found = {
        file.relative_to(folder / group).with_suffix("").as_posix()
        for folder in folders()
        for file in (folder / group).rglob("*.yaml")
    }
    nested = group not in ("plan", "datasource")  # trainer/optimiser is a group, plan/liver/fine a plan
    return sorted(name for name in found if not (name.startswith("_") or (nested and "/" in name)))


def near_keys(
    wanted: str, known: Sequence[str], whole_list: str = "", meanings: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The dotted keys that are meant by one that there is not, for the end of an error message.

    Args:
        wanted: what was typed.
        known: every key.
        whole_list: the command that lists them.
        meanings: what they mean, by key.

    Example:
        >>> near_keys("max_epoch", ["fold", "trainer.max_epochs"])
        "did you mean 'trainer.max_epochs'?"
        >>> near_keys("trianer.max_epochs", ["fold", "trainer.max_epochs"])
        "did you mean 'trainer.max_epochs'?"
        >>> near_keys("seed", ["fold", "trainer.seed", "model.seed"])
        "did you mean 'trainer.seed' or 'model.seed'?"
        >>> near_keys("epochs_to_run", ["trainer.max_epochs", *"abcdefghijkl"], "fran help train")
        'nearest: trainer.max_epochs; all of them: fran help train'
        >>> near_keys("optimizer", ["fold", "trainer.optimiser.lr"])
        "did you mean 'trainer.optimiser'?"
    """
    from difflib import get_close_matches

    meant = ending_in(wanted, known)
    if meant:
        return f"did you mean {' or '.join(repr(key) for key in meant[:MANY_NEAR])}?"
    groups = [key.rsplit(".", up)[0] for key in known for up in range(1, key.count(".") + 1)]
    named = {key.rpartition(".")[2]: key for key in [*groups, *reversed(known)]}
    named |= {key.partition(".")[0]: key.partition(".")[0] for key in known} | {
        key: key for key in known if "." in wanted
    }
    near = [wanted] if wanted in named else get_close_matches(wanted, list(named), n=1)
    if near:
        return f"did you mean '{named[near[0]]}'?"
    if len(named) <= FEW:
        return choices(wanted, sorted({key.partition(".")[0] for key in known}))
    said = [key for key in known if wanted.replace("_", " ") in meanings.get(key, "")]
    alike = sorted(said, key=lambda key: len(meanings[key]))
    parts = {part for part in re.split(r"[._]", wanted) if len(part) > 3}
    alike += [key for key in known if parts.intersection(re.split(r"[._]", key))]
    alike += [named[name] for name in get_close_matches(wanted, list(named), n=MANY_NEAR, cutoff=0.5)]
    listed = ", ".join(list(dict.fromkeys(alike))[:MANY_NEAR])
    places = [f"nearest: {listed}" if listed else "", f"all of them: {whole_list}" if whole_list else ""]
    return "; ".join(filter(None, places)) or "no key is like it"


def ending_in(wanted: str, known: Sequence[str]) -> list[str]:
    """The dotted keys whose last part, or parts, are `wanted`.

    Example:
        >>> ending_in("lr", ["trainer.optimiser.lr", "trainer.lr_share"])
        ['trainer.optimiser.lr']
    """
    return [key for key in known if f".{key}".endswith(f".{wanted}") and key != wanted]
