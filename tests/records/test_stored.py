"""Signals that stay on disk give what the array in memory gives, and take no memory."""

import hashlib
import pickle
import resource
import weakref

import numpy as np
import pytest
import torch

import preprocessing
from common.files import UserError, read_pickle, write_pickle
from networks.training import TrainingSet
from records import stored
from records.dataset import load_dataset
from records.stored import Room, StoredSignals, feed, pick, pieces, whole
from tiny_dataset import write_tiny_dataset
from tiny_ptbxl import write_dataset


@pytest.fixture
def both(tmp_path):
    """The same signals in memory and on disk."""
    signals = np.random.default_rng(0).normal(size=(9, 400, 12)).astype(np.float32)
    write_pickle(tmp_path / "x.pkl", signals)
    mapped = read_pickle(tmp_path / "x.pkl", in_memory=100)
    assert isinstance(mapped, np.memmap)
    return signals, StoredSignals.of(mapped)


KEYS = {
    "one": 3,
    "last": -1,
    "some": slice(2, 7),
    "list": [4, 1, 1],
    "array": np.array([8, 0, 3]),
    "flags": np.arange(9) % 2 == 0,
    "none": np.array([], dtype=int),
    "samples": (slice(None), slice(5, 9)),
    "a lead": (slice(1, 4), slice(None), 2),
    "leads": (slice(None), slice(None), [0, 6]),
    "of one": (2, slice(3, 8), 1),
    "beats": (np.array([[0], [0], [5]]), np.arange(12).reshape(3, 4)),
    "pairs": (np.array([1, 5]), np.array([7, 9])),
    "number": np.int64(4),
}


@pytest.mark.parametrize("name", KEYS)
def test_every_key_gives_what_the_array_gives(both, name):
    signals, on_disk = both
    np.testing.assert_array_equal(on_disk[KEYS[name]], signals[KEYS[name]])


def test_a_choice_of_a_choice_is_no_copy(both):
    signals, on_disk = both
    chosen = on_disk.pick(np.array([7, 2, 5])).pick(np.array([2, 0]))
    assert isinstance(chosen, StoredSignals)
    assert (chosen.shape, len(chosen), chosen.dtype) == ((2, 400, 12), 2, np.float32)
    np.testing.assert_array_equal(chosen, signals[[5, 7]])
    np.testing.assert_array_equal(np.concatenate(list(pieces(chosen, 1))), signals[[5, 7]])


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_older_pickles_are_read_whole(tmp_path, protocol):
    signals = np.arange(240, dtype=np.float32).reshape(2, 10, 12)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(signals, protocol=protocol))
    read = read_pickle(tmp_path / "x.pkl", in_memory=1)
    assert not isinstance(read, np.memmap)
    np.testing.assert_array_equal(read, signals)


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    write_pickle(tmp_path / "x.pkl", np.zeros((300, 40, 12), np.float32))
    content = (tmp_path / "x.pkl").read_bytes()
    (tmp_path / "x.pkl").write_bytes(content[:-300])
    with pytest.raises(UserError, match=r"array pickle|more bytes"):
        read_pickle(tmp_path / "x.pkl", in_memory=1)


@pytest.mark.parametrize("in_memory", [1 << 30, 1000])
def test_room_in_memory_or_in_a_file_without_a_name(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(stored, "IN_MEMORY", in_memory)
    signals = np.random.default_rng(0).normal(size=(300, 7, 12)).astype(np.float32)
    room = Room((310, 7, 12), tmp_path)
    for row, signal in enumerate(signals):
        room.put(row, signal)
    found = room.signals(len(signals))
    assert isinstance(found, StoredSignals) == (in_memory == 1000)
    np.testing.assert_array_equal(whole(found), signals)
    assert list(tmp_path.iterdir()) == []
    write_pickle(tmp_path / "x.pkl", whole(found))
    np.testing.assert_array_equal(read_pickle(tmp_path / "x.pkl"), signals)
    rows = np.array([5, 1])
    np.testing.assert_array_equal(whole(pick(found, rows)), signals[rows])


def test_no_room_on_disk_is_an_error_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "IN_MEMORY", 1000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Room((310, 7, 12), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_on_disk_is_the_data_set(tmp_path, monkeypatch):
    folder = write_tiny_dataset(tmp_path)
    whole = load_dataset(folder, "superdiagnostic")
    monkeypatch.setattr(stored, "IN_MEMORY", 1000)
    on_disk = load_dataset(folder, "superdiagnostic")
    assert isinstance(on_disk.signals, StoredSignals)
    rows = np.flatnonzero(whole.fold == 9)
    np.testing.assert_array_equal(on_disk.in_folds([9]).signals, whole.signals[rows])
    leads = ("II", "V1")
    sets = [TrainingSet.of(data, leads, 100) for data in (whole, on_disk)]
    for batch in sets[0].batches(4, 0, 0):
        found = [one.gather(*batch) for one in sets]
        assert torch.equal(found[0][0], found[1][0])
        assert torch.equal(found[0][1], found[1][1])


def test_a_hash_of_signals_holds_one_piece_at_a_time(both, monkeypatch):
    """All of 100,000 records were in memory for it: 4.3 GB."""
    seen = []

    def watched(signals):
        for piece in pieces(signals, at_once=1):
            assert sum(known() is not None for known in seen) <= 1
            seen.append(weakref.ref(piece))
            yield piece

    ids = np.arange(9)
    monkeypatch.setattr(stored, "pieces", watched)
    digests = [hashlib.sha256(), hashlib.sha256()]
    for digest, signals in zip(digests, both, strict=True):
        feed(digest, ids, signals=signals)
    assert len(seen) == 18
    expected = hashlib.sha256(ids.tobytes() + both[0].tobytes()).digest()
    assert [digest.digest() for digest in digests] == [expected] * 2


def test_preprocessing_on_disk_writes_the_same_files(tmp_path, monkeypatch):
    files = []
    for in_memory in (1 << 30, 1000):
        source = tmp_path / str(in_memory)
        write_dataset(source)
        monkeypatch.setattr(stored, "IN_MEMORY", in_memory)
        parser = preprocessing.get_args_parser()
        preprocessing.main(parser.parse_args(["--data_path", str(source)]))
        names = ("raw100.pkl", "ptbxl_database_enriched.csv")
        files.append([(source / name).read_bytes() for name in names])
    assert files[0] == files[1]
