"""From plans to stages: what each mode reads from its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fran.errors import ConfigError, choices
from fran.labels import Remapping
from fran.plans.schema import Plan
from fran.preprocessing.relabelling import EVERYBODY, Relabelling
from fran.preprocessing.stages.crop import Cut, Imported
from fran.preprocessing.stages.lbd import LbdStage
from fran.preprocessing.stages.parts import Sampling
from fran.preprocessing.stages.pbd import PbdStage
from fran.preprocessing.stages.rbd import RbdStage
from fran.preprocessing.stages.source import SourceParams
from fran.preprocessing.stages.stage import Stage
from fran.preprocessing.stages.whole import WholeStage


@dataclass(frozen=True)
class Context:
    """What a plan's stages need to know about the project.

    Attributes:
        datasources: those that the plan uses.
        baked: for each datasource the remapping at each level (``source``, ``imported``, ``lbd`` for both modes that
            crop, ``whole``), as ``LabelFlow.baked``; levels that change nothing are left out.
        imported: folder of imported label maps by datasource, ``"*"`` for all of them.
        localiser: folder of a localiser's predictions.
        regions: label values in them, or in the imported maps, to crop to in mode ``rbd``; None is all of them.
    """

    datasources: tuple[str, ...]
    baked: Mapping[str, Mapping[str, Remapping]] = field(default_factory=dict)
    imported: Mapping[str, Path] = field(default_factory=dict)
    localiser: Path | None = None
    regions: tuple[int, ...] | None = None

    def relabelling(self, level: str) -> Relabelling:
        """The remappings of one level."""
        return Relabelling.of({ds: self.baked.get(ds, {}).get(level) for ds in self.datasources})


def stages_of(plans: Sequence[Plan], context: Context) -> list[Stage]:
    """The stages that make a plan's data, in the order in which they run.

    Args:
        plans: one for each stage, each of a mode of :data:`BUILDERS`; the first of mode ``source``.
        context: of the project.

    Raises:
        ConfigError: a mode without a stage, or a key that its stage needs is not set.
    """
    first, *rest = plans
    stages: list[Stage] = [_source(first, context)]
    for plan in rest:
        if plan.mode not in BUILDERS:
            raise ConfigError(
                f"mode: expected a mode with a stage, found {plan.mode}; {choices(plan.mode, [*BUILDERS])}"
            )
        stages.append(BUILDERS[plan.mode](stages[-1], plan, context))
    return stages


def _source(plan: Plan, context: Context) -> SourceParams:
    return SourceParams(
        plan.spacing_mm,
        plan.use_fg_indices,
        tuple(plan.fg_indices_exclude),
        remapping=context.relabelling("source"),
        half_precision=plan.half_precision,
        clip_hu=None if plan.clip_hu is None else (plan.clip_hu[0], plan.clip_hu[1]),
    )


def _sampling(plan: Plan) -> Sampling:
    return Sampling(plan.use_fg_indices, tuple(plan.fg_indices_exclude))


def _cut(plan: Plan) -> Cut:
    return Cut(plan.patch_size, plan.expand_by, _sampling(plan))


def _whole(parent: Stage, plan: Plan, context: Context) -> Stage:
    return WholeStage(parent, plan.patch_size, _sampling(plan), context.relabelling("whole"))


def _imported(plan: Plan, context: Context) -> Imported | None:
    if not context.imported:
        return None
    folders = tuple(sorted(context.imported.items()))
    return Imported(folders, context.relabelling("imported"), plan.merge_imported_labels)


def _lbd(parent: Stage, plan: Plan, context: Context) -> Stage:
    return LbdStage(parent, _cut(plan), context.relabelling("lbd"), _imported(plan, context))


def _rbd(parent: Stage, plan: Plan, context: Context) -> Stage:
    guides = _imported(plan, context) if context.localiser is None else Imported(((EVERYBODY, context.localiser),))
    if guides is None:
        raise ConfigError(
            "localiser: expected the run whose predictions say where to cut, found null; set localiser=<run or folder>,"
            " or imported_folder"
        )
    return RbdStage(parent, _cut(plan), guides, context.regions, context.relabelling("lbd"))


def _pbd(parent: Stage, plan: Plan, context: Context) -> Stage:
    return PbdStage(parent, _cut(plan), plan.patch_overlap)


BUILDERS: dict[str, Callable[[Stage, Plan, Context], Stage]] = {
    "whole": _whole,
    "lbd": _lbd,
    "rbd": _rbd,
    "pbd": _pbd,
}
