"""Leads under the names that files give them."""

import numpy as np
import pytest

from common.files import UserError
from common.labels import LEADS
from records.lead_names import arrange, canonical_lead, lead_positions


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        *((lead, lead) for lead in LEADS),
        *((lead.upper(), lead) for lead in LEADS),
        *((f"MDC_ECG_LEAD_{lead.upper()}", lead) for lead in LEADS),
        *((f"ECG Lead {lead}", lead) for lead in LEADS),
        *((f"C{n}", f"V{n}") for n in range(1, 7)),
        ("MLII", "II"),
        ("DI", "I"),
        ("DIII", "III"),
        ("D2", "II"),
        ("Lead I", "I"),
        ("ECG_I", "I"),
        ("ecg_avf", "aVF"),
        ("Lead I (Einthoven)", "I"),
        (" v 3 ", "V3"),
        ("'ii'", "II"),
        ("-aVR", None),
        ("V3R", None),
        ("V7", None),
        ("vx", None),
        ("Resp", None),
        ("AVR (inverted)", None),
        ("", None),
    ],
)
def test_names(name, lead):
    assert canonical_lead(name) == lead


def test_a_lead_that_stands_twice_is_refused():
    with pytest.raises(UserError, match=r"lead II twice \(MLII, DII\)"):
        lead_positions(["I", "MLII", "DII"])


def test_leads_that_do_not_follow_stay_blank():
    arranged = arrange(np.ones((4, 2)), {"V1": 0, "II": 1})
    assert np.isfinite(arranged).all(axis=0).tolist() == [lead in ("II", "V1") for lead in LEADS]
