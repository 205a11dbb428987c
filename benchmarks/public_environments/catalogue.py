"""Public environments on Gymnasium: how each is named, and the package that pip installs it with.

The options are keys of a family file. ``max_steps`` bounds episodes of environments whose registered episodes are long,
so that a first slice of practice ends soon.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package with environments.

    Attributes:
        title: the name of the collection, as a reader knows it.
        module: a top-level module that exists if the package is installed.
        install: the name for ``pip install``.
    """

    title: str
    module: str
    install: str

    @property
    def is_installed(self) -> bool:
        """Whether the module can be found; it is not imported."""
        return importlib.util.find_spec(self.module) is not None


@dataclass(frozen=True, kw_only=True)
class PublicEnvironment:
    """A public environment and how it is added.

    Attributes:
        entry: the entry of ``learnd env add``.
        package: the package that provides it.
        options: further keys of its family file.
    """

    entry: str
    package: Package
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The family's name, and the name of its row."""
        return re.sub(r"[^a-z0-9]+", "-", self.entry.rpartition(":")[2].lower()).strip("-")


CLASSIC = Package(title="classic control", module="gymnasium", install="gymnasium")
TOY_TEXT = Package(title="toy text", module="gymnasium", install="gymnasium")
BOX2D = Package(title="Box2D", module="Box2D", install='"learnd[box2d]"')
MUJOCO = Package(title="MuJoCo", module="mujoco", install='"learnd[mujoco]"')
ATARI = Package(title="ALE", module="ale_py", install='"learnd[atari]"')
MINIGRID = Package(title="MiniGrid", module="minigrid", install='"learnd[minigrid]"')
MINATAR = Package(title="MinAtar", module="minatar", install="--no-deps minatar")
HIGHWAY = Package(title="highway-env", module="highway_env", install="highway-env")
ROBOTICS = Package(title="gymnasium-robotics", module="gymnasium_robotics", install="gymnasium-robotics")
POPGYM = Package(title="POPGym", module="popgym", install="popgym")

SHORT: Mapping[str, Any] = {"max_steps": 50}
CELLS: Mapping[str, Any] = {"wrap": ["minigrid.wrappers:ImgObsWrapper"], "max_steps": 50}
GAME: Mapping[str, Any] = {"preset": "atari", "max_steps": 50}


def _of(package: Package, entries: Iterable[str], **options: Any) -> Iterator[PublicEnvironment]:
    for entry in entries:
        yield PublicEnvironment(entry=entry, package=package, options=options)


def catalogue() -> list[PublicEnvironment]:
    """Return the environments, by package."""
    return [*_standard(), *_grids_and_games(), *_simulators(), *_others()]


def _standard() -> Iterator[PublicEnvironment]:
    """Yield the environments that Gymnasium registers."""
    yield from _of(
        CLASSIC, ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"), **SHORT
    )
    yield from _of(
        TOY_TEXT, ("Blackjack-v1", "Taxi-v4", "CliffWalking-v1", "FrozenLake-v1", "FrozenLake8x8-v1"), **SHORT
    )
    yield from _of(BOX2D, ("LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3", "CarRacing-v3"), **SHORT)
    yield from _of(
        MUJOCO,
        (
            "InvertedPendulum-v5",
            "InvertedDoublePendulum-v5",
            "Reacher-v5",
            "Pusher-v5",
            "Swimmer-v5",
            "Hopper-v5",
            "Walker2d-v5",
            "HalfCheetah-v5",
            "Ant-v5",
            "Humanoid-v5",
        ),
        **SHORT,
    )
    yield from _of(CLASSIC, ("CartPole-v0", "phys2d/CartPole-v1"), **SHORT)


def _grids_and_games() -> Iterator[PublicEnvironment]:
    yield from _of(MINIGRID, ("MiniGrid-Empty-5x5-v0",))
    yield from _of(
        MINIGRID,
        (
            "MiniGrid-Empty-8x8-v0",
            "MiniGrid-DoorKey-5x5-v0",
            "MiniGrid-FourRooms-v0",
            "MiniGrid-MemoryS7-v0",
            "MiniGrid-KeyCorridorS3R1-v0",
            "MiniGrid-LavaCrossingS9N1-v0",
            "MiniGrid-Dynamic-Obstacles-5x5-v0",
            "MiniGrid-Unlock-v0",
            "BabyAI-GoToRedBall-v0",
        ),
        **CELLS,
    )
    games = ("Breakout", "Asterix", "Freeway", "Seaquest", "SpaceInvaders")
    yield from _of(MINATAR, (f"MinAtar/{game}-v1" for game in games), **SHORT)
    yield from _of(ATARI, (f"ALE/{game}-v5" for game in ("Pong", "Breakout", "Freeway", "SpaceInvaders")), **GAME)
    yield from _of(
        POPGYM,
        (
            "popgym-RepeatPreviousEasy-v0",
            "popgym-AutoencodeEasy-v0",
            "popgym-BattleshipEasy-v0",
            "popgym-CountRecallEasy-v0",
            "popgym-HigherLowerEasy-v0",
            "popgym-MineSweeperEasy-v0",
            "popgym-MultiarmedBanditEasy-v0",
            "popgym-PositionOnlyCartPoleEasy-v0",
            "popgym-LabyrinthEscapeEasy-v0",
        ),
        **SHORT,
    )


def _simulators() -> Iterator[PublicEnvironment]:
    yield from _of(
        HIGHWAY,
        (
            "highway-fast-v0",
            "merge-v0",
            "roundabout-v0",
            "parking-v0",
            "intersection-v0",
            "racetrack-v0",
            "u-turn-v0",
            "two-way-v0",
        ),
        max_steps=20,
    )
    yield from _of(
        ROBOTICS,
        (
            "FetchReach-v4",
            "FetchPush-v4",
            "PointMaze_UMaze-v3",
            "AntMaze_UMaze-v5",
            "AdroitHandDoor-v1",
            "HandReach-v3",
            "FrankaKitchen-v1",
        ),
        max_steps=50,
    )


def _others() -> Iterator[PublicEnvironment]:
    """Yield environments of smaller packages, with the module whose import registers them."""
    smaller = (
        ("gym_pusht:gym_pusht/PushT-v0", "gym-pusht"),
        ("gymnasium_cartpole_swingup:CartPoleSwingUp-v0", "gymnasium-cartpole-swingup"),
        ("mo_gymnasium:deep-sea-treasure-v0", "mo-gymnasium"),
        ("tetris_gymnasium.envs:tetris_gymnasium/Tetris", "tetris-gymnasium"),
        ("gym_simplegrid:SimpleGrid-8x8-v0", "gym-simplegrid"),
        ("pgtg:pgtg-exploration_3x3-v0", "pgtg"),
        ("gymnasium_snake_game:Snake-v1", "gymnasium-snake-game"),
        ("mazegym:Maze9x9Random-v0", "mazegym"),
        ("numberlink:NumberLinkRGB-v0", "numberlink"),
        ("tile_match_gym:TileMatch-v0", "tile-match-gym"),
        ("gym_sailing:SailboatDiscrete-v0", "gym-sailing"),
        ("gym_sailing:Motorboat-v0", "gym-sailing"),
        ("gym_super_mario_bros:SuperMarioBros-v0", "gym-super-mario-bros"),
        ("panda_gym:PandaReach-v3", "panda-gym"),
        ("flappy_bird_gymnasium:FlappyBird-v0", "flappy-bird-gymnasium"),
        ("MiniWorld-Hallway-v0", "miniworld"),
        ("MiniHack-Room-5x5-v0", "minihack"),
        ("gymnasium_2048:gymnasium_2048/TwentyFortyEight-v0", "gymnasium-2048"),
        ("gym_sokoban:Sokoban-small-v0", "gym-sokoban"),
    )
    for entry, install in smaller:
        module = entry.partition(":")[0] if ":" in entry else install
        package = Package(title="other packages", module=module.partition(".")[0], install=install)
        yield PublicEnvironment(entry=entry, package=package, options=SHORT)
    metaworld = Package(title="other packages", module="metaworld", install="metaworld")
    task: Mapping[str, Any] = {"kwarg": ["env_name=reach-v3"], **SHORT}
    yield PublicEnvironment(entry="Meta-World/MT1", package=metaworld, options=task)
    weighted: Mapping[str, Any] = {"wrap": ["mo_gymnasium.wrappers:LinearReward"], **SHORT}
    objectives = Package(title="other packages", module="mo_gymnasium", install="mo-gymnasium")
    yield PublicEnvironment(entry="mo_gymnasium:minecart-v0", package=objectives, options=weighted)
