"""Recordings and tables made to do harm: what lies elsewhere is not opened, what would not fit is
not unpacked.
"""

import os
import struct
import tempfile
import time
import zlib

import h5py
import numpy as np
import pandas as pd
import pytest

from common import files
from common.files import UserError, is_inside
from mutations import attempt
from records import cohort_table
from records.label_words import codes_in
from records.lead_names import canonical_lead
from records.readers import read_recording
from records.recording import Asked
from records.units import mv_per
from records.wfdb_files import read_records, refuse
from records.wfdb_header import said_in_comments
from tiny_ptbxl import file_name, header, write_dataset, write_record

OUTSIDE = (
    "../../etc/passwd",
    "records100/../../../etc/passwd",
    "/etc/passwd",
    "http://127.0.0.1:9/x",
    "s3://bucket/x",
    "C:\\x",
    "a\nb",
    "a\0b",
    "..",
    ".",
    " ",
    7,
)


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_of_a_folder(name):
    assert not is_inside(name)


def test_names_within_a_folder():
    assert all(map(is_inside, ("records100/00000/00001_lr", "x.dat", "ä b/c", "a..b")))


@pytest.mark.parametrize("name", [name for name in OUTSIDE if isinstance(name, str)])
def test_a_table_that_names_another_folder_is_refused_in_one_line(tmp_path, name):
    folder = write_dataset(tmp_path / "data")

    def read(_):
        refuse(read_records(folder, [name], [3], 100, progress=False).problems, 1)

    line = attempt(read)[1]
    assert "outside the folder" in line or "no file name" in line


@pytest.mark.parametrize("file", ["../other.dat", "/etc/passwd", "http://127.0.0.1:9/x.dat", ".."])
@pytest.mark.parametrize("format_", ["16", "212"])
def test_a_header_that_names_another_folder_is_refused_in_one_line(tmp_path, file, format_):
    path = tmp_path / "data" / "r"
    digital = np.zeros((1000, 12), np.int16)
    write_record(path, digital)
    write_record(tmp_path / "other", digital)
    text = header("r", digital, 100).replace("r.dat 16", f"{file} {format_}")
    path.with_suffix(".hea").write_text(text)
    for read in (
        lambda _: read_recording(path),
        lambda _: refuse(read_records(path.parent, ["r"], [3], 100).problems, 1),
    ):
        line = attempt(read)[1]
        assert "outside the folder" in line
        assert repr(file) in line


@pytest.mark.parametrize("suffix", [".hea", ".dat"])
def test_a_pipe_in_place_of_a_record_is_not_waited_for(tmp_path, suffix):
    folder = write_dataset(tmp_path / "data")
    path = (folder / file_name(3, 100)).with_suffix(suffix)
    path.unlink()
    os.mkfifo(path)
    began = time.perf_counter()
    (problem,) = read_records(folder, [file_name(3, 100)], [3], 100, progress=False).problems
    assert problem.kind in ("header missing", "data file missing")
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("format_", ["16", "212", "80"])
def test_a_header_of_more_samples_than_the_file_can_hold(tmp_path, format_):
    digital = np.zeros((1000, 12), np.int16)
    path = tmp_path / "r"
    write_record(path, digital)
    text = header("r", digital, 100).replace(" 1000\n", " 999999999999\n", 1)
    path.with_suffix(".hea").write_text(text.replace(".dat 16", f".dat {format_}"))
    assert "truncated" in attempt(lambda _: read_recording(path))[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("1000.0(0)", f"{'9' * 5000}(0)"),
        lambda text: text.replace("(0)", f"({'9' * 5000})"),
        lambda text: text.replace(" 1000\n", f" {'9' * 5000}\n", 1),
        lambda text: text.replace("r 12 ", f"r {'9' * 5000} ", 1),
        lambda text: text.replace("12 100 ", "12 1e999 ", 1),
        lambda text: text.replace(" V3\n", "\n", 1),  # a signal without a name: legal, not a lead
    ],
)
def test_headers_of_absurd_numbers_or_without_a_lead_name(tmp_path, change):
    digital = np.zeros((1000, 12), np.int16)
    path = tmp_path / "r"
    write_record(path, digital)
    path.with_suffix(".hea").write_text(change(header("r", digital, 100)))
    lines = [
        attempt(lambda _: read_recording(path))[1] or "read without that lead",
        attempt(lambda _: refuse(read_records(tmp_path, ["r"], [3], 100).problems, 1))[1],
    ]
    assert all(line and len(line) < 2000 for line in lines)


# ---------------------------------------------------------------- endless lines, names, cells

MANY = 100_000
TABLE = "I,II\n" + ".1,.2\n" * 300
ENDLESS = {
    "a key": lambda: _read_text(f"a{' ' * MANY}\n{TABLE}"),
    "a value": lambda: _read_text(f"a:b{' ' * MANY}x\n{TABLE}"),
    "brackets": lambda: _read_text(f"a{'(' * MANY}:1\n{TABLE}"),
    "a name": lambda: _read_text(TABLE.replace("II", f"II{'_' * MANY}x")),
    "blanks in a name": lambda: _read_text(TABLE.replace("II", f"II{' ' * MANY}x")),
    "a lead": lambda: canonical_lead(f"V6{' ' * MANY}x"),
    "a comment": lambda: said_in_comments([f"a{' ' * MANY}"]),
    "a unit": lambda: mv_per(f"{' ' * MANY}mV x"),
    "an age": lambda: cohort_table._AGE.fullmatch(f"1{' ' * MANY}x"),
    "a name of a label": lambda: codes_in(f"({'a' * MANY}"),
    "a dict of labels": lambda: codes_in("{" + "'a' " * MANY + "}"),
}


def _read_text(text):
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.write(text)
        file.flush()
        return attempt(lambda _: read_recording(file.name, Asked(rate=100)))


@pytest.mark.parametrize("what", ENDLESS)
def test_patterns_take_no_square_of_what_a_file_says(what):
    began = time.process_time()
    ENDLESS[what]()
    assert time.process_time() - began < 2


def test_comments_ages_and_codes_are_read_as_they_were():
    lines = ["Age: 74", "<Sex>: F", "< Reason for admission >: AMI: old", "Dx", ": x", "1a: 2"]
    said = {"age": "74", "sex": "F", "reason for admission": "AMI: old"}
    assert said_in_comments(lines) == said
    assert codes_in("Sinus rhythm (426783006), AV block (270492004)") == ["426783006", "270492004"]
    assert codes_in("{'NORM': 100.0, \"SR\": 0.0}") == ["NORM", "SR"]
    ages = cohort_table.read_ages(["74 + y", "85+", "> 89"], "t.csv")
    assert list(ages) == [74, 85, 89]
    assert [mv_per(text) for text in (" 5 uV ", "mV", "1", "1e-4V")] == [0.005, 1, None, 0.1]


# ---------------------------------------------------------------- HDF5


def _tracings(path, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("tracings", dtype="f4", **options)
        file["exam_id"] = [1]


def test_hdf5_that_lies_in_another_file_is_not_opened(tmp_path):
    secret = tmp_path / "secret.bin"
    np.ones(4000 * 12, "f4").tofile(secret)
    _tracings(
        tmp_path / "a.h5",
        shape=(1, 4000, 12),
        external=[(str(secret), 0, h5py.h5f.UNLIMITED)],
    )
    layout = h5py.VirtualLayout((1, 4000, 12), "f4")
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["x"] = np.ones((1, 4000, 12), "f4")
    layout[:] = h5py.VirtualSource(str(tmp_path / "source.h5"), "x", (1, 4000, 12))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_virtual_dataset("tracings", layout)
    for name in ("a.h5", "b.h5"):
        with pytest.raises(UserError, match="lies in other files, which are not opened"):
            read_recording(tmp_path / name)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["tracings"] = h5py.ExternalLink(str(tmp_path / "source.h5"), "/x")
    with pytest.raises(UserError, match="holds no array of signals"):
        read_recording(tmp_path / "c.h5")


def test_hdf5_that_declares_far_more_than_it_holds_is_not_unpacked(tmp_path):
    _tracings(tmp_path / "a.h5", shape=(1, 500_000_000, 12), chunks=(1, 4096, 12))
    _tracings(
        tmp_path / "b.h5", shape=(1, 4000, 12), maxshape=(None, None, 12), chunks=(60_000, 100, 12)
    )
    for name in ("a.h5", "b.h5"):
        with pytest.raises(UserError, match=r"declares .* it is not unpacked"):
            read_recording(tmp_path / name)


# ---------------------------------------------------------------- MATLAB, DICOM, XML


def test_a_mat_file_whose_variable_declares_far_more_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SMALL", 1 << 20)
    packed = zlib.compress(struct.pack("<2I", 14, 2_000_000_000) + bytes(1 << 20), 9)
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    (tmp_path / "a.mat").write_bytes(head + struct.pack("<2I", 15, len(packed)) + packed)
    with pytest.raises(UserError, match=r"a\.mat declares 2\.0 GB"):
        read_recording(tmp_path / "a.mat", Asked(rate=100))


def test_a_compressed_dicom_file_is_refused_and_absurd_lengths_too(tmp_path):
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

    for name, syntax in (
        ("a.dcm", DeflatedExplicitVRLittleEndian),
        ("b.dcm", ExplicitVRLittleEndian),
    ):
        data = Dataset()
        data.PatientName = "x"
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = syntax
        data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
        data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        pydicom.dcmwrite(tmp_path / name, data, enforce_file_format=True)
    with pytest.raises(UserError, match="compressed as a whole"):
        read_recording(tmp_path / "a.dcm")
    absurd = struct.pack("<HH2sHI", 0x5400, 0x1010, b"OW", 0, 0xFFFFFFF0)
    with open(tmp_path / "b.dcm", "ab") as file:
        file.write(absurd + b"xx")
    with pytest.raises(UserError, match=r"b\.dcm is not a file that is read"):
        read_recording(tmp_path / "b.dcm")


def test_xml_with_entities_is_refused(tmp_path):
    lines = ['<!ENTITY a0 "aaaaaaaaaa">']
    lines += [f'<!ENTITY a{k} "{f"&a{k - 1};" * 10}">' for k in range(1, 12)]
    for name, root in (
        ("a.xml", "RestingECG"),
        ("b.xml", "restingecgdata"),
        ("c.xml", "AnnotatedECG"),
    ):
        text = f'<?xml version="1.0"?><!DOCTYPE x [{"".join(lines)}]><{root}>&a11;</{root}>'
        (tmp_path / name).write_text(text)
        began = time.perf_counter()
        with pytest.raises(UserError, match=f"{name} is not a file that is read"):
            read_recording(tmp_path / name)
        assert time.perf_counter() - began < 5
    outside = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>'
    (tmp_path / "d.xml").write_text(outside + "<RestingECG>&e;</RestingECG>")
    with pytest.raises(UserError, match=r"d\.xml is not a file that is read"):
        read_recording(tmp_path / "d.xml")


def test_a_file_too_large_for_the_memory_there_is_says_so(tmp_path, monkeypatch):
    (tmp_path / "a.xml").write_text("<x>" + " " * 1000 + "</x>")
    monkeypatch.setattr(files, "available_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"of memory and .* free: take a shorter recording"):
        read_recording(tmp_path / "a.xml")


def test_an_honest_hdf5_file_is_read(tmp_path):
    values = np.random.default_rng(0).normal(size=(2, 4096, 12)).astype("f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("tracings", data=values, chunks=(1, 4096, 12), compression="gzip")
        file["exam_id"] = [11, 12]
    assert read_recording(f"{tmp_path / 'a.h5'}#12").signal.shape == (4096, 12)
    pd.DataFrame({"exam_id": [11]}).to_csv(tmp_path / "t.csv")
