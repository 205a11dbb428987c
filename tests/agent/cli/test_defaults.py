"""A default has one place: what the command line, the settings and the code take is the same value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from agent.cli.main import app
from agent.config.settings import Settings
from agent.config.worker_settings import WorkersSettings
from agent.experiments.budget import Budget
from agent.experiments.run import Plan
from agent.policies.image_classifier_training import FewShotRecipe
from envs.limits import WorkerLimits

PLAN = Plan(budget=Budget(updates=1))
RECIPE = FewShotRecipe()

OTHER_MEANING = {("memory recognise", "steps"), ("few-shot train", "processes")}
"""Options that have the name of a setting by chance: `reference.steps` are those of a measurement, `workers.processes`
those of one family's environment."""


def options() -> Iterator[tuple[str, Any]]:
    """Yield the words of each command with each of its options."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop()
        if hasattr(command, "commands"):
            waiting += [((*words, name), inner) for name, inner in command.commands.items()]
        else:
            for parameter in command.params:
                yield " ".join(words), parameter


def default_of(command: str, option: str) -> Any:
    [default] = [p.default for words, p in options() if words == command and option in p.opts]
    return default


def test_a_worker_without_settings_has_the_limits_of_the_settings() -> None:
    assert WorkersSettings().limits() == WorkerLimits()


@pytest.mark.parametrize("command", ["learn", "compare"])
def test_a_run_has_as_many_final_tasks_by_the_command_line_as_by_the_code(command: str) -> None:
    assert default_of(command, "--tasks") == PLAN.tasks_at_end


@pytest.mark.parametrize("option", ["minutes", "members", "processes"])
def test_the_training_of_a_few_shot_policy_has_one_default(option: str) -> None:
    assert default_of("few-shot train", f"--{option}") == getattr(RECIPE, option)


def test_an_option_with_the_name_of_a_setting_has_the_setting_s_default() -> None:
    settings = Settings()
    sections = [getattr(settings, name) for name in type(settings).model_fields]
    values: dict[str, list[Any]] = {}
    for section in sections:
        for name in getattr(type(section), "model_fields", {}):
            values.setdefault(name, []).append(getattr(section, name))
    checked = 0
    for command, parameter in options():
        if parameter.name in values and (command, parameter.name) not in OTHER_MEANING:
            assert parameter.default is None or parameter.default in values[parameter.name], (command, parameter.name)
            checked += 1
    assert checked > 1
