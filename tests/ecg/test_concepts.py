import numpy as np
import pandas as pd
import pytest

from common import words
from common.labels import LABEL_MAPPINGS, LEADS
from ecg.concepts import CONCEPTS, NEIGHBOURS, judge

NAMES = [
    "RS-LVH",
    "S12-LVH",
    "R56-LVH",
    "QRS-LVH",
    "LI-LVH",
    "SLI-LVH",
    "QRS-CLBBB",
    "ST-ELEV-MI",
    "ST-DEPR-MI",
    "MI-QPeak",
    "MI-V2V3",
    "MI-RPeak",
    "MI-All",
    "Sex",
    "Age75",
]


def normal(**changes):
    """A table of one record that fulfils no concept, with changes: R_Amp_V5=3.6."""
    row = {"sex": 0, "age": 50.0, "QRS_Dur_Global": 85.0}
    for lead in LEADS:
        row |= {
            f"Q_Amp_{lead}": 0.0,
            f"Q_Dur_{lead}": 0.0,
            f"R_Amp_{lead}": 0.8,
            f"R_Dur_{lead}": 30.0,
            f"S_Amp_{lead}": -0.3,
            f"T_Amp_{lead}": 0.2,
            f"J_Amp_{lead}": 0.0,
            f"ST_Amp80ms_{lead}": 0.0,
        }
    return pd.DataFrame([row | changes])


def verdict(concept, **changes):
    value = judge(normal(**changes))[concept].iloc[0]
    return None if value is pd.NA else bool(value)


def test_the_fifteen_by_name_and_none_fulfilled_by_a_normal_record():
    assert set(CONCEPTS) == set(NAMES)
    judged = judge(normal())
    assert judged.shape == (1, 15)
    assert not judged.any(axis=None)
    assert (judged.dtypes == "boolean").all()


@pytest.mark.parametrize(
    ("concept", "at_limit", "beyond"),
    [
        ("RS-LVH", {"R_Amp_II": 2.0}, {"R_Amp_II": 2.001}),
        ("RS-LVH", {"S_Amp_III": -2.0}, {"S_Amp_III": -2.001}),
        ("S12-LVH", {"S_Amp_V1": -2.0, "S_Amp_V2": -2.0}, {"S_Amp_V2": -2.001}),
        ("R56-LVH", {"R_Amp_V5": 3.0, "R_Amp_V6": 3.0}, {"R_Amp_V6": 3.001}),
        ("QRS-LVH", {"QRS_Dur_Global": 90.0}, {"QRS_Dur_Global": 92.0}),
        (
            "LI-LVH",
            {"R_Amp_I": 1.5, "S_Amp_III": -0.25, "R_Amp_III": 0.125, "S_Amp_I": -0.025},
            {"R_Amp_I": 1.5, "S_Amp_III": -0.25, "R_Amp_III": 0.1, "S_Amp_I": 0.0},
        ),
        ("SLI-LVH", {"S_Amp_V1": -1.5, "R_Amp_V5": 2.0}, {"S_Amp_V1": -1.5, "R_Amp_V5": 2.001}),
        ("QRS-CLBBB", {"QRS_Dur_Global": 120.0}, {"QRS_Dur_Global": 122.0}),
    ],
)
def test_voltage_and_duration_limits_are_strict(concept, at_limit, beyond):
    assert verdict(concept, **at_limit) is False
    assert verdict(concept, **beyond) is True


@pytest.mark.parametrize(
    ("sex", "age", "limit"), [(1, 30, 0.15), (1, 70, 0.15), (0, 39, 0.25), (0, 40, 0.20)]
)
def test_st_elevation_in_v2_v3_depends_on_sex_and_age(sex, age, limit):
    for level, expected in ((limit + 0.001, True), (limit - 0.001, False)):
        assert verdict("ST-ELEV-MI", sex=sex, age=age, J_Amp_V2=level, J_Amp_V3=level) is expected


def test_st_elevation_needs_two_neighbours():
    assert verdict("ST-ELEV-MI", J_Amp_II=0.15, J_Amp_aVF=0.12) is True
    assert verdict("ST-ELEV-MI", J_Amp_II=0.15, J_Amp_V5=0.12) is False
    assert verdict("ST-ELEV-MI", J_Amp_V6=0.4) is False
    assert all(len(set(pair)) == 2 and set(pair) <= set(LEADS) for pair in NEIGHBOURS)


def test_st_depression_or_inverted_t():
    low = {"J_Amp_V5": -0.06, "J_Amp_V6": -0.06, "ST_Amp80ms_V5": -0.06, "ST_Amp80ms_V6": -0.08}
    assert verdict("ST-DEPR-MI", **low) is True
    assert verdict("ST-DEPR-MI", **low | {"ST_Amp80ms_V5": 0.05}) is False  # upsloping
    assert verdict("ST-DEPR-MI", T_Amp_V4=-0.11, T_Amp_V5=-0.2) is True
    assert (
        verdict("ST-DEPR-MI", T_Amp_V4=-0.11, T_Amp_V5=-0.2, S_Amp_V5=-0.9) is False
    )  # no prominent R
    assert verdict("ST-DEPR-MI", T_Amp_V4=-0.11, T_Amp_II=-0.2) is False


def test_q_waves():
    q = {"Q_Dur_{}": 32.0, "Q_Amp_{}": -0.1}

    def q_in(*leads, **changes):
        return {name.format(lead): value for lead in leads for name, value in (q | changes).items()}

    assert verdict("MI-QPeak", **q_in("II", "aVF")) is True
    assert verdict("MI-QPeak", **q_in("V4", "V6")) is True  # two of the group, neighbours or not
    assert verdict("MI-QPeak", **q_in("V4", "V6", **{"Q_Dur_{}": 30.0})) is False
    assert verdict("MI-QPeak", **q_in("aVF", "V6")) is False
    assert (
        verdict("MI-QPeak", **q_in("III", "aVF")) is False
    )  # III and V1-V3 are no evidence: a QS there is often normal
    assert verdict("MI-QPeak", **q_in("V1", "V2")) is False
    assert verdict("MI-QPeak", **q_in("I")) is False
    assert (
        verdict("MI-QPeak", R_Amp_I=0.0, Q_Amp_I=-0.5, R_Amp_aVL=0.0, Q_Amp_aVL=-0.6) is True
    )  # QS
    assert verdict("MI-V2V3", Q_Dur_V2=22.0, Q_Dur_V3=22.0) is True
    assert verdict("MI-V2V3", Q_Dur_V2=22.0, Q_Dur_V3=20.0) is False
    assert verdict("MI-All", Q_Dur_V2=22.0, Q_Dur_V3=22.0) is True


def test_tall_r_without_a_conduction_defect():
    tall = {
        f"{name}_{lead}": value
        for lead in ("V1", "V2")
        for name, value in (("R_Dur", 42.0), ("R_Amp", 0.9))
    }
    assert verdict("MI-RPeak", **tall) is True
    assert verdict("MI-RPeak", **tall, QRS_Dur_Global=122.0) is False
    assert verdict("MI-RPeak", **tall | {"T_Amp_V1": -0.1}) is False


def test_sex_and_age():
    assert [verdict("Sex", sex=value) for value in (0, 1, np.nan)] == [False, True, None]
    assert [verdict("Age75", age=value) for value in (74, 75, 300, np.nan)] == [
        False,
        True,
        True,
        None,
    ]


def test_blank_only_where_it_cannot_be_judged():
    assert verdict("RS-LVH", R_Amp_I=np.nan) is None
    assert (
        verdict("RS-LVH", R_Amp_I=np.nan, R_Amp_II=2.5) is True
    )  # one that is over the limit is enough
    assert verdict("SLI-LVH", S_Amp_V1=np.nan, R_Amp_V5=3.0) is None
    assert verdict("QRS-CLBBB", QRS_Dur_Global=np.nan) is None
    assert verdict("ST-ELEV-MI", age=np.nan, J_Amp_V2=0.3, J_Amp_V3=0.3) is True  # at any age
    assert verdict("ST-ELEV-MI", age=np.nan, J_Amp_V2=0.22, J_Amp_V3=0.22) is None
    assert (
        verdict("MI-All", QRS_Dur_Global=np.nan) is False
    )  # no R is broad: the QRS does not matter


def test_a_table_without_measurements_is_blank_but_for_sex_and_age():
    judged = judge(pd.DataFrame({"sex": [1], "age": [80.0]}, index=[17]))
    assert judged.index.tolist() == [17]
    assert judged.iloc[0][["Sex", "Age75"]].all()
    assert judged.drop(columns=["Sex", "Age75"]).isna().all(axis=None)


def test_uni_g_calls_the_j_level_st_amp():
    table = normal().rename(columns={f"J_Amp_{lead}": f"ST_Amp_{lead}" for lead in LEADS})
    table["ST_Amp_II"] = table["ST_Amp_aVF"] = 0.12
    assert bool(judge(table)["ST-ELEV-MI"].iloc[0])


def test_columns_of_text_are_blank_not_an_error():
    assert verdict("QRS-LVH", QRS_Dur_Global="") is None


def test_each_concept_says_what_it_is_and_where_it_belongs():
    known = {label for labels in LABEL_MAPPINGS.values() for label in labels}
    assert set(CONCEPTS) == set(words.CONCEPTS)
    for concept in CONCEPTS.values():
        assert set(concept.pathologies) <= known
    assert CONCEPTS["QRS-CLBBB"].pathologies == ("CLBBB", "ILBBB")
    assert CONCEPTS["SLI-LVH"].pathologies == ("LVH",)
    assert CONCEPTS["MI-All"].pathologies == ("IMI", "AMI")
    assert CONCEPTS["Sex"].pathologies == ()


def test_published_flags_from_uni_g(ptbxl_reference):
    """Judged on Uni-G's own amplitudes the rules give the published flags."""
    from sklearn.metrics import cohen_kappa_score

    uni_g = pd.read_csv(ptbxl_reference / "uni_g_measurements.csv").set_index("ecg_id")
    uni_g = uni_g[~uni_g.index.isin([*range(137, 146), *range(456, 464)])]
    published = pd.read_csv(ptbxl_reference / "concepts.csv").set_index("ecg_id").loc[uni_g.index]
    judged = judge(uni_g)
    for name in ("RS-LVH", "S12-LVH", "R56-LVH", "LI-LVH", "SLI-LVH", "QRS-CLBBB"):
        assert cohen_kappa_score(judged[name].astype(bool), published[name]) == 1.0, name
    assert cohen_kappa_score(judged["QRS-LVH"].astype(bool), published["QRS-LVH"]) > 0.97
