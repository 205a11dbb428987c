"""A portable few-shot image classifier: one or more learners in one safetensors file.

The policy adapts to a few images of each of several new classes, and then classifies other images. Every learner
(member) sees the task in several views. In a view all images are turned, mirrored and deformed in the same way. A
member adapts to each view as to a separate task, and the scores are averaged:

    score_n(x) = 1/(B V) Σ_members Σ_views z_n(v(x) | v(S)),      p(n | x) = softmax_n score(x).

If views are aligned, all views of an orientation o are compared with one another, and the best match counts:

    score_n(x) = 1/(B O) Σ_members Σ_o max_{u, v of o} z_n(u(x) | v(S)).

The answer for a query does not depend on other queries. This includes members that can predict a task's queries
together (MAML and similar learners normalise by the batch): here such members run each query alone with the support
set.

Shapes: S support images, Q query images, N classes, V views, O orientations, B members, E features, R the side of an
image as read, P as embedded; W is V or O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from agent.errors import AgentError
from agent.learners.protocol import ComparingPredictor, FewShotLearner, Predictor, TransductivePredictor
from agent.learners.registry import LEARNERS, names_where
from agent.learners.state import with_prefix
from agent.policies.version_file import encode_version, write_version_file
from agent.policies.version_header import FewShotMember, ImageInput, KnownFewShotFamily, VersionHeader
from agent.policies.views import ViewConfig
from envs.few_shot.images.common_form import ink_extents
from envs.few_shot.images.warps import apply_warp, draw_warp, scaled, smooth_for
from envs.few_shot.tasks import num_ways_of

UNNAMED_FAMILY = "images"
"""The family's name in the file of a policy that was trained on images without a name."""

QUERIES_AT_ONCE = 64

USUAL_EXTENTS = (0.85, 1.18)
"""Limits of the support images' ink extent, relative to that of the training images.

Within the limits images are not rescaled. Outside, all images are brought to the training extent by one common factor.
"""


class FewShotPolicyError(AgentError):
    """An error: a few-shot policy, or its input, cannot be used."""


class FewShotPolicy:
    """A few-shot classifier made of members and views (see the module docstring).

    Args:
        members: learners for images of one size.
        views: the views of each image.
        ink_extent: median extent of the training images' ink, as a share of their side.
        provenance: JSON values that describe the training data and the training.
        device: device of the members. Images are copied to it, and answers are returned on the CPU.

    Raises:
        FewShotPolicyError: the members do not take grey images of one size.
    """

    def __init__(
        self,
        members: Sequence[FewShotLearner],
        *,
        views: ViewConfig | None = None,
        ink_extent: float = 0.5,
        provenance: Mapping[str, Any] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        shapes = {member.shapes.input_shape for member in members}
        if len(shapes) != 1 or len(shape := shapes.pop()) != 3 or shape[0] != 1 or shape[1] != shape[2]:
            raise FewShotPolicyError(
                operation="building a few-shot policy from",
                subject=f"{len(members)} learners",
                found="they do not all look at square grey images of one size.",
            )
        self.members = tuple(members)
        self.views = views or ViewConfig()
        self.ink_extent = ink_extent
        self.provenance = dict(provenance or {})
        self.size = shape[1]
        self.device = torch.device(device)

    def adapt(self, images: UInt8[Tensor, "S R R"], labels: Int64[Tensor, "S"]) -> AdaptedPolicy:
        """Learn the classes from their support images.

        Args:
            images: images in the common form of ``envs.few_shot.images.classes``.
            labels: 0 … N - 1, each at least once.

        Raises:
            FewShotPolicyError: a member was built for another number of classes.
        """
        num_ways = num_ways_of(labels)
        self._check_ways(num_ways)
        factor = self._zoom(images)
        support = self.look(images, factor)
        of_views = labels.to(self.device).expand(len(support), -1)
        predictors = (member.adapt(support, of_views) for member in self.members)
        return AdaptedPolicy(policy=self, predictors=tuple(map(_each_alone, predictors)), zoom=factor)

    def look(self, images: UInt8[Tensor, "I R R"], zoom: float) -> Float[Tensor, "V I 1 P P"]:
        """Return every view of the images, on the policy's device.

        Args:
            images: images in the common form.
            zoom: the size of their ink relative to that of the training images.
        """
        generator = np.random.default_rng(self.views.seed)
        smooth = smooth_for(images.to(self.device), self.size)
        seen = []
        for view in range(self.views.count):
            turn = np.array([view % self.views.orientations])
            warp = draw_warp(self.views.warp if view >= self.views.orientations else None, turn, generator=generator)
            seen.append(apply_warp(smooth, scaled(warp, zoom, num_images=len(images)), size=self.size))
        return torch.stack(seen)

    def save(self, path: Path) -> str:
        """Write the policy to a version file, durably; return the file's sha256."""
        return write_version_file(path, self.to_bytes())

    def to_bytes(self, *, family: str = UNNAMED_FAMILY) -> bytes:
        """Return the policy as the content of a version file; equal policies give equal bytes.

        Args:
            family: the name of the family on which it was trained.
        """
        tensors: dict[str, Tensor] = {}
        stored = []
        for number, member in enumerate(self.members):
            stored.append(FewShotMember(prefix=f"members.{number}.", meta=member.to_meta()))
            tensors |= with_prefix(f"members.{number}", member.initialization())
        images = ImageInput(views=self.views, ink_extent=self.ink_extent)
        described = KnownFewShotFamily(members=tuple(stored), images=images, provenance=self.provenance)
        header = VersionHeader(learner=stored[0].meta["learner"], few_shot_families={family: described})
        return encode_version(header, tensors)

    def _check_ways(self, num_ways: int) -> None:
        for member in self.members:
            name = member.to_meta()["learner"]
            if not LEARNERS[name].takes_any_ways and member.shapes.output_size != num_ways:
                able = sorted(names_where(lambda entry: entry.takes_any_ways))
                raise FewShotPolicyError(
                    operation="telling classes apart",
                    subject=f"{num_ways} classes",
                    found=f"the policy's learner {name} was made for {member.shapes.output_size}.",
                    hint=f"Policies of {', '.join(able)} learners take any number.",
                )

    def _zoom(self, images: UInt8[Tensor, "S R R"]) -> float:
        extent = float(ink_extents(images).median())
        factor = extent / self.ink_extent if extent else 1.0
        return 1.0 if USUAL_EXTENTS[0] < factor < USUAL_EXTENTS[1] else factor


@dataclass(frozen=True, kw_only=True)
class AdaptedPolicy:
    """A policy that has adapted to N classes.

    Attributes:
        policy: the policy.
        predictors: one predictor per member.
        zoom: the size of the images' ink relative to that of the training images.
    """

    policy: FewShotPolicy
    predictors: tuple[Predictor, ...]
    zoom: float

    def scores(self, images: UInt8[Tensor, "Q R R"]) -> Float[Tensor, "Q N"]:
        """Return the mean logits of each query over members and views."""
        return torch.cat([self._scores(part).cpu() for part in torch.split(images, QUERIES_AT_ONCE)])

    def probabilities(self, images: UInt8[Tensor, "Q R R"]) -> Float[Tensor, "Q N"]:
        """Return the probability of each class, for each query."""
        return self.scores(images).softmax(1)

    def _scores(self, images: UInt8[Tensor, "Q R R"]) -> Float[Tensor, "Q N"]:
        views = self.policy.look(images, self.zoom)
        return torch.stack([self._by_view(predictor, views).mean(0) for predictor in self.predictors]).mean(0)

    def _by_view(self, predictor: Predictor, views: Float[Tensor, "V Q 1 P P"]) -> Float[Tensor, "W Q N"]:
        """Return the logits of each view, or of each orientation's best match."""
        taken = self.policy.views
        if taken.is_aligned and isinstance(predictor, ComparingPredictor):
            return best_matches(predictor, predictor.embed(views), orientations=taken.orientations)
        return predictor(views)


def _each_alone(predictor: Predictor) -> Predictor:
    """Return a predictor that answers each query independently of the others."""
    return predictor.each_alone() if isinstance(predictor, TransductivePredictor) else predictor


def best_matches(
    predictor: ComparingPredictor, features: Float[Tensor, "V Q E"], *, orientations: int
) -> Float[Tensor, "O Q N"]:
    """Return max_{u, v of o} z_n(u(x) | v(S)) for every orientation o.

    Args:
        predictor: adapted to the support set in V views: all O orientations, repeated in R rounds.
        features: features of the queries in the same views.
        orientations: O, of which V is a multiple.
    """
    rounds, best = len(features) // orientations, []
    for own in (slice(orientation, None, orientations) for orientation in range(orientations)):
        # The predictor has the classes of all support views, so one product compares every query view with each of
        # them.
        logits = predictor.side_by_side(own).logits(features[own].flatten(0, 1).unsqueeze(0))
        best.append(logits.view(rounds, features.shape[1], rounds, -1).amax((0, 2)))
    return torch.stack(best)
