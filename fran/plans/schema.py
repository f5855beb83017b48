"""The keys of a plan. They stand at the root of every configuration, so that the command line can override them."""

from __future__ import annotations

from dataclasses import dataclass, field

MODES = ("source",)
MODE_ALIASES = {"src": "source", "baseline": "source"}


@dataclass
class Plan:
    """One plan.

    Attributes:
        plan_name: the plan's own name, equal to its file's.
        notes: free text for people.
        datasources: names of the project's datasources to train on; null means all of them.
        mode: what preprocessing makes of a case; ``source`` (also ``src``, ``baseline``) is the whole volume at fixed
            spacing.
        spacing: voxel spacing in mm, (x, y, z) in RAS order.
        patch_dim0: side of a training patch along x and y, in voxels.
        patch_dim1: side of a training patch along z, in voxels.
        use_fg_indices: store foreground voxel positions, from which training draws patch centres. Without them
            centres are drawn from the labels' bounding boxes.
        fg_indices_exclude: label values around which no patch is centred.
    """

    plan_name: str = "unnamed"
    notes: str = ""
    datasources: list[str] | None = None
    mode: str = "source"
    spacing: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0])
    patch_dim0: int = 64
    patch_dim1: int = 64
    use_fg_indices: bool = True
    fg_indices_exclude: list[int] = field(default_factory=list)

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
