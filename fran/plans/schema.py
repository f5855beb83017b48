"""The keys of a plan. They stand at the root of every configuration, so that the command line can override them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from fran.errors import choices

MODES = ("source", "whole", "lbd", "rbd", "pbd", "sourcepbd")
MODE_ALIASES = {"src": "source", "baseline": "source", "kbd": "rbd", "patch": "pbd", "sourcepatch": "sourcepbd"}
UNSET = "unset"
FORMER_KEYS = {
    "patch_size": "patch_dim0 (x and y) and patch_dim1 (z)",
    "remapping_lbd_rbd": "remapping_lbd",
    "remapping_lbd_kbd": "remapping_lbd",
    "src_dest_labels": "remapping_train",
    "lm_group": "lm_groups",
}
"""Names that people know from elsewhere, and the keys that say the same here."""


def _key(default: Any, *, unit: str = "", read_by: str = "") -> Any:
    """A key with what its documentation says besides the attribute's text: its unit, and which steps read it."""
    metadata = {"unit": unit, "read_by": read_by}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Plan:
    """One plan.

    Attributes:
        plan_name: the plan's own name, equal to its file's.
        notes: free text for people.
        source_plan: the plan that this one inherits from, and whose data its own stage begins with; stated together
            with ``defaults: [<that plan>, _self_]``.
        plan_valid: plan whose data validate this one's runs; null means this plan's own.
        plan_test: plan whose data test this one's runs; null means this plan's own.
        datasources: names of the project's datasources to use; null means all of them.
        lm_groups: names of datasources, group by group, where label values mean different things; null means the
            project's own groups.
        mode: what preprocessing makes of a case. ``source`` (``src``, ``baseline``): the whole volume at fixed
            spacing. ``whole``: that, resized to the patch size. ``lbd``: cropped to the labels. ``rbd`` (``kbd``):
            cropped to a localiser's regions. ``pbd`` (``patch``): overlapping patches of the source plan's output.
            ``sourcepbd`` (``sourcepatch``): patches of the fixed-spacing volume.
        spacing: voxel spacing: from one voxel to the next along x (right), y (front) and z (head).
        patch_dim0: side of a training patch, the box that the network sees at once, along x and y.
        patch_dim1: side of a training patch along z.
        patch_overlap: share of a patch that neighbouring patches of a grid have in common, 0 up to but not 1.
        expand_by: margin around what a case is cropped to.
        samples_per_file: crops taken from a case each time its file is read.
        use_fg_indices: store foreground voxel positions, from which training draws patch centres. Without them
            centres are drawn from the labels' bounding boxes, and fg_indices_exclude means nothing.
        fg_indices_exclude: label values around which no patch is centred.
        imported_folder: label maps of another origin to crop to, or to merge; one folder, or a list with one (or
            null) for each datasource. ``DS.<name>/lms`` is inside a datasource's folder.
        imported_labels: which labels of the imported maps count; a list of values or a name of the label table such
            as ``TSL.all``. Null means those that remapping_imported leaves.
        merge_imported_labels: put the imported labels into the label maps; the case's own labels win.
        localiser: the run whose predictions ``rbd`` crops to (they lie in the project's predictions folder under its
            name), or a folder of label maps.
        localiser_regions: regions of the localiser that ``rbd`` crops to, by name or value; null or ``[all]`` means
            all of them.
        remapping_source: new label values at fixed spacing, baked into the data. Here and in the other remappings: a
            dict, two lists [from, to], a name of the label table such as ``TSL.label_region:TSL.lungs``, or a list
            with one of these (or null) for each datasource.
        remapping_lbd: new label values after cropping (``lbd``, ``rbd``), baked into the data.
        remapping_whole: new label values after resizing (``whole``), baked into the data.
        remapping_imported: new values of the imported labels; those not listed become 0.
        remapping_train: new label values on the fly, while training.
        classes: names of the labels that the network tells apart; a dict joins several labels into one class,
            ``{kidney: [kidney_left, kidney_right]}``. Null means every label.
        vip_label: label value whose Dice per case is reported first.
        half_precision: store images other than CT as float16 in raw units instead of scaled int16.
        clip_hu: store CT clipped to [low, high], which saves a quarter to three quarters of the disk space; null keeps
            every HU. [-900, 3071] takes the noise of air alone; a window around the project's intensity_clip_range
            takes nothing from training, which clips to that.
    """

    plan_name: str = _key("unnamed", read_by="names of runs")
    notes: str = _key("", read_by="people")
    source_plan: str | None = _key(None, read_by="preprocess")
    plan_valid: str | None = _key(None, read_by="train")
    plan_test: str | None = _key(None, read_by="score")
    datasources: list[str] | None = _key(None, read_by="preprocess, train")
    lm_groups: list[list[str]] | None = _key(None, read_by="preprocess, train")
    mode: str = _key("source", read_by="preprocess, infer")
    spacing: list[float] = _key([1.0, 1.0, 1.0], unit="mm", read_by="preprocess, infer")
    patch_dim0: int = _key(64, unit="voxels", read_by="train, infer; preprocess in modes whole, lbd, rbd, pbd")
    patch_dim1: int = _key(64, unit="voxels", read_by="train, infer; preprocess in modes whole, lbd, rbd, pbd")
    patch_overlap: float = _key(0.0, unit="share of a patch", read_by="preprocess in modes pbd, sourcepbd")
    expand_by: float = _key(0.0, unit="mm", read_by="preprocess in modes lbd, rbd, pbd")
    samples_per_file: int = _key(1, unit="crops", read_by="train")
    use_fg_indices: bool = _key(True, read_by="preprocess, train")
    fg_indices_exclude: list[int] = _key([], unit="label values", read_by="preprocess, train")
    imported_folder: Any = _key(None, read_by="preprocess in mode lbd")
    imported_labels: Any = _key(None, read_by="preprocess in mode lbd")
    merge_imported_labels: bool = _key(False, read_by="preprocess in mode lbd")
    localiser: str | None = _key(None, read_by="preprocess in mode rbd")
    localiser_regions: list[str] | None = _key(None, read_by="preprocess in mode rbd")
    remapping_source: Any = _key(None, unit="label values", read_by="preprocess")
    remapping_lbd: Any = _key(None, unit="label values", read_by="preprocess in modes lbd, rbd")
    remapping_whole: Any = _key(None, unit="label values", read_by="preprocess in mode whole")
    remapping_imported: Any = _key(UNSET, unit="label values", read_by="preprocess in mode lbd")
    remapping_train: Any = _key(None, unit="label values", read_by="train")
    classes: Any = _key(None, unit="label names", read_by="train")
    vip_label: int | None = _key(None, unit="label value", read_by="train, score")
    half_precision: bool = _key(False, read_by="preprocess, infer")
    clip_hu: list[int] | None = _key(None, unit="HU", read_by="preprocess, train")

    @property
    def patch_size(self) -> tuple[int, int, int]:
        """Training patch (x, y, z) in voxels."""
        return self.patch_dim0, self.patch_dim0, self.patch_dim1

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """`spacing` as a tuple."""
        x, y, z = self.spacing
        return x, y, z

    @property
    def canonical_mode(self) -> str:
        """`mode` with aliases replaced."""
        return MODE_ALIASES.get(self.mode, self.mode)


def nearest_key(key: str) -> str:
    """What to write instead of a key that no plan has, for the end of an error message."""
    if key in FORMER_KEYS:
        return f"write {FORMER_KEYS[key]}"
    return choices(key, [f.name for f in fields(Plan)])
