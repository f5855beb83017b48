"""Label values of a reference in terms of a prediction's, where a model was trained on several datasources.

Groups of datasources and remappings give labels new values; the file beside a prediction says what each is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fran.datasources.dataset_json import FILE, read_dataset_json
from fran.datasources.datasource import LABELS_FILE
from fran.errors import CaseProblem, ConfigError, FranError, choices
from fran.evaluation.pairing import REFERENCES
from fran.io.files import read_json
from fran.io.volume import stem
from fran.labels import LabelScheme, Remapping


def scheme_beside(predictions: Sequence[Path]) -> LabelScheme | None:
    """Labels from the first readable provenance file that lies beside a prediction."""
    for path in predictions:
        with suppress(FranError, AttributeError, KeyError, TypeError, ValueError):
            return LabelScheme.from_dict(read_json(path.with_name(f"{stem(path)}.json"))["labels"])
    return None


def names_beside(gt: Path) -> dict[int, str]:
    """Label names that a folder of references states: in labels.json, or in dataset.json of nnU-Net and the decathlon.

    Args:
        gt: the references; the files lie there, or beside a folder called lms, labelsTr or labelsTs.
    """
    folder = gt.parent if gt.name in REFERENCES else gt
    with suppress(FranError, AttributeError, TypeError, ValueError):
        return {int(value): str(name) for value, name in read_json(folder / LABELS_FILE).items() if int(value)}
    with suppress(FranError):
        return dict(read_dataset_json(folder / FILE).labels or {})
    return {}


def as_predicted(scheme: LabelScheme | None, datasource: str) -> tuple[Remapping, frozenset[int]]:
    """How the values of a datasource's references become those of predictions, and which labels can be compared.

    Labels of the references that the model does not tell apart become background; labels that the datasource's
    annotators did not draw cannot be compared, for nobody knows where they are.

    Raises:
        ConfigError: the predictions do not say what their labels are made of, or nothing of this datasource.
    """
    origins = scheme.origins if scheme else {}
    pairs = {raw: value for value, made in origins.items() for ds, raw, _ in made if ds == datasource}
    if not pairs:
        known = sorted({ds for made in origins.values() for ds, _, _ in made})
        found = choices(datasource, known) if known else "the files beside the predictions name none; leave it out"
        raise ConfigError(
            f"datasource: expected one that the predictions' labels are made of, found '{datasource}'; {found}"
        )
    return Remapping.of(pairs, rest=0), frozenset(pairs.values())


def renumbered(scheme: LabelScheme | None, pred: Path) -> list[CaseProblem]:
    """A warning where predicted values differ from those in the files of some datasource."""
    origins = scheme.origins if scheme else {}
    changed = sorted({ds for value, made in origins.items() for ds, raw, _ in made if raw != value})
    if not changed:
        return []
    return [
        CaseProblem(
            case_id=", ".join(changed),
            path=str(pred),
            what="label values",
            expected="references with the values of the predictions",
            found=f"a model that gave labels of {', '.join(changed)} other values than their files have",
            next_step=f"if the references are of that datasource, score with datasource={changed[0]}",
            severity="warning",
        )
    ]
