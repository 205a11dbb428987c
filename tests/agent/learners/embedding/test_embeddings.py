"""Embeddings in bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agent.learners.embedding.embeddings import Embedding, EmbeddingConfig
from tests.agent.learners.embedding.cases import seeded


def test_bfloat16_embeddings_are_near_the_float32_ones_and_the_same_where_it_would_be_imitated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = (1, 20, 20)
    x = torch.rand(6, *shape, generator=seeded(1))

    def features(*, is_asked: bool, is_there: bool) -> Tensor:
        monkeypatch.setattr("agent.learners.embedding.embeddings.computes_in_bfloat16", lambda _device: is_there)
        with torch.no_grad():
            return Embedding(shape, EmbeddingConfig(is_bfloat16=is_asked), generator=seeded()).eval()(x)

    exact = features(is_asked=False, is_there=True)
    quick = features(is_asked=True, is_there=True)
    assert quick.dtype == torch.float32
    assert 0.0 < float((exact - quick).norm() / exact.norm()) < 0.03
    assert torch.equal(features(is_asked=True, is_there=False), exact)
