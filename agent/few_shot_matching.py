"""How a few-shot policy matches queries with classes over aligned views, and takes a second look at the likeliest.

Shapes: Q queries, S support images, N classes, A candidates, V views in O orientations, E features, P the side of an
image; C × H × W maps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from agent.learners.embeddings import EMBEDDED_AT_ONCE
from agent.learners.protocol import ComparingPredictor
from agent.learners.relation import RelationNetwork


@dataclass(frozen=True, kw_only=True)
class SecondLookConfig:
    """How much a second look counts.

    Attributes:
        candidates: A, how many classes are looked at again.
        weight: w, of relations beside scores.

    Raises:
        ValueError: no class would be looked at, or the weight is negative or no number.
    """

    candidates: int = 5
    weight: float = 0.5

    def __post_init__(self) -> None:
        if type(self.candidates) is not int or self.candidates < 1:
            raise ValueError(f"looking again at {self.candidates!r} classes: it is a whole number of at least 1.")
        if not 0.0 <= self.weight < math.inf:
            raise ValueError(f"a second look that counts {self.weight!r}: it is a number of at least 0.")


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

    @classmethod
    def joined(cls, parts: Sequence[Matches]) -> Matches:
        """The orientations of all parts, one after another."""
        return cls(
            logits=torch.cat([part.logits for part in parts]),
            query_round=torch.cat([part.query_round for part in parts]),
            support_round=torch.cat([part.support_round for part in parts]),
        )

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
        predictor: shown the support set in V views, orientation by orientation, then in the next of R rounds again.
        features: of the queries in the same views.
        orientations: O, of which V is a multiple.
    """
    rounds = len(features) // orientations
    return Matches.joined(
        [
            _matches_of(predictor.side_by_side(own), features[own].flatten(0, 1), rounds)
            for own in (slice(orientation, None, orientations) for orientation in range(orientations))
        ]
    )


def _matches_of(predictor: ComparingPredictor, features: Float[Tensor, "RQ E"], rounds: int) -> Matches:
    """Of one orientation, whose R views of the support set are the classes of one task."""
    logits = predictor.logits(features.unsqueeze(0))[0].view(rounds, len(features) // rounds, rounds, -1)
    best, pair = logits.permute(1, 3, 0, 2).flatten(2).max(2)
    return Matches(
        logits=best.unsqueeze(0), query_round=(pair // rounds).unsqueeze(0), support_round=(pair % rounds).unsqueeze(0)
    )


@torch.no_grad()
def class_maps(
    relation: RelationNetwork, support: Float[Tensor, "V S 1 P P"], labels: Int64[Tensor, "S"]
) -> Float[Tensor, "V N C H W"]:
    """The mean map of each class's support images, view by view."""
    counts = labels.bincount().view(-1, 1, 1, 1)
    found: list[Tensor] = []
    for view in support:
        seen = torch.cat([relation.maps(part) for part in torch.split(view, EMBEDDED_AT_ONCE)])
        sums = torch.zeros(len(counts), *seen.shape[1:]).index_add_(0, labels, seen.to(torch.float32))
        found.append((sums / counts).to(seen.dtype))
    return torch.stack(found)


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
        own = views[orientation::orientations]
        # Of a query's views only those that match best with a candidate are looked at.
        wanted = matches.query_round[orientation] * len(candidates) + queries
        seen, place = torch.unique(wanted, return_inverse=True)
        asked = relation.maps(own.flatten(0, 1)[seen])[place.flatten()]
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
