"""What stands beside a progress bar."""

from __future__ import annotations

from rich.progress import ProgressColumn, Task
from rich.text import Text

from agent.output.visible_text import visible_line


class DescriptionColumn(ProgressColumn):
    """What a task does now, as one line of visible text: it may name a family or a file."""

    def render(self, task: Task) -> Text:
        """Return the task's description."""
        return Text(visible_line(task.description))
