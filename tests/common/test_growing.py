"""Arrays that are written piece by piece end up as np.savez would have written them at once."""

import zlib

import numpy as np
import pytest

from common.growing import finish, joined_checksum, read_rows, write_rows


def whole(n_rows=10, dtype=np.float32):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(n_rows, 7, 3)).astype(dtype)
    maps[2] = np.nan
    return {"maps": maps, "errors": rng.random((n_rows, 5))}


def grown(path, arrays, starts):
    """Receipts of pieces that begin at `starts`, written in that order, sorted by their rows."""
    n_rows, borders = len(arrays["maps"]), [*sorted(starts), len(arrays["maps"])]
    pieces = {}
    for start in starts:
        stop = borders[borders.index(start) + 1]
        piece = {name: values[start:stop] for name, values in arrays.items()}
        pieces[start] = stop - start, write_rows(path, n_rows, start, piece)
    return [pieces[start] for start in sorted(starts)]


@pytest.mark.parametrize("starts", [(0,), (8, 0, 4), (0, 1, 9)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pieces_in_any_order_are_the_file_of_the_whole(tmp_path, starts, dtype):
    arrays, short = whole(dtype=dtype), {"ecg_id": np.arange(10), "unit": np.array("mV")}
    path = tmp_path / "deep" / "grown.npz"
    pieces = grown(path, arrays, starts)
    receipt = pieces[0][1]
    part = read_rows(path, 10, receipt, 1, 9)
    finish(path, 10, pieces, short)
    after = read_rows(path, 10, receipt, 1, 9)
    with np.load(path) as found:  # reads every byte against the archive's checksums
        assert set(found) == {*arrays, *short}
        for name, values in {**arrays, **short}.items():
            assert np.array_equal(found[name], values, equal_nan=values.dtype.kind == "f")
            assert found[name].dtype == values.dtype
    for name, values in arrays.items():
        assert np.array_equal(part[name], values[1:9], equal_nan=True)
        assert np.array_equal(after[name], values[1:9], equal_nan=True)


def test_the_same_content_gives_the_same_bytes_and_a_second_end_changes_nothing(tmp_path):
    files = []
    for number, starts in enumerate([(0, 5), (5, 0), (0, 3, 6)]):
        path = tmp_path / str(number)
        pieces = grown(path, whole(), starts)
        for _ in range(2):  # a run that was interrupted ends a file again
            finish(path, 10, pieces, {"ecg_id": np.arange(10)})
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]


def test_a_piece_that_was_not_written_is_noticed(tmp_path):
    arrays, path = whole(), tmp_path / "grown.npz"
    pieces = grown(path, arrays, (0, 5))
    other = {name: values[5:] + 1 for name, values in arrays.items()}
    write_rows(path, 10, 5, other)  # overwritten behind the back of its receipt
    finish(path, 10, pieces, {})
    with np.load(path) as found, pytest.raises(Exception, match="CRC"):
        found["maps"]


def test_rows_are_not_written_through_a_link(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"kept")
    (tmp_path / "grown.npz").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        grown(tmp_path / "grown.npz", whole(), (0,))
    assert (tmp_path / "elsewhere").read_bytes() == b"kept"


@pytest.mark.parametrize("sizes", [(0, 0), (3, 0), (0, 5), (1000, 77)])
def test_checksums_of_pieces_join(sizes):
    rng = np.random.default_rng(1)
    first, second = (rng.bytes(size) for size in sizes)
    joined = joined_checksum(zlib.crc32(first), zlib.crc32(second), len(second))
    assert joined == zlib.crc32(first + second)
