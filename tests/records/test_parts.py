"""Files that hold several recordings, or one in pieces: which is read, and what is said of the
others (HL7 aECG: series and sets of sequences; DICOM: groups of channels).
"""

import re

import numpy as np
import pandas as pd
import pytest

import import_records
import made_files as made
from common.files import UserError
from common.labels import LEADS
from records.cohort_table import read_ages
from records.own_record import read_own
from records.readers import read_recording
from records.recording import Asked
from tiny_ptbxl import ecg_like, fitting_limbs

pytest.importorskip("ecgdatakit")
pydicom = pytest.importorskip("pydicom")

SIGNAL = fitting_limbs(ecg_like(3, 500) / 1000)  # (5000, 12) mV
OTHER = fitting_limbs(ecg_like(8, 500) / 1000)
START = b'value="20220101120000.000"'


def counts(signal, leads=LEADS):
    """(n, T) whole numbers of 2.5 uV."""
    return np.rint(signal[:, [LEADS.index(lead) for lead in leads]].T / 0.0025).astype(int)


def stage(module, *words):
    module.main(module.get_args_parser().parse_args(list(map(str, words))))


def read(folder, content, **asked):
    (folder / "a.xml").write_bytes(content)
    return read_recording(folder / "a.xml", Asked(**asked))


def away(found, wanted):
    """Largest distance of the leads that are there, and how many these are."""
    there = np.isfinite(found.signal).all(axis=0)
    return np.abs(found.signal - wanted)[:, there].max(), there.sum()


# ---------------------------------------------------------------- HL7 aECG

WHOLE = made.aecg(counts(SIGNAL), LEADS)
SERIES = re.compile(rb"<component><series>.*</series></component>", re.S)
SET = re.compile(rb"<component><sequenceSet>.*?</sequenceSet></component>", re.S)


def with_series(*contents):
    """One file with the series of several."""
    return SERIES.sub(b"".join(SERIES.search(one)[0] for one in contents), WHOLE)


def with_sets(*contents):
    """One series with the rhythm's set of sequences of several files."""
    return SET.sub(b"".join(SET.search(one)[0] for one in contents), WHOLE, count=1)


def of(signal, leads=LEADS, start=START, samples=slice(None)):
    return made.aecg(counts(signal[samples], leads), leads).replace(START, start)


LATER = b'value="20220101120010.000"'
BEAT = made.aecg(np.full((12, 9000), 4), LEADS).replace(b'"RHYTHM"', b'"REPRESENTATIVE_BEAT"')
THREE = [LEADS[k : k + 3] for k in range(0, 12, 3)]
FILES = {  # content, signal of the whole that is read, leads, what is said of the others
    "a short strip first": (
        with_series(of(OTHER, samples=slice(0, 1500)), of(SIGNAL, start=LATER)),
        (12, "part 1 (series 1: 12 leads of 3 s)"),
    ),
    "two alike": (
        with_series(of(SIGNAL), of(OTHER, start=LATER)),
        (12, "part 2 (series 2: 12 leads of 10 s)"),
    ),
    "a strip of one lead first": (
        with_series(of(OTHER, LEADS[1:2], LATER), of(SIGNAL)),
        (12, "part 1 (series 1: 1 lead of 10 s)"),
    ),
    "a longer beat before the strip": (with_series(BEAT, WHOLE), (12, "")),
    "a second set": (
        with_sets(of(OTHER, samples=slice(0, 1500)), of(SIGNAL, start=LATER)),
        (12, "part 1 (series 1: 12 leads of 3 s)"),
    ),
    "three leads in a set each": (with_sets(*(of(SIGNAL, leads) for leads in THREE)), (12, "")),
    "three leads in a series each": (
        with_series(*(of(SIGNAL, leads) for leads in THREE)),
        (12, ""),
    ),
    "three leads in a set each, one later": (
        with_sets(*(of(SIGNAL, leads) for leads in THREE[:3]), of(SIGNAL, THREE[3], LATER)),
        (9, "part 2 (series 1: 3 leads of 10 s)"),
    ),
    "three leads in a set each, from zero": (
        with_sets(*(of(SIGNAL, leads) for leads in THREE))
        .replace(b"TIME_ABSOLUTE", b"TIME_RELATIVE")
        .replace(b"GLIST_TS", b"GLIST_PQ")
        .replace(START, b'value="0" unit="s"'),
        (12, ""),
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_of_several_strips_that_with_most_signal_is_read(tmp_path, kind):
    content, (n_leads, others) = FILES[kind]
    found = read(tmp_path, content)
    assert (found.rate, found.seconds, found.unit) == (500, 10, "mV")
    largest, there = away(found, SIGNAL)
    assert (largest < 0.0026, there) == (True, n_leads)
    assert found.facts.get("left_out", "") == others


def test_series_that_count_from_their_own_starts_are_not_put_together(tmp_path):
    content = with_series(*(of(SIGNAL, leads) for leads in THREE))
    content = content.replace(b"TIME_ABSOLUTE", b"TIME_RELATIVE").replace(b"_TS", b"_PQ")
    found = read(tmp_path, content.replace(START, b'value="0" unit="s"'))
    assert away(found, SIGNAL)[1] == 6  # I, II, III give the other limb leads
    assert "part 2 (series 2: 3 leads of 10 s); part 3" in found.facts["left_out"]


def test_a_part_can_be_chosen(tmp_path):
    content = with_series(of(SIGNAL), of(OTHER, start=LATER))
    assert away(read(tmp_path, content, part=1), SIGNAL)[0] < 0.0026
    second = read(tmp_path, content, part=2)
    assert away(second, OTHER)[0] < 0.0026
    assert second.facts["left_out"] == "part 1 (series 1: 12 leads of 10 s)"
    with pytest.raises(UserError, match=r"--record_part 3: .*a\.xml holds 2 recordings"):
        read(tmp_path, content, part=3)
    assert away(read(tmp_path, WHOLE, part=1), SIGNAL)[0] < 0.0026


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.xml", made.mortara(counts(SIGNAL), LEADS)),
        ("a.xml", made.cardiosoft(counts(SIGNAL), LEADS)),
        ("a.edf", made.edf(counts(SIGNAL), LEADS)),
        ("a.bdf", made.edf(counts(SIGNAL), LEADS, bits=24)),
        ("a.csv", ",".join(LEADS).encode()),
    ],
)
def test_a_part_of_a_file_that_has_none_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"--record_part 2: .*{name} holds one recording"):
        read_recording(tmp_path / name, Asked(part=2))


# ---------------------------------------------------------------- GE MUSE

MUSE = made.muse(counts(SIGNAL, made.EIGHT), per_bit="2.5")
WAVES = re.findall(rb"<Waveform>.*?</Waveform>", MUSE, re.S)
SHORT = re.findall(
    rb"<Waveform>.*?</Waveform>",
    made.muse(counts(OTHER[:1500], made.EIGHT), per_bit="2.5"),
    re.S,
)[1]
TYPES = re.compile(rb"<WaveformType>\w+</WaveformType>")
OF_MUSE = {  # content, what is said of the others
    "a short rhythm first": (
        MUSE.replace(WAVES[1], SHORT + WAVES[1]),
        "part 1 (waveform of 8 leads)",
    ),
    "no types": (TYPES.sub(b"", MUSE), "part 1 (waveform of 8 leads)"),
    "types without a word": (
        TYPES.sub(b"<WaveformType></WaveformType>", MUSE),
        "part 1 (waveform of 8 leads)",
    ),
    "the median has no type": (MUSE.replace(WAVES[0], TYPES.sub(b"", WAVES[0])), ""),
    "as most": (MUSE, ""),
}


@pytest.mark.parametrize("kind", OF_MUSE)
def test_of_several_waveforms_of_muse_the_recording_is_read(tmp_path, kind):
    content, others = OF_MUSE[kind]
    found = read(tmp_path, content)
    assert (found.rate, found.unit, found.facts.get("left_out", "")) == (500, "mV", others)
    assert away(found, SIGNAL) == (pytest.approx(0, abs=0.0051), 12)
    with pytest.raises(UserError, match=r"--record_part 4: .* holds"):
        read(tmp_path, content, part=4)


def test_a_rhythm_of_muse_can_be_chosen(tmp_path):
    content = MUSE.replace(WAVES[1], SHORT + WAVES[1])
    assert away(read(tmp_path, content, part=1), OTHER[:1500])[0] < 0.0051


def test_ages_of_cardiosoft_have_units(tmp_path):
    content = made.cardiosoft(counts(SIGNAL) // 2, LEADS)
    months = content.replace(b'units="years">52', b'units="months">6')
    assert [read(tmp_path, one).facts["age"] for one in (content, months)] == ["52", "6 months"]
    ages = read_ages(["52", "6 months"], "t.csv")
    assert list(ages) == [52, pytest.approx(0.5, abs=0.5)]


def test_older_scp_ecg_is_known_without_an_ending(tmp_path):
    content = made.scp(counts(SIGNAL, made.EIGHT)).replace(b"SCPECG", bytes(6))
    (tmp_path / "IM1").write_bytes(content)
    assert away(read_recording(tmp_path / "IM1"), SIGNAL) == (pytest.approx(0, abs=0.0051), 12)


def test_what_is_left_out_is_said_of_one_recording_and_of_an_import(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "one.xml").write_bytes(WHOLE)
    (folder / "two.xml").write_bytes(with_series(of(SIGNAL), of(OTHER, start=LATER)))
    read_own(folder / "two.xml", LEADS, 100, 250)
    assert "holds other recordings too: part 2 (series 2: 12 leads" in capsys.readouterr().err
    pd.DataFrame({"labels": ["NORM", "IMI"]}).to_csv(tmp_path / "t.csv")
    words = ["--records", folder, "--table", tmp_path / "t.csv", "--output_path"]
    stage(import_records, *words, tmp_path / "data")
    said = capsys.readouterr().out
    assert "1 of 2 files hold other recordings too" in said
    assert "(column left_out; --record_part reads another), the first: two: part 2" in said
    table = pd.read_csv(tmp_path / "data/ptbxl_database.csv", keep_default_na=False)
    assert table["left_out"].tolist() == ["", "part 2 (series 2: 12 leads of 10 s)"]
    with pytest.raises(UserError, match=r"--record_part 2: .*one\.xml holds 1 recording"):
        stage(import_records, *words, tmp_path / "other", "--record_part", 2)


# ---------------------------------------------------------------- DICOM


def group(signal, leads=LEADS, label="RHYTHM"):
    return (counts(signal, leads), leads, 500, 2.5, 0, label)


def dicom(folder, groups, offsets=(), change=lambda data: None, **asked):
    """A file of groups that begin at `offsets` in ms."""
    made.dicom(folder / "a.dcm", groups)
    data = pydicom.dcmread(folder / "a.dcm")
    for one, offset in zip(data.WaveformSequence, offsets, strict=bool(offsets)):
        one.MultiplexGroupTimeOffset = offset
    change(data)
    data.save_as(folder / "a.dcm")
    return read_recording(folder / "a.dcm", Asked(**asked))


@pytest.mark.parametrize("size", [1, 3, 4])
def test_groups_that_begin_together_are_one_recording(tmp_path, size):
    groups = [group(SIGNAL, LEADS[k : k + size]) for k in range(0, 12, size)][::-1]
    beat = (np.full((12, 9000), 5), LEADS, 500, 2.5, 0, "MEDIAN BEAT")
    found = dicom(tmp_path, [beat, *groups], [0] * (len(groups) + 1))
    assert (found.rate, found.seconds, found.facts.get("left_out")) == (500, 10, None)
    assert away(found, SIGNAL) == (pytest.approx(0, abs=0.0026), 12)


def other_steps(data):
    """A second group of half the step and another zero."""
    one = data.WaveformSequence[1]
    for channel in one.ChannelDefinitionSequence:
        channel.ChannelSensitivity, channel.ChannelBaseline = 1.25, 50
    values = np.frombuffer(one.WaveformData, "<i2").astype(int) * 2 - 40
    one.WaveformData = values.astype("<i2").tobytes()


def test_each_group_keeps_its_own_step_and_zero(tmp_path):
    groups = [group(SIGNAL, LEADS[:6]), group(SIGNAL, LEADS[6:])]
    found = dicom(tmp_path, groups, [0, 0], other_steps)
    assert away(found, SIGNAL) == (pytest.approx(0, abs=0.0026), 12)


PAPER = [group(SIGNAL[k * 1250 : (k + 1) * 1250], THREE[k]) for k in range(4)]


@pytest.mark.parametrize("offsets", [(), (0, 2500, 5000, 7500)])
def test_groups_one_after_the_other_are_not_put_together(tmp_path, offsets):
    found = dicom(tmp_path, PAPER, offsets)
    assert away(found, SIGNAL[:1250]) == (pytest.approx(0, abs=0.0026), 6)
    others, _, why = found.facts["left_out"].partition("; groups")
    assert others == (
        "part 2 (RHYTHM: aVR, aVL, aVF, 2.5 s); part 3 (RHYTHM: V1, V2, V3, 2.5 s); "
        "part 4 (RHYTHM: V4, V5, V6, 2.5 s)"
    )
    assert bool(why) == (not offsets)
    chest = dicom(tmp_path, PAPER, offsets, part=3)
    assert away(chest, SIGNAL[2500:3750]) == (pytest.approx(0, abs=0.0026), 3)
    with pytest.raises(UserError, match="holds 4 recordings"):
        dicom(tmp_path, PAPER, offsets, part=5)


def test_groups_of_one_lead_twice_or_of_other_lengths_stay_apart(tmp_path):
    twice = [group(SIGNAL, LEADS[:6]), group(OTHER, LEADS[5:])]
    assert away(dicom(tmp_path, twice, [0, 0]), OTHER)[1] == 7
    lengths = [group(SIGNAL, LEADS[:6]), group(SIGNAL[:2500], LEADS[6:])]
    found = dicom(tmp_path, lengths, [0, 0])
    assert away(found, SIGNAL) == (pytest.approx(0, abs=0.0026), 6)
    assert found.facts["left_out"] == "part 2 (RHYTHM: 6 channels, 5 s)"


def test_pressures_are_not_taken_for_the_ecg(tmp_path):
    pressures = (np.zeros((9, 5000), int), [f"P{k}" for k in range(9)], 500, 1, 0, "")
    found = dicom(tmp_path, [pressures, group(SIGNAL, LEADS[:2])])
    assert away(found, SIGNAL)[1] == 6


def test_channels_that_begin_some_samples_apart_are_refused(tmp_path):
    def change(data):
        channels = data.WaveformSequence[0].ChannelDefinitionSequence
        for number, channel in enumerate(channels):
            channel.ChannelSampleSkew = number

    with pytest.raises(UserError, match=r"begin up to 0\.022 s apart"):
        dicom(tmp_path, [group(SIGNAL)], change=change)


# ---------------------------------------------------------------- DICOM without its first bytes


def without_preamble(folder):
    made.dicom(folder / "whole.dcm", [group(SIGNAL)])
    return (folder / "whole.dcm").read_bytes()[132:]


def without_meta(folder, implicit):
    made.dicom(folder / "whole.dcm", [group(SIGNAL)])
    data = pydicom.dcmread(folder / "whole.dcm")
    data.file_meta = pydicom.dataset.FileMetaDataset()
    bare = pydicom.dataset.Dataset()
    bare.update(data)
    options = {"implicit_vr": implicit, "little_endian": True, "enforce_file_format": False}
    pydicom.dcmwrite(folder / "bare.dcm", bare, **options)
    return (folder / "bare.dcm").read_bytes()


SHORTER = {
    "no preamble": without_preamble,
    "the data alone, explicit": lambda folder: without_meta(folder, False),
    "the data alone, implicit": lambda folder: without_meta(folder, True),
}


@pytest.mark.parametrize("kind", SHORTER)
@pytest.mark.parametrize("name", ["a.dcm", "IM00001"])
def test_dicom_without_its_first_bytes(tmp_path, kind, name):
    content = SHORTER[kind](tmp_path)
    assert content[:1] in (b"\x02", b"\x08")
    (tmp_path / name).write_bytes(content)
    found = read_recording(tmp_path / name)
    assert (found.rate, found.facts["patient_id"]) == (500, "D1")
    assert away(found, SIGNAL) == (pytest.approx(0, abs=0.0026), 12)


def test_what_only_begins_like_dicom_is_one_line(tmp_path):
    content = without_preamble(tmp_path)
    for damaged in (content[:600], content[:8] + b"\xff" * 500, content[:8]):
        (tmp_path / "a.dcm").write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.dcm is not") as caught:
            read_recording(tmp_path / "a.dcm")
        assert "\n" not in str(caught.value)
    picture = pydicom.dataset.Dataset()
    picture.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    options = {"implicit_vr": True, "little_endian": True, "enforce_file_format": False}
    pydicom.dcmwrite(tmp_path / "a.dcm", picture, **options)
    with pytest.raises(UserError, match="holds no waveforms"):
        read_recording(tmp_path / "a.dcm")
