"""Recordings one after the other into a data set: each its own, faults said, nothing left."""

import errno

import numpy as np
import pytest

from common.files import UserError
from common.labels import LEADS
from records import importing
from records.readers import read_recording
from records.recording import Columns, Recording, from_columns
from records.resampling import resample
from records.sources import Source
from tiny_ptbxl import ecg_like, fitting_limbs

N = 3 * importing.CHUNK + 5
IDS = np.arange(N)[::-1] + 7  # not in the records' order


def signal(number):
    return fitting_limbs(ecg_like(number, 100) / 1000)


def source(bad=()):
    """N recordings, some of which cannot be read."""

    def read(number, asked):
        if number in bad:
            raise UserError(f"recording {number} is damaged")
        columns = Columns(signal(number), list(LEADS), 100, ["mV"] * 12, {"number": number})
        return from_columns(columns, f"recording {number}", asked)

    return Source([f"r{number}" for number in range(N)], read)


def test_every_record_has_its_own_samples_and_facts(tmp_path):
    bad = (3, 20)
    written = importing.write_records(tmp_path, source(bad), IDS, importing.Wanted(skip_bad=True))
    kept = [number for number in range(N) if number not in bad]
    assert written.kept == [facts["number"] for facts in written.facts] == kept
    assert list(written.skipped) == ["r3", "r20"]
    for number in kept:
        record = read_recording(tmp_path / f"records100/00000/{IDS[number]:05d}_lr")
        assert np.abs(record.signal - signal(number)).max() < 6e-4
    assert len(list(tmp_path.rglob("*.dat"))) == len(kept)


@pytest.mark.parametrize("n_together", [1, 3, importing.CHUNK])
def test_of_long_recordings_fewer_are_in_memory_at_a_time(tmp_path, monkeypatch, n_together):
    monkeypatch.setattr(importing, "CHUNK_BYTES", n_together * 2 * 1000 * 12)
    judge, sizes = importing.plausibility.judge_samples, []

    def judged(samples, *said):
        sizes.append(len(samples))
        return judge(samples, *said)

    monkeypatch.setattr(importing.plausibility, "judge_samples", judged)
    written = importing.write_records(tmp_path, source(), IDS, importing.Wanted())
    assert max(sizes) == n_together
    assert sum(sizes) == len(written.kept) == N


def test_flags_are_of_the_records_that_raise_them(tmp_path):
    def read(number, asked):
        factor = 1e-3 if number % 10 == 4 else 1  # V taken for mV
        columns = Columns(factor * signal(number), list(LEADS), 100, ["mV"] * 12)
        return from_columns(columns, "", asked)

    tall = Source(source().names, read)
    written = importing.write_records(tmp_path, tall, IDS, importing.Wanted())
    assert written.flags["unit"] == [f"r{number}" for number in range(4, N, 10)]


@pytest.mark.parametrize("at", [0, importing.CHUNK, N - 1])
def test_a_disk_that_is_full_is_said_and_nothing_is_left(tmp_path, monkeypatch, at):
    write_record, n_calls = importing.write_record, []

    def full(*arguments):
        n_calls.append(1)
        if len(n_calls) > at:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_record(*arguments)

    monkeypatch.setattr(importing, "write_record", full)
    with pytest.raises(OSError, match="No space left"):
        importing.write_records(tmp_path, source(), IDS, importing.Wanted())
    assert not list(tmp_path.rglob("*"))


def test_a_recording_that_is_refused_ends_the_import(tmp_path):
    with pytest.raises(UserError, match="recording 40 is damaged; --skip_bad"):
        importing.write_records(tmp_path, source([40]), IDS, importing.Wanted())
    assert not list(tmp_path.rglob("*"))


def written_samples(folder, values):
    """Samples and header of the record that the import of one recording writes."""
    recording = Recording(values, 100, "mV", 0.0, 10.0, {}, LEADS)
    source = Source(["r"], lambda number, asked: recording)
    importing.write_records(folder, source, np.array([1]), importing.Wanted())
    record = folder / "records100/00000/00001_lr"
    return record.with_suffix(".dat").read_bytes(), record.with_suffix(".hea").read_text()


@pytest.mark.parametrize("peak", [0, 1, 29, 30, 31, 1000, 31_999, 32_000, 32_767, -32_767])
def test_what_a_file_has_in_microvolt_is_written_as_from_millivolt(tmp_path, peak):
    values = np.random.default_rng(abs(peak)).integers(-abs(peak), abs(peak) + 1, (1000, 12))
    values[500, 3] = peak
    stored = values.astype(np.int16)
    direct = written_samples(tmp_path / "stored", stored)
    assert direct == written_samples(tmp_path / "read", stored * 0.001)
    if 31 <= peak < 32_000:
        assert direct[0] == stored.astype("<i2").tobytes()


def test_microvolt_of_a_record_of_another_rate_or_fewer_leads_are_brought(tmp_path):
    stored = np.rint(1000 * signal(1)).astype(np.int16)
    recording = Recording(stored, 100, "mV", 0.0, 10.0, {}, LEADS)
    source = Source(["r"], lambda number, asked: recording)
    for wanted in (importing.Wanted(200), importing.Wanted(leads=("II", "V5"))):
        folder = tmp_path / f"{wanted.sampling_rate}"
        importing.write_records(folder, source, np.array([1]), wanted)
        record = next(folder.rglob("*.hea")).with_suffix("")
        read = read_recording(record)
        columns = [LEADS.index(lead) for lead in wanted.leads]
        expected = resample(stored * 0.001, 100, read.rate)[:, columns]
        assert np.abs(read.signal[:, columns] - expected).max() < 6e-4
