"""The dashboards about learning: learning, adaptation, continual learning."""

from __future__ import annotations

from monitoring.dashboards.frame import DashboardSpec
from monitoring.dashboards.panels import (
    FAMILIES,
    INSTANCE,
    ONE_FAMILY,
    PanelSpec,
    Query,
    Shape,
    lines_of_families,
    of_top_families,
    over_steps,
)

SCORE = "0 is random actions, 1 is the family's reference."

LEARNING = DashboardSpec(
    name="learning",
    title="learnd: learning",
    description="Is each family being learned, over time and over experience, and do the updates look sound?",
    rows=(
        (
            "Over time",
            (
                lines_of_families("learnd_eval_score", "Held-out score", f"Score on held-out tasks. {SCORE}", "none"),
                lines_of_families(
                    "learnd_eval_return",
                    "Held-out return",
                    "Mean return of a trial on held-out tasks, in the environment's own units.",
                    "none",
                ),
                lines_of_families(
                    "learnd_trial_return",
                    "Return in practice",
                    "Mean return of a practised trial; noisier than held-out returns.",
                    "none",
                ),
            ),
        ),
        (
            "Over steps: $one_family",
            (
                over_steps(
                    "learnd_eval_score", "Score by environment steps", f"Learning over experience. {SCORE}", "none"
                ),
                over_steps(
                    "learnd_eval_return", "Held-out return by environment steps", "Learning over experience.", "none"
                ),
                over_steps(
                    "learnd_trial_return",
                    "Return in practice by environment steps",
                    "Practice over experience.",
                    "none",
                ),
            ),
        ),
        (
            "Speed",
            (
                PanelSpec(
                    title="Environment steps",
                    description="Steps practised each second, by family.",
                    unit="ops",
                    queries=[
                        Query(
                            expr=of_top_families(f"rate(learnd_env_steps_total{{{FAMILIES}}}[$__rate_interval])"),
                            legend="{{family}}",
                        )
                    ],
                ),
                PanelSpec(
                    title="Meta-updates, trials and episodes",
                    description="Of all chosen families together, each second.",
                    unit="ops",
                    queries=[
                        Query(
                            expr=f"sum by (instance) (rate(learnd_{name}_total{{{FAMILIES}}}[$__rate_interval]))",
                            legend=name.replace("_", " "),
                        )
                        for name in ("meta_updates", "trials", "episodes")
                    ],
                ),
                PanelSpec(
                    title="Time of practice by family",
                    description="Share of the trainer's time that the practice of each family takes.",
                    unit="percentunit",
                    queries=[
                        Query(
                            expr=of_top_families(f"rate(learnd_practice_seconds_total{{{FAMILIES}}}[10m])"),
                            legend="{{family}}",
                        )
                    ],
                ),
            ),
        ),
        (
            "Updates",
            (
                lines_of_families(
                    "learnd_kl",
                    "KL of an update",
                    "How far an update moves the policy. A jump means too large steps.",
                    "none",
                ),
                lines_of_families(
                    "learnd_gradient_norm",
                    "Gradient norm",
                    "Before clipping. A rise without end means divergence.",
                    "none",
                ),
                lines_of_families(
                    "learnd_entropy",
                    "Entropy",
                    "Of the policy's actions, in nats. It falls as the policy decides.",
                    "none",
                ),
                lines_of_families(
                    "learnd_clip_fraction", "Clip fraction", "Share of steps whose ratio was clipped.", "percentunit"
                ),
                lines_of_families(
                    "learnd_explained_variance",
                    "Explained variance",
                    "Of the returns, by the critic. 1 is perfect; 0 or less is no better than a constant.",
                    "none",
                ),
                PanelSpec(
                    title="Policy and value loss: $one_family",
                    description="The losses of the newest slice; for a few-shot family, the losses of its learner.",
                    unit="none",
                    queries=[
                        Query(
                            expr=f'learnd_loss{{{ONE_FAMILY},part!~"kl|entropy|gradient_norm|clip_fraction|'
                            'explained_variance"}',
                            legend="{{part}}",
                        )
                    ],
                ),
            ),
        ),
    ),
)

ADAPTATION = DashboardSpec(
    name="adaptation",
    title="learnd: adaptation",
    description="How well does the policy adapt within a trial, and to new tasks?",
    rows=(
        (
            "Within a trial: $one_family",
            (
                PanelSpec(
                    title="Return by episode of the trial",
                    description="Held-out return of each episode, counted from 0; for a few-shot family, by shots. "
                    "Later lines above earlier ones mean that the policy adapts.",
                    unit="none",
                    queries=[Query(expr=f"learnd_episode_return{{{ONE_FAMILY}}}", legend="{{episode}}")],
                    width=12,
                ),
                PanelSpec(
                    title="Uncertainty by shots",
                    description="Of few-shot learners with a posterior: entropy in nats, or a standard deviation. It "
                    "should fall with more shots.",
                    unit="none",
                    queries=[Query(expr=f"learnd_uncertainty{{{ONE_FAMILY}}}", legend="{{shots}} shots")],
                    width=12,
                ),
            ),
        ),
        (
            "Families",
            (
                PanelSpec(
                    title="Gain within a trial",
                    description="Held-out return of the best episode of a trial minus that of its first.",
                    unit="none",
                    queries=[
                        Query(
                            expr=of_top_families(
                                f"max by (instance, family) (learnd_episode_return{{{FAMILIES}}}) "
                                "- on (instance, family) max by (instance, family) "
                                f'(learnd_episode_return{{{FAMILIES},episode="0"}})'
                            ),
                            legend="{{family}}",
                        )
                    ],
                ),
                PanelSpec(
                    title="Score before the first practice",
                    description=f"Held-out score of a new family, by what its policy began with. {SCORE}",
                    unit="none",
                    queries=[
                        Query(expr=f"topk($top, learnd_zero_shot_score{{{FAMILIES}}})", legend="{{family}}: {{start}}")
                    ],
                    shape=Shape.BARS,
                ),
                PanelSpec(
                    title="Return in met tasks",
                    description="First episode in tasks that were met before, with their memory and without. "
                    "A gap means that the memory helps.",
                    unit="none",
                    queries=[
                        Query(
                            expr=f"topk($top, learnd_met_return{{{FAMILIES}}})",
                            legend="{{family}}: {{trial_begins_with}}",
                        )
                    ],
                ),
                PanelSpec(
                    title="Trial return in met tasks",
                    description="Whole trial in tasks that were met before, with their memory and without.",
                    unit="none",
                    queries=[
                        Query(
                            expr=f"topk($top, learnd_met_trial_return{{{FAMILIES}}})",
                            legend="{{family}}: {{trial_begins_with}}",
                        )
                    ],
                ),
            ),
        ),
    ),
)

CONTINUAL = DashboardSpec(
    name="continual",
    title="learnd: continual learning",
    description="Is anything forgotten while other families are practised, and does it transfer?",
    rows=(
        (
            "Retention",
            (
                PanelSpec(
                    title="Scores of families over time",
                    description=f"One row per family. {SCORE} A row that pales meanwhile is forgotten.",
                    unit="none",
                    queries=[Query(expr=of_top_families(f"learnd_eval_score{{{FAMILIES}}}"), legend="{{family}}")],
                    shape=Shape.HISTORY,
                    width=24,
                ),
                PanelSpec(
                    title="Most forgotten",
                    description="Score that a family had reached minus its last scores; the largest.",
                    unit="none",
                    queries=[Query(expr=f"topk($top, learnd_forgetting{{{FAMILIES}}})", legend="{{family}}")],
                ),
                PanelSpec(
                    title="Average performance",
                    description="Mean of the last scores over all families with a reference.",
                    unit="none",
                    queries=[Query(expr=f"learnd_average_performance{{{INSTANCE}}}", legend="{{instance}}")],
                ),
                PanelSpec(
                    title="Forward transfer",
                    description="Held-out score before the first practice minus that of new parameters.",
                    unit="none",
                    queries=[Query(expr=f"topk($top, learnd_forward_transfer{{{FAMILIES}}})", legend="{{family}}")],
                    shape=Shape.BARS,
                ),
            ),
        ),
        (
            "Rehearsal and versions",
            (
                PanelSpec(
                    title="KL of rehearsal",
                    description=(
                        "What practice of other families changed in a family's policy; the largest. "
                        "Only of families that share parameters with another one."
                    ),
                    unit="none",
                    queries=[Query(expr=f"topk($top, learnd_rehearsal_kl{{{FAMILIES}}})", legend="{{family}}")],
                ),
                PanelSpec(
                    title="Share of time for rehearsal",
                    description="Of the time of practice.",
                    unit="percentunit",
                    queries=[Query(expr=f"learnd_rehearsal_share{{{INSTANCE}}}", legend="{{instance}}")],
                ),
                PanelSpec(
                    title="Consolidations",
                    description="Each hour, by outcome. Rejections for hours mean that a family falls.",
                    unit="none",
                    queries=[
                        Query(
                            expr=f"sum by (outcome) (increase(learnd_consolidations_total{{{INSTANCE}}}[1h]))",
                            legend="{{outcome}}",
                        )
                    ],
                ),
                PanelSpec(
                    title="Policy version",
                    description="Number of the version that is served; 0 before the first.",
                    unit="none",
                    queries=[Query(expr=f"learnd_policy_version{{{INSTANCE}}}", legend="{{instance}}")],
                ),
            ),
        ),
    ),
)
