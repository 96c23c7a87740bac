"""Every reader against an independent reading of the same file: amplitudes, leads by name, rate."""

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import wfdb

from common.files import UserError
from common.labels import LEADS
from records import wfdb_any
from records.own_record import read_own
from records.readers import read_recording
from records.recording import Asked
from records.sources import open_source
from tiny_ptbxl import ecg_like, fitting_limbs, header, write_record

SIGNAL = ecg_like(3, 500) / 1000  # (5000, 12) mV


# ---------------------------------------------------------------- WFDB


def cinc(folder, name="E00271", top="E00271.mat 12 500 5000 05-May-2020 14:50:55", form="16+24"):
    """A record as CinC writes it: MATLAB file of version 4 with format 16 behind 24 bytes."""
    digital = ecg_like(3, 500)
    lines = header(name, digital, 500, names=LEADS, gain="1000/mV").splitlines()[1:]
    lines = [line.replace(f"{name}.dat 16 ", f"{name}.mat {form} ") for line in lines]
    (folder / f"{name}.hea").write_text("\n".join([top, *lines, "#Age: 74", "#Dx: 59118001"]))
    scipy.io.savemat(folder / f"{name}.mat", {"val": digital.T}, format="4")
    return folder / name


@pytest.mark.parametrize("suffix", ["", ".hea", ".mat"])
@pytest.mark.parametrize("top", ["E00271.mat 12 500 5000", "E00271 12 500 5000"])
@pytest.mark.parametrize("form", ["16+24", "16x1+24"])
def test_cinc_records_are_read_by_any_of_their_names(tmp_path, suffix, top, form):
    path = cinc(tmp_path, top=top, form=form)
    read = read_recording(f"{path}{suffix}")
    expected = scipy.io.loadmat(f"{path}.mat")["val"].T / 1000
    assert np.abs(read.signal - expected).max() < 1e-9
    assert (read.rate, read.seconds, read.facts["age"]) == (500, 10, "74")


def test_real_cinc_records_equal_their_matlab_arrays(ptbxl):
    folder = ptbxl.parent / "cinc2021"
    if not folder.is_dir():
        pytest.skip("no CinC records beside the real records")
    read, broken = 0, []
    for path in sorted(folder.glob("*.hea")):
        try:
            signal = read_recording(path).signal
        except UserError as error:
            broken.append(str(error))
            continue
        gain = float(path.read_text().splitlines()[1].split()[2].split("/")[0].split("(")[0])
        expected = scipy.io.loadmat(path.with_suffix(".mat"))["val"].T / gain
        assert np.abs(signal - expected).max() < 1e-6
        read += 1
    assert read == 127
    (only,) = broken
    assert "HR00010" in only
    assert "truncated" in only


def test_leads_beside_others_and_in_two_files_are_read(tmp_path):
    """As the PTB data base: .dat with 12 leads, .xyz with three of another unit."""
    digital = ecg_like(3, 500)
    lines = header("s1", digital, 500, names=[lead.lower() for lead in LEADS]).splitlines()
    other = ecg_like(4, 500)[:, :3]
    frank = header("s1", other, 500, names=("vx", "vy", "vz"), gain="10(0)/mmHg").splitlines()[1:]
    top = lines[0].replace(" 12 ", " 15 ")
    body = [*lines[1:], *(line.replace(".dat", ".xyz") for line in frank)]
    (tmp_path / "s1.hea").write_text("\n".join([top, *body]))
    digital.astype("<i2").tofile(tmp_path / "s1.dat")
    other.astype("<i2").tofile(tmp_path / "s1.xyz")
    read = read_recording(tmp_path / "s1.xyz")
    assert np.abs(read.signal - digital / 1000).max() < 1e-9


def test_several_samples_per_frame_are_not_averaged(tmp_path):
    digital = ecg_like(3, 500)
    frames = digital.reshape(1250, 4, 12).transpose(0, 2, 1)  # each lead's four samples together
    lines = header("a", digital, 125, names=LEADS).splitlines()
    body = [line.replace("a.dat 16 ", "a.dat 16x4 ") for line in lines[1:]]
    (tmp_path / "a.hea").write_text("\n".join(["a 12 125 1250", *body]))
    np.ascontiguousarray(frames).astype("<i2").tofile(tmp_path / "a.dat")
    read = read_recording(tmp_path / "a")
    oracle = np.stack(wfdb.rdrecord(str(tmp_path / "a"), smooth_frames=False).e_p_signal, axis=1)
    assert read.rate == 500
    assert np.abs(read.signal - oracle).max() < 1e-9
    assert read.signal.max() == pytest.approx(digital.max() / 1000)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda text: text.replace("1000.0(0)/mV", "0(0)/mV"), "gives no gain for I"),
        (lambda text: text.replace(" aVL", " I"), "lead I twice"),
        (lambda text: text.replace("/mV", "/mmHg"), "is in mmHg"),
        (lambda text: text.replace("a.dat", "../a.dat"), "outside the folder"),
        (lambda text: text.replace("a 12", "a/3 12"), "announces 3 segments"),
        (lambda text: text.replace("a 12 500", "a 12 20"), "20 Hz is not between"),
    ],
)
def test_what_cannot_be_read_rightly_is_one_line(tmp_path, change, pattern):
    write_record(tmp_path / "a", ecg_like(3, 500), 500, names=LEADS)
    path = tmp_path / "a.hea"
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=pattern) as caught:
        read_recording(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_samples_that_are_not_those_of_the_header_are_refused(tmp_path):
    """Byte-swapped samples: --record took them for an ECG of 30 mV."""
    digital = ecg_like(3, 500)
    write_record(tmp_path / "a", digital, 500)
    digital.byteswap().tofile(tmp_path / "a.dat")
    with pytest.raises(UserError, match="not those the header was written for"):
        read_own(tmp_path / "a", LEADS, 100, 250)


@pytest.mark.parametrize("fmt", ["16", "212", "24", "32"])
def test_a_stretch_of_a_record_is_that_stretch(tmp_path, fmt):
    wfdb.wrsamp(
        "a",
        fs=500,
        units=["mV"] * 12,
        sig_name=list(LEADS),
        p_signal=SIGNAL,
        fmt=[fmt] * 12,
        write_dir=str(tmp_path),
    )
    whole = wfdb.rdrecord(str(tmp_path / "a")).p_signal
    part = read_recording(tmp_path / "a", Asked(start=3.5, seconds=2))
    assert np.abs(part.signal - whole[1750:2750]).max() < 1e-6
    assert (part.start, part.seconds) == (3.5, 10)
    with pytest.raises(UserError, match="no longer than the start"):
        read_recording(tmp_path / "a", Asked(start=11))


def test_a_long_file_is_not_read_whole(tmp_path, monkeypatch):
    write_record(tmp_path / "a", np.tile(ecg_like(3, 500), (60, 1)), 500)
    read, read_numbers = [], wfdb_any.read_numbers
    monkeypatch.setattr(wfdb_any, "WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr(wfdb_any, "read_numbers", lambda *a: read.append(a[2]) or read_numbers(*a))
    part = read_recording(tmp_path / "a", Asked(start=300, seconds=10))
    assert np.abs(part.signal - SIGNAL).max() < 1e-9
    assert read == [(5000, 12)]


# ---------------------------------------------------------------- text


def text_file(folder, frame, name="a.csv", **options):
    path = folder / name
    frame.to_csv(path, index=False, **options)
    return path


def frame(time=True):
    columns = dict(zip(LEADS, fitting_limbs(SIGNAL).T, strict=True))
    return pd.DataFrame({"time": np.arange(5000) / 500} | columns if time else columns)


WRITTEN = {
    "semicolons, decimal commas": lambda f: text_file(f, frame(), sep=";", decimal=","),
    "tabs": lambda f: text_file(f, frame(), "a.tsv", sep="\t"),
    "byte-order mark": lambda f: text_file(f, frame(), encoding="utf-8-sig"),
    "index column": lambda f: text_file(f, frame().reset_index()),
    "unnamed index": lambda f: text_file(f, frame().reset_index().rename(columns={"index": ""})),
    "ms": lambda f: text_file(f, frame().assign(time=np.arange(5000) * 2)),
    "time (ms)": lambda f: text_file(
        f, frame().assign(time=np.arange(5000) * 2).rename(columns={"time": "time (ms)"})
    ),
    "units in the head": lambda f: text_file(
        f, frame().rename(columns={lead: f"{lead} (mV)" for lead in LEADS})
    ),
    "microvolts in the head": lambda f: text_file(
        f,
        (frame() * ([1] + [1000] * 12)).rename(columns={lead: f"{lead} [uV]" for lead in LEADS}),
    ),
    "other names": lambda f: text_file(
        f,
        frame().rename(columns={lead: f"MDC_ECG_LEAD_{lead.upper()}" for lead in LEADS}),
    ),
    "PhysioNet's two lines": lambda f: physionet(f),
    "blanks": lambda f: text_file(f, frame(), "a.txt", sep=" "),
}


def physionet(folder):
    """As PhysioNet's rdsamp -p -v -c writes it: quoted names, a line of units, clock times."""
    path = folder / "a.csv"
    names = ["'Elapsed time'", *(f"'{lead.lower()}'" for lead in LEADS)]
    units = ["'hh:mm:ss.mmm'", *["'mV'"] * 12]
    rows = [
        ",".join([f"'0:{n / 500:06.3f}'", *(f"{value:.6f}" for value in row)])
        for n, row in enumerate(fitting_limbs(SIGNAL))
    ]
    path.write_text("\n".join([",".join(names), ",".join(units), *rows]) + "\n")
    return path


@pytest.mark.parametrize("kind", WRITTEN)
def test_text_is_read_however_it_was_written(tmp_path, kind):
    read = read_recording(WRITTEN[kind](tmp_path))
    assert read.rate == pytest.approx(500, abs=1e-9)
    assert np.abs(read.signal - fitting_limbs(SIGNAL)).max() < 1e-6


@pytest.mark.parametrize("decimals", [3, 4, 6])
@pytest.mark.parametrize("rate", [128, 240, 250, 257, 300, 360, 500, 512])
def test_rounded_times_give_the_true_rate(tmp_path, rate, decimals):
    time = np.round(np.arange(10 * rate) / rate, decimals)
    columns = dict.fromkeys(LEADS, np.sin(2 * np.pi * np.arange(10 * rate) / rate))
    path = text_file(tmp_path, pd.DataFrame({"time": time} | columns))
    assert read_recording(path).rate == rate


@pytest.mark.parametrize("decimals", [3, 4])
def test_a_missing_sample_shows_in_rounded_times(tmp_path, decimals):
    table = frame()
    table["time"] = table["time"].round(decimals)
    path = text_file(tmp_path, table.drop(index=1234))
    with pytest.raises(UserError, match="not evenly spaced"):
        read_recording(path)


def test_one_infinite_value_is_refused(tmp_path):
    table = frame()
    table.loc[2000, "aVF"] = np.inf
    with pytest.raises(UserError, match="lead aVF has 1 infinite values"):
        read_own(text_file(tmp_path, table), LEADS, 100, 250)


@pytest.mark.parametrize("there", [("I", "II"), ("aVL", "aVF"), ("III", "aVR"), ("II", "aVL")])
def test_limb_leads_follow_from_any_two(tmp_path, there):
    table = frame()[["time", *there, *LEADS[6:]]]
    read = read_recording(text_file(tmp_path, table))
    assert np.abs(read.signal - fitting_limbs(SIGNAL)).max() < 1e-6


def test_names_can_be_given(tmp_path):
    table = frame().rename(columns={lead: f"ch{n}" for n, lead in enumerate(LEADS)})
    path = text_file(tmp_path, table)
    with pytest.raises(UserError, match="--lead_names says what they are"):
        read_recording(path)
    read = read_recording(path, Asked(lead_names=LEADS))
    assert np.abs(read.signal - fitting_limbs(SIGNAL)).max() < 1e-6
    with pytest.raises(UserError, match="gives 2 names"):
        read_recording(path, Asked(lead_names=("I", "II")))


@pytest.mark.parametrize("form", ["{:,.0f}", "{:,.1f}"])
def test_commas_that_group_thousands_are_no_decimal_commas(tmp_path, form):
    """1,234 uV was read as 1.234 beside 987."""
    signal = 3 * fitting_limbs(SIGNAL)[:1000]
    rows = [";".join(form.format(1000 * value) for value in row) for row in signal]
    (tmp_path / "a.csv").write_text("\n".join([";".join(LEADS), *rows]))
    assert any("," in row for row in rows)
    read = read_recording(tmp_path / "a.csv", Asked(rate=500, unit="uV"))
    assert np.abs(read.signal - signal).max() < 6e-4


# ---------------------------------------------------------------- units that nobody says


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "uV"), (10, "1e-4V"), (1e-3, "V")])
def test_an_impossible_height_asks_for_the_unit(tmp_path, factor, unit):
    table = frame()
    table[list(LEADS)] *= factor
    path = text_file(tmp_path, table)
    with pytest.raises(UserError, match="--unit"):
        read_own(path, LEADS, 500, 1250)
    read = read_own(path, LEADS, 500, 1250, Asked(unit=unit))
    assert np.abs(read.signal - fitting_limbs(SIGNAL)).max() < 1e-5


# ---------------------------------------------------------------- arrays


def arrays(folder, kind):
    signal = fitting_limbs(SIGNAL)
    path = folder / f"a.{kind.split()[0]}"
    if kind == "npy":
        np.save(path, signal)
    elif kind == "npy transposed":
        np.save(path, signal.T)
    elif kind == "npz":
        np.savez(path, ecg=signal, fs=500, unit="mV", leads=list(LEADS))
    elif kind == "mat":
        scipy.io.savemat(path, {"ECG": {"data": signal.T, "fs": 500.0, "sex": "F"}})
    else:
        with h5py.File(path, "w") as file:
            file["tracings"] = signal[None]
    return path


@pytest.mark.parametrize("kind", ["npz", "mat", "struct", "h5"])
@pytest.mark.parametrize("leads", [LEADS, ("V1", "II")])
def test_one_array_for_each_lead(tmp_path, kind, leads):
    """As MATLAB's users save their work space."""
    each = {lead: SIGNAL[:, LEADS.index(lead)] for lead in leads}
    path = tmp_path / f"a.{'mat' if kind == 'struct' else kind}"
    if kind == "npz":
        np.savez(path, fs=500, t=np.arange(7), **each)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file["fs"] = 500
            for lead, values in each.items():
                file[f"ecg/{lead}"] = values
    else:
        scipy.io.savemat(path, {"fs": 500, **({"ecg": each} if kind == "struct" else each)})
    read = read_recording(path)
    columns = [LEADS.index(lead) for lead in leads]
    assert read.rate == 500
    assert np.abs(read.signal - SIGNAL)[:, columns].max() < 1e-9
    assert np.isfinite(read.signal).all(axis=0).sum() == len(leads)


def test_arrays_of_leads_that_are_not_equally_long_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", fs=500, I=np.zeros(5000), II=np.zeros(4000))
    with pytest.raises(UserError, match="holds no array of signals; it has fs, I, II"):
        read_recording(tmp_path / "a.npz")


@pytest.mark.parametrize("kind", ["npy", "npy transposed", "npz", "mat", "h5"])
def test_arrays_are_read(tmp_path, kind):
    asked = Asked() if kind in ("npz", "mat") else Asked(rate=500)
    read = read_recording(arrays(tmp_path, kind), asked)
    assert read.rate == 500
    assert np.abs(read.signal - fitting_limbs(SIGNAL)).max() < 1e-9
    assert (kind != "mat") or read.facts["sex"] == "F"


@pytest.mark.parametrize("rate", [np.zeros(0), np.nan, 0, -500, "fast"])
def test_an_hdf5_file_whose_rate_is_none_is_asked_for_it(tmp_path, rate):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["ecg"] = np.stack([SIGNAL, SIGNAL])
        file["exam_id"] = np.array([b"\xff", b"b"])  # not UTF-8
        file.attrs["fs"] = rate
    with pytest.raises(UserError, match="does not say its sampling rate"):
        read_recording(f"{tmp_path / 'a.h5'}#b")
    assert read_recording(f"{tmp_path / 'a.h5'}#b", Asked(rate=500)).rate == 500


def test_a_recording_of_code15_is_named_by_its_id(tmp_path):
    path = tmp_path / "exams_part0.hdf5"
    padded = np.zeros((2, 4096, 12))
    padded[0, 48:4048] = SIGNAL[:4000]
    padded[1, 648:3448] = SIGNAL[:2800]
    with h5py.File(path, "w") as file:
        file["tracings"], file["exam_id"] = padded, [590673, 590674]
    with pytest.raises(UserError, match="name one as"):
        read_recording(path)
    read = read_recording(f"{path}#590674")
    assert read.rate == 400
    assert np.abs(read.signal - SIGNAL[:2800]).max() < 1e-9


def test_ids_of_hdf5_in_a_column_or_as_decimals_are_ids(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["tracings"], file.attrs["fs"] = np.stack([SIGNAL, -SIGNAL]), 500
        file["exam_id"] = np.array([[590673.0], [590674.0]])
    assert np.allclose(read_recording(f"{tmp_path / 'a.h5'}#590674").signal, -SIGNAL)


def test_the_unit_of_code15_is_found_where_some_recordings_end_before_the_start(tmp_path):
    padded = np.zeros((3, 4096, 12))
    padded[:, 648:3448] = 1e1 * SIGNAL[:2800]
    padded[1, 48:4048] = 1e1 * SIGNAL[:4000]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["tracings"], file["exam_id"] = padded, [7, 8, 9]
    read = read_recording(f"{tmp_path / 'a.h5'}#8", Asked(start=8))
    assert read.unit == "1e-4V"
    assert np.allclose(read.signal, SIGNAL[3200:4000])


@pytest.mark.parametrize("shape", ["N T leads", "N leads T", "leads T N"])
@pytest.mark.parametrize("version", ["5", "7.3"])
def test_several_recordings_of_matlab_have_their_axes_in_matlabs_order(tmp_path, shape, version):
    """HDF5 has the axes the other way round: 12 recordings were taken for 12 leads."""
    n = 20 if shape == "leads T N" else 12
    whole = np.stack([SIGNAL[:700] * (number + 1) for number in range(n)])
    axes = {"N T leads": (0, 1, 2), "N leads T": (0, 2, 1), "leads T N": (2, 1, 0)}[shape]
    values = whole.transpose(axes)
    path = tmp_path / "a.mat"
    if version == "5":
        scipy.io.savemat(path, {"ecg": values, "fs": 500.0})
    else:
        with h5py.File(path, "w") as file:
            file["ecg"], file["fs"] = values.transpose(), 500.0
    source = open_source(path, Asked())
    assert len(source.names) == n
    assert np.allclose(source.read(3, Asked()).signal, whole[3])


# ---------------------------------------------------------------- electrocardiographs


@pytest.fixture
def vendor(ptbxl):
    folder = ptbxl.parent / "vendor"
    if not folder.is_dir():
        pytest.skip("no vendor files beside the real records")
    pytest.importorskip("ecgdatakit")
    return folder


def test_philips_amplitudes_are_those_that_the_file_states(vendor):
    """QRS from peak to peak, as the file's own measurements have it (uV), against the span of each
    lead: an ECG's span is its QRS, or a tall T a little more.
    """
    path = vendor / "philips" / "129DYPRG.XML"
    read = read_recording(path)
    text = path.read_text(encoding="utf-8")
    assert read.rate == float(text.split("<samplingrate>")[1].split("<")[0])
    ratios = []
    for column, lead in enumerate(LEADS):
        stated = text.split(f'<leadmeasurement leadname="{lead}"')[1]
        peak_to_peak = int(stated.split("<qrsppk>")[1].split("<")[0]) / 1000
        ratios.append(np.ptp(read.signal[:, column]) / peak_to_peak)
    assert min(ratios) > 0.9
    assert np.median(ratios) == pytest.approx(1.15, abs=0.25)


def test_philips_calibration_pulse_is_cut(vendor):
    for path in (vendor / "philips").glob("*.[xX][mM][lL]"):
        signal = read_recording(path).signal
        assert 5000 <= len(signal) < 5400
        assert np.abs(signal[:, 2] - (signal[:, 1] - signal[:, 0])).max() < 0.02
        assert np.ptp(signal[-1]) > 0


def test_dicom_equals_pydicom(vendor):
    pydicom = pytest.importorskip("pydicom")
    path = vendor / "dicom" / "anonymous_ecg.dcm"
    read = read_recording(path)
    data = pydicom.dcmread(path)
    group = data.WaveformSequence[0]
    expected = data.waveform_array(0) / 1000  # uV
    assert group.ChannelDefinitionSequence[0].ChannelSensitivityUnitsSequence[0].CodeValue == "uV"
    assert read.rate == float(group.SamplingFrequency)
    assert np.abs(read.signal - expected).max() < 1e-9
