"""Health: each reason for red health, and its text."""

from __future__ import annotations

from dataclasses import replace

from agent.daemon.health import HealthInputs, RedReason, problems
from memory.records import JobKind, Problem, ProblemKind

WELL = HealthInputs(
    crash_loop=None, snapshot_age_s=1.0, read_error="", write_error="", disk_free_bytes=2**40, failures={}
)


def reasons(signs: HealthInputs) -> list[RedReason]:
    return [problem.reason for problem in problems(signs)]


def test_a_well_service_has_no_problem() -> None:
    assert problems(WELL) == []


def test_every_reason_is_told_with_what_was_found_and_what_to_do() -> None:
    ill = HealthInputs(
        crash_loop="it died",
        snapshot_age_s=100.0,
        read_error="locked",
        write_error="no room",
        disk_free_bytes=1,
        failures={JobKind.BACKUP: (3, "no such disk"), JobKind.PRUNE: (2, "")},
        damage=[
            Problem(subject="x", found=f"{kind} was found", hint="Repair it.", kind=kind)
            for kind in (ProblemKind.CHECKPOINT_LOST, ProblemKind.CHECKPOINT_FALLBACK, ProblemKind.TRIAL)
        ],
        backup_problem="CorruptFileError: a backup is damaged",
        settings_problem="learnd.toml: jobs.backup = 1",
    )
    assert set(reasons(ill)) == set(RedReason)
    texts = [str(problem) for problem in problems(ill)]
    assert any("backup failed 3 times in a row, the last: no such disk" in text for text in texts)
    assert not any("prune failed" in text for text in texts)
    assert all(problem.hint for problem in problems(ill))


def test_the_store_is_unreadable_only_after_a_while() -> None:
    assert reasons(replace(WELL, snapshot_age_s=29.0, read_error="locked")) == []
    assert reasons(replace(WELL, snapshot_age_s=31.0)) == [RedReason.STORE_UNREADABLE]


def test_known_damage_is_one_reason_that_names_the_first_and_counts_the_rest() -> None:
    damage = [
        Problem(subject=f"trial {number}", found="its checksum differs.", kind=ProblemKind.TRIAL) for number in (4, 7)
    ]
    (problem,) = problems(replace(WELL, damage=damage))
    assert problem.reason is RedReason.STORE_DAMAGED
    assert problem.found == "trial 4: its checksum differs, and 1 more"
    assert "learnd doctor --repair" in problem.hint


def test_a_lost_checkpoint_keeps_what_the_learner_said_of_it() -> None:
    lost = Problem(subject="checkpoints", found="none is intact", hint="Restore.", kind=ProblemKind.CHECKPOINT_LOST)
    (problem,) = problems(replace(WELL, damage=[lost]))
    assert (problem.reason, problem.found, problem.hint) == (RedReason.CHECKPOINT_LOST, "none is intact", "Restore.")
