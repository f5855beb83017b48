"""What goes wrong in a training without stopping it, told from its figures: one pure function an alarm.

Each returns an `Alarm` or None. Thresholds are set so that short trainings, and those that begin slowly, stay quiet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

#: Validations in a row with Dice 0 before a class counts as collapsed; share of the training, and steps, done by then.
COLLAPSED_VALIDATIONS, COLLAPSED_PROGRESS, COLLAPSED_STEPS = 5, 0.3, 200
#: Below so many voxels a structure is likely lost by the spacing.
SMALL_VOXELS = 60
#: Share of an epoch spent waiting for data, the epochs in a row, and the seconds below which an epoch tells nothing.
WAIT_SHARE, WAIT_EPOCHS, WAIT_SECONDS = 0.3, 2, 5.0
#: A convolution that takes so many times what it takes in float32, or in the ordinary layout, is on a slow path.
SLOW_FACTOR = 2.0
#: Epochs and steps after which a loss must have fallen by this share.
FLAT_EPOCHS, FLAT_STEPS, FLAT_SHARE = 10, 500, 0.02
#: Fall of val/dice below its best, for so many validations, while the loss falls.
OVERFIT_DROP, OVERFIT_VALIDATIONS, OVERFIT_BEST = 0.1, 4, 0.3
#: Free space must hold so many checkpoints: last, its copy as best, and the one being written.
DISK_CHECKPOINTS = 3


@dataclass(frozen=True)
class Alarm:
    """Something that a person should look at.

    Attributes:
        name: of the kind.
        subject: the label or setting it is about; "" where there is but one.
        seen: what was observed, with figures.
        cause: the likely one.
        remedy: what to do, with the setting.
    """

    name: str
    subject: str
    seen: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        subject = f" ({self.subject})" if self.subject else ""
        return f"{self.name}{subject}: {self.seen}. Likely cause: {self.cause}. Try: {self.remedy}"


@dataclass(frozen=True)
class LabelHistory:
    """One label over the validations so far.

    Attributes:
        dice: mean Dice of each validation, NaN where no case had one.
        predicted_mm3: volume predicted in all cases together, for each validation.
        ref_mm3: mean volume over the cases that have it at the last validation; 0 where none has.
        voxel_mm3: volume of a voxel.
    """

    dice: tuple[float, ...]
    predicted_mm3: tuple[float, ...]
    ref_mm3: float
    voxel_mm3: float


def collapsed_class(
    name: str, past: LabelHistory, progress: float, steps: int, *, at_end: bool = False
) -> Alarm | None:
    """A label that cases hold and that has had Dice 0 for long, or to the end.

    Args:
        name: of the label.
        past: its validations.
        progress: share of the training that is done.
        steps: optimiser steps so far.
        at_end: the training is over, so that two validations are enough.
    """
    needed = 2 if at_end else COLLAPSED_VALIDATIONS
    recent = past.dice[-needed:]
    if past.ref_mm3 <= 0 or len(recent) < needed or any(dice != 0 for dice in recent):
        return None
    if steps < COLLAPSED_STEPS or (progress < COLLAPSED_PROGRESS and not at_end):
        return None
    never = not any(past.predicted_mm3)
    voxels = past.ref_mm3 / past.voxel_mm3
    where = "never predicted" if never else "predicted in the wrong places alone"
    seen = f"{where}: Dice 0 in the last {len(recent)} validations, {past.ref_mm3:,.0f} mm3 in a case on average"
    if voxels < SMALL_VOXELS:
        cause = f"it is too small at this spacing, about {voxels:.0f} voxels in a case"
        remedy = "a finer spacing, or a crop to its surroundings first (mode=lbd, rbd)"
    else:
        cause = "too few crops show it, so that background is the cheaper answer"
        remedy = (
            f"trainer.class_sampling_weights={{{name}: 3}}, trainer.fg_fraction=0.67, a longer training;"
            " then a look at its references (fran project sheet)"
        )
    return Alarm("collapsed class", name, seen, cause, remedy)


def absent_class(name: str, n_train: int, n_val: int | None) -> Alarm | None:
    """A label of the plan that no training case holds, or no validation case.

    Args:
        name: of the label.
        n_train: training cases that hold it.
        n_val: validation cases that hold it; None where nothing is validated.
    """
    if n_train == 0:
        return Alarm(
            "absent class",
            name,
            "no training case holds it",
            "a label that is declared but not drawn, or lost by a remapping, a crop or the choice of datasources",
            "fran labels show for what became of it; leave it out with remapping_train if nobody drew it",
        )
    if n_val == 0:
        return Alarm(
            "absent class",
            name,
            f"{n_train} training cases hold it, no validation case does, so nothing judges it",
            "a rare label, or few validation cases",
            "another fold, trainer.max_val_cases=0, or more cases that have it",
        )
    return None


def data_starvation(shares: Sequence[float], epoch_s: float, workers: int, cache: str) -> Alarm | None:
    """Epochs in which the device waited for data.

    Args:
        shares: of the epochs so far; the first one is passed over, for it starts the loaders.
        epoch_s: seconds of the last epoch's training.
        workers: loader processes.
        cache: where cases are kept.
    """
    recent = shares[1:][-WAIT_EPOCHS:]
    if len(recent) < WAIT_EPOCHS or min(recent) < WAIT_SHARE or epoch_s < WAIT_SECONDS:
        return None
    seen = f"{100 * fmean(recent):.0f} % of the last {len(recent)} epochs were spent waiting for data"
    remedies = [] if cache != "none" else ["trainer.cache=ram where the cases fit into memory"]
    remedies += [f"trainer.num_workers={max(2, 2 * workers)} (now {workers})", "samples_per_file=4 for slow disks"]
    cause = f"reading and cutting crops with {workers or 'no'} loader processes is slower than the network"
    return Alarm("data starvation", "", seen, cause, "; ".join(remedies))


def slow_convolution(seconds: Mapping[str, float], precision: str, channels_last: bool) -> Alarm | None:
    """A precision or a memory layout that makes convolutions slower instead of quicker.

    Args:
        seconds: of one convolution: "float32", "precision" (what the training computes in) and, with
            `channels_last`, "contiguous" (the same in the ordinary layout).
        precision: Lightning's name.
        channels_last: the layout of the training.
    """
    if precision != "32-true" and seconds["precision"] > SLOW_FACTOR * seconds["float32"]:
        times = seconds["precision"] / seconds["float32"]
        return Alarm(
            "slow convolution",
            precision,
            f"a 3-D convolution takes {times:.1f} times as long in {precision} as in float32",
            "the processor does not compute in this type (no avx512_bf16 or AMX), or this torch build has no kernel",
            "trainer.precision=32-true, or another torch version",
        )
    if channels_last and seconds["precision"] > SLOW_FACTOR * seconds["contiguous"]:
        times = seconds["precision"] / seconds["contiguous"]
        return Alarm(
            "slow convolution",
            "channels_last",
            f"a 3-D convolution takes {times:.1f} times as long in channels_last_3d",
            "this device or torch build has no kernel for the layout",
            "trainer.channels_last=false",
        )
    return None


def missing_kernels(accelerator: str, *, onednn: bool, cudnn: bool) -> Alarm | None:
    """The library that convolutions need is not there."""
    library = {"cpu": None if onednn else "oneDNN", "gpu": None if cudnn else "cuDNN"}.get(accelerator)
    if library is None:
        return None
    return Alarm(
        "slow convolution",
        library,
        f"torch runs without {library}",
        "a torch build without it, or it was switched off",
        "the official torch wheel; check torch.backends",
    )


def flat_loss(losses: Sequence[float], steps: int, lr: float) -> Alarm | None:
    """A loss that has not fallen since the first epoch.

    Args:
        losses: mean of each epoch of this run.
        steps: optimiser steps so far.
        lr: highest learning rate.
    """
    if len(losses) < FLAT_EPOCHS or steps < FLAT_STEPS or min(losses[1:]) <= losses[0] * (1 - FLAT_SHARE):
        return None
    seen = f"loss {losses[0]:.3f} in the first epoch, {min(losses[1:]):.3f} at best in the {len(losses) - 1} after"
    cause = "a learning rate that is too low or too high, or images and references that do not belong together"
    remedy = f"trainer.optimiser.lr={lr * 3:g} or {lr / 10:g} (now {lr:g}); fran project sheet to look at the data"
    return Alarm("loss does not fall", "", seen, cause, remedy)


def overfitting(dices: Sequence[float], losses: Sequence[float]) -> Alarm | None:
    """Validation has become much worse than it was while the training loss still falls.

    Args:
        dices: `val/dice` of each validation.
        losses: mean of each epoch.
    """
    known = [dice for dice in dices if dice == dice]
    recent = known[-OVERFIT_VALIDATIONS:]
    if len(known) <= OVERFIT_VALIDATIONS or max(known) < OVERFIT_BEST or max(recent) > max(known) - OVERFIT_DROP:
        return None
    if len(losses) < 2 or losses[-1] > min(losses) * (1 + FLAT_SHARE):
        return None
    seen = f"val/dice {max(known):.3f} at its best, at most {max(recent):.3f} in the last {len(recent)} validations"
    cause = "the network learns its training cases by heart"
    remedy = "best.ckpt is from before; augmentation=default, fewer filters, more cases, trainer.early_stopping_epochs"
    return Alarm("overfitting", "", seen, cause, remedy)


def disk_nearly_full(free_bytes: int, checkpoint_bytes: int) -> Alarm | None:
    """No room for the next checkpoints."""
    if free_bytes >= DISK_CHECKPOINTS * checkpoint_bytes:
        return None
    free, one = free_bytes / 2**20, checkpoint_bytes / 2**20
    return Alarm(
        "disk nearly full",
        "",
        f"{free:,.0f} MiB are free, a checkpoint takes {one:,.0f} MiB",
        "the disk of the run's folder is full or has a quota",
        "make room now; until then the last whole checkpoint stays. fran cache gc lists what can go",
    )
