"""How the heads of public sample files are written (docs/data.md names them), around signals of
ours: rates, amplitudes and patients are read as the files say them.
"""

import numpy as np
import pytest

import made_files as made
from common.labels import LEADS
from records.readers import read_recording
from tiny_ptbxl import ecg_like, fitting_limbs

pytest.importorskip("ecgdatakit")

SIGNAL = fitting_limbs(ecg_like(3, 500) / 1000)  # (5000, 12) mV


def counts(step, names=LEADS):
    """(n, 5000) whole numbers of `step` mV."""
    columns = [LEADS.index(name) for name in names]
    return np.rint(SIGNAL[:, columns].T / step).astype(int)


def read(folder, name, content):
    (folder / name).write_bytes(content)
    return read_recording(folder / name)


# ---------------------------------------------------------------- HL7 aECG

AECG = made.aecg(counts(0.0025), LEADS)
CODE = b'codeSystem="2.16.840.1.113883.6.12"/>'


def about(subjects, effective=""):
    """aECG with what a machine says of patient and time."""
    head = (
        f"<effectiveTime>{effective}</effectiveTime><componentOf><timepointEvent><componentOf>"
        f"<subjectAssignment>{subjects}<componentOf><clinicalTrial/></componentOf>"
        "</subjectAssignment></componentOf></timepointEvent></componentOf>"
    )
    return AECG.replace(CODE, CODE + head.encode())


def subject(inside):
    return f"<subject><trialSubject>{inside}</trialSubject></subject>"


WORD = '<id root="755.1.20201120" extension="trialSubject"/>'
PERSON = (
    "<subjectDemographicPerson><name>X</name>{}<administrativeGenderCode "
    'code="F"/></subjectDemographicPerson>'
)
PATIENTS = {  # -> subjects of a file, id of its patient
    "Mortara ELI 250": (subject('<id root="1.2" extension="SBJ-7"/>' + PERSON.format("")), "SBJ-7"),
    "Contec 8000G": (
        subject('<code code="ENROLLED"/>' + PERSON.format(""))
        + subject('<id root="2.16.1" extension="0000412"/>'),
        "0000412",
    ),
    "Mindray BeneHeart R12": (
        subject(WORD + PERSON.format("<PatientID>20220616</PatientID><SecondPatientID/>")),
        "20220616",
    ),
    "a word for all": (subject(WORD + PERSON.format("<PatientID/>")), None),
}


@pytest.mark.parametrize("machine", PATIENTS)
def test_patients_of_aecg_are_told_apart(tmp_path, machine):
    subjects, patient = PATIENTS[machine]
    facts = read(tmp_path, "a.xml", about(subjects)).facts
    assert (facts.get("patient_id"), facts["sex"]) == (patient, "F")


@pytest.mark.parametrize("end", ["20220101120009", "20220101120011", "20220101120000"])
def test_the_rate_of_aecg_is_that_of_its_samples_not_of_its_head(tmp_path, end):
    times = f'<low value="20220101120000"/><high value="{end}"/>'
    found = read(tmp_path, "a.xml", about(subject(WORD), times))
    assert (found.rate, len(found.signal)) == (500, 5000)
    assert np.abs(found.signal - SIGNAL).max() < 0.0026
