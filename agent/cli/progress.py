"""The description column of progress bars."""

from __future__ import annotations

from rich.progress import ProgressColumn, Task
from rich.text import Text

from agent.output.visible_text import visible_line


class DescriptionColumn(ProgressColumn):
    """A column with a task's description as one line of visible text. A description may name a family or a file."""

    def render(self, task: Task) -> Text:
        """Return the task's description."""
        return Text(visible_line(task.description))
