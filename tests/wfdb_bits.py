"""WFDB records put together bit by bit: every storage format, and a record in segments."""

import numpy as np

from common.labels import LEADS
from tiny_ptbxl import ecg_like, fitting_limbs

RATE = 500
SIGNAL = fitting_limbs(ecg_like(3, RATE) / 1000)[:3000]  # (3000, 12) mV


def digital(per_mv):
    return np.rint(SIGNAL * per_mv).astype(np.int64)


def twelve_bits(stream):
    low, high = stream.reshape(-1, 2).T & 0xFFF
    middle = (low >> 8) | ((high >> 8) << 4)
    return np.stack([low & 0xFF, middle, high & 0xFF], axis=1).astype(np.uint8)


def ten_bits(stream):
    """Two in the upper bits of a word each, the third in the five bits that are left of both."""
    one, two, three = stream.reshape(-1, 3).T & 0x3FF
    first = (one << 1) | ((three & 0x1F) << 11)
    second = (two << 1) | ((three >> 5) << 11)
    return np.stack([first, second], axis=1).astype("<u2")


def packed_ten_bits(stream):
    one, two, three = stream.reshape(-1, 3).T & 0x3FF
    return (one | (two << 10) | (three << 20)).astype("<u4")


def three_bytes(stream):
    return stream.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3]


# format -> (units per mV, bytes of a stream of whole numbers)
FORMATS = {
    "8": (20, lambda stream: np.diff(stream.reshape(-1, 12), axis=0, prepend=0).astype(np.int8)),
    "16": (1000, lambda stream: stream.astype("<i2")),
    "24": (100_000, three_bytes),
    "32": (1_000_000, lambda stream: stream.astype("<i4")),
    "61": (1000, lambda stream: stream.astype(">i2")),
    "80": (50, lambda stream: (stream + 128).astype(np.uint8)),
    "160": (1000, lambda stream: (stream + 32768).astype("<u2")),
    "212": (500, twelve_bits),
    "310": (200, ten_bits),
    "311": (200, packed_ten_bits),
}


def segmented(folder, between=(), layout=False, leads=LEADS):
    """The first 1200 and the other 1800 samples, each a record of its own; the second may lack
    leads.
    """
    stored = digital(1000)
    columns = [LEADS.index(name) for name in leads]
    for number, part in enumerate((stored[:1200], stored[1200:, columns])):
        here = LEADS if number == 0 else leads
        part.astype("<i2").tofile(folder / f"s{number}.dat")
        lines = [
            f"s{number}.dat 16 1000/mV 16 0 {part[0, k]} {part[:, k].sum() & 0xFFFF} 0 {name}"
            for k, name in enumerate(here)
        ]
        top = f"s{number} {len(here)} 500 {len(part)}"
        (folder / f"s{number}.hea").write_text("\n".join([top, *lines]))
    rows = [*(["lay 0"] if layout else []), "s0 1200", *between, "s1 1800"]
    gap = sum(int(row.split()[1]) for row in between)
    top = f"all/{len(rows)} 12 500 {3000 + gap}"
    (folder / "all.hea").write_text("\n".join([top, *rows, "#Age: 61"]))
    return folder / "all"
