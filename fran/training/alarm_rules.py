"""What goes wrong in a training without stopping it, told from its figures: one pure function an alarm.

Each returns an `Alarm` or None. Thresholds are set so that short trainings, and those that begin slowly, stay quiet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

#: Below this Dice a class counts as not found; it has to be so in this many validations in a row and for so many steps.
LOST_DICE, LOST_VALIDATIONS, LOST_STEPS = 0.01, 3, 200
#: A class that was found had this Dice in so many validations in a row: once it has where an untrained network predicts
#: it everywhere. One that never was gets this share of the training, and steps, to appear.
FOUND_DICE, FOUND_VALIDATIONS, LATE_PROGRESS, LATE_STEPS = 0.3, 2, 0.5, 1000
#: Crops placed on a class below which too few of them are the likely cause.
FEW_CROPS = 200
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
        crops: that were placed on it so far, as the settings of the sampling let expect.
    """

    dice: tuple[float, ...]
    predicted_mm3: tuple[float, ...]
    ref_mm3: float
    voxel_mm3: float
    crops: float

    @property
    def lost(self) -> int:
        """Latest validations in a row in which it was not found."""
        return next((n for n, dice in enumerate(reversed(self.dice)) if not dice < LOST_DICE), len(self.dice))

    @property
    def found(self) -> float:
        """Highest Dice that it kept for some validations."""
        starts = range(len(self.dice) - FOUND_VALIDATIONS + 1)
        kept = (self.dice[n : n + FOUND_VALIDATIONS] for n in starts)
        return max((min(row) for row in kept if all(dice == dice for dice in row)), default=0.0)


@dataclass(frozen=True)
class Done:
    """How far a training is.

    Attributes:
        progress: share of the whole, 0 to 1.
        steps: of the optimiser.
        val_steps: steps between validations.
        at_end: it is over.
    """

    progress: float
    steps: int
    val_steps: int
    at_end: bool = False


def collapsed_class(name: str, past: LabelHistory, done: Done) -> Alarm | None:
    """A label that cases hold and that is not found any more, or was not found when it should have been.

    A small structure is at Dice 0 for hundreds of steps in an ordinary training, so one that was never found is said
    late; one that was found and vanished is said at once.
    """
    found = past.found >= FOUND_DICE
    if past.ref_mm3 <= 0 or not _lost_for_long(past.lost, done):
        return None
    if not (found or done.at_end or (done.progress >= LATE_PROGRESS and done.steps >= LATE_STEPS)):
        return None
    if found:
        where = f"Dice {past.found:.2f} and more, then lost"
    else:
        where = "predicted in the wrong places alone" if any(past.predicted_mm3) else "never predicted"
    seen = f"{where}: Dice 0 in the last {past.lost} validations, {past.ref_mm3:,.0f} mm3 in a case on average"
    cause, remedy = _cause_of_collapse(name, past, done, found=found)
    return Alarm("collapsed class", name, seen, cause, remedy)


def _lost_for_long(validations: int, done: Done) -> bool:
    if done.at_end:
        return validations > 1 and done.steps >= LOST_STEPS
    return validations >= LOST_VALIDATIONS and (validations - 1) * done.val_steps >= LOST_STEPS


def _cause_of_collapse(name: str, past: LabelHistory, done: Done, *, found: bool) -> tuple[str, str]:
    voxels = past.ref_mm3 / past.voxel_mm3
    more = f"trainer.class_sampling_weights={{{name}: 3}}, trainer.fg_fraction=0.67"
    if found:
        return "the learning rate is too high", "a third of trainer.optimiser.lr; best.ckpt is from before"
    if voxels < SMALL_VOXELS:
        cause = f"it is too small at this spacing, about {voxels:.0f} voxels in a case"
        return cause, "a finer spacing, or a crop to its surroundings first (mode=lbd, rbd)"
    if past.crops < FEW_CROPS:
        return f"too few crops: about {past.crops:.0f} were placed on it so far", f"{more}, a longer training"
    if done.steps < LATE_STEPS:
        return f"the training was short, {done.steps} steps", f"a longer one; then {more}"
    cause = f"background is the cheaper answer, although about {past.crops:.0f} crops were placed on it"
    return cause, f"a look at its references (fran project sheet); {more}; another learning rate"


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


def data_starvation(
    shares: Sequence[float], epoch_s: float, workers: int, cache: str, *, transforms: bool = False
) -> Alarm | None:
    """Epochs in which the device waited for data.

    Args:
        shares: of the epochs so far; the first one is passed over, for it starts the loaders.
        epoch_s: seconds of the last epoch's training.
        workers: loader processes.
        cache: where cases are kept.
        transforms: TorchIO's transforms work on the crops.
    """
    recent = shares[1:][-WAIT_EPOCHS:]
    if len(recent) < WAIT_EPOCHS or min(recent) < WAIT_SHARE or epoch_s < WAIT_SECONDS:
        return None
    seen = f"{100 * fmean(recent):.0f} % of the last {len(recent)} epochs were spent waiting for data"
    who = f"{workers} loader process{'es' * (workers != 1)}" if workers else "no loader process"
    more = f"trainer.num_workers={max(2, 2 * workers)} (now {workers})"
    if transforms:
        cause = f"TorchIO's transforms of augmentation.transforms, with {who}, take longer than the network"
        return Alarm("data starvation", "", seen, cause, f"smaller probabilities p of them; {more}")
    if cache == "device":
        cause = "the device is slower at cutting crops than at training on them"
        return Alarm("data starvation", "", seen, cause, "trainer.cache=ram with loader processes")
    if cache == "ram":
        return Alarm("data starvation", "", seen, f"cutting crops, with {who}, is slower than the network", more)
    cause = f"reading crops from the files, with {who}, is slower than the network: a slow or remote disk"
    remedy = f"trainer.cache=ram where the cases fit into memory; {more}; samples_per_file=4 for slow disks"
    return Alarm("data starvation", "", seen, cause, remedy)


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
