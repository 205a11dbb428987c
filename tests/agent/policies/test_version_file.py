"""One writer and one reader of version files, which verify every checksum there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from agent.output.files import OutputFileError
from agent.policies.version_file import (
    PolicyFileError,
    checksum_file_of,
    decode_version,
    encode_version,
    read_version_file,
    write_version_file,
)
from agent.policies.version_header import (
    CHECKSUM_KEY,
    FORMAT,
    FORMAT_KEY,
    FewShotMember,
    ImageInput,
    KnownFamily,
    KnownFewShotFamily,
    VersionHeader,
    checksum_of,
)
from agent.policies.views import ViewConfig
from envs.tensor.navigation import NAVIGATION_SPACES
from memory.files.parameters import decode, encode, sha256_of

TENSORS = {"a": torch.arange(3.0), "b.c": torch.tensor([[1], [2]])}
HEADER = VersionHeader(
    learner="rl2",
    config={"hidden_size": 4},
    families={"navigation": KnownFamily(spaces=NAVIGATION_SPACES, episodes_per_trial=7)},
    few_shot_families={
        "waves": KnownFewShotFamily(members=(FewShotMember(prefix="few_shot/waves@1/", meta={"learner": "maml"}),)),
        "glyphs": KnownFewShotFamily(
            members=(FewShotMember(prefix="members.0.", meta={"learner": "versa", "config": {"é": [1, None]}}),),
            images=ImageInput(views=ViewConfig(count=6, orientations=3, is_aligned=True), ink_extent=0.61),
            provenance={"entry": "glyphs"},
        ),
    },
    provenance={"seed": 3},
    learnd="0.1.0",
)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "policy.safetensors"
    write_version_file(path, encode_version(HEADER, TENSORS), has_checksum_file=True)
    return path


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_file_is_read_as_it_was_written(written: Path) -> None:
    file = read_version_file(written)
    assert_equal(dict(file.tensors), TENSORS)
    assert file.header.content_sha256 is not None
    assert file.header == VersionHeader(**{**vars(HEADER), "content_sha256": file.header.content_sha256})


def test_equal_headers_and_tensors_give_equal_bytes() -> None:
    turned = dict(reversed(TENSORS.items()))
    assert encode_version(HEADER, turned) == encode_version(HEADER, TENSORS)


def test_any_flipped_bit_is_found_without_a_checksum_file() -> None:
    content = encode_version(VersionHeader(learner="rl2", learnd="0.1.0"), {"a": torch.arange(2.0)})
    decode_version(content, subject="whole")
    for position in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(PolicyFileError, match=r"not a safetensors file|damaged\.$"):
            decode_version(bytes(damaged), subject="policy")


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1])
def test_a_file_that_was_cut_off_is_refused(kept: int) -> None:
    with pytest.raises(PolicyFileError, match="not a safetensors file"):
        decode_version(encode_version(HEADER, TENSORS)[:kept], subject="cut")


def test_the_error_says_what_was_tried_and_found_and_what_to_do(written: Path) -> None:
    checksum_file_of(written).unlink()
    written.write_bytes(written.read_bytes()[:-1] + b"\x01")
    with pytest.raises(PolicyFileError) as raised:
        read_version_file(written)
    error = raised.value
    assert (error.operation, error.subject) == ("reading policy file", str(written))
    recorded = read_header(encode_version(HEADER, TENSORS))[CHECKSUM_KEY]
    assert recorded in error.found
    assert "another copy" in error.hint


def test_a_checksum_file_of_other_content_is_an_error(written: Path) -> None:
    checksum_file_of(written).write_text(f"{'0' * 64}  policy.safetensors\n")
    with pytest.raises(PolicyFileError, match=r"policy\.safetensors\.sha256 records 0000"):
        read_version_file(written)
    checksum_file_of(written).write_bytes(b"\xff nonsense")
    with pytest.raises(PolicyFileError, match=r"policy\.safetensors\.sha256 records"):
        read_version_file(written)


def test_a_checksum_file_of_a_name_with_a_line_break_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines.safetensors"
    write_version_file(path, encode_version(HEADER, TENSORS), has_checksum_file=True)
    assert checksum_file_of(path).read_bytes().startswith(b"\\")
    read_version_file(path)


def test_a_file_of_the_store_is_verified_against_its_name(tmp_path: Path) -> None:
    content = encode(
        {"a": TENSORS["a"].numpy()}, metadata={"learner": "rl2", "learnd": "", "config": "{}", "families": "{}"}
    )
    path = tmp_path / f"{sha256_of(content)}.safetensors"
    path.write_bytes(content)
    assert read_version_file(path).header.learner == "rl2"
    path.write_bytes(content[:-1] + b"\x01")
    with pytest.raises(PolicyFileError, match="not the one in its name"):
        read_version_file(path)


def test_writing_replaces_a_checksum_file_that_is_there_and_adds_none_unasked(tmp_path: Path, written: Path) -> None:
    write_version_file(written, encode_version(HEADER, {"other": torch.zeros(1)}))
    assert set(read_version_file(written).tensors) == {"other"}
    alone = tmp_path / "alone.safetensors"
    assert write_version_file(alone, encode_version(HEADER, TENSORS)) == sha256_of(alone.read_bytes())
    assert not checksum_file_of(alone).exists()


def test_a_checksum_file_that_cannot_be_written_leaves_the_file_as_it_was(written: Path) -> None:
    before = written.read_bytes()
    checksum_file_of(written).unlink()
    checksum_file_of(written).mkdir()
    with pytest.raises(OutputFileError):
        write_version_file(written, encode_version(HEADER, {}))
    assert written.read_bytes() == before


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PolicyFileError, match="No such file"):
        read_version_file(tmp_path / "absent.safetensors")
    with pytest.raises(PolicyFileError, match="Is a directory"):
        read_version_file(tmp_path)


def test_a_later_format_is_refused_by_its_number() -> None:
    arrays = {"a": TENSORS["a"].numpy()}
    metadata = {FORMAT_KEY: str(FORMAT + 1), "learner": "later"}
    metadata[CHECKSUM_KEY] = checksum_of(metadata, arrays)
    with pytest.raises(PolicyFileError, match=f"its format is {FORMAT + 1}"):
        decode_version(encode(arrays, metadata=metadata), subject="later")


@pytest.mark.parametrize("families", ["{oops", "[]", '{"waves": {}}', '{"waves": {"members": 3}}'])
def test_a_header_that_makes_no_sense_is_an_error(families: str) -> None:
    arrays = {"a": TENSORS["a"].numpy()}
    metadata = {**read_header(encode_version(HEADER, TENSORS)), "few_shot_families": families}
    metadata[CHECKSUM_KEY] = checksum_of(metadata, arrays)
    with pytest.raises(PolicyFileError, match="its header cannot be understood"):
        decode_version(encode(arrays, metadata=metadata), subject="odd")


def test_a_safetensors_file_of_another_program_is_refused() -> None:
    for metadata in (None, {"learner": "sac"}):
        with pytest.raises(PolicyFileError, match="does not describe a policy"):
            decode_version(encode({"a": TENSORS["a"].numpy()}, metadata=metadata), subject="foreign")


def test_the_header_of_a_file_can_be_read_by_any_json_parser() -> None:
    header = read_header(encode_version(HEADER, TENSORS))
    assert json.loads(header["families"])["navigation"]["episodes_per_trial"] == 7
    assert json.loads(header["format"]) == FORMAT


def read_header(content: bytes) -> dict[str, str]:
    return decode(content)[1]
