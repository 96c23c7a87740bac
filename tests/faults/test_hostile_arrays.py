"""Pickles, archives and arrays made to do harm: refused in one line, before a number is read."""

import io
import pickle
import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import torch

from common import files
from common.files import UserError, read_npy, read_npz, read_pickle
from conftest import ROOT
from networks.checkpoints import load_checkpoint
from networks.exported import read_exported
from networks.original import read_state


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype="<f4").reshape(2, 3, 4),
        np.asfortranarray(np.arange(6, dtype=">i8").reshape(2, 3)),
        np.array([[True, False]]),
        np.zeros((0, 3)),
        np.float32(3) * np.ones(()),
    ],
)
def test_arrays_of_every_protocol_are_read_as_pickle_reads_them(tmp_path, array, protocol):
    array = np.asarray(array)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(array, protocol=protocol))
    found = read_pickle(path)
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert np.array_equal(found, array)
    assert found.flags.writeable


class Step:
    """Pickled, it calls what it was made with."""

    def __init__(self, call, *arguments, state=None):
        self.call, self.arguments, self.state = call, arguments, state

    def __reduce__(self):
        return (self.call, self.arguments, self.state)


def _type(text, state=None):
    return Step(np.dtype, text, False, True, state=state)


_FROM_BUFFER = np.ones(1).__reduce_ex__(5)[0]
ADDRESSES = b"\x41" * 64
# an object type whose flags say that it holds none: NumPy would follow the bytes as addresses
OBJECTS = _type("O8", (3, "|", None, None, None, -1, -1, 0))
FIELDS = _type("V8", (3, "|", None, ("x",), {"x": (np.dtype("O"), 0)}, 8, 1, 0))
SUBARRAY = _type("V8", (3, "|", (np.dtype("O"), (1,)), None, None, 8, 1, 0))
HOSTILE = {
    "objects": Step(_FROM_BUFFER, ADDRESSES, OBJECTS, (8,), "C"),
    "fields": Step(_FROM_BUFFER, ADDRESSES, FIELDS, (8,), "C"),
    "subarray": Step(_FROM_BUFFER, ADDRESSES, SUBARRAY, (8,), "C"),
    "wide": Step(_FROM_BUFFER, ADDRESSES, _type("f8"), (1 << 40,), "C"),
    "negative": Step(_FROM_BUFFER, ADDRESSES, _type("f8"), (-8,), "C"),
    "text": Step(_FROM_BUFFER, ADDRESSES, _type("U16"), (1,), "C"),
    "complex": Step(_FROM_BUFFER, ADDRESSES, _type("c16"), (4,), "C"),
    "times": Step(_FROM_BUFFER, ADDRESSES, _type("M8"), (8,), "C"),
    "a list of arrays": [np.zeros(3), np.zeros(3)],
    "state of objects": Step(
        np.zeros(1).__reduce__()[0],
        np.ndarray,
        (0,),
        b"b",
        state=(1, (8,), OBJECTS, False, ADDRESSES),
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_array_of_made_up_types_is_refused_before_it_is_made(tmp_path, name):
    path = tmp_path / "raw100.pkl"
    path.write_bytes(pickle.dumps(HOSTILE[name], protocol=5))
    with pytest.raises(UserError, match=r"raw100\.pkl was not read"):
        read_pickle(path)


def test_the_made_up_type_ends_a_reader_that_trusts_it(tmp_path):
    """The attack is real: NumPy's own way back follows the addresses and ends by a signal."""
    path = tmp_path / "raw100.pkl"
    path.write_bytes(pickle.dumps(HOSTILE["objects"], protocol=5))
    words = f"import pickle; print(pickle.load(open({str(path)!r}, 'rb'))[0])"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True)
    if done.returncode > 0:
        pytest.skip("this NumPy refuses it itself")
    assert done.returncode < 0


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",  # a buffer of a terabyte
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.",  # bytes of a terabyte
        b"\x80\x04N" + b"r\xff\xff\xff\xff" + b".",  # a memo of 4 billion entries
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",  # a frame of a terabyte
        b"\x80\x04" + b"N0" * 1_000_000 + b".",  # a million steps
        b"\x80\x04" + b"(" * 1_000_000 + b".",
        b"cnumpy.core.numeric\n_frombuffer\n}(X\x08\x00\x00\x00__name__NubN.",  # changes a function
        b"c" + b"a" * 100_000,  # a name without an end
        b"",
    ],
)
def test_pickles_of_absurd_sizes_are_refused_at_once(tmp_path, content):
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    began = time.perf_counter()
    with pytest.raises(UserError, match=r"a\.pkl"):
        read_pickle(path)
    assert time.perf_counter() - began < 2


# ---------------------------------------------------------------- archives


def bomb(path, names, n_bytes=400_000_000):
    """A zip of zeros: a thousandth of what it unpacks to."""
    piece = bytes(1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=True) as file:
                for _ in range(n_bytes // len(piece)):
                    file.write(piece)


BOMBS = {
    "a.npz": (["x.npy"], read_npz),
    "a.ckpt": (["a/data.pkl", "a/version"], load_checkpoint),
    "a.pt2": (["a/models/model.json"], read_exported),
    "lightning.ckpt": (["a/data.pkl"], read_state),
}


@pytest.mark.parametrize("name", BOMBS)
def test_an_archive_that_unpacks_to_a_thousand_times_its_size_is_not_unpacked(
    tmp_path, monkeypatch, name
):
    names, read = BOMBS[name]
    monkeypatch.setattr(files, "SMALL", 1 << 20)
    bomb(tmp_path / name, names, 20_000_000)
    with pytest.raises(UserError, match=rf"{name} declares .* it is not unpacked"):
        read(tmp_path / name)


def test_an_honest_archive_of_zeros_is_read(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros((1000, 1000)))
    assert read_npz(tmp_path / "a.npz")["x"].shape == (1000, 1000)


def test_more_than_the_machine_has_is_refused_with_how_much(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=np.zeros(1000))
    monkeypatch.setattr(files, "available_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"of memory and 0\.0 GB are free"):
        read_npz(tmp_path / "a.npz")


def _npy(descr, shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return file.getvalue() + bytes(64)


@pytest.mark.parametrize(
    ("descr", "shape"), [("<f8", (1 << 40,)), ([("x", "<f8")], (8,)), ("|O", (8,)), ("<f8", (9,))]
)
def test_an_npy_that_declares_more_than_it_holds_or_no_numbers_is_refused(tmp_path, descr, shape):
    (tmp_path / "a.npy").write_bytes(_npy(descr, shape))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", _npy(descr, shape))
    for read, name in ((read_npy, "a.npy"), (read_npz, "a.npz")):
        with pytest.raises(UserError, match=f"{name} is not a readable"):
            read(tmp_path / name)


def test_a_checkpoint_of_stretched_tensors_is_refused(tmp_path):
    """A tensor of a trillion numbers that all lie in one place."""
    stretched = torch.zeros(1).expand(1 << 20, 1 << 20)
    torch.save({"model": {"x": stretched}, "info": {}}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"a\.ckpt"):
        load_checkpoint(tmp_path / "a.ckpt")


def test_reading_pickles_costs_no_second_copy(tmp_path):
    """A third of a gigabyte is read in what it takes to hold it once (and a half)."""
    words = (
        "import sys, resource; sys.path.insert(0, 'code')\n"
        "import numpy as np; from common.files import read_pickle, write_pickle\n"
        f"path = {str(tmp_path / 'a.pkl')!r}\n"
        "if len(sys.argv) > 1: write_pickle(path, np.zeros((30_000, 1000), np.float64))\n"
        "else:\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    array = read_pickle(path)\n"
        "    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    print(1024 * (after - before) / array.nbytes)"
    )
    subprocess.run([sys.executable, "-c", words, "write"], cwd=ROOT, check=True)
    done = subprocess.run(
        [sys.executable, "-c", words], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert float(done.stdout) < 1.5
