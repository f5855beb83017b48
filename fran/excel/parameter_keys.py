"""Old variables of the parameter sheets and what they are now: keys with their conversion, or the reason why not.

This table is the whole mapping: the importer follows it and docs/from_excel.md prints it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fran.excel.grammar import NotThis, literal, number, numbers, truth, whole
from fran.excel.plan_keys import PLAN_KEYS
from fran.training.settings import OPTIMISERS, SCHEDULES

Values = Mapping[str, Any]
SMALLEST_FACTOR = 0.01
SUPERVISED_LEVELS = 2
FOCUS = 2.0


class Aside(ValueError):
    """A value that has no equivalent; the message says why."""


@dataclass(frozen=True)
class Rule:
    """What an old variable is now.

    Attributes:
        keys: dotted keys, all of which take the value.
        parse: value of the ``manual_value`` cell; raises `NotThis` or `Aside`.
        says: the conversion in words; empty where the value stays.
        element: one number, or one choice, of a search; None: `parse` reads choices, numbers stay.
        p_key: key of the probability beside it (``manual_p``, ``tune_p``).
        unless: reason for which the value is set aside in view of the sheet's other values.
        search: how the search differs: ``upper`` searches the upper end of the range alone.
    """

    keys: tuple[str, ...]
    parse: Callable[[Any], Any]
    says: str = ""
    element: Callable[[Any], Any] | None = None
    p_key: str = ""
    unless: Callable[[Values], str] | None = None
    search: str = ""


def _key(key: str, parse: Callable[[Any], Any], says: str = "", **more: Any) -> Rule:
    return Rule((key,), parse, says, **more)


def same(value: Any) -> Any:
    """The value itself."""
    return value


def brightness_factor(value: float) -> float:
    """Old scaling multiplied by 1 + v; fran by a factor above 0.

    Example:
        >>> brightness_factor(-1), brightness_factor(0.5)
        (0.01, 1.5)
    """
    return round(max(1 + value, SMALLEST_FACTOR), 6)


def fg_fraction(value: Any) -> float:
    """Foreground to background 3:1 is a share of 0.75.

    Example:
        >>> fg_fraction("3")
        0.75
    """
    found = literal(value)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise Aside("a list of ratios; fran has one share, fg_fraction, and class_sampling_weights by label name")
    return round(found / (found + 1), 6)


def degrees(value: float) -> float:
    """Radians to degrees.

    Example:
        >>> degrees(0.2)
        11.459156
    """
    return round(math.degrees(value), 6)


def _rotation(value: Any) -> list[float]:
    found = [degrees(v) for v in numbers(value)]
    if len(found) not in (1, 3):
        raise NotThis("one angle, or three for x, y and z, in radians")
    return found * (3 if len(found) == 1 else 1)


def _zoom(value: Any) -> list[float]:
    """``[.15, .15, .15]`` is ±0.15 about 1; fran's zoom is the same along the three axes."""
    found = [abs(v) for v in numbers(value)]
    if not 0 < max(found) < 1:
        raise Aside("fran's zoom is a range about 1, such as ±0.15")
    return [round(1 - max(found), 6), round(1 + max(found), 6)]


def _pair(value: Any) -> list[float]:
    found = numbers(value)
    if len(found) != 2 or not 0 < found[0] <= found[1]:
        raise NotThis("two numbers, 0 < lowest <= highest")
    return [float(v) for v in found]


def _brightness(value: Any) -> list[float]:
    found = numbers(value)
    if len(found) != 2:
        raise NotThis("two numbers, lowest and highest")
    return [brightness_factor(v) for v in found]


def _ends(value: Any) -> list[float]:
    found = numbers(value)
    if len(found) != 2 or found[0] > found[1]:
        raise NotThis("two numbers, lowest <= highest")
    return [float(v) for v in found]


def _upper(value: Any) -> float:
    return float(max(numbers(value)))


def _flip(value: Any) -> bool:
    return truth(value)


def _levels(value: Any) -> int:
    return SUPERVISED_LEVELS if truth(value) else 0


def _filters(value: Any) -> int:
    try:
        return whole(value)
    except NotThis as error:
        raise Aside(f"'{value}' is no number of channels; the old program drew one from tune_value") from error


def _cache(value: Any) -> str:
    return "ram" if number(value) > 0 else "none"


def _optimiser(value: Any) -> str:
    known = {"adam": "adamw", "adamw": "adamw", "sgd": "sgd"}
    name = known.get(str(value).strip().lower(), str(value).strip().lower())
    if name not in OPTIMISERS:
        raise Aside(f"fran has no optimiser {value} yet: {', '.join(OPTIMISERS)}")
    return name


def _schedule(value: Any) -> str:
    known = {
        "reducelronplateau": ("plateau",),
        "cosineannealinglr": ("cosine",),
        "polynomiallr": ("poly",),
        "onecyclelr": ("one_cycle", "onecycle"),
        "constantlr": ("constant",),
    }
    for name in known.get(str(value).strip().lower(), (str(value).strip().lower(),)):
        if name in SCHEDULES:
            return name
    raise Aside(f"fran has no schedule {value} yet: {', '.join(SCHEDULES)}")


def _focus(value: Any) -> float:
    names = {"ce": 0.0, "cross_entropy": 0.0, "crossentropy": 0.0, "focal": FOCUS}
    try:
        return names[str(value).strip().lower()]
    except KeyError as error:
        raise NotThis("ce or focal") from error


def _fold(value: Any) -> int:
    found = whole(value)
    if not 0 <= found < 5:
        raise Aside("fran has the folds 0 to 4")
    return found


def _class_weights(value: Any) -> list[float]:
    found = literal(value)
    if not isinstance(found, list):
        raise Aside("one weight for all classes changes nothing; fran takes one a class, background first")
    return [float(v) for v in numbers(value)]


def _unet3d_only(values: Values) -> str:
    if str(values.get("arch", "")).strip().lower() == "unet3d":
        return ""
    return "acted on UNet3D alone; the old program ignored it for the network that the workbook names"


def _flip_axes(axes: tuple[int, int, int]) -> Callable[[Any], Any]:
    def probability(value: Any) -> list[float]:
        p = float(number(value))
        return [p * axis for axis in axes]

    return probability


def _unused(equivalent: str = "") -> str:
    return f"the old program read it and never used it{'; ' if equivalent else ''}{equivalent}"


_UNET3D = "acted on UNet3D alone; fran's unet has no such setting"
_PLATEAU = "fran's plateau watches val/dice; trainer.optimiser.plateau_patience counts validations, not epochs"
_BY_DATA = "fran takes it from the data"

Entry = Rule | str
MODEL: dict[str, Entry] = {
    "arch": _key(
        "model", same, "nnUNet and DynUNet are dynunet, ResUNet is resunet, UNet3D is unet, SwinUNETR is swinunetr"
    ),
    "base_ch_opts": _key("model.filters", _filters, unless=_unet3d_only),
    "depth_opts": _key("model.max_levels", whole, unless=_unet3d_only),
    "deep_supervision": _key("model.deep_supervision", _levels, f"TRUE is {SUPERVISED_LEVELS} levels below the finest"),
    "nnunet_use_residual": _key("model.res_block", truth, "a setting of dynunet; resunet is residual"),
    "dropout": _key("model.dropout", number),
    "lr": _key("trainer.optimiser.lr", number),
    "optimizer": _key("trainer.optimiser.name", _optimiser, "Adam is adamw; without weight decay they are the same"),
    "weight_decay": _key("trainer.optimiser.weight_decay", number),
    "momentum": _key("trainer.optimiser.momentum", number),
    "compiled": _key("trainer.compile", truth),
    "lr_scheduler": _key("trainer.optimiser.schedule", _schedule),
    "scheduler_mode": _PLATEAU,
    "scheduler_patience": _PLATEAU,
    "scheduler_monitor": _PLATEAU,
    "scheduler_frequency": _PLATEAU,
    "one_cycle": _unused(),
    "mom_low": _unused("its search was a rule in the code"),
    "mom_added": _unused("its search was a rule in the code"),
    "heavy": f"{_UNET3D}; the old program read the text 0 as true",
    "layer_order": _UNET3D,
    "n_bottlenecks": _UNET3D,
    "self_attention": _UNET3D,
    "tune_region_id": _unused(),
    "n_blocks_per_level": _unused("fran works out the levels from patch and spacing"),
    "in_channels": _BY_DATA,
    "out_channels": _BY_DATA,
}
DATASET: dict[str, Entry] = {
    "fold": _key("fold", _fold),
    "batch_size": _key("trainer.batch_size", whole),
    "bs": _key("trainer.batch_size", whole),
    "fgbg_ratio": _key("trainer.fg_fraction", fg_fraction, "n:1 is n/(n+1)"),
    "cache_rate": _key("trainer.cache", _cache, "0 is none, above it ram"),
    "plan_train": _key("plan", same, "the preset chooses that plan"),
    "plan": _key("plan", same, "the preset chooses that plan"),
    "plan_valid": _key("plan_valid", same, "the preset states that plan"),
    "plan_test": _key("plan_test", same, "the preset states that plan"),
    "class_ratios": "weights by label value; fran's class_sampling_weights go by label name",
    "samples_per_file": "each plan states it; where one does not, the old program took 1, as fran does",
    "src_dims": "fran works out what is read around a patch itself",
    "src_dim0": "fran works out what is read around a patch itself",
    "src_dim1": "fran works out what is read around a patch itself",
    "zoom": _unused(),
    "random_sample": _unused(),
    "fake_tumours": "fran makes no artificial tumours",
    "ds_type": "one kind of case file in fran",
    "crop_center": "fran centres crops on foreground by fg_fraction and class_sampling_weights",
}
INTENSITY: dict[str, Entry] = {
    "contrast": _key(
        "augmentation.gamma_range", _pair, "the old contrast was an exponent", p_key="augmentation.gamma_p"
    ),
    "scale": _key(
        "augmentation.brightness_range",
        _brightness,
        f"factor 1 + v, {SMALLEST_FACTOR} at least",
        element=brightness_factor,
        p_key="augmentation.brightness_p",
    ),
    "noise": _key(
        "augmentation.noise_std",
        _upper,
        "fran draws the standard deviation from 0 to the upper end",
        p_key="augmentation.noise_p",
        search="upper",
    ),
    "flip": _key("augmentation.flip_p", _flip, "old flips were along x and y; fran's flip_p is one for each axis"),
    "shift": _key(
        "augmentation.shift_range", _ends, "added to the normalised image, then as now", p_key="augmentation.shift_p"
    ),
    "brightness": _unused("scale changed brightness"),
    "noise_ub": _unused("noise was the one in use"),
    "noise_monai": _unused("noise was the one in use"),
}
EARLY_INTENSITY: dict[str, Entry] = {
    "contrast": _key("augmentation.contrast_range", _pair, p_key="augmentation.contrast_p"),
    "brightness": _key("augmentation.brightness_range", _pair, p_key="augmentation.brightness_p"),
    "noise": INTENSITY["noise"],
    "shift": INTENSITY["shift"],
    "scale": INTENSITY["scale"],
    "noise_ub": INTENSITY["noise_ub"],
    "noise_monai": INTENSITY["noise_monai"],
    "flip": INTENSITY["flip"],
}
SPATIAL: dict[str, Entry] = {
    "flip_random": _key("augmentation.flip_p", _flip, "one probability for each axis; the old one was for all three"),
    "flip": INTENSITY["flip"],
}
AFFINE: dict[str, Entry] = {
    "rotate_range": _key("augmentation.rotation_deg", _rotation, "radians to degrees", element=degrees),
    "rotate_max": _key("augmentation.rotation_deg", _rotation, "radians to degrees", element=degrees),
    "scale_range": _key("augmentation.scale_range", _zoom, "±v is [1-v, 1+v]; fran's zoom is one for all axes"),
    "scale_ranges": _key("augmentation.scale_range", _pair),
    "p": Rule(("augmentation.rotation_p", "augmentation.scale_p"), number, "fran draws rotation and zoom apart"),
    "translate_factor": _unused("a share of the side then, translation_mm in fran"),
    "shear": _unused("in fran shear_deg"),
}
LOSS: dict[str, Entry] = {
    "ce_weight": _key("trainer.loss.class_weights", _class_weights),
    "weight": _key("trainer.loss.class_weights", _class_weights),
    "lambda_ce": _key("trainer.loss.ce_weight", number),
    "lambda_dice": _key("trainer.loss.dice_weight", number),
    "include_background": _key("trainer.loss.include_background", truth),
    "smooth": _key("trainer.loss.smooth", number),
    "reduction": "fran's loss is a mean",
    "softmax": "fran's loss always takes the softmax",
    "apply_activation": "fran's loss always takes the softmax",
    "ce_or_focal": _key("trainer.loss.focus", _focus, f"focal is {FOCUS:g}, ce is 0"),
    "theta": "belongs to a boundary loss, which fran does not have yet",
    "square_in_union": "fran's Dice has no squares in the denominator",
}
METADATA: dict[str, Entry] = {
    "fold": DATASET["fold"],
    "most_recent_ray_experiment": "an old search; fran's are found in MLflow",
}
SHEETS: dict[str, dict[str, Entry]] = {
    "model": MODEL,
    "dataset": DATASET,
    "intensity": INTENSITY,
    "early_intensity": EARLY_INTENSITY,
    "spatial": SPATIAL,
    "affine": AFFINE,
    "loss": LOSS,
    "metadata": METADATA,
}
ONE_PLAN = (*PLAN_KEYS, "patch_size", "remapping")
"""Variables that were parameters when workbooks had no plans; they make the workbook's one plan."""
FOR_ALL_PLANS = ("src_dest_labels", "remapping_train")
"""Variables that held for every plan of a workbook that has some; its preset states them."""


def rule_for(kind: str, name: str) -> Entry | None:
    """What a variable of a sheet is now; sheets of other kinds are asked too, for variables moved between sheets."""
    own = SHEETS.get(kind, {})
    if name in own:
        return own[name]
    moved = [table[name] for table in (MODEL, DATASET, LOSS, METADATA) if name in table]
    return moved[0] if moved and kind in ("model", "dataset", "loss", "metadata") else None
