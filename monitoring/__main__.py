"""Write what is made by code: ``python -m monitoring``."""

from __future__ import annotations

from pathlib import Path

from monitoring.dashboards.all_dashboards import dashboard_files
from monitoring.metric_table import with_table

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Write the table of metrics and the dashboards."""
    manual = ROOT / "docs" / "operating.md"
    manual.write_text(with_table(manual.read_text(encoding="utf-8")), encoding="utf-8")
    for name, text in dashboard_files().items():
        (ROOT / "monitoring" / "grafana" / "dashboards" / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
