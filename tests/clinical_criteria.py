"""The clinical criteria of each simulated statement, judged on the true measurements (mV, ms,
degrees, beats a minute).
"""

import numpy as np
import pandas as pd


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """One True/False column per statement that has a criterion on waves
    (causes.CAUSES[...].criterion says it in words).
    """
    r, s, q = ({lead: table[f"{wave}_Amp_{lead}"].abs() for lead in LEADS} for wave in "RSQ")
    t, j = ({lead: table[f"{wave}_Amp_{lead}"] for lead in LEADS} for wave in "TJ")
    height = {lead: r[lead] + np.maximum(s[lead], q[lead]) for lead in LEADS}
    down = {lead: np.maximum(s[lead], q[lead]) for lead in LEADS}  # a QS is stored as Q
    qrs, pr, rate = table["QRS_Dur_Global"], table["PR_Int_Global"], table["Heart_Rate_Global"]
    no_r = {lead: (r[lead] < 0.3) | (q[lead] >= 0.1) for lead in LEADS}
    small_q = {lead: (r[lead] < 0.3) | (q[lead] >= 0.05) for lead in LEADS}
    return pd.DataFrame(
        {
            "LVH": (down["V1"] + r["V5"] > 3.5)
            | (r["I"] + down["III"] - r["III"] - down["I"] > 1.6)
            | (_most(down, "V1 V2") > 2)
            | (_most(r, "V5 V6") > 3)
            | (np.maximum(_most(r, "I II III"), _most(s, "I II III")) > 2),
            "CLBBB": qrs > 120,
            "CRBBB": qrs > 120,
            "IRBBB": table["Rp_Amp_V1"] >= 0.1,
            "LAFB": table["QRS_Axis_Global"].between(-180, -30),
            "WPW": pr < 120,
            "1AVB": pr > 200,
            "IMI": sum((q[lead] >= 0.1).astype(int) for lead in ("II", "III", "aVF")) >= 2,
            "AMI": no_r["V3"] & no_r["V4"],
            "ASMI": small_q["V2"] & small_q["V3"],
            "LMI": sum((q[lead] >= 0.1).astype(int) for lead in ("I", "aVL", "V5", "V6")) >= 2,
            "ISC_": sum(
                ((t[lead] <= -0.1) | (j[lead] <= -0.05)).astype(int)
                for lead in ("I", "II", "V4", "V5", "V6")
            )
            >= 2,
            "LAO/LAE": (table["P_Dur_Global"] > 120) | (table["PN_Amp_V1"] < -0.1),
            "LVOLT": (_most(height, "I II III aVR aVL aVF") < 0.5)
            | (_most(height, "V1 V2 V3 V4 V5 V6") < 1),
            "STACH": rate > 100,
            "SBRAD": rate < 55.5,
            "AFIB": table["P_Dur_Global"].isna(),
        }
    )


LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def _most(values, leads):
    return np.max([values[lead] for lead in leads.split()], axis=0)
