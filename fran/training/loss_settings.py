"""Settings of the loss."""

from __future__ import annotations

from dataclasses import dataclass

from fran.errors import SettingProblem, unmet


@dataclass
class LossSettings:
    """Dice (or Tversky) plus cross-entropy (or focal loss), see `fran.losses.segmentation`.

    Attributes:
        dice_weight, ce_weight: factors of the two terms.
        batch_dice: sum over the batch before the quotient.
        include_background: let class 0 count in the Dice term.
        smooth: added to numerator and denominator of Dice.
        class_weights: factors of the cross-entropy per class, background first; null for none.
        fp_weight, fn_weight: Tversky's weights of false positives and false negatives; 0.5 each is Dice, 1 Jaccard.
        focus: exponent of the focal loss, 0 is cross-entropy.
        head_weights: of deeply supervised heads, the finest first, divided by their sum; null is 1, 1/2, 1/4, ...
    """

    dice_weight: float = 1.0
    ce_weight: float = 1.0
    batch_dice: bool = True
    include_background: bool = False
    smooth: float = 1e-5
    class_weights: list[float] | None = None
    fp_weight: float = 0.5
    fn_weight: float = 0.5
    focus: float = 0.0
    head_weights: list[float] | None = None

    def describe(self) -> str:
        """The two terms in words, with their factors where these are not 1.

        Example:
            >>> LossSettings().describe(), LossSettings(ce_weight=0.0).describe()
            ('Dice + cross-entropy', 'Dice')
            >>> LossSettings(fn_weight=0.7, fp_weight=0.3, focus=2.0, ce_weight=0.5).describe()
            'Tversky + 0.5 x focal loss'
        """
        overlap = "Dice" if self.fp_weight == self.fn_weight == 0.5 else "Tversky"
        terms = ((self.dice_weight, overlap), (self.ce_weight, "focal loss" if self.focus else "cross-entropy"))
        return " + ".join(name if factor == 1 else f"{factor:g} x {name}" for factor, name in terms if factor)

    def problems(self) -> list[SettingProblem]:
        """What the types cannot rule out."""
        wanted = {
            "dice_weight": self.dice_weight >= 0 or "0 or more",
            "ce_weight": self.ce_weight >= 0 or "0 or more",
            # without it a class that is nowhere makes 0 / 0
            "smooth": self.smooth > 0 or "a number above 0",
            "class_weights": _usable(self.class_weights) or "weights of 0 or more, not all of them 0, or null for none",
            "fp_weight": self.fp_weight >= 0 or "0 or more",
            "fn_weight": self.fn_weight >= 0 or "0 or more",
            "focus": self.focus >= 0 or "0 (cross-entropy) or more",
            "head_weights": _usable(self.head_weights) or "weights of 0 or more, not all of them 0, or null",
        }
        if not self.dice_weight and not self.ce_weight:
            wanted["ce_weight"] = "above 0 where dice_weight is 0"
        return unmet(self, "trainer.loss", wanted)


def _usable(weights: list[float] | None) -> bool:
    return weights is None or (min(weights, default=-1) >= 0 and sum(weights) > 0)
