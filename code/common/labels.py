"""The vocabulary: leads, SCP statements, label mappings and tasks.

Everything that names a class or a lead takes the name and the order from here.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

WINDOWS = ("windows", "centre_crop")  # what of a record is explained and predicted
LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
FOLLOWERS = {"I": ("aVL",), "II": ("III", "aVF")}  # change by the same mV, by Einthoven's law
COLUMN = "column"  # few leads, for a journal's column
LAYOUTS = ("12x1", "3x4", COLUMN)  # of leads: one a row; four columns of three, lead II below; few


class Statement(NamedTuple):
    """One of PTB-XL's SCP-ECG statements. A superclass makes it a diagnostic statement; four are
    diagnostic and form at once.
    """

    superclass: str
    subclass: str
    is_form: bool
    is_rhythm: bool
    description: str


# PTB-XL's 71 statements (scp_statements.csv, Wagner et al., Sci Data 7:154, CC BY 4.0)
_STATEMENTS = {
    "NDT": ("STTC", "STTC", True, False, "non-diagnostic T abnormalities"),
    "NST_": ("STTC", "NST_", True, False, "non-specific ST changes"),
    "DIG": ("STTC", "STTC", True, False, "digitalis-effect"),
    "LNGQT": ("STTC", "STTC", True, False, "long QT-interval"),
    "NORM": ("NORM", "NORM", False, False, "normal ECG"),
    "IMI": ("MI", "IMI", False, False, "inferior myocardial infarction"),
    "ASMI": ("MI", "AMI", False, False, "anteroseptal myocardial infarction"),
    "LVH": ("HYP", "LVH", False, False, "left ventricular hypertrophy"),
    "LAFB": ("CD", "LAFB/LPFB", False, False, "left anterior fascicular block"),
    "ISC_": ("STTC", "ISC_", False, False, "non-specific ischemic"),
    "IRBBB": ("CD", "IRBBB", False, False, "incomplete right bundle branch block"),
    "1AVB": ("CD", "_AVB", False, False, "first degree AV block"),
    "IVCD": (
        "CD",
        "IVCD",
        False,
        False,
        "non-specific intraventricular conduction disturbance (block)",
    ),
    "ISCAL": ("STTC", "ISCA", False, False, "ischemic in anterolateral leads"),
    "CRBBB": ("CD", "CRBBB", False, False, "complete right bundle branch block"),
    "CLBBB": ("CD", "CLBBB", False, False, "complete left bundle branch block"),
    "ILMI": ("MI", "IMI", False, False, "inferolateral myocardial infarction"),
    "LAO/LAE": ("HYP", "LAO/LAE", False, False, "left atrial overload/enlargement"),
    "AMI": ("MI", "AMI", False, False, "anterior myocardial infarction"),
    "ALMI": ("MI", "AMI", False, False, "anterolateral myocardial infarction"),
    "ISCIN": ("STTC", "ISCI", False, False, "ischemic in inferior leads"),
    "INJAS": ("MI", "AMI", False, False, "subendocardial injury in anteroseptal leads"),
    "LMI": ("MI", "LMI", False, False, "lateral myocardial infarction"),
    "ISCIL": ("STTC", "ISCI", False, False, "ischemic in inferolateral leads"),
    "LPFB": ("CD", "LAFB/LPFB", False, False, "left posterior fascicular block"),
    "ISCAS": ("STTC", "ISCA", False, False, "ischemic in anteroseptal leads"),
    "INJAL": ("MI", "AMI", False, False, "subendocardial injury in anterolateral leads"),
    "ISCLA": ("STTC", "ISCA", False, False, "ischemic in lateral leads"),
    "RVH": ("HYP", "RVH", False, False, "right ventricular hypertrophy"),
    "ANEUR": ("STTC", "STTC", False, False, "ST-T changes compatible with ventricular aneurysm"),
    "RAO/RAE": ("HYP", "RAO/RAE", False, False, "right atrial overload/enlargement"),
    "EL": ("STTC", "STTC", False, False, "electrolytic disturbance or drug (former EDIS)"),
    "WPW": ("CD", "WPW", False, False, "Wolf-Parkinson-White syndrome"),
    "ILBBB": ("CD", "ILBBB", False, False, "incomplete left bundle branch block"),
    "IPLMI": ("MI", "IMI", False, False, "inferoposterolateral myocardial infarction"),
    "ISCAN": ("STTC", "ISCA", False, False, "ischemic in anterior leads"),
    "IPMI": ("MI", "IMI", False, False, "inferoposterior myocardial infarction"),
    "SEHYP": ("HYP", "SEHYP", False, False, "septal hypertrophy"),
    "INJIN": ("MI", "IMI", False, False, "subendocardial injury in inferior leads"),
    "INJLA": ("MI", "AMI", False, False, "subendocardial injury in lateral leads"),
    "PMI": ("MI", "PMI", False, False, "posterior myocardial infarction"),
    "3AVB": ("CD", "_AVB", False, False, "third degree AV block"),
    "INJIL": ("MI", "IMI", False, False, "subendocardial injury in inferolateral leads"),
    "2AVB": ("CD", "_AVB", False, False, "second degree AV block"),
    "ABQRS": ("", "", True, False, "abnormal QRS"),
    "PVC": ("", "", True, False, "ventricular premature complex"),
    "STD_": ("", "", True, False, "non-specific ST depression"),
    "VCLVH": ("", "", True, False, "voltage criteria (QRS) for left ventricular hypertrophy"),
    "QWAVE": ("", "", True, False, "Q waves present"),
    "LOWT": ("", "", True, False, "low amplitude T-waves"),
    "NT_": ("", "", True, False, "non-specific T-wave changes"),
    "PAC": ("", "", True, False, "atrial premature complex"),
    "LPR": ("", "", True, False, "prolonged PR interval"),
    "INVT": ("", "", True, False, "inverted T-waves"),
    "LVOLT": ("", "", True, False, "low QRS voltages in the frontal and horizontal leads"),
    "HVOLT": ("", "", True, False, "high QRS voltage"),
    "TAB_": ("", "", True, False, "T-wave abnormality"),
    "STE_": ("", "", True, False, "non-specific ST elevation"),
    "PRC(S)": ("", "", True, False, "premature complex(es)"),
    "SR": ("", "", False, True, "sinus rhythm"),
    "AFIB": ("", "", False, True, "atrial fibrillation"),
    "STACH": ("", "", False, True, "sinus tachycardia"),
    "SARRH": ("", "", False, True, "sinus arrhythmia"),
    "SBRAD": ("", "", False, True, "sinus bradycardia"),
    "PACE": ("", "", False, True, "normal functioning artificial pacemaker"),
    "SVARR": ("", "", False, True, "supraventricular arrhythmia"),
    "BIGU": ("", "", False, True, "bigeminal pattern (unknown origin, SV or Ventricular)"),
    "AFLT": ("", "", False, True, "atrial flutter"),
    "SVTAC": ("", "", False, True, "supraventricular tachycardia"),
    "PSVT": ("", "", False, True, "paroxysmal supraventricular tachycardia"),
    "TRIGU": ("", "", False, True, "trigeminal pattern (unknown origin, SV or Ventricular)"),
}
STATEMENTS = {code: Statement(*row) for code, row in _STATEMENTS.items()}

# classification task -> the label that a statement (its code, its entry of STATEMENTS) stands for;
# "" for none. One entry makes a task.
LABEL_OF = {
    "superdiagnostic": lambda code, statement: statement.superclass,
    "subdiagnostic": lambda code, statement: statement.subclass,
    "diagnostic": lambda code, statement: code if statement.superclass else "",
    "form": lambda code, statement: code if statement.is_form else "",
    "rhythm": lambda code, statement: code if statement.is_rhythm else "",
    "all": lambda code, statement: code,
}


def _label_names(label_of):
    """The labels that a task's statements stand for, sorted."""
    names = {label_of(code, statement) for code, statement in STATEMENTS.items()}
    return sorted(names - {""})


# task -> its label names, sorted: the columns of multihot_<task>.npy
LABEL_MAPPINGS = {task: _label_names(label_of) for task, label_of in LABEL_OF.items()}

# Regression tasks: task -> prefix of the 12 amplitude columns (mV) of the enriched table.
REGRESSION_TASKS = {
    "P_Wave_Amplitude": "P_Amp_",
    "R_Peak_Amplitude": "R_Amp_",
    "T_Wave_Amplitude": "T_Amp_",
}

# task -> label names; the targets of a regression task are the leads.
TASKS = {**LABEL_MAPPINGS, **{task: list(LEADS) for task in REGRESSION_TASKS}}

# A network that was trained elsewhere may have classes of its own: what a checkpoint then calls its
# task. What is known of SCP statements says nothing about them.
OWN_TASK = "own"


def is_regression(task: str) -> bool:
    """Whether `task` predicts amplitudes (mV per lead) instead of label probabilities."""
    return task in REGRESSION_TASKS


def labels_of_statement(statement: str, task: str) -> list[str]:
    """Labels of `task` that an SCP statement implies: none or one; unknown statements give none.

    A task of other classes (a network's or a data set's own) is implied by none.
    """
    if statement not in STATEMENTS or task not in LABEL_OF:
        return []
    implied = LABEL_OF[task](statement, STATEMENTS[statement])
    return [implied] if implied else []


SUPERCLASSES = ("NORM", "HYP", "CD", "MI", "STTC", "")  # in the order tables show them


def superclass(label: str, task: str | None = None) -> str:
    """NORM, HYP, CD, MI or STTC that a label of a task (None: of any task) belongs to; "" for form
    and rhythm statements.
    """
    tasks = LABEL_MAPPINGS if task is None else (task,)
    found = set()
    for code, statement in STATEMENTS.items():
        if any(label in labels_of_statement(code, one) for one in tasks):
            found.add(statement.superclass)
    return found.pop() if len(found) == 1 else ""


def in_order(labels: Sequence[str], task: str) -> list[str]:
    """Labels in the order NORM | HYP | CD | MI | STTC | others, by name within each."""
    return sorted(labels, key=lambda label: (SUPERCLASSES.index(superclass(label, task)), label))


def associated(pathologies: Sequence[str], label: str, task: str) -> bool:
    """Whether a label of a task covers one of a concept's `pathologies` (subclasses such as LVH;
    HYP covers LVH).
    """
    return any(
        statement.subclass in pathologies and label in labels_of_statement(code, task)
        for code, statement in STATEMENTS.items()
        if statement.subclass
    )


def slug(label: str) -> str:
    """A label as part of a file name (LAFB/LPFB -> LAFB-LPFB, ISC_ -> ISC_). Labels of PTB-XL stay
    distinct; of others `check_classes` (records/tasks.py) asks it.
    """
    return re.sub(r"[^A-Za-z0-9_.]+", "-", label).strip("-")
