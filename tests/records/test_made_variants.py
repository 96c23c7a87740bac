"""Vendors' files as other machines write them: further kinds of samples, units, names, rates and
groups of signals; and what a file without any of ours is told.
"""

import gzip
import re
import struct

import numpy as np
import pytest

import made_files as made
from common.files import UserError
from common.labels import LEADS
from records.readers import read_recording
from records.recording import Asked
from tiny_ptbxl import ecg_like, fitting_limbs

pytest.importorskip("ecgdatakit")
pydicom = pytest.importorskip("pydicom")

SIGNAL = fitting_limbs(ecg_like(3, 500) / 1000)  # (5000, 12) mV
EIGHT, ORDER = made.EIGHT, LEADS[::-1]


def counts(step, names=ORDER, every=1):
    """(n, T) whole numbers of `step` mV."""
    columns = [LEADS.index(name) for name in names]
    return np.rint(SIGNAL[::every, columns].T / step).astype(int)


def read(folder, name, content, asked=Asked()):  # noqa: B008
    (folder / name).write_bytes(content)
    return read_recording(folder / name, asked)


COUNTS, FINE = counts(0.0025), counts(0.0001)

# ---------------------------------------------------------------- XML

MUSE, AECG = made.muse(counts(0.00488, EIGHT)), made.aecg(COUNTS, ORDER)
LINE_BREAK = re.compile(rb"(?<=[A-Za-z0-9+/=])\n(?=[A-Za-z0-9+/])")
XML = {  # content, step in mV, Hz
    "MUSE, 250 Hz": (made.muse(counts(0.00488, EIGHT, 2), rate=250), 0.00488, 250),
    "MUSE, 1 uV": (made.muse(counts(0.001, EIGHT), per_bit="1"), 0.001, 500),
    "MUSE, 12 leads in small letters": (
        made.muse(counts(0.00488), [name.lower() for name in ORDER]),
        0.00488,
        500,
    ),
    "MUSE, breaks of Windows within base64": (
        LINE_BREAK.sub(b"&#13;\n\t\t", MUSE),
        0.00488,
        500,
    ),
    "MUSE in a namespace": (
        MUSE.replace(b"<RestingECG>", b'<RestingECG xmlns="urn:ge">'),
        0.00488,
        500,
    ),
    "aECG, nV": (made.aecg(COUNTS, ORDER, scale="2500", unit="nV"), 0.0025, 500),
    "aECG, us": (
        AECG.replace(b'value="0.002" unit="s"', b'value="2000" unit="us"'),
        0.0025,
        500,
    ),
    "aECG, steps of rounded time": (
        AECG.replace(b'value="0.002"', b'value="0.003333"'),
        0.0025,
        300,
    ),
    "aECG, 256.41 Hz": (AECG.replace(b'value="0.002"', b'value="0.0039"'), 0.0025, 256.41),
    "aECG without a namespace": (AECG.replace(b'xmlns="urn:hl7-org:v3"', b""), 0.0025, 500),
    "Schiller": (made.schiller(COUNTS, ORDER), 0.0025, 500),
    "Schiller, mV, 8 leads": (
        made.schiller(counts(0.001, EIGHT), EIGHT, step="0.001", unit="mV"),
        0.001,
        500,
    ),
    "Schiller, 250 Hz": (made.schiller(counts(0.0025, every=2), ORDER, 250), 0.0025, 250),
    "Schiller, decimal comma": (made.schiller(COUNTS, ORDER, step="2,5"), 0.0025, 500),
    "Mortara": (made.mortara(COUNTS, ORDER), 0.0025, 500),
    "Mortara, 8 leads": (made.mortara(counts(0.001, EIGHT), EIGHT, per_mv=1000), 0.001, 500),
}


@pytest.mark.parametrize("kind", XML)
def test_xml(tmp_path, kind):
    content, step, rate = XML[kind]
    found = read(tmp_path, "a.xml", content)
    assert (found.rate, found.unit) == (pytest.approx(rate, abs=1e-3), "mV")
    wanted = SIGNAL[::2] if rate == 250 else SIGNAL
    assert np.abs(found.signal - wanted).max() < 1.01 * step


def test_facts_of_mortara(tmp_path):
    facts = read(tmp_path, "a.xml", made.mortara(COUNTS, ORDER)).facts
    assert facts == {"age": 64, "sex": "F", "patient_id": "77"}


def test_of_two_series_the_first_is_read_and_it_is_said(tmp_path):
    (series,) = re.findall(rb"<component><series>.*</series></component>", AECG, re.S)
    halves = [made.aecg(part, ORDER) for part in (COUNTS[:, :2500], COUNTS[:, 2500:])]
    parts = [
        re.search(rb"<component><series>.*</series></component>", one, re.S)[0] for one in halves
    ]
    found = read(tmp_path, "a.xml", AECG.replace(series, b"".join(parts)))
    assert np.abs(found.signal - SIGNAL[:2500]).max() < 0.0026
    assert found.facts["left_out"] == "part 2 (series 2: 12 leads of 5 s)"


def test_what_schillers_xml_says_beside(tmp_path):
    content = made.schiller(COUNTS, ORDER)
    assert read(tmp_path, "a.xml", content).facts == {"patient_id": "815", "sex": "F"}
    strip = re.compile(rb"<wavedata><type>ECG_RHYTHMS.*</wavedata>", re.S)
    short = strip.search(made.schiller(COUNTS[:, :1500], ORDER))[0]
    content = strip.sub(lambda found: short + found[0], content)
    found = read(tmp_path, "a.xml", content)
    assert (found.seconds, found.facts["left_out"]) == (10, "part 1 (rhythm)")
    assert read(tmp_path, "a.xml", content, Asked(part=1)).seconds == 3


# ---------------------------------------------------------------- EDF

LABELS = (
    *("ECG %s", "EKG_%s", "ecg-%s", "Lead-%s", "ECG: %s", "ECG Lead %s"),
    *("%s-REF", "ECG %s-Ref", "%s (mV)", "ECG%s"),
)


@pytest.mark.parametrize("label", LABELS)
def test_labels_of_edf(tmp_path, label):
    content = made.edf(FINE, [label % name for name in ORDER])
    assert np.abs(read(tmp_path, "a.edf", content).signal - SIGNAL).max() < 1e-4


def with_field(content, place, text):
    """A head of EDF with another number of 8 characters."""
    changed = bytearray(content)
    changed[place : place + 8] = text.ljust(8).encode()
    return bytes(changed)


@pytest.mark.parametrize(
    "content",
    [
        with_field(made.edf(FINE, ORDER, rates=5000), 244, "10"),  # one record of 10 s
        with_field(made.edf(FINE, ORDER, rates=20), 244, "0.04"),
        with_field(made.edf(FINE, ORDER), 236, "-1"),  # a recorder that was not stopped
        made.edf(-FINE - 1, ORDER, spans=((3.2767, -3.2768),)),  # upside down
        made.edf(FINE, ORDER, onsets=[k + 0.25 for k in range(10)]).replace(b"EDF+D", b"EDF+C"),
        made.edf([*FINE, np.zeros(10, int)], [*ORDER, "SpO2"], [500] * 12 + [1]),
        made.edf(FINE, ORDER, spans=((-3276.8, 3276.7),), unit="µV"),
    ],
)
def test_heads_of_edf(tmp_path, content):
    found = read(tmp_path, "a.edf", content)
    assert (found.rate, found.seconds) == (500, 10)
    assert np.abs(found.signal - SIGNAL).max() < 1e-4


# ---------------------------------------------------------------- Holter: ISHNE, MFER


def test_each_lead_of_ishne_has_its_own_step(tmp_path):
    content = bytearray(made.ishne(np.vstack([COUNTS[:6] // 2, COUNTS[6:]]), ORDER, rate=500))
    struct.pack_into("<6h", content, 206, *[5000] * 6)
    assert np.abs(read(tmp_path, "a.ecg", bytes(content)).signal - SIGNAL).max() < 0.0051


def mfer_of(kind, code, step=0.0025):
    """The same samples in another type of numbers (MWF_DTP); steps in 1e-7 V."""
    signals = counts(step)
    content = made.mfer(signals, ORDER, microvolts=1000 * step)
    head = content[: content.index(b"\x1e\x84")]
    wave = np.ascontiguousarray(signals).astype(kind).tobytes()
    typed = head.replace(b"\x04\x04", b"\x0a\x01" + bytes([code]) + b"\x04\x04", 1)
    return typed + b"\x1e\x84" + struct.pack(">I", len(wave)) + wave + b"\x80\x00"


RATE_TAG = b"\x0b\x04\x00\x00\xf4\x01"  # 500 x 10^0 Hz
MFER = made.mfer(COUNTS, ORDER)
HOLTER = {
    "32 bits": mfer_of("<i4", 2),
    "8 bits": mfer_of("<i1", 5, 0.05),
    "single precision": mfer_of("<f4", 7),
    "double precision": mfer_of("<f8", 8),
    "an interval of 2 ms": MFER.replace(RATE_TAG, b"\x0b\x04\x01\xfd\x02\x00"),
    "an interval of 2000 us": MFER.replace(RATE_TAG, b"\x0b\x06\x01\xfa\xd0\x07\x00\x00"),
    "big-endian, which is the default": made.mfer(COUNTS, ORDER, little=False).replace(
        b"\x01\x01\x00", b"", 1
    ),
}


@pytest.mark.parametrize("kind", HOLTER)
def test_mfer(tmp_path, kind):
    found = read(tmp_path, "a.mwf", HOLTER[kind])
    assert (found.rate, found.unit) == (500, "mV")
    assert np.abs(found.signal - SIGNAL).max() < (0.051 if kind == "8 bits" else 0.0026)


# ---------------------------------------------------------------- SCP-ECG


def own_codes(values):
    """0 is 0; 10 and 8 bits, 11 and 16 bits of the number itself."""
    bits = []
    for value in map(int, values):
        short = -128 <= value <= 127
        number = format(value & 0xFF, "08b") if short else format(value & 0xFFFF, "016b")
        bits.append(("10" if short else "11") + number if value else "0")
    text = "".join(bits)
    text += "0" * (-len(text) % 16)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def test_scp_with_a_table_of_codes_of_its_own(tmp_path, monkeypatch):
    """Section 2: bits of the code, of all, mode, base, and the code with its first bit last."""
    codes = ((1, 1, 1, 0, 0b0), (2, 10, 1, 0, 0b01), (2, 18, 1, 0, 0b11))
    table = struct.pack("<2H", 1, len(codes))
    table += b"".join(struct.pack("<3BhI", *code) for code in codes)
    scp_file = made._scp_file
    monkeypatch.setattr(made, "_huffman", own_codes)
    monkeypatch.setattr(made, "_scp_file", lambda bodies: scp_file({**bodies, 2: table}))
    content = made.scp(counts(0.0025, EIGHT))
    assert np.abs(read(tmp_path, "a.scp", content).signal - SIGNAL).max() < 0.0026


# ---------------------------------------------------------------- DICOM

STRIP = (COUNTS, ORDER, 500, 2.5, 0, "RHYTHM")
BEAT = (np.full((12, 600), 5), ORDER, 500, 2.5, 0, "MEDIAN BEAT")
BREATH = (np.zeros((1, 2500), int), ["Resp"], 250, 1, 0, "RESP")


def dicom(folder, groups=(STRIP,), change=lambda group: None):
    """A file of these groups, each changed."""
    made.dicom(folder / "a.dcm", groups)
    data = pydicom.dcmread(folder / "a.dcm")
    for group in data.WaveformSequence:
        change(group)
    data.save_as(folder / "a.dcm")
    return read_recording(folder / "a.dcm")


def mu_law(values):
    """G.711: seven bits of a logarithm of 14-bit numbers, and a sign, all turned over."""
    size = np.minimum(np.abs(values), 32635) + 132
    power = np.floor(np.log2(size)).astype(int) - 7
    return ~(np.where(values < 0, 0x80, 0) | (power << 4) | ((size >> (power + 3)) & 15)) & 0xFF


def a_law(values):
    size = np.where(values >= 0, values, -values - 1)
    power = np.where(size < 256, 0, np.floor(np.log2(np.maximum(size, 1))).astype(int) - 7)
    steps = (size >> np.where(power == 0, 4, power + 3)) & 15
    return (np.where(values >= 0, 0x80, 0) | (power << 4) | steps) ^ 0x55


SAMPLES = {  # type, bits, step in mV, how a number is stored, largest error in mV
    "SB": ("i1", 8, 0.05, lambda values: values, 0.05),
    "UB": ("u1", 8, 0.05, lambda values: values + 128, 0.05),
    "MB": ("u1", 8, 0.0001, mu_law, 0.06),
    "AB": ("u1", 8, 0.0001, a_law, 0.06),
    "US": ("<u2", 16, 0.0025, lambda values: values + 30_000, 0.0026),
    "SL": ("<i4", 32, 0.0025, lambda values: values, 0.0026),
    "UL": ("<u4", 32, 0.0025, lambda values: values + 30_000, 0.0026),
}


@pytest.mark.parametrize("interpretation", SAMPLES)
def test_samples_of_dicom(tmp_path, interpretation):
    kind, bits, step, stored, error = SAMPLES[interpretation]

    def change(group):
        values = np.frombuffer(group.WaveformData, "<i2").astype(int)
        group.WaveformData = stored(values).astype(kind).tobytes()
        group.WaveformBitsAllocated = bits
        group.WaveformSampleInterpretation = interpretation
        zero = {"UB": 128, "US": 30_000, "UL": 30_000}.get(interpretation, 0)
        for channel in group.ChannelDefinitionSequence:
            channel.ChannelBaseline = -zero * step * 1000

    found = dicom(tmp_path, [(counts(step), ORDER, 500, 1000 * step, 0, "RHYTHM")], change)
    assert (found.rate, found.unit) == (500, "mV")
    assert np.abs(found.signal - SIGNAL).max() < error


def without_label(group):
    del group.MultiplexGroupLabel


@pytest.mark.parametrize("groups", [(BEAT, STRIP), (BREATH, STRIP), (STRIP, BEAT, BREATH)])
@pytest.mark.parametrize("change", [lambda group: None, without_label])
def test_of_the_groups_of_dicom_the_recording_is_read(tmp_path, groups, change):
    found = dicom(tmp_path, groups, change)
    assert found.seconds == 10
    assert np.abs(found.signal - SIGNAL).max() < 0.0026


def test_groups_of_dicom_that_say_no_start_are_not_put_together_and_it_is_said(tmp_path):
    groups = [(COUNTS[k : k + 4], ORDER[k : k + 4], 500, 2.5, 0, "RHYTHM") for k in (8, 4, 0)]
    found = dicom(tmp_path, groups)
    assert np.isfinite(found.signal).all(axis=0).tolist() == [True] * 6 + [False] * 6
    assert found.facts["left_out"] == (
        "part 2 (RHYTHM: V2, V1, aVF, aVL, 10 s); part 3 (RHYTHM: V6, V5, V4, V3, 10 s); groups "
        "that do not say when they begin are not put together"
    )


@pytest.mark.parametrize("rate", ["256.41", "500.5", "500"])
def test_rates_of_dicom_need_be_no_whole_numbers(tmp_path, rate):
    found = dicom(tmp_path, change=lambda group: setattr(group, "SamplingFrequency", rate))
    assert found.rate == pytest.approx(float(rate), abs=1e-3)
    assert found.seconds == pytest.approx(5000 / float(rate))


UNITS = {"mV": "0.0025", "V": "0.0000025", "nV": "2500"}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("correction", [1, 2])
def test_units_of_dicom(tmp_path, unit, correction):
    def change(group):
        for channel in group.ChannelDefinitionSequence:
            channel.ChannelSensitivity = float(UNITS[unit]) / correction
            channel.ChannelSensitivityCorrectionFactor = correction
            channel.ChannelSensitivityUnitsSequence[0].CodeValue = unit

    assert np.abs(dicom(tmp_path, change=change).signal - SIGNAL).max() < 0.0026


# ---------------------------------------------------------------- one line

LEAD_OFFSETS = iter(f"<LeadOffsetFirstSample>{1250 * (k % 2)}<" for k in range(16))
REFUSED = {
    "MUSE leads of other first samples": (
        "a.xml",
        re.sub(
            rb"<LeadTimeOffset>0<",
            lambda found: (next(LEAD_OFFSETS) + "/LeadOffsetFirstSample>").encode() + found[0],
            MUSE,
        ),
        "different rates, lengths or starts",
    ),
    "entities": (
        "a.xml",
        MUSE.replace(b' SYSTEM "restecg.dtd"', b' [<!ENTITY a SYSTEM "file:///etc/passwd">]'),
        "take the <!DOCTYPE ...> out",
    ),
    "digits with commas": (
        "a.xml",
        re.sub(
            rb"<digits>(.*?)<",
            lambda found: b"<digits>" + found[1].replace(b" ", b",") + b"<",
            AECG,
        ),
        "Invalid digits in lead",
    ),
    "a rhythm that is not there": (
        "a.xml",
        re.sub(
            rb"<component><sequenceSet>.*?</sequenceSet></component>",
            b"",
            AECG,
            count=1,
            flags=re.S,
        ),
        "No ECG lead sequence in the rhythm series",
    ),
    "Mortara of 12 bits": (
        "a.xml",
        made.mortara(COUNTS, ORDER).replace(b'BITS="16"', b'BITS="12"'),
        "only 16-bit signed",
    ),
    "XML of another kind": (
        "a.xml",
        b'<?xml version="1.0"?>\n<!-- a > b -->\n<examdescript><x/></examdescript>',
        r"of a kind that is not read \(<examdescript>\): read are HL7 aECG",
    ),
    "Schiller with another exponent": (
        "a.xml",
        made.schiller(COUNTS, ORDER, exponent="3"),
        "Schiller's XML with an exponent 3 .*: export it as HL7 aECG, DICOM",
    ),
    "Schiller without a rhythm": (
        "a.xml",
        made.schiller(COUNTS, ORDER).replace(b"ECG_RHYTHMS", b"ECG_OTHERS"),
        "Schiller's XML without a rhythm",
    ),
    "Schiller in base64": (
        "a.xml",
        made.schiller(COUNTS, ORDER).replace(b"COMMASEPARATE", b"BASE64"),
        "not written as numbers parted by commas: export it as HL7 aECG",
    ),
    "Schiller without a step": (
        "a.xml",
        made.schiller(COUNTS, ORDER, step=""),
        "does not say its resolution/yres/unitperbit",
    ),
    "Schiller of fewer samples than it says": (
        "a.xml",
        made.schiller(COUNTS, ORDER).replace(b"<samplecount>5000", b"<samplecount>5001"),
        "holds 5000 samples and says 5001",
    ),
    "Schiller without channels": (
        "a.xml",
        re.sub(rb"<channel>.*?</channel>", b"", made.schiller(COUNTS, ORDER)),
        "or none",
    ),
    "Apple Health's own table": (
        "export.xml",
        b'<?xml version="1.0"?>\n<!DOCTYPE HealthData [\n<!ELEMENT HealthData (a)>\n]>\n'
        b'<HealthData locale="de"><Record/></HealthData>',
        "Apple Health's table of measurements, not a recording: the ECGs lie beside it",
    ),
    "FHIR": ("a.xml", b'<Bundle xmlns="http://hl7.org/fhir"><x/></Bundle>', "a FHIR resource"),
    "an empty file": ("a.edf", b"", "is empty"),
    "a packed file": ("a.xml", gzip.compress(MUSE), "is packed .gzip or zip.: unpack it"),
    "nothing of what it says": ("a.dcm", bytes(5000), "not what its ending says"),
    "an ending that nobody reads": ("a.gdf", b"GDF 2.20", "format that is not read: save it as"),
    "a unit that is none": ("a.edf", made.edf(FINE, ORDER, unit="mVolt"), "no unit of voltage"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_read_is_one_short_line(tmp_path, kind):
    name, content, pattern = REFUSED[kind]
    with pytest.raises(UserError, match=pattern) as caught:
        read(tmp_path, name, content)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) - len(str(tmp_path)) < 400


NO_SCALE = {
    "MUSE": ("a.xml", re.sub(rb"<LeadAmplitudeUnits>\w*<", b"<LeadAmplitudeUnits><", MUSE), "uV"),
    "aECG": ("a.xml", AECG.replace(b' unit="uV"', b""), "uV"),
    "EDF": ("a.edf", made.edf(FINE, ORDER, unit=""), "mV"),
    "Schiller": ("a.xml", made.schiller(COUNTS, ORDER, step="1", unit=""), "2.5uV"),
    "Mortara": ("a.xml", made.mortara(COUNTS, ORDER, per_mv=""), "2.5uV"),
}


@pytest.mark.parametrize("kind", NO_SCALE)
def test_a_file_without_a_unit_says_none_and_takes_the_users(tmp_path, kind):
    name, content, unit = NO_SCALE[kind]
    assert read(tmp_path, name, content).unit is None
    found = read(tmp_path, name, content, Asked(unit=unit))
    assert np.abs(found.signal - SIGNAL).max() < 0.005
