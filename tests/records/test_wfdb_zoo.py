"""WFDB records of every storage format, put together bit by bit; baselines, units, headers of many
hands, several segments.
"""

import numpy as np
import pandas as pd
import pytest

from common.files import UserError
from common.labels import LEADS
from records.own_record import read_own
from records.readers import files_of, read_recording
from records.recording import Asked
from wfdb_bits import FORMATS, RATE, SIGNAL, digital, segmented


def write(folder, name="a", form="16", gain=None, shift=0, lines=None, end="\n", names=LEADS):
    """A record and its header with true checksums; `gain` as the header writes it."""
    per_mv, pack = FORMATS[form]
    stored = digital(per_mv) + shift
    (folder / f"{name}.dat").write_bytes(np.ascontiguousarray(pack(stored.reshape(-1))).tobytes())
    sums = stored.sum(axis=0) & 0xFFFF
    lines = lines or [
        f"{name}.dat {form} {gain or per_mv} 16 0 {stored[0, k]} {sums[k]} 0 {names[k]}"
        for k in range(12)
    ]
    top = f"{name} 12 {RATE} {len(stored)}"
    (folder / f"{name}.hea").write_bytes((end.join([top, *lines]) + end).encode())
    return folder / name


@pytest.mark.parametrize("form", FORMATS)
def test_every_storage_format(tmp_path, form):
    path = write(tmp_path, form=form)
    tolerance = 0.51 / FORMATS[form][0]
    assert np.abs(read_recording(path).signal - SIGNAL).max() < tolerance
    part = read_recording(path, Asked(start=2, seconds=1))
    assert np.abs(part.signal - SIGNAL[1000:1500]).max() < tolerance


@pytest.mark.parametrize("form", ["16", "61", "212"])
def test_a_damaged_record_is_refused_whatever_its_format(tmp_path, form):
    path = write(tmp_path, form=form)
    data = bytearray(path.with_suffix(".dat").read_bytes())
    data[5000] ^= 4
    path.with_suffix(".dat").write_bytes(data)
    with pytest.raises(UserError, match="not those the header was written for"):
        read_recording(path)


@pytest.mark.parametrize(("form", "bits"), [("508", 8), ("516", 16), ("524", 24)])
def test_flac(tmp_path, form, bits):
    """Formats of compressed signals, at most eight in a file."""
    soundfile = pytest.importorskip("soundfile")
    per_mv = {8: 20, 16: 1000, 24: 100_000}[bits]
    stored, lines = digital(per_mv), []
    for number, columns in enumerate((range(6), range(6, 12))):
        part = stored[:, list(columns)] << (32 - bits)
        name, kind = f"a{number}.dat", "PCM_S8" if bits == 8 else f"PCM_{bits}"
        soundfile.write(tmp_path / name, part.astype(np.int32), RATE, kind, format="FLAC")
        lines += [
            f"{name} {form} {per_mv} {bits} 0 0 {stored[:, k].sum() & 0xFFFF} 0 {LEADS[k]}"
            for k in columns
        ]
    (tmp_path / "a.hea").write_text("\n".join([f"a 12 {RATE} {len(stored)}", *lines]))
    for asked, there in ((Asked(), SIGNAL), (Asked(start=2, seconds=1), SIGNAL[1000:1500])):
        assert np.abs(read_recording(tmp_path / "a", asked).signal - there).max() < 0.51 / per_mv


@pytest.mark.parametrize("form", ["16+24", "16x1+24"])
@pytest.mark.parametrize("says", ["the baseline", "the converter's zero"])
def test_mat_files_of_the_challenges_with_offsets_of_each_lead(tmp_path, form, says):
    """24 bytes of MATLAB's head, then the leads sample by sample, each about its own zero."""
    zeros = 100 * np.arange(12) - 300
    stored = digital(1000) + zeros
    head = np.array([30, 12, len(stored), 0, 4], "<u4").tobytes() + b"val\0"
    (tmp_path / "a.mat").write_bytes(head + stored.astype("<i2").tobytes())
    lines = []
    for zero, total, name in zip(zeros, stored.sum(axis=0) & 0xFFFF, LEADS, strict=True):
        gain, about = (f"1000({zero})", 0) if says == "the baseline" else ("1000", zero)
        lines.append(f"a.mat {form} {gain}/mV 16 {about} 0 {total} 0 {name}")
    top = f"a 12 {RATE} {len(stored)} 12-May-2020 12:33:59"
    (tmp_path / "a.hea").write_text("\n".join([top, *lines, "#Age: 74"]))
    read = read_recording(tmp_path / "a.mat")
    assert np.abs(read.signal - SIGNAL).max() < 6e-4
    assert read.facts == {"age": "74"}


def test_a_format_that_wfdb_does_not_have_is_named(tmp_path):
    path = write(tmp_path, lines=[f"a.dat 99 1000/mV 16 0 0 0 0 {name}" for name in LEADS])
    with pytest.raises(UserError, match="is in format 99, which is none of WFDB"):
        read_recording(path)


GAINS = {
    "baseline": ("1000(300)/mV", 300),
    "uV": ("1(300)/uV", 300),
    "V": ("1000000(300)/V", 300),
    "no unit means mV": ("1000(300)", 300),
    "an exponent": ("1e3(300)/mV", 300),
}


@pytest.mark.parametrize("kind", GAINS)
def test_gains_baselines_and_units(tmp_path, kind):
    gain, shift = GAINS[kind]
    path = write(tmp_path, gain=gain, shift=shift)
    assert np.abs(read_recording(path).signal - SIGNAL).max() < 6e-4


def test_a_baseline_that_is_not_stated_is_the_converters_zero(tmp_path):
    stored = digital(1000) + 300
    sums = stored.sum(axis=0) & 0xFFFF
    lines = [f"a.dat 16 1000/mV 16 300 0 {sums[k]} 0 {LEADS[k]}" for k in range(12)]
    path = write(tmp_path, shift=300, lines=lines)
    assert np.abs(read_recording(path).signal - SIGNAL).max() < 6e-4


def test_no_units_ask_for_one(tmp_path):
    path = write(tmp_path, gain="1000/NU")
    with pytest.raises(UserError, match="is in NU"):
        read_recording(path)
    assert np.abs(read_recording(path, Asked(unit="mV")).signal - SIGNAL).max() < 6e-4


HEADERS = {
    "lines of Windows": {"end": "\r\n"},
    "small letters": {"names": [name.lower() for name in LEADS]},
    "checksums left out as 0": {
        "lines": [f"a.dat 16 1000/mV 16 0 0 0 0 {name}" for name in LEADS],
    },
    "nothing behind the gain": {"lines": ["a.dat 16 1000/mV"] * 12},
}


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_of_many_hands(tmp_path, kind):
    path = write(tmp_path, **HEADERS[kind])
    asked = Asked(lead_names=LEADS) if "nothing" in kind else Asked()
    assert np.abs(read_recording(path, asked).signal - SIGNAL).max() < 6e-4


def test_a_header_without_an_end_and_with_unknown_facts(tmp_path):
    path = write(tmp_path)
    head = path.with_suffix(".hea")
    told = "#Age: NaN\n#Sex: Unknown\n#Dx: Unknown"
    head.write_text(head.read_text() + told)
    read = read_recording(path)
    assert read.facts == {"age": "NaN", "sex": "Unknown", "dx": "Unknown"}
    assert np.abs(read.signal - SIGNAL).max() < 6e-4


def test_two_leads_are_not_twelve(tmp_path):
    """As the records of MIT-BIH: MLII and V5."""
    stored = digital(200)[:, [1, 10]]
    stored.astype("<i2").tofile(tmp_path / "100.dat")
    lines = ["100.dat 16 200 11 0 0 0 0 MLII", "100.dat 16 200 11 0 0 0 0 V5"]
    (tmp_path / "100.hea").write_text("\n".join(["100 2 500 3000", *lines]))
    read = read_recording(tmp_path / "100")
    assert np.abs(read.signal[:, [1, 10]] - SIGNAL[:, [1, 10]]).max() < 3e-3
    with pytest.raises(UserError, match="lead I is missing; it has MLII, V5"):
        read_own(tmp_path / "100", LEADS, 100, 250)


# ---------------------------------------------------------------- several segments


@pytest.mark.parametrize("layout", [False, True])
def test_segments_follow_each_other(tmp_path, layout):
    read = read_recording(segmented(tmp_path, layout=layout))
    assert (read.rate, read.seconds, read.facts) == (500, 6, {"age": "61"})
    assert np.abs(read.signal - SIGNAL).max() < 6e-4
    part = read_recording(tmp_path / "all", Asked(start=2, seconds=1))
    assert np.abs(part.signal - SIGNAL[1000:1500]).max() < 6e-4


@pytest.mark.parametrize("rate", [250, 1000])
def test_a_stretch_goes_by_the_rate_that_is_said(tmp_path, rate):
    segmented(tmp_path)
    for name, n_samples in (("all", 3000), ("s1", 1800)):
        whole = read_recording(tmp_path / name, Asked(rate=rate)).signal
        read = read_recording(tmp_path / name, Asked(rate=rate, start=1, seconds=0.7))
        assert (read.rate, read.start, read.seconds) == (rate, 1, n_samples / rate)
        assert np.array_equal(read.signal, whole[rate : round(1.7 * rate)])


def test_gaps_and_leads_that_a_segment_lacks_have_no_value(tmp_path):
    path = segmented(tmp_path, between=["~ 500"], layout=True, leads=LEADS[:9])
    signal = read_recording(path).signal
    assert np.isnan(signal[1200:1700]).all()
    assert np.isnan(signal[1700:, 9:]).all()
    assert np.abs(signal[1700:, :9] - SIGNAL[1200:, :9]).max() < 6e-4
    whole = read_recording(path, Asked(start=0, seconds=2.4)).signal
    assert np.abs(whole - SIGNAL[:1200]).max() < 6e-4


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda text: text.replace("s1 1800", "s1 9999"), "holds|truncated"),
        (lambda text: text.replace("s1 1800", "../s1 1800"), "not in its folder"),
        (lambda text: text.replace("s1 1800", ""), "announces 2 segments"),
        (lambda text: text.replace("s1 ", "s9 "), "cannot be opened"),
        (lambda text: text.replace("12 500 ", "12 5.0.0 "), "a number that cannot be"),
        (lambda text: text.replace("12 500 ", "12 0 "), "a number that cannot be"),
        (lambda text: text.replace("s1 1800", f"s1 {9**20}"), "a number that cannot be"),
        (lambda text: text.replace("s1 1800", f"s1 {10**12}"), "GB of memory.*give --seconds"),
    ],
)
def test_segments_that_do_not_fit_are_one_line(tmp_path, change, pattern):
    path = segmented(tmp_path)
    head = path.with_suffix(".hea")
    head.write_text(change(head.read_text()))
    with pytest.raises(UserError, match=pattern) as caught:
        read_recording(path)
    assert "\n" not in str(caught.value)


def test_the_files_of_a_record_are_named(tmp_path):
    """Header and data, of every segment too; a segment that is not there need not be."""
    parts = ["s0.hea", "s0.dat", "s1.hea", "s1.dat"]
    path = segmented(tmp_path, between=["~ 500"])
    assert [file.name for file in files_of(path)] == ["all.hea", *parts]
    assert [file.name for file in files_of(tmp_path / "s1.dat")] == parts[2:]
    (tmp_path / "s0.hea").write_text(path.with_suffix(".hea").read_text())  # a circle
    assert [file.name for file in files_of(path)] == ["all.hea", *parts[2:]]
    assert files_of(f"{tmp_path}/mine.hdf5#7") == [tmp_path / "mine.hdf5"]
    (tmp_path / "case#1.xml").touch()
    assert files_of(tmp_path / "case#1.xml") == [tmp_path / "case#1.xml"]


def test_a_file_that_is_named_is_read_whatever_header_lies_beside_it(tmp_path):
    segmented(tmp_path)
    other = pd.DataFrame(-SIGNAL, columns=LEADS)
    for name in ("s1.csv", "s#1.csv"):
        other.to_csv(tmp_path / name, index=False)
        read = read_recording(tmp_path / name, Asked(rate=500))
        assert np.allclose(read.signal, -SIGNAL)
        assert files_of(tmp_path / name) == [tmp_path / name]
    (tmp_path / "s0.hea").rename(tmp_path / "s#0.hea")
    assert len(read_recording(tmp_path / "s#0").signal) == 1200
