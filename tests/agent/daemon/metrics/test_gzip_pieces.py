"""Text in gzip that is joined from pieces: any reader of gzip gets the text."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from agent.daemon.metrics.gzip_pieces import LEAST_JOINED_BYTES, Piece, joined

SHORT, LONG = 10, LEAST_JOINED_BYTES


def line(number: int) -> bytes:
    return f'learnd_loss{{family="family-{number}"}} {random.Random(number).gauss(0.0, 1.0)}\n'.encode()


@pytest.mark.parametrize("num_lines", [0, SHORT, LONG])
@pytest.mark.parametrize("end", [b"", b"# EOF\n"])
def test_the_joined_text_is_that_of_its_pieces_and_its_end(num_lines: int, end: bytes) -> None:
    lines = [line(number) for number in range(num_lines)]
    beginning = joined([Piece(b"".join(lines[start : start + 100])) for start in range(0, num_lines, 100)])
    assert beginning.text == b"".join(lines)
    assert gzip.decompress(beginning.zipped(end)) == beginning.text + end
    assert gzip.decompress(beginning.zipped(b"another end")) == beginning.text + b"another end"


@pytest.mark.parametrize("num_lines", [SHORT, LONG])
def test_the_joined_text_is_one_gzip_member(num_lines: int) -> None:
    """Some readers ignore what follows the first member (RFC 1952, 2.2)."""
    beginning = joined([Piece(line(number)) for number in range(num_lines)])
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert reader.decompress(beginning.zipped(b"end\n")) == beginning.text + b"end\n"
    assert reader.eof
    assert reader.unused_data == b""


def test_a_piece_stands_in_several_texts_and_is_compressed_once() -> None:
    common, other = Piece(line(1) * LONG), Piece(line(2))
    first = common.deflated
    for pieces in ([common, other], [other, common], [common, common]):
        beginning = joined(pieces)
        assert gzip.decompress(beginning.zipped(b"")) == b"".join(piece.text for piece in pieces)
    assert common.deflated is first


def test_joining_costs_few_bytes() -> None:
    lines = [line(number) for number in range(20_000)]
    beginning = joined([Piece(b"".join(lines[start : start + 256])) for start in range(0, len(lines), 256)])
    assert len(beginning.zipped(b"")) < 1.05 * len(gzip.compress(b"".join(lines), 1))
