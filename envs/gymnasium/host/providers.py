"""The packages that register an environment's id when they are imported."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # imported where it is used: it takes a tenth of a worker's start
    from importlib import metadata

MAX_FILES = 300
"""The largest number of files of one package that are searched."""

MAX_FILE_BYTES = 400_000


class Provider(NamedTuple):
    """A package that registers ids.

    Attributes:
        module: the module whose import registers them.
        package: the name under which pip installs it.
    """

    module: str
    package: str


WELL_KNOWN = (
    (r"ALE/", Provider("ale_py", "ale-py")),
    (r"MinAtar/", Provider("minatar.gym", "MinAtar")),
    (r"(MiniGrid|BabyAI)-", Provider("minigrid", "minigrid")),
    (r"MiniWorld-", Provider("miniworld", "miniworld")),
    (r"(highway|merge|roundabout|parking|intersection|racetrack|exit|two-way|u-turn|lane-keeping)-", Provider(
        "highway_env", "highway-env"
    )),
    (r"(Fetch|HandReach|HandManipulate|AdroitHand|AntMaze|PointMaze|FrankaKitchen)", Provider(
        "gymnasium_robotics", "gymnasium-robotics"
    )),
    (r"popgym-", Provider("popgym", "popgym")),
    (r"Panda\w+-", Provider("panda_gym", "panda-gym")),
    (r"FlappyBird-", Provider("flappy_bird_gymnasium", "flappy-bird-gymnasium")),
    (r"Meta-World/", Provider("metaworld", "metaworld")),
    (r"MiniHack-", Provider("minihack", "minihack")),
    (r"NetHack", Provider("nle", "nle")),
)  # fmt: skip
"""Beginnings of ids, as patterns, and what provides them."""


def well_known_provider(env_id: str) -> Provider | None:
    """Return the well-known package that registers an id; None if there is none."""
    return next((provider for pattern, provider in WELL_KNOWN if re.match(pattern, env_id, re.IGNORECASE)), None)


def declared_registrations(env_id: str) -> list[metadata.EntryPoint]:
    """Return the functions that installed packages declare for registering the ids of this id's namespace.

    Gymnasium called the entry points of this group when it was imported, and does not any more.
    """
    from importlib import metadata

    namespace, separator, _ = env_id.partition("/")
    return list(metadata.entry_points(group="gymnasium.envs", name=namespace)) if separator else []


def installed_providers(env_id: str) -> list[str]:
    """Return the modules of installed packages whose source contains an id as a text, with or without its version.

    Only packages whose metadata name gymnasium are searched, without gymnasium itself, which has registered its ids.
    Their code is not executed.
    """
    from importlib import metadata

    name = re.escape(re.sub(r"-v\d+$", "", env_id))
    quoted = re.compile(rf"[\"']{name}(-v\d+)?[\"']".encode())
    return sorted({module for found in metadata.distributions() if (module := _module_with(found, quoted))})


def _module_with(distribution: metadata.Distribution, quoted: re.Pattern[bytes]) -> str:
    """Return the top-level module of a package with a pattern in its source; empty if it is nowhere."""
    is_gymnasium = distribution.name.lower() == "gymnasium"
    if is_gymnasium or not any(re.match(r"gym(nasium)?\b", required) for required in distribution.requires or ()):
        return ""
    sources = [file for file in distribution.files or () if file.suffix == ".py" and not file.parts[0].startswith(".")]
    for file in sources[:MAX_FILES]:
        try:
            text = file.read_binary() if (file.size or 0) <= MAX_FILE_BYTES else b""
        except OSError:
            continue
        if quoted.search(text):
            return file.parts[0].removesuffix(".py")
    return ""
