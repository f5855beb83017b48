"""Label values, their names, and the network channels they map to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fran.errors import DataError

MAX_LABEL = 65535
#: Datasource, label value in its files, name of it there.
Origin = tuple[str, int, str]


@dataclass(frozen=True)
class LabelScheme:
    """The foreground labels of a project and the consecutive channels a network gives them.

    Channel 0 is background, channel ``i + 1`` is ``values[i]``; so the labels {3, 117} become channels 1 and 2 and
    come back as 3 and 117 in a prediction.

    Args:
        values: label values in increasing order, 0 left out.
        names: name per value; a value without one is called ``label_<value>``.
        origins: for a value, the (datasource, value there, name there) of all that it is made of, where that is known.

    Example:
        >>> scheme = LabelScheme((3, 117), {3: "kidney"})
        >>> scheme.channel_names
        ['background', 'kidney', 'label_117']
        >>> scheme.to_channels(np.array([[0, 117, 3]], dtype=np.uint8)).tolist()
        [[0, 2, 1]]
    """

    values: tuple[int, ...]
    names: Mapping[int, str] = field(default_factory=dict)
    origins: Mapping[int, tuple[Origin, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values = tuple(sorted({int(v) for v in self.values} - {0}))
        if values and not 0 < values[0] <= values[-1] <= MAX_LABEL:
            raise DataError(f"labels: expected whole numbers from 1 to {MAX_LABEL}, found {list(values)}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "names", {v: str(self.names.get(v, f"label_{v}")) for v in values})
        origins = {
            v: tuple((str(ds), int(raw), str(name)) for ds, raw, name in made) for v, made in self.origins.items()
        }
        object.__setattr__(self, "origins", {v: origins[v] for v in values if v in origins})

    @classmethod
    def from_values(cls, values: Iterable[int], names: Mapping[int, str] | None = None) -> LabelScheme:
        """Scheme of the label values met in the data; 0 and repetitions may be among them."""
        return cls(tuple(values), dict(names or {}))

    @property
    def n_classes(self) -> int:
        """Output channels of a network, background included."""
        return len(self.values) + 1

    @property
    def channel_names(self) -> list[str]:
        """Name of each channel, background first."""
        return ["background", *(self.names[v] for v in self.values)]

    @property
    def channel_dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Smallest unsigned integer that holds every channel index and the mark of an unknown value."""
        return np.uint8 if self.n_classes < 255 else np.uint16

    def lookup(self) -> NDArray[Any]:
        """Table from label value to channel index; the dtype's largest number marks values outside the scheme."""
        unknown = np.iinfo(self.channel_dtype).max
        table = np.full(MAX_LABEL + 1, unknown, dtype=self.channel_dtype)
        table[0] = 0
        table[list(self.values)] = np.arange(1, self.n_classes)
        return table

    def to_channels(self, lm: NDArray[Any]) -> NDArray[Any]:
        """Channel indices of a label map, same shape.

        Raises:
            DataError: the map holds a value outside the scheme.
        """
        channels: NDArray[Any] = self.lookup()[lm]
        unknown = np.iinfo(self.channel_dtype).max
        if (channels == unknown).any():
            strangers = np.unique(lm[channels == unknown]).tolist()
            raise DataError(f"label map: expected values among {[0, *self.values]}, found also {strangers[:10]}")
        return channels

    def from_channels(self, channels: NDArray[Any]) -> NDArray[Any]:
        """Label values of an array of channel indices, in the smallest unsigned integer that holds them."""
        largest = max(self.values, default=0)
        table = np.array([0, *self.values], dtype=np.uint8 if largest <= 255 else np.uint16)
        return np.asarray(table[channels])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        plain: dict[str, Any] = {"values": list(self.values), "names": {str(v): self.names[v] for v in self.values}}
        if self.origins:
            plain["origins"] = {str(v): [list(origin) for origin in made] for v, made in self.origins.items()}
        return plain

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> LabelScheme:
        """Inverse of `to_dict`."""
        names = {int(v): name for v, name in stored["names"].items()}
        return cls(tuple(stored["values"]), names, {int(v): made for v, made in stored.get("origins", {}).items()})
