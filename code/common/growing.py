"""An .npz file that grows: its long arrays are written some rows at a time, each row once, in any
order and by any number of processes; what is short is added at the end.

    receipt = write_rows(path, n_rows=1000, start=64, arrays={"maps": maps})   # rows 64, 65, ...
    part = read_rows(path, 1000, receipt, 64, 128)
    finish(path, 1000, receipts, {"ecg_id": ecg_id})                         # now an .npz file

Such a file is a zip archive that stores arrays as they are. Where each row lies follows from the
shapes, and the archive's checksum of all rows follows from those of its pieces: a receipt has both,
and nothing that was written is read again.
"""

import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

EPOCH = (1980, 1, 1, 0, 0, 0)  # date of every member, so that the same content gives the same bytes
LIKE, CHECKSUM = "like.", "checksum."  # beginnings of a receipt's names

Receipt = dict[str, np.ndarray]  # per long array: what a row is (no rows), and CRC-32 of the piece


@dataclass(frozen=True)
class _Member:
    """One long array in the file: its entry, the header of its .npy, where its rows begin."""

    name: str
    entry: zipfile.ZipInfo
    header: bytes
    begin: int
    row: np.ndarray
    n_rows: int

    @property
    def end(self) -> int:
        return self.begin + self.n_rows * self.row_bytes

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.row.shape[1:], dtype=int)) * self.row.dtype.itemsize


def _members(likes: Mapping[str, np.ndarray], n_rows: int) -> Iterator[_Member]:
    """The long arrays one after the other; `likes` have their type and the shape of their rows."""
    offset = 0
    for name, like in likes.items():
        row = np.empty((0, *like.shape[1:]), like.dtype)
        header = BytesIO()
        described = {"descr": row.dtype.str, "fortran_order": False}
        shape = (n_rows, *row.shape[1:])
        np.lib.format.write_array_header_1_0(header, {**described, "shape": shape})
        entry = zipfile.ZipInfo(f"{name}.npy", EPOCH)
        entry.header_offset, entry.CRC = offset, 0
        begin = offset + len(entry.FileHeader(zip64=True)) + header.tell()
        member = _Member(name, entry, header.getvalue(), begin, row, n_rows)
        entry.file_size = entry.compress_size = member.end - begin + header.tell()
        yield member
        offset = member.end


def write_rows(path: Path, n_rows: int, start: int, arrays: Mapping[str, np.ndarray]) -> Receipt:
    """Write rows `start`, ... of long arrays of `n_rows` rows in all, and have the disk hold them;
    the receipt is what reading and finishing need.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    receipt = {}
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    with open(opened, "wb") as file:
        for member in _members(arrays, n_rows):
            rows = np.ascontiguousarray(arrays[member.name])
            file.seek(member.begin + start * member.row_bytes)
            file.write(rows.data.cast("B") if rows.size else b"")
            receipt[LIKE + member.name] = member.row
            receipt[CHECKSUM + member.name] = np.uint32(zlib.crc32(rows))
        file.flush()
        os.fsync(file.fileno())
    return receipt


def is_receipt(name: str) -> bool:
    """Whether a name is one of a receipt's."""
    return name.startswith((LIKE, CHECKSUM))


def without_rows(receipt: Receipt) -> dict[str, np.ndarray]:
    """The long arrays of a receipt, in their order in the file: type and shape, but no rows."""
    named = [name for name in receipt if name.startswith(LIKE)]
    return {name.removeprefix(LIKE): receipt[name] for name in named}


def read_rows(
    path: Path, n_rows: int, receipt: Receipt, start: int, stop: int
) -> dict[str, np.ndarray]:
    """Rows `start` to `stop` of every long array that a receipt names, finished or not."""
    found = {}
    with open(path, "rb") as file:
        for member in _members(without_rows(receipt), n_rows):
            file.seek(member.begin + start * member.row_bytes)
            content = file.read((stop - start) * member.row_bytes)
            shape = (stop - start, *member.row.shape[1:])
            found[member.name] = np.frombuffer(content, member.row.dtype).reshape(shape)
    return found


def finish(
    path: Path, n_rows: int, pieces: Sequence[tuple[int, Receipt]], short: Mapping[str, np.ndarray]
) -> None:
    """Make the file one that np.load reads: headers before the long arrays, the `short` ones after
    them.

    pieces  (rows, receipt) of all pieces, in the order of their rows
    """
    members = list(_members(without_rows(pieces[0][1]), n_rows))
    with open(path, "r+b") as file:
        for member in members:
            sizes = [count * member.row_bytes for count, _ in pieces]
            sums = [int(receipt[CHECKSUM + member.name]) for _, receipt in pieces]
            member.entry.CRC = zlib.crc32(member.header)
            for size, checksum in zip(sizes, sums, strict=True):
                member.entry.CRC = joined_checksum(member.entry.CRC, checksum, size)
            file.seek(member.entry.header_offset)
            file.write(member.entry.FileHeader(zip64=True) + member.header)
        file.seek(members[-1].end)
        file.truncate()
        with zipfile.ZipFile(file, "w") as archive:
            for member in members:  # they are in the file: the archive's table is to name them
                archive.filelist.append(member.entry)
                archive.NameToInfo[member.entry.filename] = member.entry
            for name, array in short.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy", EPOCH), "w") as entry:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)


def joined_checksum(first: int, second: int, size: int) -> int:
    """CRC-32 of two pieces one after the other, from that of each and the second's `size` in bytes:
    the first's, carried over as many zeros, and the second's add up.
    """
    zeros = bytes(size)
    return zlib.crc32(zeros, first) ^ zlib.crc32(zeros) ^ second
