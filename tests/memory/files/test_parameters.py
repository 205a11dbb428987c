from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from memory.errors import CorruptFileError
from memory.files.parameters import ParameterFolder, content_checksum, decode, encode
from memory.records import ParameterFile
from tests.memory.making import make_tensors

METADATA = {f"key {number}": f"värde {number}" for number in range(12)}


@pytest.fixture
def parameters(tmp_path: Path) -> ParameterFolder:
    return ParameterFolder(tmp_path)


def test_a_file_is_named_by_its_content_and_loads_back(parameters: ParameterFolder, tmp_path: Path) -> None:
    file = parameters.write(make_tensors(3))
    content = (tmp_path / f"{file.sha256}.safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == file.sha256
    assert len(content) == file.size_bytes
    loaded = parameters.load(file)
    assert set(loaded) == {"core.weight", "adam.step"}
    np.testing.assert_array_equal(loaded["core.weight"], make_tensors(3)["core.weight"])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "float16", "float32", "float64"])
def test_tensors_of_every_layout_come_back_equal(parameters: ParameterFolder, dtype: str) -> None:
    base = (np.arange(24) % 2).astype(dtype)
    tensors = {
        "transposed": base.reshape(4, 6).T,
        "strided": base[::3],
        "scalar": base[0].reshape(()),
        "empty": base[:0].reshape(0, 3),
    }
    loaded = parameters.load(parameters.write(tensors))
    for name, tensor in tensors.items():
        assert loaded[name].shape == tensor.shape
        assert loaded[name].dtype == tensor.dtype
        np.testing.assert_array_equal(loaded[name], tensor)


def test_equal_content_gives_equal_bytes_in_every_process() -> None:
    program = (
        "import hashlib; from memory.files.parameters import encode; from tests.memory.making import make_tensors;"
        "from tests.memory.files.test_parameters import METADATA;"
        "print(hashlib.sha256(encode(make_tensors(3), metadata=METADATA)).hexdigest())"
    )
    found = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    }
    assert found == {hashlib.sha256(encode(make_tensors(3), metadata=METADATA)).hexdigest()}


def test_the_header_put_in_order_is_read_by_the_safetensors_library(
    parameters: ParameterFolder, tmp_path: Path
) -> None:
    file = parameters.write(make_tensors(3), metadata=METADATA)
    with safe_open(tmp_path / f"{file.sha256}.safetensors", framework="numpy") as opened:
        assert opened.metadata() == METADATA
        np.testing.assert_array_equal(opened.get_tensor("core.weight"), make_tensors(3)["core.weight"])


@pytest.mark.parametrize("metadata", [METADATA, {}])
def test_what_was_encoded_is_decoded_with_its_metadata(metadata: dict[str, str]) -> None:
    tensors, found = decode(encode(make_tensors(3), metadata=metadata))
    assert found == metadata
    assert set(tensors) == {"core.weight", "adam.step"}
    np.testing.assert_array_equal(tensors["core.weight"], make_tensors(3)["core.weight"])


def test_a_content_checksum_is_over_names_types_shapes_values_and_description() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    written = hashlib.sha256(b"of old" + b"a float32 (2, 3)\n" + values.tobytes()).hexdigest()
    assert content_checksum({"a": values}, description="of old") == written
    assert content_checksum({"a": np.asfortranarray(values)}, description="of old") == written
    flipped = values.copy()
    flipped.view(np.uint8)[1, 2] ^= 1
    others = ({"b": values}, {"a": values.astype(np.float64)}, {"a": values.reshape(3, 2)}, {"a": flipped}, {})
    assert written not in {content_checksum(other, description="of old") for other in others}
    assert content_checksum({"a": values}) != written


@pytest.mark.parametrize("damage", ["flipped bit", "cut short", "emptied", "removed", "another's content"])
def test_a_damaged_file_is_reported_and_never_loaded(parameters: ParameterFolder, tmp_path: Path, damage: str) -> None:
    file = parameters.write(make_tensors(3))
    path = tmp_path / f"{file.sha256}.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "removed":
        path.unlink()
    else:
        content[-5] ^= 0x10
        other = encode(make_tensors(4))
        path.write_bytes(
            {"flipped bit": bytes(content), "cut short": bytes(content[:-9]), "emptied": b""}.get(damage, other)
        )
    with pytest.raises(CorruptFileError, match=file.sha256):
        parameters.load(file)


def test_a_file_that_is_not_safetensors_is_reported(parameters: ParameterFolder, tmp_path: Path) -> None:
    content = b"\x80\x04not a pickle to be loaded"
    sha256 = hashlib.sha256(content).hexdigest()
    (tmp_path / f"{sha256}.safetensors").write_bytes(content)
    with pytest.raises(CorruptFileError, match="not a safetensors file"):
        parameters.load(ParameterFile(sha256=sha256, size_bytes=len(content)))


def test_nothing_may_be_removed_while_somebody_keeps_the_files_still(parameters: ParameterFolder) -> None:
    with parameters.removable() as is_free:
        assert is_free
    with parameters.kept_still(), parameters.kept_still(), parameters.removable() as is_free:
        assert not is_free
    with parameters.removable() as is_free:
        assert is_free


def test_only_old_unfinished_files_are_removed(parameters: ParameterFolder, tmp_path: Path) -> None:
    for name, age in (("old", 100.0), ("young", 0.0)):
        path = tmp_path / f".{name}.tmp"
        path.write_bytes(b"half")
        os.utime(path, (1_000.0 - age, 1_000.0 - age))
    assert parameters.remove_unfinished(older_than=950.0) == (1, 4)
    assert [path.name for path in tmp_path.glob(".*.tmp")] == [".young.tmp"]
