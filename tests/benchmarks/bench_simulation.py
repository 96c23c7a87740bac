"""How real simulated hearts look, how hard their labels are, how fast they are made.

Reads:  real PTB-XL records (--ptbxl; for `realism` and `infarctions`) and their published R-peaks
        (--reference; `realism`).
Writes: <output_path>/realism.png, and what the chain writes for `auc` and `speed`.

Example:
    python tests/benchmarks/bench_simulation.py realism criteria --ptbxl ../shared/ptbxl --reference
    ../shared/ptbxl_reference
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "code"), str(ROOT / "tests"), str(Path(__file__).parent)]

from real_beats import TIME, isoelectric, median_beat, normal, read_real

import ecg
from clinical_criteria import judge
from common.figure_files import write_figure
from common.labels import LEADS, STATEMENTS
from simulation.causes import CAUSES
from simulation.cohort import make_hearts, make_plan, render_plan, severity_column
from simulation.rhythm import render
from simulation.truth import FIDUCIALS, beat_fiducials, measure_truth

N_NORMAL = 800


def real_normal_beats(ptbxl: Path, reference: Path) -> tuple[np.ndarray, np.ndarray]:
    """Median beats # (n, 400, 12) of real records that are NORM and nothing else, and whether the
    fit has used them.
    """
    table, signals, peaks = read_real(ptbxl, reference)
    chosen = np.flatnonzero(normal(table))
    beats = [median_beat(signals[row], peaks[row]) for row in chosen]
    there = [beat is not None for beat in beats]
    return (
        np.array([isoelectric(beat) for beat in beats if beat is not None]),
        (table["patient_id"].to_numpy()[chosen][there] % 2 == 0),
    )


def simulated_normal_beats(n: int, seed: int, age: np.ndarray, sex: np.ndarray) -> np.ndarray:
    """Median beats # (n, 400, 12) of simulated records with no statement but NORM and no decoy, as
    old as the real ones.

    Borderline changes, which no reader labels, stay: real normal records have them too.
    """
    plan = make_plan(n, seed)
    random = np.random.default_rng(seed)
    pick = random.integers(len(age), size=n)
    nothing = {severity_column(name): 0.0 for name in CAUSES} | {
        name: 0.0 for name in plan if name.startswith("decoy_")
    }
    plan = plan.assign(**nothing, age=age[pick], sex=sex[pick], patient_id=plan["ecg_id"])
    hearts = make_hearts(plan)
    truths = (measure_truth(hearts.normal), measure_truth(hearts.ectopic))
    beats = []
    for row, ecg_id in enumerate(plan["ecg_id"]):
        signal, rhythm = render(hearts, row, seed, ecg_id, 100)
        peaks = beat_fiducials(truths, row, rhythm)[:, FIDUCIALS.index("R_peak")]
        beat = median_beat(signal / 1000, np.rint(peaks / 10).astype(int))
        if beat is not None:
            beats.append(isoelectric(beat))
    return np.array(beats)


def inside(beats: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Share # (400, 12) of `beats` within the 5-95 % band of `of`, per time and lead."""
    low, high = np.percentile(of, [5, 95], axis=0)
    return ((beats >= low) & (beats <= high)).mean(axis=0)


def realism_table(
    ptbxl: Path, reference: Path, seed: int
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Shares inside each other's bands: against the half that the fit used, the other half, and
    all; and both sets of beats.
    """
    real, used = real_normal_beats(ptbxl, reference)
    table, _, _ = read_real(ptbxl, reference)
    who = table[normal(table)]
    simulated = simulated_normal_beats(
        N_NORMAL, seed, who["age"].fillna(50).to_numpy(), who["sex"].to_numpy()
    )
    rows = {
        name: {
            "n": len(part),
            "real inside simulated": inside(part, simulated).mean(),
            "simulated inside real": inside(simulated, part).mean(),
        }
        for name, part in (
            ("patients used for the fit", real[used]),
            ("other patients", real[~used]),
            ("all", real),
        )
    }
    rows["one half of the real in the other"] = {
        "n": len(real),
        "real inside simulated": inside(real[used], real[~used]).mean(),
        "simulated inside real": inside(real[~used], real[used]).mean(),
    }
    return pd.DataFrame(rows).T, real, simulated


def realism(args):
    """The shares, per lead too, and the picture."""
    table, real, simulated = realism_table(args.ptbxl, args.reference, args.seed)
    print(table.round(3).to_string())
    per_lead = pd.DataFrame(
        {
            "real inside simulated": inside(real, simulated).mean(axis=0),
            "simulated inside real": inside(simulated, real).mean(axis=0),
        },
        index=list(LEADS),
    )
    print(per_lead.round(3).T.to_string())
    print(*write_figure(draw(real, simulated), args.output_path / "realism"))


def draw(real, simulated):
    """5, 50 and 95 % curves of real and simulated median beats over each other, per lead."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3, 4, figsize=(15, 9), sharex=True)
    for lead, axis in enumerate(axes.T.flat):
        for beats, colour, name in ((real, "black", "real"), (simulated, "crimson", "simulated")):
            low, middle, high = np.percentile(beats[:, :, lead], [5, 50, 95], axis=0)
            axis.plot(TIME, middle, color=colour, lw=1.4, label=f"{name}, n = {len(beats)}")
            axis.fill_between(TIME, low, high, color=colour, alpha=0.18, lw=0)
        axis.set_title(LEADS[lead], loc="left", fontsize=10)
        axis.axhline(0, color="grey", lw=0.4)
    axes[0, 0].legend(fontsize=8)
    figure.supxlabel("ms from the R-peak")
    figure.supylabel("mV (5-95 % band and median of the median beats of normal records)")
    figure.tight_layout()
    return figure


def criteria(args):
    """Share of each statement's records that meet its clinical criterion, and of records with
    nothing planted.
    """
    plan = make_plan(args.n_records, args.seed)
    hearts = make_hearts(plan)
    table = measure_truth(hearts.normal).measurements
    table["Heart_Rate_Global"] = 60000 / hearts.rr
    met = judge(table)
    severity = pd.DataFrame({name: plan[severity_column(name)] > 0 for name in CAUSES})
    free = ~severity.drop(columns="NORM").any(axis=1)
    rows = [
        (
            name,
            severity[name].sum(),
            met[name][severity[name]].mean(),
            met[name][free].mean(),
            CAUSES[name].criterion,
        )
        for name in met
    ]
    columns = ["statement", "n", "meet it", "nothing planted", "criterion"]
    print(pd.DataFrame(rows, columns=columns).round(3).to_string(index=False))


def infarctions(args):
    """J-points of inferior infarctions, fresh (ST elevation in the inferior leads) and old, real
    and simulated.
    """
    table, signals, _ = read_real(args.ptbxl, args.reference)
    codes = table["codes"].map(lambda found: {STATEMENTS[code].subclass for code in found})
    plan = make_plan(3 * args.n_records, args.seed)
    simulated = plan.query(
        "severity_IMI > 0 and severity_CLBBB == 0 and severity_LVH == 0"
    ).reset_index(drop=True)
    real = signals[[("IMI" in names) and not {"CLBBB", "LVH"} & names for names in codes]]
    leads = [lead for lead in LEADS if lead != "aVR"]
    rows = []
    for source, records in (("real", real), ("simulated", render_plan(simulated) / 1000)):
        level = ecg.measure_all(records.astype(np.float32), 100)[
            [f"J_Amp_{lead}" for lead in leads]
        ].set_axis(leads, axis=1)
        up = level[["II", "III", "aVF"]] >= 0.1
        fresh = up["aVF"] & (up["II"] | up["III"])
        rows += [
            {"records": f"{source}, {name}", "n": len(part), **part.median()}
            for name, part in (("fresh", level[fresh]), ("old", level[~fresh]))
        ]
    print("inferior infarctions without LVH or CLBBB: median level at the J-point, mV")
    print(pd.DataFrame(rows).round(3).to_string(index=False))


def auc(args):
    """Superdiagnostic macro AUC of a LeNet on fold 10 of a simulated cohort, through the scripts
    themselves.
    """
    folder, output = args.output_path / "cohort", args.output_path / "runs"
    run(
        "simulate_ptbxl.py",
        "--output_path",
        folder,
        "--n_records",
        args.n_records,
        "--seed",
        args.seed,
        "--no-segmentations",
        "--overwrite",
    )
    run("preprocessing.py", "--data_path", folder, "--overwrite")
    run(
        "train_model.py",
        "--data_path",
        folder,
        "--logdir",
        output,
        "--modelname",
        "lenet",
        "--task",
        "superdiagnostic",
        "--epochs",
        args.epochs,
        "--overwrite",
    )
    metrics = json.loads((output / "lenet_superdiagnostic" / "metrics.json").read_text())["windows"]
    macro = metrics["macro_auc"]
    print(
        f"macro AUC {macro['value']:.3f} [{macro['low']:.3f}, {macro['high']:.3f}], n = "
        f"{macro['n']} records of fold 10 "
        f"of {args.n_records}; "
        + ", ".join(f"{name} {one['value']:.3f}" for name, one in metrics["per_class_auc"].items())
    )


def speed(args):
    """Seconds for the whole stage: records, segmentations and tables; on the clock and of processor
    time.
    """
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run(
        "simulate_ptbxl.py",
        "--output_path",
        args.output_path / "speed",
        "--n_records",
        args.n_records,
        "--overwrite",
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{args.n_records} records in {time.perf_counter() - start:.1f} s, {cpu:.1f} s of "
        "processor time"
    )


def run(script, *arguments):
    """One stage of the chain."""
    subprocess.run(
        [sys.executable, str(ROOT / "code" / script), *map(str, arguments)],
        check=True,
        capture_output=True,
    )


BENCHMARKS = {
    "realism": realism,
    "criteria": criteria,
    "infarctions": infarctions,
    "auc": auc,
    "speed": speed,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="+", choices=BENCHMARKS)
    parser.add_argument("--ptbxl", type=Path, default=ROOT.parent / "shared" / "ptbxl")
    parser.add_argument(
        "--reference", type=Path, default=ROOT.parent / "shared" / "ptbxl_reference"
    )
    parser.add_argument("--output_path", type=Path, default=ROOT / "output" / "bench_simulation")
    parser.add_argument("--n_records", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for benchmark in arguments.what:
        BENCHMARKS[benchmark](arguments)
