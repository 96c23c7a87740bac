"""Files: atomic writing and safe reading."""

import contextlib
import pickle

import numpy as np
import pytest

from common.files import UserError, read_npz, read_pickle, replacing, write_npz, write_pickle


def test_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with contextlib.suppress(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array", [np.ones((2, 3, 4), np.float32), np.array([1, 2]), np.asfortranarray(np.eye(3))]
)
def test_array_pickles_of_every_protocol_are_read(tmp_path, array, protocol):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(array, protocol=protocol))
    assert np.array_equal(read_pickle(path), array)


class _Evil:
    def __reduce__(self):
        return (print, ("ran",))


@pytest.mark.parametrize("content", [_Evil(), [np.zeros(2), _Evil()], {"a": np.zeros(2)}])
def test_a_pickle_of_anything_else_runs_nothing(tmp_path, capsys, content):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"a\.pkl"):
        read_pickle(path)
    assert "ran" not in capsys.readouterr().out


def test_pickle_round_trip_and_truncation(tmp_path):
    path = tmp_path / "raw.pkl"
    array = np.random.default_rng(0).normal(size=(5, 100, 12)).astype(np.float32)
    write_pickle(path, array)
    assert np.array_equal(read_pickle(path), array)
    assert np.array_equal(np.load(path, allow_pickle=True), array)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="not a readable array pickle"):
        read_pickle(path)


def test_npz_bytes_depend_on_content_alone(tmp_path):
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, x=np.arange(5), names=np.array(["I", "II"]))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert list(read_npz(tmp_path / "a.npz")["names"]) == ["I", "II"]


def test_an_error_is_one_line_whatever_names_a_file_brings():
    said = str(UserError("operation a\nb\x1b[31m (é) is not known"))
    assert said == r"operation a\nb\x1b[31m (é) is not known"
