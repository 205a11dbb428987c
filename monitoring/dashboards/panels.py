"""Panels of a dashboard: their kinds, and what is the same for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, statushistory, timeseries, trend
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

DATA_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
INSTANCE = 'instance=~"$instance"'
FAMILIES = 'instance=~"$instance",family=~"$family"'
ONE_FAMILY = 'instance=~"$instance",family="$one_family"'
STEPS = "environment steps"


class Shape(StrEnum):
    """A kind of panel."""

    LINES = "timeseries"
    NUMBER = "stat"
    BARS = "bargauge"
    HISTORY = "status-history"
    OVER_STEPS = "trend"


@dataclass(frozen=True, kw_only=True)
class Query:
    """An expression of a panel.

    Attributes:
        expr: the PromQL expression, with Grafana's variables.
        legend: the name of its series.
    """

    expr: str
    legend: str = "__auto"


@dataclass(frozen=True, kw_only=True)
class PanelSpec:
    """A panel of a dashboard.

    Attributes:
        title: its title.
        description: what it shows and how to read it.
        unit: Grafana's id of the unit; "none" for plain numbers such as scores.
        queries: its expressions.
        shape: its kind. A panel over steps shows its queries over the environment steps of the chosen family.
        width: columns of 24.
        height: rows of the grid.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    shape: Shape = Shape.LINES
    width: int = 8
    height: int = 8


def of_top_families(expr: str) -> str:
    """Return an expression for the ``$top`` chosen families that were practised most in the time shown.

    The choice is made at the end of that time, so that a line does not come and go.
    """
    most = f"topk by (instance) ($top, increase(learnd_practice_seconds_total{{{FAMILIES}}}[$__range] @ end()))"
    return f"{expr} and on (instance, family) {most}"


def lines_of_families(metric: str, title: str, description: str, unit: str, *, width: int = 8) -> PanelSpec:
    """Return a panel with a line of a metric for each of the top families."""
    query = Query(expr=of_top_families(f"{metric}{{{FAMILIES}}}"), legend="{{family}}")
    return PanelSpec(title=title, description=description, unit=unit, queries=[query], width=width)


def build_panel(spec: PanelSpec, *, panel_id: int, x: int, y: int) -> Builder[models.Panel]:
    """Return the builder of a panel at a place of the grid."""
    panel = _new_panel(spec)
    panel = panel.id(panel_id).title(spec.title).description(spec.description).unit(spec.unit)
    panel = panel.datasource(DATA_SOURCE).grid_pos(models.GridPos(h=spec.height, w=spec.width, x=x, y=y))
    for number, query in enumerate(spec.queries):
        panel = panel.with_target(
            prometheus.Dataquery()
            .expr(query.expr)
            .legend_format(query.legend)
            .ref_id(chr(ord("A") + number))
            .datasource(DATA_SOURCE)
            .range()
        )
    return panel


AnyPanel = timeseries.Panel | stat.Panel | bargauge.Panel | statushistory.Panel | trend.Panel


def _new_panel(spec: PanelSpec) -> AnyPanel:
    match spec.shape:
        case Shape.LINES:
            legend = common.VizLegendOptions().show_legend(True).display_mode(common_models.LegendDisplayMode.LIST)
            return (
                timeseries.Panel()
                .legend(legend.placement(common_models.LegendPlacement.BOTTOM))
                .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
                .span_nulls(True)
            )
        case Shape.NUMBER:
            return stat.Panel()
        case Shape.BARS:
            return bargauge.Panel().orientation(common_models.VizOrientation.HORIZONTAL)
        case Shape.HISTORY:
            return statushistory.Panel().max_data_points(120).show_value(common_models.VisibilityMode.NEVER)
        case Shape.OVER_STEPS:
            joined = models.DataTransformerConfig(id_val="joinByField", options={"byField": "Time", "mode": "inner"})
            by_steps = {"fields": {}, "sort": [{"field": STEPS, "desc": False}]}
            return (
                trend.Panel()
                .x_field(STEPS)
                .with_transformation(joined)
                .with_transformation(models.DataTransformerConfig(id_val="sortBy", options=by_steps))
            )


def over_steps(metric: str, title: str, description: str, unit: str) -> PanelSpec:
    """Return a panel of a metric of the chosen family over its environment steps."""
    steps = Query(expr=f"learnd_env_steps_total{{{ONE_FAMILY}}}", legend=STEPS)
    value = Query(expr=f"{metric}{{{ONE_FAMILY}}}", legend="{{family}}")
    return PanelSpec(title=title, description=description, unit=unit, queries=[steps, value], shape=Shape.OVER_STEPS)
