"""How often each case is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fran.errors import ConfigError, choices
from fran.io.manifest import Manifest

CLASS_SETTING = "trainer.class_sampling_weights"
CASE_SETTING = "trainer.case_sampling_weights"
DATASOURCE_SETTING = "trainer.datasource_sampling_weights"


def weights_by_file(
    manifest: Manifest, by_case: Mapping[str, float], by_datasource: Mapping[str, float]
) -> dict[str, float]:
    """Weight of each file of a manifest; nothing where there are no weights.

    A weight is relative to how often the case would come without any, so what is not named has 1, and a case that has
    one by both names has their product. A case of several files gives it to each of them.

    Raises:
        ConfigError: a case or datasource that the manifest does not know, or a weight below 0.
    """
    files = manifest.files_by_case()
    sources = {entry.datasource for entry in manifest.cases.values()}
    check_weights(by_case, sorted(files), CASE_SETTING)
    check_weights(by_datasource, sorted(sources), DATASOURCE_SETTING)
    if not by_case and not by_datasource:
        return {}
    return {
        file_id: float(by_case.get(case_id, 1)) * float(by_datasource.get(manifest.cases[file_id].datasource, 1))
        for case_id, ids in files.items()
        for file_id in ids
    }


def check_weights(given: Mapping[str, float], names: Sequence[str], setting: str) -> None:
    """Raise `ConfigError` for a weight below 0 or one of a name that there is not, with the names there are."""
    unknown = sorted(set(given) - set(names))
    if unknown:
        known = choices(unknown[0], names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        raise ConfigError(f"{setting}: no {', '.join(map(repr, unknown))}; {known}")
    wrong = {name: weight for name, weight in given.items() if not _is_weight(weight)}
    if wrong:
        raise ConfigError(f"{setting}: expected numbers of 0 or more, found {wrong}")


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


def shares(weights: Mapping[str, float], ids: Sequence[str]) -> NDArray[np.float64] | None:
    """(n,) share of each id among the draws, for weights of 1 where none are given; None where all are equal.

    Raises:
        ConfigError: no id has a weight above 0.
    """
    if not weights:
        return None
    values = np.array([float(weights.get(name, 1.0)) for name in ids])
    if not values.sum():
        raise ConfigError(f"{CASE_SETTING}, {DATASOURCE_SETTING}: expected a case with a weight above 0, found none")
    return np.asarray(values / values.sum())


def one_pass(case_shares: NDArray[np.float64] | None, n: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """(n,) which cases come in a pass of n, in random order.

    Without shares each comes once. With them a case of share s comes n * s times, rounded up or down by chance
    (systematic sampling), so that frequencies hold within each pass and not only in the long run.
    """
    if case_shares is None:
        return draw.permutation(n)
    ends = np.cumsum(case_shares)
    places = (np.arange(n) + draw.random()) / n
    # rounding may take the last place up to 1, where no case lies
    found = np.searchsorted(ends / ends[-1], np.minimum(places, np.nextafter(1, 0)), side="right")
    return draw.permutation(found)
