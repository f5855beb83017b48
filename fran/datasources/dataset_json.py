"""dataset.json of nnU-Net (v1 and v2) and of the Medical Segmentation Decathlon, as plain facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fran.errors import ConfigError, StoreError
from fran.io.files import read_json

FILE = "dataset.json"
_MR = ("mr", "t1", "t2", "flair", "adc", "dwi", "pd")


@dataclass(frozen=True)
class DatasetJson:
    """What a dataset.json states.

    Attributes:
        version: 2 of nnU-Net, or 1 for the form that nnU-Net v1 and the decathlon share.
        channels: name of each channel of an image, by number; empty where none are stated.
        labels: names by value, background left out; None where none are stated.
        regions: values by name, of labels that are several values together; they may overlap.
        ignore: value of voxels that nobody judged.
        n_training: cases that there should be.
        training: (image, label map) of each training case as stated, relative to the folder; None where not listed.
        entries: files of the cases by name, where version 2 lists them: (images, label map).
    """

    version: int = 2
    channels: Mapping[int, str] = field(default_factory=dict)
    labels: Mapping[int, str] | None = None
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ignore: int | None = None
    n_training: int | None = None
    training: Sequence[tuple[str, str]] | None = None
    entries: Mapping[str, tuple[Sequence[str], str]] | None = None


def read_dataset_json(path: Path) -> DatasetJson:
    """Read a dataset.json.

    Raises:
        ConfigError: it is no JSON, or says something that cannot be meant.
    """
    try:
        content = read_json(path)
    except StoreError as error:
        raise ConfigError(str(error).partition("; ")[0] + "; correct the file") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping with labels, channel_names, …, found {type(content).__name__}")
    version = 1 if "modality" in content and "channel_names" not in content else 2
    labels, regions, ignore = _labels(path, content.get("labels"))
    return DatasetJson(
        version=version,
        channels=_channels(path, content),
        labels=labels,
        regions=regions,
        ignore=ignore,
        n_training=_number(path, content),
        training=_training(path, content.get("training")),
        entries=_entries(path, content.get("dataset")),
    )


def modality_of(channel: str | None) -> str | None:
    """Modality that a channel's name stands for; nnU-Net itself tells ``CT`` from anything else.

    Example:
        >>> [modality_of(name) for name in ("CT", "T2w", "FLAIR", "PET", "us", None)]
        ['CT', 'MR', 'MR', 'PET', 'US', None]
    """
    if not channel:
        return None
    return "MR" if channel.casefold().startswith(_MR) else channel.upper()


def _channels(path: Path, content: Mapping[str, Any]) -> dict[int, str]:
    stated = content.get("channel_names", content.get("modality", {}))
    try:
        channels = {int(number): str(name) for number, name in stated.items()}
    except (AttributeError, ValueError) as error:
        raise ConfigError(f'{path}: channel_names: expected {{"0": "CT", …}}, found {stated!r}') from error
    return dict(sorted(channels.items()))


def _labels(path: Path, stated: Any) -> tuple[dict[int, str] | None, dict[str, tuple[int, ...]], int | None]:
    """Names by value; values of regions by name; the value to ignore. Version 1 has values as keys."""
    if stated is None:
        return None, {}, None
    try:
        pairs = [(str(b), _values(a)) if str(a).isdecimal() else (str(a), _values(b)) for a, b in stated.items()]
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f'{path}: labels: expected {{"background": 0, "liver": 1, …}}, found {stated!r}') from error
    regions = {name: values for name, values in pairs if len(values) > 1}
    ignore = next((values[0] for name, values in pairs if name == "ignore"), None)
    single = {values[0]: name for name, values in pairs if len(values) == 1 and values[0] and name != "ignore"}
    names = {
        value: _name(value, single, regions) for value in sorted({*single, *(v for r in regions.values() for v in r)})
    }
    return names, regions, ignore


def _values(stated: Any) -> tuple[int, ...]:
    return tuple(sorted({int(v) for v in (stated if isinstance(stated, list | tuple) else [stated])}))


def _name(value: int, single: Mapping[int, str], regions: Mapping[str, tuple[int, ...]]) -> str:
    """Name of a value: its own, or that of the smallest region that it is in, with the value."""
    if value in single:
        return single[value]
    region = min((name for name, values in regions.items() if value in values), key=lambda name: len(regions[name]))
    return f"{region}_{value}"


def _number(path: Path, content: Mapping[str, Any]) -> int | None:
    stated = content.get("numTraining")
    if stated is None or (isinstance(stated, int) and not isinstance(stated, bool)):
        return stated
    raise ConfigError(f"{path}: numTraining: expected a whole number, found {stated!r}")


def _training(path: Path, stated: Any) -> list[tuple[str, str]] | None:
    if stated is None:
        return None
    try:
        return [(str(item["image"]), str(item["label"])) for item in stated]
    except (KeyError, TypeError) as error:
        example = '[{"image": "./imagesTr/x.nii.gz", "label": "./labelsTr/x.nii.gz"}, …]'
        raise ConfigError(f"{path}: training: expected {example}, found an entry without {error}") from error


def _entries(path: Path, stated: Any) -> dict[str, tuple[list[str], str]] | None:
    if stated is None:
        return None
    try:
        return {str(name): ([str(i) for i in item["images"]], str(item["label"])) for name, item in stated.items()}
    except (AttributeError, KeyError, TypeError) as error:
        example = '{"<case>": {"images": [...], "label": "..."}, …}'
        raise ConfigError(f"{path}: dataset: expected {example}, found {stated!r:.80}") from error
