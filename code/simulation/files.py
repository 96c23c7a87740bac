"""Write a simulated cohort: PTB-XL's files and the truth beside them."""

import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.files import UserError, write_csv, write_npy
from common.labels import STATEMENTS
from records.dataset import PLANTED
from records.layout import DATABASE, SUFFIX, file_column
from records.ptbxl import record_name, write_database, write_record, write_statements
from records.segmentations import FOLDER as SEGMENTATIONS
from simulation.causes import CAUSES, DECOYS
from simulation.cohort import PARAMETERS, make_hearts, severity_column
from simulation.rhythm import PAPERWORK, SECONDS, render, stream
from simulation.truth import FIDUCIALS, beat_fiducials, measure_truth, planted_causes, segmentation

RATES = tuple(SUFFIX)  # Hz that PTB-XL's folders have
CHUNK = 250  # records whose noise-free beats are in memory at a time
SINUS_BY_NAME = ("AFIB", "STACH", "SBRAD")  # statements on the rhythm that stand in place of SR
LIKELIHOODS = (100.0, 80.0, 50.0, 35.0, 15.0)
LIKELIHOOD_SHARES = (0.75, 0.11, 0.08, 0.01, 0.05)  # as in PTB-XL's first 1,499


def write_cohort(
    folder: Path, plan: pd.DataFrame, rates: list[int], segmentations: bool
) -> list[Path]:
    """Write everything; returns the paths of the tables."""
    _make_folders(folder, plan, rates, segmentations)
    fiducials, measurements = [], []
    few = len(plan) < 300
    with tqdm(total=len(plan), desc="simulating", unit="record", disable=few) as progress:
        for start in range(0, len(plan), CHUNK):
            chunk = plan.iloc[start : start + CHUNK].reset_index(drop=True)
            marks, measured = _write_chunk(folder, chunk, rates, segmentations, progress)
            fiducials += marks
            measurements.append(measured)
    measurements = pd.concat(measurements, ignore_index=True)
    changes, times = planted_causes(plan)
    tables = {
        PARAMETERS: plan,
        "true_fiducials.csv": pd.concat(fiducials),
        "true_measurements.csv": measurements,
        PLANTED: changes,
        "planted_times.csv": times,
    }
    for name, table in tables.items():
        write_csv(folder / name, table)
    # the table that preprocessing starts from comes last: a cohort that has it is whole
    written = [write_statements(folder), write_database(folder, database_table(plan, measurements))]
    return [*written[::-1], *(folder / name for name in tables)]


def remove_records(folder: Path, ours: bool) -> None:
    """Remove the records and segmentations of an earlier cohort, so that none outlives its table;
    UserError where there are some and no cohort was begun here (`ours`).
    """
    names = [*(f"records{rate}" for rate in RATES), SEGMENTATIONS]
    if not ours and (there := [name for name in names if (folder / name).exists()]):
        raise UserError(f"{folder} holds {there[0]}, which was not simulated: choose a new folder")
    (folder / DATABASE).unlink(missing_ok=True)
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)


def _make_folders(folder, plan, rates, segmentations):
    pairs = product(plan["ecg_id"], rates)
    names = {Path(record_name(ecg_id, rate)).parent for ecg_id, rate in pairs}
    for name in [*names, *([Path(SEGMENTATIONS)] if segmentations else [])]:
        (folder / name).mkdir(parents=True, exist_ok=True)


def _write_chunk(folder, plan, rates, segmentations, progress):
    """Records and segmentations of some rows; returns their fiducials and measurements."""
    hearts = make_hearts(plan)
    truths = (measure_truth(hearts.normal), measure_truth(hearts.ectopic))
    marks = []
    for row, (seed, ecg_id) in enumerate(zip(plan["seed"], plan["ecg_id"], strict=True)):
        for rate in rates:
            signal, rhythm = render(hearts, row, seed, ecg_id, rate)
            write_record(folder, record_name(ecg_id, rate), signal, rate)
        times = beat_fiducials(truths, row, rhythm)
        if segmentations:
            shares = segmentation(truths, row, rhythm, times)
            write_npy(folder / SEGMENTATIONS / f"{ecg_id}.npy", shares, sync=False)
        marks.append(_fiducial_rows(ecg_id, times, rhythm))
        progress.update()
    measurements = truths[0].measurements
    measurements.insert(0, "ecg_id", plan["ecg_id"].to_numpy())
    measurements["Heart_Rate_Global"] = (60000 / hearts.rr).round(1)
    return marks, measurements


def _fiducial_rows(ecg_id, times, rhythm):
    """Beats whose R-peak lies within the record; marks outside of it are blank."""
    length = 1000 * SECONDS
    peak = times[:, FIDUCIALS.index("R_peak")]
    within = (peak >= 0) & (peak < length)
    inside = np.where((times >= 0) & (times < length), times, np.nan)[within]
    table = pd.DataFrame(inside.round(1), columns=list(FIDUCIALS))
    table.insert(0, "beat", np.arange(len(table)))
    table.insert(0, "ecg_id", ecg_id)
    return table.assign(ectopic=rhythm.ectopic[within])


# ---------------------------------------------------------------- ptbxl_database.csv


def statements(row: dict) -> list[str]:
    """SCP statements of one row of the plan."""
    found = [name for name in CAUSES if row[severity_column(name)] > 0]
    return found if set(found) & set(SINUS_BY_NAME) else [*found, "SR"]


def database_table(plan: pd.DataFrame, measurements: pd.DataFrame) -> pd.DataFrame:
    """ptbxl_database.csv of the plan; decoys and the simulation's own marks as further columns."""
    rows = plan.to_dict("records")
    table = plan[["ecg_id", "patient_id", "age", "sex", "strat_fold"]].copy()
    paperwork = pd.DataFrame([_paperwork(row) for row in rows])
    table = pd.concat([table, paperwork], axis=1)
    names = ["AXR", "LAD", "MID", "RAD", "ARAD"]
    axis = pd.cut(measurements["QRS_Axis_Global"], [-181, -90, -30, 90, 120, 181], labels=names)
    table["heart_axis"] = axis.astype(str).to_numpy()
    for rate in RATES:
        table[file_column(rate)] = [record_name(ecg_id, rate) for ecg_id in plan["ecg_id"]]
    for name in DECOYS:
        table[f"decoy_{name}"] = plan[f"decoy_{name}"] > 0
    return table


def _paperwork(row):
    """What a clerk would have noted: statements with likelihoods, height, weight, date; nothing
    that tells a label.
    """
    random = stream(row["seed"], PAPERWORK, row["ecg_id"])
    codes = statements(row)
    likelihood = dict.fromkeys(codes, 0.0)
    for code in codes:
        if STATEMENTS[code].superclass:
            likelihood[code] = float(random.choice(LIKELIHOODS, p=LIKELIHOOD_SHARES))
    height = round(177 - 12 * row["sex"] + 7 * random.standard_normal())
    later = pd.Timedelta(minutes=int(random.integers(6_000_000)))
    when = pd.Timestamp("1990-01-01 08:00:00") + later
    return {
        "scp_codes": str(likelihood),
        "report": ", ".join(STATEMENTS[code].description for code in codes),
        "height": float(height),
        "weight": float(round(25 * (height / 100) ** 2 + 9 * random.standard_normal())),
        "device": "simulated",
        "recording_date": str(when),
        "validated_by_human": True,
        "second_opinion": False,
        "initial_autogenerated_report": False,
    }
