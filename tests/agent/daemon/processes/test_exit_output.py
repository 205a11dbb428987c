"""The reason of an exit quotes the line that tells of an error, and nothing that is about something else."""

from __future__ import annotations

import pytest

from agent.daemon.processes.exit_output import telling_line

INFO = '{"event": "family admitted", "level": "info", "family": "cartpole"}'
WARNING = '{"event": "family fault", "level": "warning", "found": "it hung"}'
ERROR = (
    '{"event": "job failed", "level": "error",'
    ' "exception": "Traceback (most recent call last):\\n  x\\nValueError: bad"}'
)
UNCAUGHT = '{"event": "uncaught error", "level": "critical", "error": "DeviceError: no GPU", "exception": "Trace"}'


@pytest.mark.parametrize(
    ("lines", "killed", "exited"),
    [
        ([], "", ""),
        ([INFO, WARNING], "", ""),
        ([ERROR, INFO], "job failed: ValueError: bad", "job failed: ValueError: bad"),
        ([UNCAUGHT], "uncaught error: DeviceError: no GPU", "uncaught error: DeviceError: no GPU"),
        ([INFO, "hello from an environment"], "", "hello from an environment"),
        (["KeyError: 'x'", INFO], "KeyError: 'x'", "KeyError: 'x'"),
        (["torch.cuda.OutOfMemoryError: CUDA out of memory.", INFO],
         "torch.cuda.OutOfMemoryError: CUDA out of memory.", "torch.cuda.OutOfMemoryError: CUDA out of memory."),
        (["Fatal Python error: Segmentation fault", "Current thread 0x01:", 'File "x.py", line 3 in f', INFO],
         "Fatal Python error: Segmentation fault", "Fatal Python error: Segmentation fault"),
        (["2026-11-29T01:00:00Z [error    ] job failed   [agent] job=x", INFO],
         "job failed [agent] job=x", "job failed [agent] job=x"),
        (["2026-11-29T01:00:00Z [info     ] learning"], "", ""),
    ],
)  # fmt: skip
def test_the_newest_line_about_an_error_is_quoted(lines: list[str], killed: str, exited: str) -> None:
    assert telling_line(lines, is_killed=True) == killed
    assert telling_line(lines, is_killed=False) == exited
