"""How a few-shot policy matches queries with classes over aligned views, and takes a second look at the likeliest.

Shapes: Q queries, S support images, N classes, A candidates, V views in O orientations, E features, P the side of an
image; C × H × W maps.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own custom)
from jaxtyping import Float, Int64
from torch import Tensor

from agent.learners.protocol import ComparingPredictor
from agent.learners.relation import RelationNetwork


@dataclass(frozen=True, kw_only=True)
class SecondLookConfig:
    """How much a second look counts.

    Attributes:
        candidates: A, how many classes are looked at again.
        weight: w, of relations beside scores.
    """

    candidates: int = 5
    weight: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Which two views of an orientation match best, and how well.

    Attributes:
        logits: [O, Q, N] max_{u, v of o} z_n(u(x) | v(S)).
        query_round: [O, Q, N] the query's view in the pair, counted within the orientation.
        support_round: [O, Q, N] the support set's.
    """

    logits: Tensor
    query_round: Tensor
    support_round: Tensor

    def of(self, candidates: Int64[Tensor, "Q A"]) -> Matches:
        """The matches with each query's candidates alone, [O, Q, A]."""
        index = candidates.expand(len(self.logits), -1, -1)
        return Matches(
            logits=self.logits.gather(2, index),
            query_round=self.query_round.gather(2, index),
            support_round=self.support_round.gather(2, index),
        )


def best_matches(predictor: ComparingPredictor, features: Float[Tensor, "V Q E"], *, orientations: int) -> Matches:
    """The best match of every orientation.

    Args:
        predictor: shown the support set in V views, orientation by orientation, then in the next round again.
        features: of the queries in the same views.
        orientations: O, of which V is a multiple.
    """
    rounds = len(features) // orientations
    shifted = (_match_shifted(predictor, features, shift, orientations) for shift in range(rounds))
    return functools.reduce(_better, shifted)


def _match_shifted(
    predictor: ComparingPredictor, features: Float[Tensor, "V Q E"], shift: int, orientations: int
) -> Matches:
    """The best of the pairs in which the query's view stands ``shift`` rounds before the support set's."""
    flat = predictor.logits(features.roll(shift * orientations, 0))
    logits = flat.view(-1, orientations, *flat.shape[1:])
    best, support_round = logits.max(0)
    return Matches(logits=best, query_round=(support_round - shift) % len(logits), support_round=support_round)


def _better(left: Matches, right: Matches) -> Matches:
    is_left = left.logits >= right.logits
    return Matches(
        logits=torch.where(is_left, left.logits, right.logits),
        query_round=torch.where(is_left, left.query_round, right.query_round),
        support_round=torch.where(is_left, left.support_round, right.support_round),
    )


@torch.no_grad()
def class_maps(
    relation: RelationNetwork, support: Float[Tensor, "V S 1 P P"], labels: Int64[Tensor, "S"]
) -> Float[Tensor, "V N C H W"]:
    """The mean map of each class's support images, view by view."""
    members = F.one_hot(labels).to(torch.float32)
    shares = (members / members.sum(0)).mT
    seen = (relation.maps(view) for view in support)
    return torch.stack([torch.einsum("ns,schw->nchw", shares, maps.to(torch.float32)).to(maps.dtype) for maps in seen])


@torch.no_grad()
def relations_of(
    relation: RelationNetwork,
    classes: Float[Tensor, "V N C H W"],
    views: Float[Tensor, "V Q 1 P P"],
    matches: Matches,
    candidates: Int64[Tensor, "Q A"],
) -> Float[Tensor, "Q A"]:
    """r_n of each query's candidates: the mean over orientations, each in its best matching views.

    Args:
        relation: the member's.
        classes: :func:`class_maps` of the support set.
        views: of the queries.
        matches: of the candidates.
        candidates: their classes.
    """
    orientations = len(matches.logits)
    queries = torch.arange(len(candidates)).unsqueeze(1).expand_as(candidates)
    total = torch.zeros(candidates.shape)
    for orientation in range(orientations):
        maps = torch.stack([relation.maps(view) for view in views[orientation::orientations]])
        asked = maps[matches.query_round[orientation], queries].flatten(0, 1)
        shown = classes[orientation::orientations][matches.support_round[orientation], candidates].flatten(0, 1)
        total += relation.relate(asked, shown).view(candidates.shape)
    return total / orientations


def reconsidered(
    scores: Float[Tensor, "Q N"],
    candidates: Int64[Tensor, "Q A"],
    relations: Float[Tensor, "Q A"],
    *,
    weight: float,
) -> Float[Tensor, "Q N"]:
    """The scores after a second look; what was not looked at falls as far as what fell farthest."""
    moved = weight * (relations - relations.amax(1, keepdim=True))
    return scores + moved.amin(1, keepdim=True).expand_as(scores).scatter(1, candidates, moved)
