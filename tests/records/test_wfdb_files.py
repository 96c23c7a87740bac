"""Reading records: equal to wfdb, leads by name, and every way a record can be broken found and
named.
"""

import numpy as np
import pandas as pd
import pytest
import wfdb

from common.files import UserError
from common.labels import LEADS
from records import wfdb_files as records
from records.wfdb_files import (
    Problem,
    RecordError,
    describe_problems,
    id_ranges,
    read_record,
    read_records,
    refuse,
)
from tiny_ptbxl import NAMES, ecg_like, header, write_record


def read_signal(path, rate, seconds=10):
    return read_record(str(path), rate, seconds * rate)[0]


def break_file(path, change):
    path.write_bytes(change(path.read_bytes()))


def test_a_plain_record_is_read_without_wfdb(tmp_path, monkeypatch):
    digital = ecg_like(1)
    write_record(tmp_path / "a", digital)
    monkeypatch.setattr(records, "_read_any", None)
    signal = read_signal(tmp_path / "a", 100)
    assert signal.dtype == np.float32
    assert np.abs(signal - digital / 1000).max() < 1e-6


@pytest.mark.parametrize("gain", ["1000.0(0)/mV", "200(0)/mV", "1000.0(-37)/mV", "409.6(1024)/mV"])
@pytest.mark.parametrize("rate", [100, 500])
def test_both_ways_of_reading_equal_wfdb(tmp_path, gain, rate):
    write_record(tmp_path / "a", ecg_like(3, rate), rate, gain=gain)
    expected, _ = wfdb.rdsamp(str(tmp_path / "a"))
    assert np.abs(read_signal(tmp_path / "a", rate) - expected).max() < 1e-6
    assert (
        np.abs(records._read_any(str(tmp_path / "a"), rate, 10 * rate, LEADS) - expected).max()
        < 1e-6
    )


def test_the_whole_range_of_format_16_stays_within_half_a_float32_step(tmp_path):
    digital = np.random.default_rng(0).integers(-32767, 32768, (1000, 12)).astype(np.int16)
    write_record(tmp_path / "a", digital)
    expected, _ = wfdb.rdsamp(str(tmp_path / "a"))
    assert np.array_equal(read_signal(tmp_path / "a", 100), expected.astype(np.float32))


@pytest.mark.parametrize("kind", ["spelling", "order", "both"])
def test_leads_come_in_canonical_order_by_their_names(tmp_path, kind):
    digital, order = ecg_like(4), np.random.default_rng(0).permutation(12)
    names = LEADS if kind == "spelling" else NAMES
    if kind == "spelling":
        order = np.arange(12)
    shuffled = [names[i] if kind != "both" else names[i].lower() for i in order]
    write_record(tmp_path / "a", digital[:, order], names=shuffled)
    assert np.abs(read_signal(tmp_path / "a", 100) - digital / 1000).max() < 1e-6


@pytest.mark.parametrize(
    "options",
    [
        {"fmt": ["212"] * 12},
        {"fmt": ["80"] * 12},
        {"fmt": ["32"] * 12},
        {"fmt": ["24"] * 12},
        {"fmt": ["16"] * 12, "units": ["uV"] * 12, "scale": 1000.0},
        {"fmt": ["16"] * 12, "units": ["V"] * 12, "scale": 1e-3},
    ],
    ids=["212", "80", "32", "24", "uV", "V"],
)
def test_other_formats_and_units_go_through_wfdb(tmp_path, options):
    """Records written by wfdb itself; what is kept of the signal is up to the format, so wfdb's
    reading is the oracle.
    """
    options = dict(options)
    scale, units = options.pop("scale", 1.0), options.pop("units", ["mV"] * 12)
    physical = ecg_like(5) / 1000 * scale
    wfdb.wrsamp(
        "a",
        fs=100,
        units=units,
        sig_name=list(NAMES),
        p_signal=physical,
        write_dir=str(tmp_path),
        **options,
    )
    expected, _ = wfdb.rdsamp(str(tmp_path / "a"))
    signal = read_signal(tmp_path / "a", 100)
    assert np.abs(signal - expected / scale).max() < 1e-6
    tolerance = 0.02 if options["fmt"][0] == "80" else 1e-3  # 8 and 12 bits are coarse
    assert np.abs(signal - physical / scale).max() < tolerance


def test_a_header_over_several_files_goes_through_wfdb(tmp_path):
    digital = ecg_like(6)
    halves = {"limb": range(6), "chest": range(6, 12)}
    lines = []
    for name, leads in halves.items():
        part = digital[:, list(leads)]
        (tmp_path / f"{name}.dat").write_bytes(part.astype("<i2").tobytes())
        lines += [
            line.replace("a.dat", f"{name}.dat")
            for line in header("a", part, 100, names=[NAMES[i] for i in leads]).splitlines()[1:]
        ]
    (tmp_path / "a.hea").write_text("\n".join(["a 12 100 1000", *lines]) + "\n")
    assert np.abs(read_signal(tmp_path / "a", 100) - digital / 1000).max() < 1e-6


def test_comments_times_and_carriage_returns_in_a_header_are_no_reason_for_wfdb(
    tmp_path, monkeypatch
):
    write_record(tmp_path / "a", ecg_like(1))
    text = (
        (tmp_path / "a.hea")
        .read_text()
        .replace("a 12 100 1000", "a 12 100.0 1000 09:17:34 09/11/1984")
    )
    (tmp_path / "a.hea").write_bytes(
        ("# made by a test\n" + text + "# age: 56\n").replace("\n", "\r\n").encode()
    )
    monkeypatch.setattr(records, "_read_any", None)
    assert read_signal(tmp_path / "a", 100).shape == (1000, 12)


def flip_bit(path):
    break_file(
        path.with_suffix(".dat"), lambda data: data[:4001] + bytes([data[4001] ^ 1]) + data[4002:]
    )


def put_missing(path):
    digital = ecg_like(1)
    digital[500:503, 7] = -32768
    write_record(path, digital)


BROKEN = {
    "header missing": lambda path: path.with_suffix(".hea").unlink(),
    "data file missing": lambda path: path.with_suffix(".dat").unlink(),
    "truncated": lambda path: break_file(path.with_suffix(".dat"), lambda data: data[:-2]),
    "checksum": flip_bit,
    "missing samples": put_missing,
    "wrong number of leads": lambda path: write_record(path, ecg_like(1)[:, :11], names=NAMES[:11]),
    "wrong leads": lambda path: write_record(path, ecg_like(1), names=("I", *NAMES[:11])),
    "wrong sampling rate": lambda path: write_record(path, ecg_like(1), 250),
    "wrong length": lambda path: write_record(path, ecg_like(1)[:999]),
    "wrong unit": lambda path: write_record(path, ecg_like(1), gain="1000.0(0)/mmHg"),
    "unreadable": lambda path: path.with_suffix(".hea").write_text("not a header\n"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_every_kind_of_broken_record_is_found(tmp_path, kind):
    write_record(tmp_path / "a", ecg_like(1))
    BROKEN[kind](tmp_path / "a")
    with pytest.raises(RecordError) as caught:
        read_signal(tmp_path / "a", 100)
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "kind", ["checksum", "missing samples", "wrong number of leads", "wrong leads", "wrong length"]
)
def test_the_same_is_found_by_way_of_wfdb(tmp_path, kind):
    write_record(tmp_path / "a", ecg_like(1))
    BROKEN[kind](tmp_path / "a")
    with pytest.raises(RecordError) as caught:
        records._read_any(str(tmp_path / "a"), 100, 1000, LEADS)
    assert caught.value.kind == kind


def test_the_lead_of_a_wrong_checksum_and_of_missing_samples_is_named(tmp_path):
    write_record(tmp_path / "a", ecg_like(1))
    flip_bit(
        tmp_path / "a"
    )  # byte 4001: sample 2000 of 12 interleaved leads is lead 2000 % 12 = 8, V3
    with pytest.raises(RecordError, match="samples of V3 are"):
        read_signal(tmp_path / "a", 100)
    put_missing(tmp_path / "b")
    with pytest.raises(RecordError, match="V2 3"):
        read_signal(tmp_path / "b", 100)


def test_bad_records_are_left_out_and_the_others_do_not_shift(tmp_path):
    for number in range(6):
        write_record(tmp_path / f"r{number}", ecg_like(number))
    flip_bit(tmp_path / "r1")
    (tmp_path / "r4.dat").unlink()
    found = read_records(
        tmp_path,
        [*(f"r{n}" for n in range(6)), np.nan],
        [10, 11, 12, 13, 14, 15, 16],
        100,
        progress=False,
    )
    assert found.kept.tolist() == [True, False, True, True, False, True, False]
    assert [(problem.ecg_id, problem.kind) for problem in found.problems] == [
        (11, "checksum"),
        (14, "data file missing"),
        (16, "no file name"),
    ]
    assert np.abs(found.signals - np.stack([ecg_like(n) / 1000 for n in (0, 2, 3, 5)])).max() < 1e-6


def test_the_digest_names_the_signals(tmp_path):
    for number in range(3):
        write_record(tmp_path / f"r{number}", ecg_like(number))
    digests = [
        read_records(tmp_path, ["r0", "r1"], [1, 2], 100, progress=False).digest for _ in range(2)
    ]
    digital = ecg_like(1)
    digital[7, 3] += 1
    write_record(tmp_path / "r1", digital)
    assert digests[0] == digests[1]
    assert read_records(tmp_path, ["r0", "r1"], [1, 2], 100, progress=False).digest != digests[0]


def test_all_offenders_are_listed_compactly():
    assert id_ranges([7, 3, 1, 2, 2]) == "1-3, 7"
    assert id_ranges([]) == ""
    problems = [Problem(i, "header missing", f"{i}.hea") for i in (1, 2, 3, 9)] + [
        Problem(2, "checksum", "lead I")
    ]
    assert describe_problems(problems) == (
        "header missing: ecg_id 1-3, 9 (e.g. 1.hea); checksum: ecg_id 2 (e.g. lead I)"
    )
    with pytest.raises(UserError, match=r"4 of 10 records cannot be used: .*1-3, 9.*--skip_bad"):
        refuse(problems, 10)
    refuse([], 10)


def test_real_records_equal_wfdb(ptbxl):
    table = pd.read_csv(ptbxl / "ptbxl_database.csv").iloc[::50]
    found = read_records(ptbxl, table["filename_lr"], table["ecg_id"], 100, progress=False)
    assert found.problems == []
    for row, name in enumerate(table["filename_lr"]):
        assert np.abs(found.signals[row] - wfdb.rdsamp(str(ptbxl / name))[0]).max() < 1e-6


@pytest.mark.slow
def test_every_real_record_equals_wfdb(ptbxl):
    table = pd.read_csv(ptbxl / "ptbxl_database.csv")
    worst = 0.0
    for rate, names in ((100, table["filename_lr"]), (500, table["filename_hr"].head(120))):
        found = read_records(ptbxl, names, table["ecg_id"].head(len(names)), rate, progress=False)
        assert found.problems == []
        for row, name in enumerate(names):
            worst = max(worst, np.abs(found.signals[row] - wfdb.rdsamp(str(ptbxl / name))[0]).max())
    print(f"largest difference from wfdb.rdsamp: {worst:.1e} mV")
    assert worst < 1e-6
