"""Shapes that were written for a fixed number of records, against PyTorch's own order of memory."""

import numpy as np
import pytest

from networks.fixed_batch import expanded, resized

# shape of a value, what it was reshaped to, which axis of either has the records (of one each)
CASES = [
    ((1, 12, 256), (12, 1, 256), 0, 0),  # a lead at a time
    ((17, 1, 16), (17, 4, 4), 1, 1),  # heads of attention, tokens first
    ((4, 17, 4), (1, 4, 17, 4), 0, 0),  # heads back from the records
    ((1, 17, 16), (1, -1), 0, 0),
    ((1, 8, 4, 16), (-1, 8, 16), 0, 0),  # windows
    ((1, 60), (1, 1, 60), 0, 0),
]


@pytest.mark.parametrize(("shape", "sizes", "axis", "into"), CASES)
@pytest.mark.parametrize(("then", "now"), [(1, 3), (2, 3), (2, 5)])
def test_records_stay_whole(shape, sizes, axis, into, then, now):
    def of(n):
        return tuple(size * n if at == axis else size for at, size in enumerate(shape))

    written = [size * then if at == into and size > 0 else size for at, size in enumerate(sizes)]
    found, blocks = resized(written, of(then), of(now))
    expected = np.empty(of(now)).reshape(
        [size * now if at == into and size > 0 else size for at, size in enumerate(sizes)]
    )
    assert tuple(found) == expected.shape
    assert blocks == 1


def test_blocks_of_records_are_told_apart_again():
    """(tokens, records, width) as one axis of tokens and records, and back."""
    flat, blocks = resized([17, 16], (17, 1, 16), (17, 3, 16))
    assert (flat, blocks) == ([51, 16], 17)
    again, blocks = resized([17, 1, 48], (17, 48), (51, 48), blocks)
    assert (again, blocks) == ([17, 3, 48], 1)


def test_what_does_not_follow_stays_as_it_is():
    assert resized([3, 4], (12,), (12,))[0] == [3, 4]
    assert resized([3, 4], (2, 6), (3, 8))[0] == [3, 4]  # two axes are others
    assert expanded([1, 17, 16], (1, 1, 16), (3, 1, 16)) == [3, 17, 16]
    assert expanded([2, 1, 17], (1, 17), (1, 17)) == [2, 1, 17]
