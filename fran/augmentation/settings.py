"""Settings of the batched augmentation; nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from fran.errors import SettingProblem, raise_for_settings


@dataclass
class AugmentationSettings:
    """What is drawn for each sample. A probability of 0 switches an operation off and costs nothing.

    Attributes:
        rotation_p: probability of a rotation.
        rotation_deg: largest angle about the x, y and z axis; angles are uniform in ±.
        in_plane_above: where the largest spacing exceeds the smallest by this factor, rotations stay in the plane
            of the two finer axes, for across thick slices they would smear more than they teach.
        scale_p: probability of a zoom.
        scale_range: uniform range of the zoom factor; above 1 enlarges.
        shear_p: probability of a shear.
        shear_deg: largest angle of the shears of x along y, of x along z and of y along z; in plane as rotations.
        translation_p: probability of a shift.
        translation_mm: largest shift along x, y and z.
        flip_p: probability of mirroring x, y and z.
        flip_lateral_labels: mirror even along an axis on which label names tell sides apart (left/right, ...).
        noise_p, noise_std: Gaussian noise; the standard deviation is uniform from 0 to `noise_std` (normalised units).
        blur_p, blur_sigma_vox: Gaussian blur; sigma range in voxels.
        brightness_p, brightness_range: factor on the normalised image.
        shift_p, shift_range: added to the normalised image, whose unit is the data's standard deviation.
        contrast_p, contrast_range: factor on the distance from the sample's mean, then clipped to the former range.
        lowres_p, lowres_range: shrink by the factor with nearest neighbours and enlarge again linearly.
        gamma_p, gamma_range: exponent on the image scaled to 0..1; mean and standard deviation are kept.
        gamma_invert_p: probability of the same on the inverted image.
        transforms: name to a transform of TorchIO, ``{_target_: torchio.<class>, p: probability, ...arguments}``; they
            are applied to the raw crop in the loader.
    """

    rotation_p: float = 0.2
    rotation_deg: list[float] = field(default_factory=lambda: [30.0, 30.0, 30.0])
    in_plane_above: float = 3.0
    scale_p: float = 0.2
    scale_range: list[float] = field(default_factory=lambda: [0.7, 1.4])
    shear_p: float = 0.0
    shear_deg: list[float] = field(default_factory=lambda: [5.0, 5.0, 5.0])
    translation_p: float = 0.0
    translation_mm: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    flip_p: list[float] = field(default_factory=lambda: [0.5, 0.5, 0.5])
    flip_lateral_labels: bool = False
    noise_p: float = 0.1
    noise_std: float = 0.3
    blur_p: float = 0.1
    blur_sigma_vox: list[float] = field(default_factory=lambda: [0.5, 1.0])
    brightness_p: float = 0.15
    brightness_range: list[float] = field(default_factory=lambda: [0.75, 1.25])
    shift_p: float = 0.0
    shift_range: list[float] = field(default_factory=lambda: [-0.1, 0.1])
    contrast_p: float = 0.15
    contrast_range: list[float] = field(default_factory=lambda: [0.75, 1.25])
    lowres_p: float = 0.1
    lowres_range: list[float] = field(default_factory=lambda: [0.5, 1.0])
    gamma_p: float = 0.3
    gamma_range: list[float] = field(default_factory=lambda: [0.7, 1.5])
    gamma_invert_p: float = 0.1
    transforms: dict[str, Any] = field(default_factory=dict)

    def problems(self) -> list[SettingProblem]:
        """Every setting that is out of range."""
        return [
            SettingProblem(f"augmentation.{name}", value, expected)
            for name, value in vars(self).items()
            if (expected := _expected(name, value))
        ]

    def check(self) -> None:
        """Raise `ConfigError` naming every setting that is out of range."""
        raise_for_settings(self.problems())


_THREE = dict.fromkeys(("rotation_deg", "translation_mm", "flip_p"), "x, y and z")
_THREE |= {"shear_deg": "x along y, x along z and y along z"}
STEEPEST_DEG = 60.0


def _expected(name: str, value: Any) -> str:
    """What a setting should be, or nothing where it is that."""
    values = value if isinstance(value, list) else [value]
    if name == "transforms":
        usable = all(isinstance(v, dict) and _is_chance(v.get("p", 1.0)) and "_target_" in v for v in value.values())
        return "" if usable else "for each name _target_, a transform of TorchIO, and p, a probability from 0 to 1"
    if name in _THREE and len(values) != 3:
        return f"three numbers, for {_THREE[name]}"
    if name == "shear_deg" and not all(abs(angle) < STEEPEST_DEG for angle in values):
        return f"angles below {STEEPEST_DEG:g} degrees"
    if name.endswith("_p") and not all(0 <= p <= 1 for p in values):
        return "probabilities from 0 to 1"
    if name == "shift_range":
        return "" if len(values) == 2 and values[0] <= values[1] else "two numbers, lowest <= highest"
    if name.endswith(("_range", "_sigma_vox")) and not (len(values) == 2 and 0 < values[0] <= values[1]):
        return "two numbers, 0 < lowest <= highest"
    return ""


def _is_chance(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def no_augmentation() -> AugmentationSettings:
    """Every probability 0."""
    nothing = AugmentationSettings(flip_p=[0.0, 0.0, 0.0])
    for name, value in vars(nothing).items():
        if name.endswith("_p") and isinstance(value, float):
            setattr(nothing, name, 0.0)
    return nothing


def single_operations(settings: AugmentationSettings) -> dict[str, AugmentationSettings]:
    """The operations that are in use, each alone and certain, at the settings' strengths.

    Example:
        >>> list(single_operations(AugmentationSettings(noise_p=0.0)))[-4:]
        ['contrast', 'lowres', 'gamma', 'gamma_invert']
    """
    chances = {name: p for name, p in vars(settings).items() if name.endswith("_p")}
    nothing: dict[str, Any] = {name: [0.0] * 3 if isinstance(p, list) else 0.0 for name, p in chances.items()}
    nothing["transforms"] = {}
    used = {name: p for name, p in chances.items() if (any(p) if isinstance(p, list) else p)}
    alone: dict[str, AugmentationSettings] = {}
    for name, p in used.items():
        certain: dict[str, Any] = {name: [float(x > 0) for x in p] if isinstance(p, list) else 1.0}
        alone[name.removesuffix("_p")] = replace(settings, **(nothing | certain))
    for name, transform in settings.transforms.items():
        alone[name] = replace(settings, **(nothing | {"transforms": {name: {**transform, "p": 1.0}}}))
    return alone


SIDES = (("left", "right"), ("anterior", "posterior"), ("superior", "inferior", "upper", "lower"))


def safe_flips(flip_p: list[float], label_names: list[str]) -> list[float]:
    """`flip_p` with 0 on the axes along which label names tell the two sides apart.

    Example:
        >>> safe_flips([0.5, 0.5, 0.5], ["kidney_left", "kidney_right"])
        [0.0, 0.5, 0.5]
    """
    words = {word for name in label_names for word in name.lower().replace("_", " ").replace("-", " ").split()}
    return [0.0 if words & set(sides) else p for p, sides in zip(flip_p, SIDES, strict=True)]
