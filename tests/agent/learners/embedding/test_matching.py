"""Matching Networks: what the paper says, by hand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from agent.learners.embedding.matching import MatchingConfig, MatchingNetwork
from tests.agent.learners.embedding.cases import (
    SMALL_VECTORS,
    VECTOR,
    finite_differences_agree,
    matching,
    random_batch,
    seeded,
)


def test_matching_gives_each_label_its_share_of_the_attention() -> None:
    network = matching(VECTOR)._training.trained
    with torch.no_grad():
        network.log_scale.fill_(math.log(2.0))
        support = torch.tensor([[[1.0, 0.0], [0.0, 3.0], [2.0, 0.0]]])
        log_p = network.log_p(torch.tensor([[[5.0, 0.0]]]), support, torch.tensor([[0, 1, 0]]))
    attention = [math.exp(2.0), math.exp(0.0), math.exp(2.0)]
    expected = [(attention[0] + attention[2]) / sum(attention), attention[1] / sum(attention)]
    torch.testing.assert_close(log_p.exp(), torch.tensor([[expected]]))


def test_matching_pulls_at_a_class_that_attention_all_but_leaves_out() -> None:
    network = MatchingNetwork(VECTOR, MatchingConfig(embedding=SMALL_VECTORS), generator=seeded())
    network.log_scale.data.fill_(math.log(60.0))
    support = torch.eye(8)[:2].unsqueeze(0)
    features = torch.tensor([[[3.0, -4.0, 0, 0, 0, 0, 0, 0]]], requires_grad=True)
    log_p = network.log_p(features, support, torch.tensor([[0, 1]]))
    torch.testing.assert_close(log_p[0, 0, 1], torch.tensor(60.0 * (-0.8 - 0.6)))
    log_p[0, 0, 1].backward()
    assert features.grad is not None
    assert float(features.grad.abs().max()) > 1.0


def test_full_context_attention_is_the_papers_lstm_over_hidden_and_read() -> None:
    context = matching(VECTOR, has_full_context=True, processing_steps=1)._training.trained.context
    assert context is not None
    query, support = torch.randn(1, 1, 8), torch.randn(1, 3, 8)
    with torch.no_grad():
        read = (query @ support.mT).softmax(2) @ support
        cell = context.attention
        gates = cell.weight_ih @ torch.cat([query[0, 0], read[0, 0]]) + cell.bias_ih
        gates = gates + cell.weight_hh @ query[0, 0] + cell.bias_hh
        i, _, g, o = gates.chunk(4)
        expected = o.sigmoid() * (i.sigmoid() * g.tanh()).tanh() + query[0, 0]
        torch.testing.assert_close(context.of_queries(query, support)[0, 0], expected)


def test_matching_gradient_is_that_of_finite_differences() -> None:
    config = MatchingConfig(embedding=SMALL_VECTORS, has_full_context=True, processing_steps=2)
    network = MatchingNetwork(VECTOR, config, generator=seeded())
    batch = random_batch(VECTOR)

    def loss() -> Tensor:
        support = network.embed_support(network.embedding.embed_tasks(batch.support_x.double()))
        log_p = network.log_p(network.embedding.embed_tasks(batch.query_x.double()), support, batch.support_y)
        return torch.nn.functional.nll_loss(log_p.flatten(0, 1), batch.query_y.flatten())

    finite_differences_agree(network, loss)
