"""The frame of every dashboard: variables, links to the others, annotations, and rows of panels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from monitoring.dashboards.panels import DATA_SOURCE, INSTANCE, PanelSpec, build_panel

TAG = "learnd"

ANNOTATIONS = (
    ("Published versions", "changes(learnd_policy_version{%s}[1m]) > 0", "blue"),
    ("Rejected candidates", 'increase(learnd_consolidations_total{%s,outcome="rejected"}[1m]) > 0', "orange"),
    ("Restarts of the trainer", "sum by (instance) (increase(learnd_learner_restarts_total{%s}[1m])) > 0", "red"),
    ("Restarts of the daemon", "changes(process_start_time_seconds{%s}[1m]) > 0", "purple"),
)


@dataclass(frozen=True, kw_only=True)
class DashboardSpec:
    """A dashboard.

    Attributes:
        name: name of its file and end of its uid.
        title: its title.
        description: what it answers.
        rows: titles of rows with their panels; each row begins a new line.
    """

    name: str
    title: str
    description: str
    rows: Sequence[tuple[str, Sequence[PanelSpec]]]

    @property
    def uid(self) -> str:
        """The identifier in Grafana, which links use."""
        return f"learnd-{self.name}"


def as_json(spec: DashboardSpec, *, all_names: Sequence[tuple[str, str]]) -> str:
    """Return a dashboard as JSON text.

    Args:
        spec: the dashboard.
        all_names: uid and title of every dashboard, for the links.
    """
    board = (
        dashboard.Dashboard(spec.title)
        .uid(spec.uid)
        .description(spec.description)
        .tags([TAG])
        .editable()
        .timezone("browser")
        .refresh("10s")
        .time("now-6h", "now")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
    )
    for variable in _variables():
        board = board.with_variable(variable)
    for uid, title in all_names:
        if uid != spec.uid:
            link = dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(f"/d/{uid}")
            board = board.link(link.include_vars(True).keep_time(True))
    for name, expr, colour in ANNOTATIONS:
        annotation = dashboard.AnnotationQuery().name(name).datasource(DATA_SOURCE).enable(True).icon_color(colour)
        board = board.annotation(annotation.expr(expr % INSTANCE))
    board = _with_rows(board, spec.rows)
    return json.dumps(board.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _with_rows(board: dashboard.Dashboard, rows: Sequence[tuple[str, Sequence[PanelSpec]]]) -> dashboard.Dashboard:
    """Place the panels of each row from left to right, in as many lines as they take."""
    panel_id, y = 0, 0
    for title, panels in rows:
        panel_id += 1
        board = board.with_row(
            dashboard.Row(title).id(panel_id).grid_pos(models.GridPos(h=1, w=24, x=0, y=y)).collapsed(False)
        )
        y, x, line_height = y + 1, 0, 0
        for spec in panels:
            if x + spec.width > 24:
                y, x, line_height = y + line_height, 0, 0
            panel_id += 1
            board = board.with_panel(build_panel(spec, panel_id=panel_id, x=x, y=y))
            x, line_height = x + spec.width, max(line_height, spec.height)
        y += line_height
    return board


def _variables() -> tuple[dashboard.DatasourceVariable | dashboard.QueryVariable | dashboard.CustomVariable, ...]:
    families = f"label_values(learnd_env_steps_total{{{INSTANCE}}}, family)"
    everything = models.VariableOption(text=["All"], value=["$__all"], selected=True)
    ten = models.VariableOption(text="10", value="10", selected=True)
    return (
        dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _from_query("instance", "Instance", "label_values(learnd_build_info, instance)"),
        _from_query("family", "Families", families).multi(True).include_all(True).current(everything),
        dashboard.CustomVariable("top").label("Families shown at once").values("5,10,20,50").current(ten),
        _from_query("one_family", "Family in detail", families),
    )


def _from_query(name: str, label: str, query: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(label).datasource(DATA_SOURCE).query(query)
    return variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)
