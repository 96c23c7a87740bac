"""Files as electrocardiographs and Holter recorders write them, put together byte by byte from the
formats' specifications: an independent hand, so that a reader is not its own judge.

Every writer takes signals # (n, T) whole numbers of the file's smallest unit, and their names.
"""

import base64
import binascii
import json
import struct
import zlib

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

EIGHT = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")  # what most machines store


# ---------------------------------------------------------------- GE MUSE XML (restecg.dtd)


def muse(
    signals, names=EIGHT, rate=500, unit="MICROVOLTS", per_bit="4.88", encoding="ISO-8859-1"
) -> bytes:
    """A median beat of 1.2 s comes before the rhythm; samples are base64 of int16."""
    median = np.full((len(names), 600), 7, dtype="<i2")
    waves = "".join(
        f"<Waveform><WaveformType>{kind}</WaveformType><NumberofLeads>{len(names)}</NumberofLeads>"
        f"<SampleType>CONTINUOUS_SAMPLES</SampleType><SampleBase>{rate}</SampleBase>"
        f"<SampleExponent>0</SampleExponent>{_muse_leads(data, names, unit, per_bit)}</Waveform>"
        for kind, data in (("Median", median), ("Rhythm", np.asarray(signals, "<i2")))
    )
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?>\n<!DOCTYPE RestingECG SYSTEM "restecg.dtd">\n'
        "<RestingECG><MuseInfo><MuseVersion>8.0.2.10132</MuseVersion></MuseInfo>"
        "<PatientDemographics><PatientID>0815</PatientID><PatientAge>64</PatientAge>"
        "<AgeUnits>YEARS</AgeUnits><Gender>FEMALE</Gender><PatientLastName>Müller"
        f"</PatientLastName></PatientDemographics>{waves}</RestingECG>"
    )
    return text.encode(encoding)


def _muse_leads(data, names, unit, per_bit):
    leads = []
    for name, row in zip(names, data, strict=True):
        raw = row.tobytes()
        text = base64.b64encode(raw).decode()
        lines = "\n".join(text[k : k + 76] for k in range(0, len(text), 76))
        leads.append(
            f"<LeadData><LeadByteCountTotal>{len(raw)}</LeadByteCountTotal>"
            f"<LeadTimeOffset>0</LeadTimeOffset>"
            f"<LeadSampleCountTotal>{len(row)}</LeadSampleCountTotal>"
            f"<LeadAmplitudeUnitsPerBit>{per_bit}</LeadAmplitudeUnitsPerBit>"
            f"<LeadAmplitudeUnits>{unit}</LeadAmplitudeUnits><LeadID>{name}</LeadID>"
            f"<LeadSampleSize>2</LeadSampleSize><LeadDataCRC32>{zlib.crc32(raw)}</LeadDataCRC32>"
            f"<WaveFormData>\n{lines}\n</WaveFormData></LeadData>"
        )
    return "".join(leads)


def cardiosoft(signals, names, rate=500, step=5) -> bytes:
    """GE CardioSoft: whole numbers separated by commas, behind a median beat of other values."""

    def leads(rows):
        return "".join(
            f'<WaveformData lead="{name}">\n\t{",".join(map(str, row))}</WaveformData>'
            for name, row in zip(names, rows, strict=True)
        )

    text = (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<CardiologyXML>'
        "<ObservationType>RestECG</ObservationType><PatientInfo><PID>77</PID>"
        '<Age units="years">52</Age><Gender>MALE</Gender></PatientInfo><MedianSamples>'
        f'<SampleRate units="Hz">{rate}</SampleRate>{leads(np.full((len(names), 600), 3))}'
        f"</MedianSamples><StripData><NumberOfLeads>{len(names)}</NumberOfLeads>"
        f'<SampleRate units="Hz">{rate}</SampleRate><Resolution units="uVperLsb">{step}'
        f"</Resolution>{leads(np.asarray(signals))}</StripData></CardiologyXML>"
    )
    return text.encode("latin-1")


def schiller(signals, names, rate=500, step="2.5", unit="uv", exponent="1") -> bytes:
    """As readers by others know Schiller's XML: a median beat before the rhythm."""

    def wave(kind, rows):
        channels = "".join(
            f"<channel><name>{name}</name><samplecount>{len(row)}</samplecount><datastype>"
            f"COMMASEPARATE</datastype><data>{','.join(map(str, row))}</data></channel>"
            for name, row in zip(names, rows, strict=True)
        )
        return (
            f"<wavedata><type>{kind}</type><resolution><samplerate><value>{rate}</value>"
            f"<exponent>{exponent}</exponent></samplerate><yres><unitperbit>{step}</unitperbit>"
            f"<units>{unit}</units></yres></resolution>{channels}</wavedata>"
        )

    root = "com.xiriuz.sema.xml.schillerEDI.SchillerEDI"
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}><patdata><id>815</id><lastname>Muster'
        "</lastname><birthdate>19560605</birthdate><gender>FEMALE</gender></patdata><examdescript>"
        "<rectype>ECG</rectype></examdescript><eventdata><event><offset>0</offset>"
        f"{wave('ECG_AVERAGES', np.full((len(names), 500), 3))}"
        f"{wave('ECG_RHYTHMS', np.asarray(signals))}</event></eventdata></{root}>"
    )
    return text.encode()


def mortara(signals, names, rate=500, per_mv=400) -> bytes:
    """Mortara ELI: attributes of CHANNEL, behind the channels of a median beat."""

    def channels(tag, rows, about):
        return "".join(
            f'<{tag} {about} NAME="{name}" DATA="{base64.b64encode(row.astype("<i2")).decode()}"/>'
            for name, row in zip(names, np.asarray(rows), strict=True)
        )

    form = f'BITS="16" FORMAT="SIGNED" ENCODING="BASE64" UNITS_PER_MV="{per_mv}"'
    about = f'{form} OFFSET="0" DURATION="{np.shape(signals)[1]}" SAMPLE_FREQ="{rate}"'
    beat = channels("TYPICAL_CYCLE_CHANNEL", np.full((len(names), 600), 7), "")
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ECG ACQUISITION_TIME="20200102030405" AGE="64" '
        'AGE_UNITS="Y"><SUBJECT LAST_NAME="Muster" ID="77" GENDER="F"/>'
        '<SOURCE MANUFACTURER="MORTARA" MODEL="ELI 250"/>'
        f'<TYPICAL_CYCLE {form} DURATION="600" SAMPLE_FREQ="{rate}">{beat}</TYPICAL_CYCLE>'
        f"{channels('CHANNEL', signals, about)}</ECG>"
    )
    return text.encode()


# ---------------------------------------------------------------- HL7 aECG (PORT_MT020001)


def aecg(
    signals, names, rate=500, scale="2.5", unit="uV", origin="0", prefix="", encoding="UTF-8"
) -> bytes:
    """One rhythm series and a representative beat derived from it; value = origin + scale digit."""
    p = f"{prefix}:" if prefix else ""
    space = f'xmlns:{prefix}="urn:hl7-org:v3"' if prefix else 'xmlns="urn:hl7-org:v3"'
    rhythm = _aecg_set(signals, names, rate, (scale, unit, origin), p)
    beat = _aecg_set(np.full((len(names), 500), 9), names, rate, (scale, unit, origin), p)
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?>\n<{p}AnnotatedECG {space} '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" type="Observation">'
        f'<{p}id root="1.2.3"/><{p}code code="93000" codeSystem="2.16.840.1.113883.6.12"/>'
        f'<{p}component><{p}series><{p}code code="RHYTHM" codeSystem="2.16.840.1.113883.5.4"/>'
        f"{rhythm}<{p}derivation><{p}derivedSeries>"
        f'<{p}code code="REPRESENTATIVE_BEAT"/>{beat}</{p}derivedSeries></{p}derivation>'
        f"</{p}series></{p}component></{p}AnnotatedECG>"
    )
    return text.encode(encoding)


def _aecg_set(signals, names, rate, calibration, p):
    scale, unit, origin = calibration
    time = (
        f'<{p}component><{p}sequence><{p}code code="TIME_ABSOLUTE"/><{p}value xsi:type="GLIST_TS">'
        f'<{p}head value="20220101120000.000"/><{p}increment value="{1 / rate:.10g}" unit="s"/>'
        f"</{p}value></{p}sequence></{p}component>"
    )
    leads = "".join(
        f'<{p}component><{p}sequence><{p}code code="MDC_ECG_LEAD_{name.upper()}" '
        f'codeSystem="2.16.840.1.113883.6.24"/><{p}value xsi:type="SLIST_PQ">'
        f'<{p}origin value="{origin}" unit="{unit}"/><{p}scale value="{scale}" unit="{unit}"/>'
        f"<{p}digits>{' '.join(map(str, row))}</{p}digits></{p}value></{p}sequence></{p}component>"
        for name, row in zip(names, np.asarray(signals), strict=True)
    )
    return f"<{p}component><{p}sequenceSet>{time}{leads}</{p}sequenceSet></{p}component>"


# ---------------------------------------------------------------- SCP-ECG (EN 1064)

SCP_CODES = {
    **{"I": 1, "II": 2, "III": 61, "aVR": 62, "aVL": 63, "aVF": 64},
    **{f"V{number}": number + 2 for number in range(1, 7)},
}


def scp(
    signals,
    names=EIGHT,
    rate=500,
    avm=2500,
    differences=2,
    huffman=True,
    beat=None,
    starts=None,
    bimodal=False,
) -> bytes:
    """avm in nV; `beat` (reference beat # (n, length), fiducial in it, fiducials in the rhythm):
    it is taken off around each fiducial and stored in section 5; `starts` first sample of each.
    """
    signals, interval = np.asarray(signals, dtype=np.int64), round(1e6 / rate)
    starts = starts or [1] * len(names)
    flags = 4 | (len(names) << 3)
    four = five = b""
    if beat is not None:
        reference, fiducial, places = beat
        flags |= 1
        signals, zones = _without_beats(signals, reference, fiducial, places)
        length = round(reference.shape[1] * 1000 / rate)
        four = struct.pack("<3H", length, fiducial + 1, len(places))
        four += b"".join(struct.pack("<H3I", 0, *zone) for zone in zones)
        four += b"".join(struct.pack("<2I", first, last) for first, _, last in zones)
        five = _scp_data(reference, (avm, interval), differences, huffman)
    leads = b"".join(
        struct.pack("<2IB", start, start + signals.shape[1] - 1, SCP_CODES[name])
        for start, name in zip(starts, names, strict=True)
    )
    bodies = {
        1: _scp_tags(),
        2: struct.pack("<H", 19999) if huffman else b"",
        3: struct.pack("<2B", len(names), flags) + leads,
        4: four,
        5: five,
        6: _scp_data(signals, (avm, interval), differences, huffman, bimodal),
    }
    return _scp_file({number: body for number, body in bodies.items() if body})


def _without_beats(signals, reference, fiducial, places):
    """The signals less the reference beat, and each zone (first, fiducial, last), from 1 on."""
    left, zones = signals.copy(), []
    for place in places:
        first, last = place - fiducial, place - fiducial + reference.shape[1]
        left[:, first:last] -= reference
        zones.append((first + 1, place + 1, last))
    return left, zones


def _scp_tags():
    tags = {0: b"Muster\0", 2: b"4711\0", 4: struct.pack("<HB", 71, 1), 8: b"\x01"}
    body = b"".join(struct.pack("<BH", tag, len(value)) + value for tag, value in tags.items())
    return body + struct.pack("<BH", 255, 0)


def _scp_data(signals, calibration, differences, huffman, bimodal=False):
    """Multiplier and interval, how differences were taken, lengths and bits of every lead."""
    parts = []
    for row in signals:
        values = row.copy()
        if differences == 1:
            values[1:] = row[1:] - row[:-1]
        elif differences == 2:
            values[2:] = row[2:] - 2 * row[1:-1] + row[:-2]
        parts.append(_huffman(values) if huffman else values.astype("<i2").tobytes())
    head = struct.pack("<2H2B", *calibration, differences, bimodal)
    return head + b"".join(struct.pack("<H", len(part)) for part in parts) + b"".join(parts)


def _huffman(values):
    """The standard's default table: 0 is 0; k ones, a zero and a sign for 1 to 8; ten bits and the
    number itself (8 or 16 bits) for others.
    """
    bits = []
    for value in map(int, values):
        if value == 0:
            bits.append("0")
        elif abs(value) <= 8:
            bits.append("1" * abs(value) + "0" + ("0" if value > 0 else "1"))
        elif -128 <= value <= 127:
            bits.append("1111111110" + format(value & 0xFF, "08b"))
        else:
            bits.append("1111111111" + format(value & 0xFFFF, "016b"))
    text = "".join(bits)
    text += "0" * (-len(text) % 16)
    return int(text, 2).to_bytes(len(text) // 8, "big")


def _scp_file(bodies):
    sections, place = [], 6 + 16 + 120
    pointers = {0: (136, 7)}
    for number, body in bodies.items():
        body += b"\0" * (len(body) % 2)
        sections.append(_scp_section(number, body))
        pointers[number] = (len(sections[-1]), place + 1)
        place += len(sections[-1])
    table = b"".join(
        struct.pack("<H2I", number, *pointers.get(number, (0, 0))) for number in range(12)
    )
    whole = _scp_section(0, table, b"SCPECG") + b"".join(sections)
    sized = struct.pack("<I", len(whole) + 6) + whole
    return struct.pack("<H", binascii.crc_hqx(sized, 0xFFFF)) + sized


def _scp_section(number, body, reserved=b"\0" * 6):
    inner = struct.pack("<HI2B", number, len(body) + 16, 13, 13) + reserved + body
    return struct.pack("<H", binascii.crc_hqx(inner, 0xFFFF)) + inner


# ---------------------------------------------------------------- ISHNE (Badilini 1998)

ISHNE_CODES = {
    name: number + 5
    for number, name in enumerate(
        ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    )
}


def ishne(signals, names, rate=1000, nanovolts=2500, note=b"Holter of a test") -> bytes:
    """Magic, CRC, 512 bytes of header, a note, samples lead by lead in turn."""
    block = bytearray(512)

    def put(place, kind, *values):
        struct.pack_into(f"<{kind}", block, place - 10, *values)

    put(10, "i", len(note))
    put(14, "i", np.shape(signals)[1])
    put(18, "ii", 522, 522 + len(note))
    put(26, "h", 1)
    put(108, "20s", b"0042")
    put(128, "hh", 2, 0)
    put(132, "3h", 5, 6, 1960)
    put(138, "3h", 5, 6, 2020)
    put(156, "h", len(names))
    codes = [ISHNE_CODES.get(name, 0) for name in names]
    put(158, "12h", *codes, *[-9] * (12 - len(names)))
    put(206, "12h", *[nanovolts] * len(names), *[-9] * (12 - len(names)))
    put(272, "h", rate)
    told = bytes(block) + note
    data = np.ascontiguousarray(np.asarray(signals).T).astype("<i2").tobytes()
    return b"ISHNE1.0" + struct.pack("<H", binascii.crc_hqx(told, 0xFFFF)) + told + data


# ---------------------------------------------------------------- MFER (ISO 22077)

MFER_CODES = {**SCP_CODES}


def mfer(
    signals, names, rate=500, microvolts=2.5, little=True, block=None, null=None, wide=()
) -> bytes:
    """Tag, length, value; `block` samples of each lead in turn (None: each lead as a whole); leads
    `wide` have 32 bits, which each says for itself.
    """
    order = "<" if little else ">"
    signals = np.asarray(signals)
    block = block or signals.shape[1]
    n_blocks = signals.shape[1] // block

    def tag(code, value):
        size = bytes([len(value)]) if len(value) < 128 else b"\x84" + struct.pack(">I", len(value))
        return bytes([code]) + size + value

    head = tag(0x40, b"MFR Standard 12 leads ECG".ljust(32)) + tag(0x01, bytes([little]))
    head += tag(0x0B, b"\x00\x00" + struct.pack(f"{order}H", rate))
    head += tag(0x0C, b"\x00\xf9" + struct.pack(f"{order}h", round(microvolts * 10)))  # 1e-7 V
    head += tag(0x04, struct.pack(f"{order}I", block)) + tag(0x05, bytes([len(names)]))
    head += tag(0x06, struct.pack(f"{order}I", n_blocks))
    if null is not None:
        head += tag(0x12, struct.pack(f"{order}h", null))
    for number, name in enumerate(names):
        lead = tag(0x09, struct.pack(f"{order}H", MFER_CODES[name]))
        lead += tag(0x0A, b"\x02") if name in wide else b""
        head += bytes([0x3F, number, len(lead)]) + lead
    waves = signals[:, : n_blocks * block].reshape(len(names), n_blocks, block).transpose(1, 0, 2)
    kinds = [f"{order}i{4 if name in wide else 2}" for name in names]
    blocks = (
        rows.astype(kind)
        for all_leads in waves
        for rows, kind in zip(all_leads, kinds, strict=True)
    )
    return head + tag(0x1E, b"".join(rows.tobytes() for rows in blocks)) + b"\x80\x00"


# ---------------------------------------------------------------- EDF and EDF+ (Kemp 1992, 2003)


def edf(
    signals, names, rates=500, spans=((-3.2768, 3.2767),), unit="mV", onsets=None, bits=16
) -> bytes:
    """Data records of 1 s; `spans` physical minimum and maximum of each signal (or of all); with
    `onsets` EDF+D, whose records begin at those seconds; of 24 `bits` BDF.
    """
    rates = [rates] * len(names) if isinstance(rates, int) else list(rates)
    spans = list(spans) * (len(names) if len(spans) == 1 else 1)
    n_records = min(len(row) // rate for row, rate in zip(signals, rates, strict=True))
    fields = [
        [*names],
        [""] * len(names),
        [unit] * len(names),
        [f"{low:g}" for low, _ in spans],
        [f"{high:g}" for _, high in spans],
        [str(-(2 ** (bits - 1)))] * len(names),
        [str(2 ** (bits - 1) - 1)] * len(names),
        ["HP:0.05Hz LP:150Hz"] * len(names),
        list(map(str, rates)),
        [""] * len(names),
    ]
    if onsets is not None:
        marks = ["EDF Annotations", "", "", "-1", "1", "-32768", "32767", "", "30", ""]
        fields = [[*column, mark] for column, mark in zip(fields, marks, strict=True)]
    widths = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
    n = len(fields[0])
    head = "0".ljust(8) + "0007 F 05-JUN-1956 Probe".ljust(80)
    head += "Startdate 05-JUN-2020 X X X".ljust(80) + "05.06.2012.00.00"
    head += str(256 * (n + 1)).ljust(8) + ("EDF+D" if onsets is not None else "").ljust(44)
    head += str(n_records).ljust(8) + "1".ljust(8) + str(n).ljust(4)
    for column, width in zip(fields, widths, strict=True):
        head += "".join(text.ljust(width) for text in column)
    body = b""
    for k in range(n_records):
        for row, rate in zip(signals, rates, strict=True):
            samples = np.asarray(row[k * rate : (k + 1) * rate]).astype("<i4")
            body += samples.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()
        if onsets is not None:
            body += f"+{onsets[k]:g}\x14\x14\0".encode().ljust(60, b"\0")
    magic = b"\xffBIOSEMI" if bits == 24 else b"0       "
    return magic + head[8:].encode("latin-1") + body


def kardia(signals, names, rate=300, nanovolts=500) -> bytes:
    """A recording as AliveCor's interface for developers gives it."""
    spelled = {**dict.fromkeys(("I", "II", "III"), "lead{}"), "aVR": "AVR", "aVL": "AVL"}
    samples = {
        spelled.get(name, name.upper()).format(name): np.asarray(row).tolist()
        for name, row in zip(names, signals, strict=True)
    }
    wave = {"frequency": rate, "mainsFrequency": 50, "amplitudeResolution": nanovolts}
    content = {
        "id": "r1",
        "recordedAt": "2021-03-01T10:00:00Z",
        "algorithmDetermination": "normal",
        "duration": 1000 * np.shape(signals)[1] // rate,
        "data": {"raw": {**wave, "samples": samples}},
    }
    return json.dumps(content).encode()


# ---------------------------------------------------------------- DICOM (PS3.3 A.34)


def dicom(path, groups) -> None:
    """`groups`: (signals # (n, T), names, rate, microvolts per unit, baseline in uV, label)."""
    data = Dataset()
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    data.SOPInstanceUID, data.Modality = generate_uid(), "ECG"
    data.PatientAge, data.PatientSex, data.PatientID = "058Y", "M", "D1"
    data.WaveformSequence = [_dicom_group(*group) for group in groups]
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path, enforce_file_format=True)


def _dicom_group(signals, names, rate, microvolts, baseline, label):
    group = Dataset()
    group.MultiplexGroupLabel, group.WaveformOriginality = label, "ORIGINAL"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = np.shape(signals)
    group.SamplingFrequency = rate
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    channels = []
    for name in names:
        channel, source, unit = Dataset(), Dataset(), Dataset()
        source.CodeValue, source.CodingSchemeDesignator = f"MDC_ECG_LEAD_{name.upper()}", "MDC"
        source.CodeMeaning = f"Lead {name}"
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "uV", "UCUM", "microvolt"
        channel.ChannelSourceSequence = [source]
        channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = microvolts, 1
        channel.ChannelBaseline, channel.ChannelSensitivityUnitsSequence = baseline, [unit]
        channel.WaveformBitsStored = 16
        channels.append(channel)
    group.ChannelDefinitionSequence = channels
    group.WaveformData = np.ascontiguousarray(np.asarray(signals).T).astype("<i2").tobytes()
    return group
