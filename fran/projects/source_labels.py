"""What a project's database knows about the labels of its datasources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fran.labels import SourceLabels
from fran.projects.database import CaseRow, SourceRow


def source_labels(cases: Iterable[CaseRow], sources: Mapping[str, SourceRow]) -> list[SourceLabels]:
    """Labels of each of `sources`: those met in cases that may train, in others, declared, and annotated.

    Args:
        cases: of the project; those of other datasources are passed over.
        sources: by name, in the order wanted.
    """
    training: dict[str, set[int]] = {name: set() for name in sources}
    testing: dict[str, set[int]] = {name: set() for name in sources}
    for case in cases:
        if case.ds in sources:
            (testing if case.test else training)[case.ds].update(v for v, n in case.labels.items() if v and n)
    return [
        SourceLabels(
            name,
            frozenset(training[name]),
            dict(row.label_names),
            _annotated(row),
            frozenset(testing[name] - training[name]),
        )
        for name, row in sources.items()
    ]


def _annotated(row: SourceRow) -> frozenset[int] | None:
    """Values of the labels that a datasource's annotators drew, as stored by value or name."""
    if row.annotated is None:
        return None
    by_name = {name: value for value, name in row.label_names.items()}
    return frozenset(by_name[item] if item in by_name else int(item) for item in row.annotated)
