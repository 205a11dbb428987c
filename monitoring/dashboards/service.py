"""The dashboards about the service: overview, memory, service."""

from __future__ import annotations

from monitoring.dashboards.frame import DashboardSpec
from monitoring.dashboards.panels import FAMILIES, INSTANCE, PanelSpec, Query, Shape, of_top_families


def _number(title: str, description: str, expr: str, unit: str = "none") -> PanelSpec:
    return PanelSpec(
        title=title,
        description=description,
        unit=unit,
        queries=[Query(expr=expr)],
        shape=Shape.NUMBER,
        width=4,
        height=4,
    )


def _lines(title: str, description: str, unit: str, *queries: tuple[str, str], width: int = 8) -> PanelSpec:
    return PanelSpec(
        title=title,
        description=description,
        unit=unit,
        queries=[Query(expr=expr, legend=legend) for expr, legend in queries],
        width=width,
    )


OVERVIEW = DashboardSpec(
    name="overview",
    title="learnd: overview",
    description="Does learnd run, is it healthy, and does it learn?",
    rows=(
        (
            "Now",
            (
                _number("Running", "1 if the last scrape was answered.", f'max(up{{job="learnd",{INSTANCE}}})'),
                _number("Red health", "Reasons for red health; 0 is good.", f"sum(learnd_health{{{INSTANCE}}})"),
                _number(
                    "Active families",
                    "Families that are practised.",
                    f'sum(learnd_families{{{INSTANCE},state="active"}})',
                ),
                _number(
                    "Set aside",
                    "Families that are quarantined or were refused.",
                    f'sum(learnd_families{{{INSTANCE},state=~"quarantined|refused"}})',
                ),
                _number("Policy version", "Version that is served.", f"max(learnd_policy_version{{{INSTANCE}}})"),
                _number(
                    "Practice allowed",
                    "1 while a window of practice is open.",
                    f"max(learnd_practice_allowed{{{INSTANCE}}})",
                ),
                _number(
                    "Mean score",
                    "Over all families with a reference.",
                    f"avg(instance:learnd_eval_score:avg{{{INSTANCE}}})",
                ),
                _number(
                    "Steps per second", "Over 5 minutes.", f"sum(instance:learnd_env_steps:rate5m{{{INSTANCE}}})", "ops"
                ),
                _number(
                    "Trainer restarts, 24 h",
                    "Restarts of the trainer in a day.",
                    f"sum(increase(learnd_learner_restarts_total{{{INSTANCE}}}[24h]))",
                ),
                _number(
                    "Age of the backup", "Since the last success.", f"max(learnd_backup_age_seconds{{{INSTANCE}}})", "s"
                ),
                _number(
                    "Disk free", "On the data folder's disk.", f"min(learnd_disk_free_bytes{{{INSTANCE}}})", "bytes"
                ),
                _number("On the disk", "Size of the store.", f"sum(learnd_memory_size_bytes{{{INSTANCE}}})", "bytes"),
            ),
        ),
        (
            "Lately",
            (
                _lines(
                    "Red health by reason",
                    "1 while red; docs/operating.md says what to do about each.",
                    "none",
                    (f"max by (reason) (learnd_health{{{INSTANCE}}}) > 0", "{{reason}}"),
                ),
                _lines(
                    "Held-out score",
                    "Of the families that were practised most. 0 is random actions, 1 is the reference.",
                    "none",
                    (of_top_families(f"learnd_eval_score{{{FAMILIES}}}"), "{{family}}"),
                ),
                _lines(
                    "What the trainer's time goes to",
                    "Share of time, by phase. Rollouts of workers overlap with other phases.",
                    "percentunit",
                    (f"instance_phase:learnd_phase_seconds:rate5m{{{INSTANCE}}}", "{{phase}}"),
                ),
            ),
        ),
    ),
)

MEMORY = DashboardSpec(
    name="memory",
    title="learnd: memory",
    description="How much is stored, does it fit, and is it intact?",
    rows=(
        (
            "Episodic memory",
            (
                _lines(
                    "Episodes stored",
                    "The families with the most.",
                    "none",
                    (f"topk($top, learnd_memory_episodes{{{FAMILIES}}})", "{{family}}"),
                ),
                _lines(
                    "Store on the disk",
                    "Database, log and parameters, with the limit memory.max_size.",
                    "bytes",
                    (f"learnd_memory_size_bytes{{{INSTANCE}}}", "size"),
                    (f'learnd_limit_bytes{{{INSTANCE},setting="memory.max_size"}}', "limit"),
                ),
                _lines(
                    "Write-ahead log",
                    "It grows while a process keeps a read transaction open.",
                    "bytes",
                    (f"learnd_wal_size_bytes{{{INSTANCE}}}", "{{instance}}"),
                ),
            ),
        ),
        (
            "Disk and backups",
            (
                _lines(
                    "Disk",
                    "Of the data folder. Below 64 MiB health is red.",
                    "bytes",
                    (f"learnd_disk_free_bytes{{{INSTANCE}}}", "free"),
                    (f"learnd_disk_size_bytes{{{INSTANCE}}}", "size"),
                ),
                _lines(
                    "Age of the backup",
                    "Since the last success, with the period of the job.",
                    "s",
                    (f"learnd_backup_age_seconds{{{INSTANCE}}}", "age"),
                    (f'learnd_job_period_seconds{{{INSTANCE},job="backup"}}', "period"),
                ),
                _lines(
                    "Damage",
                    "Of the store by kind, of backups, and starts from older checkpoints.",
                    "none",
                    (f"sum by (kind) (learnd_store_damage{{{INSTANCE}}})", "{{kind}}"),
                    (f"learnd_backup_damaged_parts{{{INSTANCE}}}", "backups"),
                    (f"increase(learnd_checkpoint_fallbacks_total{{{INSTANCE}}}[24h])", "older checkpoint, 24 h"),
                ),
            ),
        ),
    ),
)

SERVICE = DashboardSpec(
    name="service",
    title="learnd: service",
    description="Do the processes, the jobs and the workers run, and what do they use?",
    rows=(
        (
            "Processes",
            (
                _lines(
                    "Memory by kind of process",
                    "Resident memory.",
                    "bytes",
                    (f"learnd_process_memory_bytes{{{INSTANCE}}}", "{{process}}"),
                ),
                _lines(
                    "CPU by kind of process",
                    "Cores that are used.",
                    "none",
                    (f"rate(learnd_process_cpu_seconds_total{{{INSTANCE}}}[5m])", "{{process}}"),
                ),
                _lines(
                    "State of the trainer",
                    "The present state is 1.",
                    "none",
                    (f"learnd_learner_state{{{INSTANCE}}} > 0", "{{state}}"),
                ),
                _lines(
                    "Heartbeat and snapshot",
                    "Time since the trainer made progress, its limit, and the age of the metrics.",
                    "s",
                    (f"learnd_learner_heartbeat_age_seconds{{{INSTANCE}}}", "heartbeat"),
                    (f'learnd_limit_seconds{{{INSTANCE},setting="learner.stall_timeout_s"}}', "limit"),
                    (f"learnd_snapshot_age_seconds{{{INSTANCE}}}", "snapshot"),
                ),
                _lines(
                    "GPU memory",
                    "Empty without a GPU.",
                    "bytes",
                    (f"learnd_device_memory_used_bytes{{{INSTANCE}}}", "{{device}}"),
                    (f"learnd_device_memory_size_bytes{{{INSTANCE}}}", "{{device}} size"),
                ),
                _lines(
                    "GPU utilisation",
                    "Share of time in which the GPU was busy. Empty without a GPU.",
                    "percentunit",
                    (f"learnd_device_utilisation_ratio{{{INSTANCE}}}", "{{device}}"),
                ),
            ),
        ),
        (
            "Jobs",
            (
                _lines(
                    "Runs that did not succeed",
                    "In an hour. Failed runs of practise are mostly faults of families.",
                    "none",
                    (
                        (
                            f"sum by (job, outcome) (increase(learnd_job_runs_total{{{INSTANCE},"
                            'outcome=~"failed|missed|overran|interrupted"}[1h])) > 0'
                        ),
                        "{{job}} {{outcome}}",
                    ),
                ),
                _lines(
                    "Errors of jobs",
                    "Failed runs in an hour that no single family caused, and such failures in a row.",
                    "none",
                    (f"sum by (job) (increase(learnd_job_errors_total{{{INSTANCE}}}[1h]))", "{{job}}"),
                    (f"max by (job) (learnd_job_failures_in_a_row{{{INSTANCE}}}) > 0", "{{job}} in a row"),
                ),
                _lines(
                    "Duration of the newest run",
                    "Of each kind of job.",
                    "s",
                    (f"learnd_job_duration_seconds{{{INSTANCE}}}", "{{job}}"),
                ),
                _lines(
                    "Time since the last success",
                    "Of each kind of job.",
                    "s",
                    (f"time() - learnd_job_last_success_timestamp_seconds{{{INSTANCE}}}", "{{job}}"),
                ),
            ),
        ),
        (
            "Faults",
            (
                _lines(
                    "Trainer restarts",
                    "In 10 minutes, by reason.",
                    "none",
                    (f"sum by (reason) (increase(learnd_learner_restarts_total{{{INSTANCE}}}[10m]))", "{{reason}}"),
                ),
                _lines(
                    "Worker restarts",
                    "In 10 minutes; the families with the most.",
                    "none",
                    (
                        (
                            "topk($top, sum by (family, reason)"
                            f" (increase(learnd_worker_restarts_total{{{FAMILIES}}}[10m])) > 0)"
                        ),
                        "{{family}} {{reason}}",
                    ),
                ),
                _lines(
                    "Families by state",
                    "How many there are.",
                    "none",
                    (f"learnd_families{{{INSTANCE}}}", "{{state}}"),
                ),
                _lines(
                    "Quarantines",
                    "Share of two hours that a family spent in quarantine, and its faults in a row; the worst.",
                    "none",
                    (f"topk($top, instance_family:learnd_family_quarantined:avg2h{{{FAMILIES}}} > 0)", "{{family}}"),
                    (f"topk($top, learnd_family_strikes{{{FAMILIES}}} > 0)", "{{family}}: strikes"),
                    (f"topk($top, learnd_family_quarantined{{{FAMILIES}}} > 0)", "{{family}}: now"),
                ),
            ),
        ),
    ),
)
