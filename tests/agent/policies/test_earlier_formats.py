"""Files that were written before format 3 still load. Their headers were recorded from learnd 0.1.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agent.policies.acting import load_policy
from agent.policies.earlier_formats import CLASSIFIER_CHECKSUM_KEY, CLASSIFIER_KEY
from agent.policies.published_classifiers import few_shot_learners, load_few_shot
from agent.policies.version_file import PolicyFileError, checksum_file_of, read_version_file
from memory.files.parameters import content_checksum, encode, sha256_of

RECORDED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "recorded_headers.json").read_text())
RL2, GRADIENT, WAVES, GLYPHS = RECORDED


def arrays_of(name: str, *, prefix: str = "", removed: str = "") -> dict[str, NDArray[Any]]:
    return {
        prefix + tensor.removeprefix(removed): np.linspace(0.1, 1.0, int(np.prod(shape))).reshape(shape).astype(dtype)
        for tensor, (dtype, shape) in RECORDED[name]["tensors"].items()
    }


def write(path: Path, name: str, **changed: str) -> Path:
    arrays, metadata = arrays_of(name), {**RECORDED[name]["metadata"], **changed}
    if CLASSIFIER_KEY in metadata:
        metadata[CLASSIFIER_CHECKSUM_KEY] = content_checksum(arrays)
    path.write_bytes(encode(arrays, metadata=metadata))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.safetensors"


def test_a_policy_of_rl2_acts(path: Path) -> None:
    policy = load_policy(write(path, RL2))
    assert {name: known.episodes_per_trial for name, known in policy.families.items()} == {"bernoulli_bandits": 2}
    header = read_version_file(path).header
    assert (header.format, header.learnd, header.content_sha256) == (1, "0.1.0", None)
    assert header.provenance["updates"] == 1


def test_a_policy_that_learned_with_a_removed_setting_is_refused_with_the_release_that_has_it(path: Path) -> None:
    config = json.loads(RECORDED[RL2]["metadata"]["config"])
    write(path, RL2, config=json.dumps({**config, "memory_reader": "prototypes"}))
    with pytest.raises(PolicyFileError, match=r"memory_reader = 'prototypes'.*learnd 0\.1\.0"):
        load_policy(path)


def test_a_policy_that_adapts_by_gradient_acts(path: Path) -> None:
    policy = load_policy(write(path, GRADIENT))
    assert {name: known.episodes_per_trial for name, known in policy.families.items()} == {"navigation": (3 + 1) * 2}


def test_a_few_shot_learner_of_regressions_is_restored(path: Path) -> None:
    file = read_version_file(write(path, WAVES))
    (learner,) = few_shot_learners(file, "sinusoids")
    assert (learner.num_updates, learner.shapes.output_size) == (1, 1)
    with pytest.raises(PolicyFileError, match="no family of images"):
        load_few_shot(path)


def test_an_image_classifier_is_loaded_as_it_was_meant(path: Path) -> None:
    policy = load_few_shot(write(path, GLYPHS))
    assert (policy.size, policy.ink_extent, len(policy.members)) == (16, 0.6875, 1)
    assert (policy.views.count, policy.views.orientations, policy.views.is_aligned) == (1, 1, False)
    assert policy.provenance["updates"] == 1
    described = json.loads(RECORDED[GLYPHS]["metadata"][CLASSIFIER_KEY])
    del described["views"]["is_aligned"], described["members"][0]["config"]["statistics_prior"]
    before_aligned_views = load_few_shot(write(path, GLYPHS, **{CLASSIFIER_KEY: json.dumps(described)}))
    assert before_aligned_views.views == policy.views


def test_a_version_with_few_shot_families_acts_and_classifies(path: Path) -> None:
    (meta,) = json.loads(RECORDED[GLYPHS]["metadata"][CLASSIFIER_KEY])["members"]
    described = {
        "name": "glyphs@2",
        "meta": meta,
        "origin": "fast",
        "entry": "glyphs",
        "kwargs": {"ways": 3},
        "ink_extent": 0.6,
        "orientations": 4,
    }
    metadata = {**RECORDED[RL2]["metadata"], "few_shot_families": json.dumps({"glyphs": described})}
    del metadata["provenance"]
    arrays = arrays_of(RL2) | arrays_of(GLYPHS, prefix="few_shot/glyphs@2/", removed="members.0.")
    path.write_bytes(encode(arrays, metadata=metadata))
    assert set(load_policy(path).families) == {"bernoulli_bandits"}
    classifier = load_few_shot(path, "glyphs")
    assert (classifier.views.count, classifier.views.orientations, classifier.ink_extent) == (8, 4, 0.6)
    assert classifier.provenance == {"entry": "glyphs", "kwargs": {"ways": 3}, "origin": "fast"}


@pytest.mark.parametrize("name", list(RECORDED))
def test_a_checksum_file_beside_it_is_verified(path: Path, name: str) -> None:
    write(path, name)
    checksum_file_of(path).write_text(f"{sha256_of(path.read_bytes())}  {path.name}\n")
    read_version_file(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(PolicyFileError, match="sha256"):
        read_version_file(path)


def test_a_damaged_classifier_is_refused_by_the_checksum_of_its_tensors(path: Path) -> None:
    write(path, GLYPHS)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(PolicyFileError, match="its tensors do not match their checksum"):
        load_few_shot(path)


@pytest.mark.parametrize("said", ["{oops", "[]", "{}", '{"format": 2}'])
def test_a_classifier_whose_header_makes_no_sense_is_refused(path: Path, said: str) -> None:
    with pytest.raises(PolicyFileError, match="its header cannot be understood"):
        load_few_shot(write(path, GLYPHS, **{CLASSIFIER_KEY: said}))


def test_a_classifier_of_format_1_is_refused_by_its_format(path: Path) -> None:
    with pytest.raises(PolicyFileError, match="image classifier of format 1"):
        load_few_shot(write(path, GLYPHS, **{CLASSIFIER_KEY: '{"format": 1}'}))


@pytest.mark.parametrize("said", ["{oops", "[]", '{"glyphs": {"ink_extent": 0.5}}'])
def test_a_version_whose_few_shot_families_make_no_sense_is_refused(path: Path, said: str) -> None:
    with pytest.raises(PolicyFileError, match="its header cannot be understood"):
        load_few_shot(write(path, RL2, few_shot_families=said))


def test_tensors_that_do_not_fit_their_header_are_an_error_about_the_file(path: Path) -> None:
    config = {**json.loads(RECORDED[RL2]["metadata"]["config"]), "hidden_size": 5}
    with pytest.raises(PolicyFileError, match=r"policy\.safetensors"):
        load_policy(write(path, RL2, config=json.dumps(config)))
