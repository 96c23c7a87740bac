"""Who an HL7 aECG is of, where machines say it elsewhere than in the first subject's id.

The guide of 2005 wants trialSubject/id. Of public samples, a Contec 8000G writes the id into a
second subject (seanvelasco/ecg.js), and a Mindray BeneHeart R12 writes the same word into every
file's id and the patient's into an element of its own (viatom-develop/Lepu-AI, LIRYC-IHU).
"""

from pathlib import Path

from records.csv_layout import as_utf8

NO_ID = ("", "trialSubject")  # what stands in an id that tells nobody apart


def patient_of(path: str | Path) -> str:
    """The patient's id that a file of aECG says, "" where it says none."""
    from ecgdatakit.parsing.helpers.xml import parse_xml_root

    root = parse_xml_root(as_utf8(Path(path).read_bytes()))
    own = [(element.text or "").strip() for element in root.iter("PatientID")]
    ids = [
        element.get("extension", "").strip()
        for subject in root.iter("trialSubject")
        for element in subject.findall("id")
    ]
    return next((text for text in [*own, *ids] if text not in NO_ID), "")
