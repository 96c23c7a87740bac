"""WFDB records as the specification allows them and few write them: signals without samples, skewed
signals, offsets, several files and formats, segments without a lead. What can be is compared with
wfdb; it does not read null signals, nor signals of different skews.
"""

import numpy as np
import pytest
import wfdb

from common.files import UserError
from common.labels import LEADS
from records import wfdb_any
from records.readers import read_recording
from records.recording import Asked
from wfdb_bits import FORMATS, RATE, SIGNAL, segmented

N_SAMPLES = 600  # a multiple of all that are packed together
NULL = "~ 0 200 12 0 0 0 0 foo"


def written(folder, forms, skews=(0,) * 12, offset=0, nulls=()):
    """A record of a file for each format, among which the leads are dealt out; null signals at the
    lines `nulls`. What is read of it # (T, 12) mV
    """
    signal, lines = np.full((N_SAMPLES, 12), np.nan), {}
    for number, form in enumerate(forms):
        per_mv, pack = FORMATS[form]
        columns = list(range(number, 12, len(forms)))
        stored = np.rint(SIGNAL[:N_SAMPLES, columns] * per_mv).astype(np.int64)
        packed = np.ascontiguousarray(pack(stored.reshape(-1))).tobytes()
        (folder / f"a{number}.dat").write_bytes(b"\x07" * offset + packed)
        for k, column in enumerate(columns):
            skew, place = skews[column], f"+{offset}" * bool(offset)
            signal[: N_SAMPLES - skew, column] = stored[skew:, k] / per_mv
            total = stored[:, k].sum() & 0xFFFF
            form_of = f"{form}{f':{skew}' if skew else ''}{place}"
            lines[column] = f"a{number}.dat {form_of} {per_mv} 16 0 0 {total} 0 {LEADS[column]}"
    rows = list(lines.values())  # the signals of one file stand together
    for place in nulls:
        rows.insert(place, NULL)
    (folder / "a.hea").write_text("\n".join([f"a {len(rows)} {RATE} {N_SAMPLES}", *rows]) + "\n")
    return signal


def by_wfdb(path, start=0, end=None):
    record = wfdb.rdrecord(str(path), sampfrom=start, sampto=end)
    return record.p_signal[:, [record.sig_name.index(lead) for lead in LEADS]]


MIXED = [("16",), ("212", "16"), ("61", "24"), ("310", "61", "311"), ("80", "32"), ("160", "16")]
SKEWS = (0, 3, 17, 0, 0, 5, 0, 0, 1, 0, 0, 0)


@pytest.mark.parametrize("forms", MIXED)
@pytest.mark.parametrize("offset", [0, 513])
def test_files_of_several_formats_and_what_lies_before_the_samples(tmp_path, forms, offset):
    wanted = written(tmp_path, forms, offset=offset)
    assert np.allclose(read_recording(tmp_path / "a").signal, wanted, atol=1e-9)
    part = read_recording(tmp_path / "a", Asked(start=0.2, seconds=0.4)).signal
    assert np.allclose(part, wanted[100:300], atol=1e-9)
    if "61" not in forms:
        assert np.allclose(by_wfdb(tmp_path / "a"), wanted, atol=1e-9)


@pytest.mark.parametrize("forms", MIXED)
@pytest.mark.parametrize("whole", [True, False])
def test_skewed_signals_are_put_in_time(tmp_path, monkeypatch, forms, whole):
    if not whole:
        monkeypatch.setattr(wfdb_any, "WHOLE_BYTES", 0)
    wanted = written(tmp_path, forms, SKEWS)
    assert np.isnan(wanted).sum() == sum(SKEWS)
    read = read_recording(tmp_path / "a").signal
    assert np.allclose(read, wanted, atol=1e-9, equal_nan=True)
    part = read_recording(tmp_path / "a", Asked(start=1, seconds=0.2)).signal
    assert np.allclose(part, wanted[500:600], atol=1e-9, equal_nan=True)
    with pytest.raises(UserError, match="lasts no longer than the start"):
        read_recording(tmp_path / "a", Asked(start=2))


def test_skews_that_wfdb_reads_are_read_as_it_does(tmp_path):
    written(tmp_path, ("16",), (7,) * 12)
    read = read_recording(tmp_path / "a").signal
    assert np.allclose(read, by_wfdb(tmp_path / "a"), atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("forms", MIXED)
@pytest.mark.parametrize("nulls", [(0,), (12,), (0, 4, 9)])
def test_null_signals_have_no_samples_and_are_left_out(tmp_path, forms, nulls):
    wanted = written(tmp_path, forms, nulls=nulls)
    assert np.allclose(read_recording(tmp_path / "a").signal, wanted, atol=1e-9)


def test_a_lead_that_is_a_null_signal_is_not_there(tmp_path):
    written(tmp_path, ("212",), nulls=(3,))
    head = tmp_path / "a.hea"
    text = head.read_text().replace("V6", "other").replace("foo", "V6")
    head.write_text(text)
    assert np.isnan(read_recording(tmp_path / "a").signal).all(axis=0).tolist() == [
        lead == "V6" for lead in LEADS
    ]


def test_a_record_of_null_signals_alone_is_one_line(tmp_path):
    (tmp_path / "a.hea").write_text(f"a 1 500 1000\n{NULL.replace('foo', 'V1')}\n")
    with pytest.raises(UserError, match=r"null signals alone .format 0.: no samples"):
        read_recording(tmp_path / "a")


def test_a_segment_of_pressures_alone_is_a_gap_of_the_leads(tmp_path):
    path = segmented(tmp_path, between=["~ 100"], layout=True)
    head = tmp_path / "s0.hea"
    lines = [line.replace("/mV", "/mmHg") for line in head.read_text().splitlines()]
    lines = [f"{line.rpartition(' ')[0]} P{k}" if k else line for k, line in enumerate(lines)]
    head.write_text("\n".join(lines))
    signal = read_recording(path).signal
    assert np.isnan(signal[:1300]).all()
    assert np.abs(signal[1300:] - SIGNAL[1200:]).max() < 6e-4
    with pytest.raises(UserError, match="none of the leads"):
        read_recording(path, Asked(seconds=1))
