"""In what runs differ, stage by stage: which setting acts on the data, the network, the training, the inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PREPROCESSING, NETWORK, TRAINING, INFERENCE, OTHER = "Preprocessing", "Network", "Training", "Inference", "Other"
STAGES = (PREPROCESSING, NETWORK, TRAINING, INFERENCE)
NOT_STATED = "not stated"

_OF_VERB = {"preprocess": PREPROCESSING, "train": TRAINING, "infer": INFERENCE}
_OF_GROUP = {"model": NETWORK, "trainer": TRAINING, "augmentation": TRAINING}
_OF_KEY = {"init_from": TRAINING, "find_batch_size": TRAINING}


def differing(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[list[str]]]:
    """Rows of key and each run's value for each of `STAGES`, and for what is of none of them where that differs too.

    A key that several stages read, as spacing is by preprocessing and inference, stands at each of them. Folds, places
    and what changes the speed alone are left out.

    Args:
        settings: of each run, as its config.yaml has them.
    """
    from fran.tracking.identity import identity
    from fran.tracking.params import flatten_all

    flat = [flatten_all(identity(one)) for one in settings]
    modes = {str(one.get("mode") or "source") for one in settings}
    found: dict[str, list[list[str]]] = {stage: [] for stage in STAGES}
    for key in dict.fromkeys(key for one in flat for key in one):
        row = [key, *(one.get(key, NOT_STATED) for one in flat)]
        if len(set(row[1:])) > 1:
            for stage in stages_of(key, modes):
                found.setdefault(stage, []).append(row)
    return found


def stages_of(key: str, modes: set[str]) -> list[str]:
    """Stages that a setting acts on, in plans of any of these modes.

    Example:
        >>> stages_of("spacing", {"source"}), stages_of("trainer.seed", {"source"}), stages_of("plan_name", {"lbd"})
        (['Preprocessing', 'Inference'], ['Training'], ['Other'])
    """
    from fran.plans.readers import readers

    top = key.partition(".")[0]
    read_by = {_OF_VERB[verb] for mode in modes for verb in readers(top, mode) if verb in _OF_VERB}
    read_by |= {table[top] for table in (_OF_GROUP, _OF_KEY) if top in table}
    return [stage for stage in STAGES if stage in read_by] or [OTHER]
