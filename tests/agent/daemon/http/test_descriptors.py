"""File descriptors: the soft limit is raised, and connections get a share of it."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest

from agent.daemon.http.descriptors import WANTED_DESCRIPTORS, connections_within

PROGRAM = """
import json, resource, sys
from agent.daemon.http.descriptors import raise_descriptor_limit
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(json.dumps([raise_descriptor_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE)]))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "raised"), [(256, 1024, 1024), (256, 256, 256), (1024, WANTED_DESCRIPTORS + 8, WANTED_DESCRIPTORS)]
)
def test_the_soft_limit_becomes_the_hard_one_or_what_is_wanted(soft: int, hard: int, raised: int) -> None:
    if hard > resource.getrlimit(resource.RLIMIT_NOFILE)[1]:
        pytest.skip("the hard limit here is too low")
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(soft), str(hard)], capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout) == [raised, raised, hard]


@pytest.mark.parametrize(
    ("limit", "connections"), [(8192, 256), (1024, 256), (256, 64), (2, 1), (resource.RLIM_INFINITY, 256)]
)
def test_connections_get_a_quarter_of_the_descriptors_at_most(limit: int, connections: int) -> None:
    assert connections_within(limit, most=256) == connections
