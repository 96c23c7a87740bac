"""A stretch of a Holter recording as a file of its own: its head, and only the samples asked for.

A recording of 24 h is then read by the same reader as one of 10 s, and needs as little memory. EDF
and EDF+ (data records one after the other), ISHNE (leads sample by sample) and MFER (blocks of each
lead in turn) can be cut without decoding them.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

EDF_MAGIC, ISHNE_MAGIC = b"0       ", b"ISHNE1.0"
MFER_PREAMBLE = 0x40
# of MFER what a channel may have for itself: length of blocks, their number, type, interval; and a
# group of definitions, in which any of them may stand
MFER_OWN = {0x04, 0x06, 0x0A, 0x0B, 0x67}
MFER_BYTES = {0: 2, 1: 2, 2: 4, 3: 1, 4: 2, 5: 1, 6: 4, 7: 4, 8: 8}  # of a sample, by MWF_DTP
HEAD_BYTES = 1 << 20  # no head of a file is longer


class Stretch(NamedTuple):
    """content  bytes of the shorter file;  skipped  s that it begins later
    seconds  length of the whole recording
    """

    content: bytes
    skipped: float
    seconds: float


class Blocks(NamedTuple):
    """Where the samples of a file lie: n blocks of equal size (bytes) and duration (s) behind
    `offset`; `head(n)` is what comes before n of them, `tail` what comes after.
    """

    offset: int
    size: int
    n: int
    duration: float
    head: Callable[[int], bytes]
    tail: bytes = b""


def stretch_of(path: str | Path, start: float, seconds: float) -> Stretch | None:
    """`seconds` from `start` of a file; None where its format is not one that is cut, or is laid
    out in another way than in equal blocks.
    """
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
        size = file.seek(0, 2)
        reader = next((read for fits, read in LAYOUTS if fits(head)), None)
        try:
            blocks = reader and reader(head, size)
        except (ValueError, struct.error, LookupError, ArithmeticError):
            blocks = None
        if not blocks or blocks.n < 1 or blocks.duration <= 0:
            return None
        return _cut(file, blocks, start, seconds)


def _cut(file: BinaryIO, blocks, start, seconds):
    """The blocks that hold the stretch; at least one, so that a reader can say what is wrong."""
    first = min(int(start / blocks.duration + 1e-9), blocks.n - 1)
    spare = blocks.duration < 0.1  # rounding may need one sample more; a data record has many
    last = min(int(-(-(start + seconds) // blocks.duration)) + spare, blocks.n)
    file.seek(blocks.offset + first * blocks.size)
    samples = file.read((last - first) * blocks.size)
    content = blocks.head(last - first) + samples + blocks.tail
    return Stretch(content, first * blocks.duration, blocks.n * blocks.duration)


def _edf(head, size):
    """Data records, and their number (8 characters at 236) in the head; -1 where the recorder did
    not close the file.
    """
    n_signals = int(head[252:256])
    offset = 256 * (n_signals + 1)
    counts = head[256 + 216 * n_signals : 256 + 224 * n_signals]
    samples = sum(int(counts[8 * k : 8 * k + 8]) for k in range(n_signals))
    there = (size - offset) // (2 * samples)
    stated = int(head[236:244])
    n = there if stated < 0 else min(stated, there)

    def shorter(number: int) -> bytes:
        return head[:236] + str(number).ljust(8).encode() + head[244:offset]

    return Blocks(offset, 2 * samples, n, float(head[244:252]), shorter)


def _ishne(head, size):
    """Frames of one int16 for each lead, behind 522 bytes and a block of notes."""
    (notes,) = struct.unpack_from("<i", head, 10)
    (n_leads,) = struct.unpack_from("<h", head, 156)
    (rate,) = struct.unpack_from("<h", head, 272)
    offset = 522 + notes
    if notes < 0 or offset > len(head) or n_leads < 1 or rate < 1:
        return None
    n = (size - offset) // (2 * n_leads)
    return Blocks(offset, 2 * n_leads, n, 1 / rate, lambda _: head[:offset])


def _mfer(head, size):
    """One frame of sequences, in each of which every lead has a block of the same length."""
    said, place, big = {0x04: 1, 0x05: 1, 0x0A: 0}, 0, True
    sequences = slice(0, 0)  # where the head has their number
    while head[place] != 0x1E:
        tag = head[place]
        if tag == 0:
            place += 1
            continue
        begin = place + 1
        while tag == 0x3F and head[begin] & 0x80:
            begin += 1
        begin += tag == 0x3F
        value, end = _mfer_value(head, begin)
        if tag == 0x67 or (tag == 0x3F and MFER_OWN & set(_mfer_tags(value))):
            return None
        if tag == 0x01:
            big = value[:1] == b"\0"
        elif tag in (0x04, 0x05, 0x0A):
            said[tag] = int.from_bytes(value, "big" if big else "little")
        elif tag == 0x06:
            sequences = slice(end - len(value), end)
        elif tag == 0x0B:
            said[tag] = value
        place = end
    length, offset = _mfer_length(head, place + 1)
    block = said[0x04] * said[0x05] * MFER_BYTES[said[0x0A]]
    rate = _mfer_rate(said.get(0x0B), big)
    n = min(length, size - offset) // block
    tail_at = offset + length
    if tail_at + 2 < size:  # more frames, or more to say
        return None

    def shorter(number: int) -> bytes:
        width = sequences.stop - sequences.start
        counted = number.to_bytes(width, "big" if big else "little") if width else b""
        told = head[: sequences.start] + counted + head[sequences.stop : place]
        return told + b"\x1e\x84" + struct.pack(">I", number * block)

    return Blocks(offset, block, n, said[0x04] / rate, shorter, b"\x80\x00")


def _mfer_tags(data):
    """The tags of the definitions that stand one after the other in `data`."""
    place = 0
    while place < len(data):
        if data[place]:
            yield data[place]
            _, place = _mfer_value(data, place + 1)
        else:
            place += 1


def _mfer_length(data, place):
    """(length, where the value begins)"""
    first = data[place]
    if first < 0x80:
        return first, place + 1
    width = first & 0x7F
    if not 1 <= width <= 4:
        raise ValueError("a length that is not stated")
    return int.from_bytes(data[place + 1 : place + 1 + width], "big"), place + 1 + width


def _mfer_value(data, place):
    length, begin = _mfer_length(data, place)
    return data[begin : begin + length], begin + length


def _mfer_rate(value, big):
    """Hz of MWF_IVL (unit, exponent of ten, mantissa); 1000 where it is not there."""
    if not value:
        return 1000.0
    exponent = int.from_bytes(value[1:2], "big", signed=True)
    number = int.from_bytes(value[2:], "big" if big else "little", signed=True) * 10.0**exponent
    return number if value[0] == 0 else 1 / number


LAYOUTS = (
    (lambda head: head[:8] == EDF_MAGIC, _edf),
    (lambda head: head[:8] == ISHNE_MAGIC, _ishne),
    (lambda head: head[:1] == bytes([MFER_PREAMBLE]) and head[2:6] == b"MFR ", _mfer),
)
