"""The views that an image classifier takes of a task."""

from __future__ import annotations

from dataclasses import dataclass, field

from envs.few_shot.images.warps import WarpConfig

VIEWS_PER_ORIENTATION = 2
"""Each training orientation is viewed twice: unchanged, and mildly warped."""


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """The views that a policy takes of a task; the first view always shows the images unchanged.

    Attributes:
        count: V.
        orientations: number of ways in which successive views turn and mirror images; as many as the members learned
            with.
        warp: the deformation of images from the second round of orientations on.
        seed: seed of the deformations.
        is_aligned: compare all views of an orientation with one another instead of each view with itself. This applies
            to learners that compare features; others use each view alone.

    Raises:
        ValueError: there is no view, or aligned views do not contain every orientation equally often.
    """

    count: int = 16
    orientations: int = 8
    warp: WarpConfig = field(
        default_factory=lambda: WarpConfig(rotation_degrees=12.0, log_scale=0.16, shear=0.16, shift=0.04, bend=0.025)
    )
    seed: int = 5
    is_aligned: bool = False

    def __post_init__(self) -> None:
        if min(self.count, self.orientations) < 1:
            raise ValueError(f"{self.count} views in {self.orientations} orientations: there is at least one of each.")
        if self.is_aligned and self.count % self.orientations:
            raise ValueError(
                f"aligning {self.count} views: they do not show each of {self.orientations} orientations equally often."
            )


def views_of_training(orientations: int) -> ViewConfig:
    """Return the views of a classifier that learned with so many ways of turning and mirroring images."""
    return ViewConfig(count=VIEWS_PER_ORIENTATION * orientations, orientations=orientations)
