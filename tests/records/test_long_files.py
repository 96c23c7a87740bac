"""Recordings of 24 h: ten seconds of them are read, not the whole."""

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import made_files as made
from common.labels import LEADS
from records import array_files, hdf5_files, stored_arrays
from records.readers import read_recording
from records.recording import Asked
from tiny_ptbxl import ecg_like, fitting_limbs, header

RATE, HOURS = 200, 24
N = HOURS * 3600 * RATE
START = 50_000.5  # s
SIGNAL = fitting_limbs(ecg_like(3, RATE) / 1000)  # (2000, 12) mV
STORED = np.rint(SIGNAL * 400).astype("<i2")  # 2.5 uV
MB_MORE = 120  # a day of 12 leads is 415 MB as int16, 3.3 GB as numbers

CHILD = """
import resource, sys
sys.path.insert(0, {code!r})
import numpy as np
from records.readers import read_recording
from records.recording import Asked
import ecgdatakit, h5py, pandas, scipy.io, wfdb
read_recording({small!r})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path, rate, unit in {files!r}:
    read = read_recording(path, Asked(rate=rate, unit=unit, start={start}, seconds=10))
    np.save(path + ".read.npy", read.signal)
    print(read.start, round(read.seconds))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def sparse(path, head, frame, first):
    """A file of a day whose samples are zeros but for ten seconds; `frame` bytes a sample."""
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(len(head) + N * frame)
        file.seek(len(head) + first * frame)
        file.write(np.ascontiguousarray(STORED).tobytes())
    return path


def day(folder):
    """One file of each format, and what must be said of it: (path, rate, unit)."""
    short, first = STORED.T, round(START * RATE)
    files = []
    head = made.ishne(short, LEADS, rate=RATE)[: -short.size * 2]
    files.append((sparse(folder / "a.ecg", head, 24, first), None, None))
    whole = made.mfer(short, LEADS, rate=RATE, block=1)
    head = whole[: whole.rindex(b"\x1e\x84")].replace(
        b"\x06\x04" + (2000).to_bytes(4, "little"), b"\x06\x04" + N.to_bytes(4, "little")
    )
    head += b"\x1e\x84" + (N * 24).to_bytes(4, "big")
    files.append((sparse(folder / "a.mwf", head, 24, first), None, None))
    head = bytearray(made.edf(short, LEADS, RATE, spans=((-81.92, 81.9175),))[: 256 * 13])
    head[236:244] = str(HOURS * 3600).ljust(8).encode()
    path = sparse(folder / "a.edf", bytes(head), 24, 0)
    with open(path, "r+b") as file:  # records of a second, lead by lead
        for k in range(11):
            part = np.zeros((RATE, 12), "<i2")
            low, high = max(k * RATE - RATE // 2, 0), min(k * RATE + RATE // 2, 2000)
            at = RATE // 2 if k == 0 else 0
            part[at : at + high - low] = STORED[low:high]
            file.seek(len(head) + (int(START) + k) * RATE * 24)
            file.write(np.ascontiguousarray(part.T).tobytes())
    files.append((path, None, None))
    text = header("a", STORED, RATE, names=LEADS, gain="400/mV")
    text = text.replace(" 2000\n", f" {N}\n")
    lines = [line.split() for line in text.splitlines()]
    lines[1:] = [[*row[:6], "0", *row[7:]] for row in lines[1:]]
    (folder / "a.hea").write_text("\n".join(" ".join(row) for row in lines))
    files.append((sparse(folder / "a.dat", b"", 24, first), None, None))
    array = np.lib.format.open_memmap(folder / "b.npy", "w+", "<i2", (N, 12))
    array[first : first + 2000] = STORED
    files.append((folder / "b.npy", RATE, "2.5uV"))
    with h5py.File(folder / "c.h5", "w") as file:
        data = file.create_dataset("ecg", (N, 12), "<i2")
        data[first : first + 2000] = STORED
        file.attrs["fs"] = RATE
    files.append((folder / "c.h5", None, "2.5uV"))
    return files


def test_ten_seconds_of_a_day_take_little_memory(tmp_path):
    pytest.importorskip("ecgdatakit")
    files = day(tmp_path)
    small = tmp_path / "small.ecg"
    small.write_bytes(made.ishne(STORED.T, LEADS, rate=RATE))
    code = str(Path(__file__).resolve().parents[2] / "code")
    listed = [(str(path), rate, unit) for path, rate, unit in files]
    child = CHILD.format(code=code, small=str(small), files=listed, start=START)
    done = subprocess.run(
        [sys.executable, "-c", child], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *told, more = done.stdout.split("\n")[:-1]
    for (path, _, _), line in zip(files, told, strict=True):
        assert line == f"{START} {HOURS * 3600}", path
        assert np.abs(np.load(f"{path}.read.npy") - SIGNAL).max() < 1.3e-3, path
    assert float(more) < MB_MORE


@pytest.mark.parametrize("kind", ["T first", "leads first", "one of one", "MATLAB"])
def test_a_large_array_stays_in_its_file(tmp_path, monkeypatch, kind):
    for module in (array_files, hdf5_files, stored_arrays):
        monkeypatch.setattr(module, "LARGE", 100)
    path = tmp_path / ("a.mat" if kind == "MATLAB" else "a.h5")
    arrays = {"leads first": SIGNAL.T, "one of one": SIGNAL[None]}
    with h5py.File(path, "w", userblock_size=512) as file:
        file["ecg"] = arrays.get(kind, SIGNAL)
        file["fs"] = np.array([[float(RATE)]])
        file["unit"] = np.array([[ord(letter)] for letter in "mV"], dtype=np.uint16)
        file["unit"].attrs["MATLAB_class"] = np.bytes_("char")
    if kind == "MATLAB":
        with open(path, "r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    read = read_recording(path, Asked(start=2, seconds=3))
    assert np.abs(read.signal - SIGNAL[400:1000]).max() < 1e-9
    assert (read.start, read.seconds, read.rate) == (2, 10, RATE)
    assert read.unit == ("mV" if kind == "MATLAB" else None)


def test_large_arrays_of_one_lead_each_are_read_at_once(tmp_path, monkeypatch):
    """Sample by sample, each of them by opening the file, a day would take hours."""
    monkeypatch.setattr(array_files, "LARGE", 100)
    path, asked = tmp_path / "a.mat", []
    with h5py.File(path, "w", userblock_size=512) as file:
        for column, lead in enumerate(LEADS[:2]):
            file[lead] = SIGNAL[:, [column]]
        file["fs"] = np.array([[float(RATE)]])
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    read = stored_arrays.StoredArray.__getitem__
    monkeypatch.setattr(
        stored_arrays.StoredArray,
        "__getitem__",
        lambda self, key: read(self, asked.append(key) or key),
    )
    found = read_recording(path, Asked())
    assert np.abs(found.signal[:, :2] - SIGNAL[:, :2]).max() < 1e-9
    assert len(asked) == 2
