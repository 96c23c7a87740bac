"""The local stage: its files, strategies, own records, resumption, sharing among processes, and
what it refuses.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import lrp_analysis
from attribution import figures as local_figures
from attribution import gradients
from attribution import job as local_results
from attribution import plan as local_plan
from attribution.job import CELL_COLUMNS, Job
from attribution.methods import attribute_records
from attribution.neighbours import home_of
from attribution.plan import Target
from attribution.selection import predicted_positive
from common.ecg_paper import Record
from common.files import UserError, read_npz
from common.labels import LABEL_MAPPINGS, LEADS
from common.stage import broken_link
from conftest import ROOT, run_script
from ecg.beats import window_offsets
from ecg.segments import SEGMENTS
from networks.checkpoints import ModelInfo, load_model, save_checkpoint
from networks.defaults import dataset_note
from networks.models import get_model
from records.dataset import Dataset, load_dataset
from records.own_record import Own, own_quality
from records.segmentations import load_segments
from reporting.viewer import prediction_table
from tiny_ptbxl import ecg_like, fitting_limbs
from toy_networks import randomised

FOLDS = {"train": list(range(1, 9)), "validation": [9], "test": [10]}


def checkpoint(folder, task="subdiagnostic", leads=LEADS, threshold=0.0):
    """A LeNet of random weights that predicts every label of every record (threshold 0): the run
    folder.
    """
    labels = LABEL_MAPPINGS.get(task, list(LEADS))
    torch.manual_seed(0)
    model = randomised(get_model("lenet", len(labels), len(leads)))
    thresholds = None if task not in LABEL_MAPPINGS else (threshold,) * len(labels)
    info = ModelInfo(
        "lenet", task, tuple(labels), tuple(leads), 100, 2.5, FOLDS, 0, thresholds=thresholds
    )
    save_checkpoint(folder / info.run_folder_name / "checkpoints" / "best_model.ckpt", model, info)
    return folder / info.run_folder_name


@pytest.fixture(scope="module")
def run_path(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("runs"))


def arguments(cohort, run_path, output, *more):
    return [
        "--data_path",
        str(cohort),
        "--model_path",
        str(run_path),
        "--output_path",
        str(output),
        "--threads",
        "1",
        *more,
    ]


def analyse(cohort, run_path, output, *more):
    """The stage in this process: its folder."""
    args = lrp_analysis.get_args_parser().parse_args(arguments(cohort, run_path, output, *more))
    lrp_analysis.main(args)
    return (
        output / run_path.name / ("local" if not args.record else f"local_{Path(args.record).stem}")
    )


def files_of(folder):
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.suffix in (".npz", ".csv", ".png", ".pdf")
    }


# ---------------------------------------------------------------- what it writes


def test_cells_of_shapley_values_say_how_sure_they_are(cohort, run_path, tmp_path):
    orders = ("--max_permutations", "4", "--window", "centre_crop", "--strategy", "single_best")
    few = ("--max_figures", "0", "--n_jitters", "0", "--pathologies", "LVH")
    both = ("--methods", "shapley", "saliency")
    folder = analyse(cohort, run_path, tmp_path, *both, *orders, *few)
    stored = read_npz(folder / "shapley_LVH.npz")
    cells = pd.read_csv(folder / "cells.csv")
    assert cells.loc[cells["method"] == "saliency", "standard_error"].isna().all()
    data = load_dataset(cohort, "subdiagnostic")
    seen = stored["coverage"] > 0
    weights = load_segments(data, data.positions(stored["ecg_id"]))[0, seen]  # (T, 12, 24)
    own = cells[cells["method"] == "shapley"]
    assert len(own) == 20
    for cell in own.itertuples():
        place = LEADS.index(cell.lead), SEGMENTS.index(cell.segment)
        errors = stored["standard_error"][0, seen, place[0]]
        expected = np.average(errors, weights=weights[:, place[0], place[1]])
        assert cell.standard_error == pytest.approx(expected, rel=1e-4)


def test_the_line_of_the_readme(cohort, run_path, tmp_path):
    """Two shell words for the list, as bash passes them."""
    done = run_script(
        "lrp_analysis.py",
        f"--output_path={tmp_path}",
        f"--model_path={run_path}",
        "--pathologies=[AMI,",
        "IMI]",
        "--strategy=single_best",
        "--data_path",
        cohort,
        "--max_figures",
        3,
        "--threads",
        1,
    )
    folder = tmp_path / "lenet_subdiagnostic" / "local"
    names = {
        f"{method}_{name}"
        for method in ("saliency", "gradcam", "ig", "lrp")
        for name in ("AMI", "IMI")
    }
    assert {path.stem for path in folder.glob("*.npz")} == {*names, "records"}
    assert len(list(folder.glob("*.png"))) == len(list(folder.glob("*.pdf"))) == 3
    assert "2 records x targets, 4 methods, 7 windows each: about" in done.stdout
    assert "lrp AMI: ledger (mean of 1) logit" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("  ")
    assert not (folder / ".parts").exists()

    data, model = load_dataset(cohort, "subdiagnostic"), load_model(run_path)
    stored = read_npz(folder / "lrp_IMI.npz")
    row = data.positions(stored["ecg_id"])[0]
    assert data.labels[row, model.info.index("IMI")] == 1
    assert data.fold[row] == 10
    assert stored["attributions"].shape == (1, 1000, 12)
    expected = attribute_records(
        model, data.signals[row : row + 1], model.info.index("IMI"), "lrp", "windows"
    )
    assert np.allclose(stored["attributions"], expected, atol=1e-6, equal_nan=True)
    assert np.isnan(stored["attributions"][:, -27:]).all()  # LeNet never reads them
    assert np.isclose(stored["ledger"][0, 1], np.nansum(stored["attributions"]), atol=1e-4)
    assert np.isclose(stored["ledger"][0, 0], stored["ledger"][0, 1:].sum(), atol=1e-4)
    assert abs(read_npz(folder / "ig_IMI.npz")["gap"][0]) < 1

    cells = pd.read_csv(folder / "cells.csv")
    assert tuple(cells.columns) == CELL_COLUMNS
    one = cells[(cells.method == "lrp") & (cells.pathology == "IMI")]
    assert one["rank"].tolist() == list(range(1, 21))
    assert (one.density.diff().dropna() <= 0).all()
    assert set(cells[cells.method == "gradcam"].lead) == {"all"}
    assert set(one.lead) <= set(LEADS)


def test_the_ledger_is_opened_on_request(cohort, run_path, tmp_path, capsys):
    folder = analyse(
        cohort,
        run_path,
        tmp_path,
        "--methods",
        "lrp",
        "saliency",
        "--pathologies",
        "AMI",
        "--strategy",
        "best_n",
        "--n_samples",
        "3",
        "--max_figures",
        "0",
        "--open_ledger",
    )
    stored = read_npz(folder / "lrp_AMI.npz")
    assert np.allclose(stored["layers"].sum(axis=1), stored["ledger"][:, 2:], atol=1e-6)
    printed = capsys.readouterr().out
    for name, opened in zip(stored["layer_names"], stored["layers"].mean(axis=0), strict=True):
        assert f"  {name:24} biases {opened[0]:8.4f}" in printed
    assert "layers" not in read_npz(folder / "saliency_AMI.npz")


def test_gaps_that_are_left_are_said_once_per_pathology(
    cohort, run_path, tmp_path, capsys, recwarn, monkeypatch
):
    monkeypatch.setattr(
        gradients.integrated_gradients, "__defaults__", (0.0, 50, 800, 0.0, 1e-9)
    )  # a tolerance that none keeps
    folder = analyse(
        cohort,
        run_path,
        tmp_path,
        "--methods",
        "ig",
        "--pathologies",
        "AMI",
        "IMI",
        "--strategy",
        "best_n",
        "--n_samples",
        "3",
        "--max_figures",
        "1",
        "--steps",
        "1",
        "--max_steps",
        "1",
    )
    errors = capsys.readouterr().err.splitlines()
    missed = {name: read_npz(folder / f"ig_{name}.npz")["missed"] for name in ("AMI", "IMI")}
    assert any(values.any() for values in missed.values())
    assert [line for line in errors if line.startswith("warning")] == [
        f"warning: ig {name}: {values.sum()} of 3 records keep a gap above 1 % in some window at 1 "
        "steps "
        "(--max_steps raises the cap)"
        for name, values in missed.items()
        if values.any()
    ]
    assert not [one for one in recwarn if issubclass(one.category, gradients.CompletenessWarning)]


def test_finished_refused_and_begun_anew(cohort, run_path, tmp_path, capsys):
    options = ("--methods", "saliency", "--pathologies", "IMI", "--max_figures", "0")
    folder = analyse(cohort, run_path, tmp_path, *options)
    before = files_of(folder)
    analyse(cohort, run_path, tmp_path, *options)
    assert "is finished: local.json" in capsys.readouterr().out
    with pytest.raises(UserError, match="other settings"):
        analyse(
            cohort, run_path, tmp_path, *options[:2], "--pathologies", "AMI", "--max_figures", "0"
        )
    analyse(
        cohort,
        run_path,
        tmp_path,
        *options[:2],
        "--pathologies",
        "AMI",
        "--max_figures",
        "0",
        "--overwrite",
    )
    kept = {"saliency_AMI.npz", "records.npz", "cells.csv", "quality.csv"}
    assert set(files_of(folder)) == kept
    analyse(cohort, run_path, tmp_path, *options, "--overwrite")
    assert files_of(folder) == before
    assert json.loads((folder / "local.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    "strategy", ["single_best", "best_n", "true_positives", "false_positives", "all"]
)
def test_strategies_choose_records(cohort, run_path, tmp_path, strategy):
    folder = analyse(
        cohort,
        run_path,
        tmp_path,
        "--methods",
        "input_magnitude",
        "--pathologies",
        "NORM",
        "--strategy",
        strategy,
        "--max_figures",
        "0",
        "--n_samples",
        "4",
        "--n_cells",
        "1",
    )
    ecg_id = read_npz(folder / "input_magnitude_NORM.npz")["ecg_id"]
    data = load_dataset(cohort, "subdiagnostic")
    norm = data.labels[data.positions(ecg_id), data.label_names.index("NORM")]
    assert len(ecg_id) == (1 if strategy == "single_best" else 4)
    if strategy in ("single_best", "best_n", "true_positives"):
        assert norm.all()
    if strategy == "false_positives":
        assert not norm.any()


def test_chosen_records_side_by_side(cohort, run_path, tmp_path):
    ids = load_dataset(cohort).ecg_id[[3, 0]]
    folder = analyse(
        cohort,
        run_path,
        tmp_path,
        "--ecg_ids",
        f"{ids[0]},{ids[1]}",
        "--methods",
        "lrp",
        "occlusion",
        "gradcam",
        "--pathologies",
        "LVH",
        "--compare",
        "--max_figures",
        "1",
        "--window",
        "centre_crop",
    )
    assert {path.name for path in folder.glob("*.png")} == {f"compare_LVH_{ids[0]}.png"}
    stored = read_npz(folder / "occlusion_LVH.npz")
    assert stored["ecg_id"].tolist() == ids.tolist()
    assert np.isfinite(stored["attributions"][:, 375 : 625 - 27]).all()
    assert np.isnan(stored["attributions"][:, :375]).all()
    assert stored["has_lead_axis"]
    assert not read_npz(folder / "gradcam_LVH.npz")["has_lead_axis"]


def test_leads_that_a_network_does_not_read_are_named_below_a_figure(cohort):
    data = load_dataset(cohort, "subdiagnostic")
    data.signals[0, :, LEADS.index("V2")] = np.nan  # not there, and not drawn
    labels = tuple(LABEL_MAPPINGS["subdiagnostic"])
    info = ModelInfo("lenet", "subdiagnostic", labels, ("I", "II", *LEADS[6:]), 100, 2.5, FOLDS, 0)
    target = Target("AMI", 0, np.array([0]), np.array([0.5]))

    def foot_of(info):
        job = SimpleNamespace(data=data, window="windows", model=SimpleNamespace(info=info))
        return local_figures.record_of(job, target, 0, "", "LRP").foot

    assert foot_of(info)[1:] == ["not read by the network: III, aVR, aVL, aVF"]
    assert foot_of(replace(info, leads=LEADS))[1:] == []
    assert foot_of(replace(info, leads=tuple(LEADS[:6])))[1:] == [
        "not read by the network: V1, V3, V4, V5, V6"
    ]


def test_a_page_side_by_side_shows_what_was_explained_and_says_how(
    cohort, run_path, tmp_path, monkeypatch
):
    pages = []
    monkeypatch.setattr(
        local_figures, "write_figure", lambda figure, *_, **__: pages.append(figure) or []
    )
    analyse(
        cohort,
        run_path,
        tmp_path,
        "--methods",
        "lrp",
        "gradcam",
        "--pathologies",
        "LVH",
        "--strategy",
        "single_best",
        "--compare",
        "--window",
        "centre_crop",
    )
    words = [text.get_text() for text in pages[0].axes[0].texts]
    assert "LRP" in words
    foot = next(text for text in words if "of the record" in text)
    assert "3.75 to 5.98 s of the record" in foot  # LeNet reads no further
    assert "explained: centre crop of 2.5 s" in foot


def test_the_cost_follows_the_steps(cohort, run_path, tmp_path, capsys):
    passes = []
    for steps in ((), ("--steps", "800", "--max_steps", "1600"), ("--max_steps", "50")):
        analyse(
            cohort,
            run_path,
            tmp_path,
            "--methods",
            "ig",
            "--pathologies",
            "LVH",
            "--strategy",
            "single_best",
            "--window",
            "centre_crop",
            "--max_figures",
            "0",
            "--overwrite",
            *steps,
        )
        passes.append(
            next(line for line in capsys.readouterr().out.splitlines() if "passes" in line).split(
                "about "
            )[1]
        )
    assert passes[0].startswith("150 passes forward and back (ig: 50 to 1,550 a window")
    assert passes[1].startswith("800 passes forward and back (ig: 800 to 2,400 a window")
    assert passes[2].startswith("50 passes forward and back (ig: 50 to 50 a window")


def test_other_data_under_the_same_name_are_not_taken_for_these(cohort, run_path, own, tmp_path):
    options = ("--methods", "saliency", "--pathologies", "LVH", "--max_figures", "0")
    path = tmp_path / "mine.csv"
    pd.read_csv(own[0]).to_csv(path, index=False)
    analyse("nowhere", run_path, tmp_path, "--record", str(path), *options)
    (pd.read_csv(own[0]) * 1.0).assign(v2=lambda table: table["v2"] * 1.5).to_csv(path, index=False)
    with pytest.raises(UserError, match="data: "):
        analyse("nowhere", run_path, tmp_path, "--record", str(path), *options)
    analyse(cohort, run_path, tmp_path, *options)
    changed = tmp_path / "cohort"
    shutil.copytree(cohort, changed)
    table = pd.read_csv(changed / "ptbxl_database_enriched.csv")
    table.assign(age=table["age"] + 1).to_csv(changed / "ptbxl_database_enriched.csv", index=False)
    with pytest.raises(UserError, match="data: "):
        analyse(changed, run_path, tmp_path, *options)


def test_baselines_from_a_record_of_known_beats():
    beat = np.outer(np.hanning(80), np.arange(1, 13))
    signals = np.full((1, 1000, 12), 0.2, dtype=np.float32)
    peaks = np.arange(100, 900, 100)
    for peak in peaks:
        signals[0, peak + window_offsets(100)] += beat.astype(np.float32)
    table = pd.DataFrame(
        {
            "r_peaks": [" ".join(map(str, peaks))],
            "strat_fold": [1],
            "patient_id": [1],
            "scp_codes": ["{'NORM': 100.0}"],
        },
        index=pd.Index([1], name="ecg_id"),
    )
    data = Dataset(table, signals, 100, Path("known"), None)
    level = local_plan.levels(signals)
    assert level.shape == signals.shape
    assert np.ptp(level, axis=1).max() == 0
    assert np.isin(level[0, 0], signals[0]).all()
    assert (
        np.abs((signals < level).mean(axis=1) - (signals > level).mean(axis=1))
        <= (signals == level).mean(axis=1)
    ).all()
    assert np.allclose(local_plan.normal_beat(data), beat, atol=1e-5)
    laid = local_plan.baseline_for("normal_beat", data, data)(np.array([0]))["baseline"]
    assert np.allclose(laid - level, signals - 0.2, atol=1e-5)


def test_targets_of_an_amplitude_model_are_leads(cohort, tmp_path):
    run_path = checkpoint(tmp_path / "runs", "R_Peak_Amplitude", leads=("II", "V1", "V5"))
    options = ("--methods", "saliency", "--max_figures", "1")
    folder = analyse(cohort, run_path, tmp_path, *options, "--pathologies", "V5", "aVF")
    kept = {path.stem for path in folder.glob("*.npz")}
    assert kept == {"saliency_V5", "saliency_aVF", "records"}
    unused = [LEADS.index(lead) for lead in LEADS if lead not in ("II", "V1", "V5")]
    assert np.isnan(read_npz(folder / "saliency_V5.npz")["attributions"][:, :, unused]).all()
    with pytest.raises(
        UserError,
        match=r"unknown lead \(the targets of an amplitude model\) IMI: accepted are I, II",
    ):
        analyse(cohort, run_path, tmp_path / "b", "--pathologies", "IMI")
    with pytest.raises(
        UserError,
        match="needs labels, an amplitude model has none: accepted are single_best, best_n, all",
    ):
        analyse(cohort, run_path, tmp_path / "b", "--strategy", "false_positives")


# ---------------------------------------------------------------- resumption and sharing


def small_job(cohort, run_path, folder):
    data = load_dataset(cohort, "subdiagnostic").in_folds([10])
    model = load_model(run_path)
    rows = np.arange(10)
    targets = [Target(name, model.info.index(name), rows, np.zeros(10)) for name in ("AMI", "IMI")]
    options = {method: lambda rows: {} for method in ("saliency", "lrp")}
    return Job(model, data, targets, list(options), options, "windows", 5, folder)


def test_an_interrupted_run_goes_on_and_ends_the_same(cohort, run_path, tmp_path, monkeypatch):
    monkeypatch.setattr(local_results, "CHUNK", 4)
    whole, broken = (small_job(cohort, run_path, tmp_path / name) for name in ("whole", "broken"))
    local_results.compute(whole)
    expected = [path.read_bytes() for path in local_results.assemble(whole)]

    calls, real = [], local_results.explain_records

    def counted(*arguments, **options):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(local_results, "explain_records", counted)
    with pytest.raises(KeyboardInterrupt):
        local_results.compute(broken)
    local_results.compute(broken)
    assert len(calls) == 1 + 2 * 2 * 3  # 3 chunks, 2 targets, 2 methods; the interrupted one twice
    assert [path.read_bytes() for path in local_results.assemble(broken)] == expected
    local_results.remove_parts(broken)
    assert not (tmp_path / "broken" / ".parts").exists()
    stored = read_npz(tmp_path / "broken" / "lrp_IMI.npz")
    assert stored["attributions"].shape == (10, 1000, 12)
    expected_map = attribute_records(
        broken.model, broken.data.signals[:10], broken.targets[1].index, "lrp", "windows"
    )
    assert np.allclose(stored["attributions"], expected_map, atol=1e-6, equal_nan=True)


def test_chunks_are_shared_out_and_come_out_the_same(cohort, run_path, tmp_path, monkeypatch):
    monkeypatch.setattr(local_results, "CHUNK", 3)
    one, three = (small_job(cohort, run_path, tmp_path / name) for name in ("one", "three"))
    local_results.compute(one)
    for rank in (2, 0, 1):
        local_results.compute(three, rank, 3)
    local_results.wait_for_parts(three)
    alone, shared = (
        [path.read_bytes() for path in local_results.assemble(job)] for job in (one, three)
    )
    assert alone == shared


def test_two_processes_write_the_same_files(cohort, run_path, tmp_path):
    options = (
        "--methods",
        "saliency,lrp",
        "--strategy",
        "all",
        "--n_samples",
        "5",
        "--max_figures",
        "1",
    )
    alone = analyse(cohort, run_path, tmp_path / "alone", *options)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        "--master_port=0",
        "--rdzv_backend=c10d",
        "--rdzv_endpoint=localhost:0",
        str(ROOT / "code" / "lrp_analysis.py"),
        *arguments(cohort, run_path, tmp_path / "two", *options),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "with 2 processes" in done.stdout
    assert files_of(tmp_path / "two" / run_path.name / "local") == files_of(alone)


# ---------------------------------------------------------------- a record of one's own


@pytest.fixture(scope="module")
def own(cohort, tmp_path_factory):
    """The same ECG as csv at 250 Hz in lower-case leads, without the limb leads that follow from I
    and II.
    """
    from scipy.signal import resample_poly

    signal = load_dataset(cohort).signals[0].astype(float)
    fine = resample_poly(signal, 5, 2, axis=0, padtype="line")
    kept = [index for index, lead in enumerate(LEADS) if lead not in ("III", "aVR", "aVL", "aVF")]
    table = pd.DataFrame(fine[:, kept], columns=[LEADS[index].lower() for index in kept])
    table.insert(0, "time", np.arange(len(table)) / 250)
    path = tmp_path_factory.mktemp("own") / "mine.csv"
    table.to_csv(path, index=False)
    return path, signal


def test_own_csv(own, run_path, tmp_path):
    path, signal = own
    folder = analyse(
        "nowhere",
        run_path,
        tmp_path,
        "--record",
        str(path),
        "--methods",
        "lrp",
        "--pathologies",
        "AMI",
    )
    stored = read_npz(folder / "lrp_AMI.npz")
    model = load_model(run_path)
    expected = attribute_records(
        model, signal[None].astype(np.float32), model.info.index("AMI"), "lrp", "windows"
    )
    known = np.isfinite(expected)
    agreement = np.corrcoef(stored["attributions"][known], expected[known])[0, 1]
    assert agreement > 0.97  # resampled there and back
    assert (folder / "lrp_AMI_mine.png").is_file()
    prediction = pd.read_csv(folder / "prediction.csv")
    assert set(prediction["class"]) == set(model.info.labels)
    assert "heart rate" in pd.read_csv(folder / "notes.csv")["what"].tolist()
    page = (folder / "ecg.html").read_text()
    assert "The network says " in page
    assert "Record mine: AMI" in page


def test_an_own_record_beside_the_data_set(own, cohort, run_path, tmp_path):
    """Its page says whom it resembles, whether it is like any, and what would turn the answer."""
    path, _ = own
    asked = ("--record", str(path), "--methods", "saliency", "--max_figures", "0")
    folder = analyse(cohort, run_path, tmp_path, *asked, "--pathologies", "NORM")
    alike = pd.read_csv(folder / "neighbours.csv")
    assert set(alike["alike_by"]) == {"features", "cells NORM"}
    assert alike["unlike_p"].dropna().between(0, 1).all()
    [answer] = pd.read_csv(folder / "counterfactuals.csv").itertuples()
    page = (folder / "ecg.html").read_text()
    assert "What would turn it" in page
    assert answer.pathology == "NORM"
    assert "training records" in page


def test_what_an_own_record_is_held_against_is_a_setting(own, cohort, run_path, tmp_path):
    """Given the training data that were missing, the same command is no finished one."""
    path, _ = own
    asked = ("--record", str(path), "--methods", "saliency", "--max_figures", "0")
    folder = analyse("nowhere", run_path, tmp_path, *asked, "--pathologies", "NORM")
    assert not (folder / "neighbours.csv").exists()
    with pytest.raises(UserError, match="holds a run with other settings"):
        analyse(cohort, run_path, tmp_path, *asked, "--pathologies", "NORM")


def test_training_records_are_those_of_the_networks_own_data_set(cohort, tmp_path):
    """Records of another data set have patients of their own, whatever their numbers."""
    other = shutil.copytree(cohort, tmp_path / "other")
    table = pd.read_csv(other / "ptbxl_database_enriched.csv")
    table.assign(age=50).to_csv(other / "ptbxl_database_enriched.csv", index=False)
    run = checkpoint(tmp_path / "runs")
    model = load_model(run)
    home = run / "checkpoints" / "best_model.ckpt"
    info = replace(model.info, dataset=dataset_note(cohort, 100, home.parent))
    args = SimpleNamespace(record=None, data_path=str(other))
    found, strangers = home_of(args, info, home)
    assert (found.resolve(), strangers) == (Path(cohort).resolve(), True)
    args.data_path = str(cohort)
    assert home_of(args, info, home) == (Path(cohort), False)
    args.record = "mine.csv"
    assert home_of(args, info, home)[1]


def test_a_probability_at_its_threshold_is_negative_in_figures_as_for_strategies():
    info = SimpleNamespace(task="subdiagnostic", labels=("AMI",), thresholds=(0.5,))
    assert not predicted_positive(np.zeros((1, 1)), info.thresholds).any()
    assert "true negative" in local_figures.prediction(info, 0, 0.0, labelled=False)
    table = prediction_table(["AMI"], np.zeros(1), info.thresholds)
    assert table["positive"].tolist() == ["no"]


def test_verify_goes_by_the_file_of_an_own_record(own, run_path, tmp_path):
    path = shutil.copy(own[0], tmp_path / "mine.csv")
    asked = ("--record", str(path), "--methods", "saliency", "--max_figures", "0")
    folder = analyse("nowhere", run_path, tmp_path, *asked)
    assert broken_link(folder / "local.json") is None
    path.write_text(path.read_text().replace("0.0", "0.1", 1))
    assert "input" in broken_link(folder / "local.json")
    assert "mine.csv has changed since" in broken_link(folder / "local.json")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda signal: signal, "0 of 1 explained records with a quality flag"),
        (lambda signal: flat_lead(signal), "1 of 1 explained records with a quality flag: flat 1"),
        (
            lambda signal: np.minimum(signal, 1.1),
            "1 of 1 explained records with a quality flag: clipped 1",
        ),
        (
            lambda signal: exchanged_arms(signal),
            "1 of 1 explained records with a quality flag: limb reversal 1",
        ),
    ],
)
@pytest.mark.parametrize("rate", [100, 500])
def test_the_quality_of_an_own_record_is_judged(
    run_path, tmp_path, capsys, monkeypatch, change, expected, rate
):
    path = tmp_path / "mine.csv"
    signal = change(fitting_limbs(ecg_like(0, rate) / 1000))
    pd.DataFrame(signal, columns=LEADS).assign(time=np.arange(len(signal)) / rate).to_csv(
        path, index=False
    )
    subtitles = []
    monkeypatch.setattr(local_figures, "write_figure", lambda *_, **__: [])
    monkeypatch.setattr(
        local_figures, "Record", lambda *parts: subtitles.append(parts[3]) or Record(*parts)
    )
    folder = analyse(
        "nowhere",
        run_path,
        tmp_path,
        "--record",
        str(path),
        "--methods",
        "saliency",
        "--pathologies",
        "AMI",
        "LVH",
        "--max_figures",
        "1",
    )
    assert (
        f"{expected}; not judged: pacemaker (needs the data base's word)\n"
        in capsys.readouterr().out
    )
    counts = pd.read_csv(folder / "quality.csv")
    assert counts["group"].tolist() == ["all", "AMI", "LVH"]
    raised = expected.partition(": ")[2].removesuffix(" 1")
    assert (counts["n_flagged"] == bool(raised)).all()
    assert counts["pacemaker"].isna().all()
    assert subtitles[0].endswith(
        (f"signal flagged: {raised}; " if raised else " · ") + "pacemaker not judged"
    )
    assert "quality.csv" in json.loads((folder / "local.json").read_text())["outputs"]


def flat_lead(signal):
    """V3 still for 3 s."""
    rate = len(signal) // 10
    signal[3 * rate : 6 * rate, LEADS.index("V3")] = 0.1
    return signal


def exchanged_arms(signal):
    """I upside down, II and III, aVR and aVL in each other's place."""
    order = [LEADS.index(lead) for lead in ("I", "III", "II", "aVL", "aVR", "aVF", *LEADS[6:])]
    one, two = signal[:, 0], signal[:, 1]
    limb = np.stack([one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2], axis=1)
    return np.concatenate([limb, signal[:, 6:]], axis=1)[:, order] * np.where(
        np.arange(12) == 0, -1, 1
    )


def test_a_lead_that_is_not_there_is_no_flat_lead():
    signal = ecg_like(0) / 1000
    signal[:, LEADS.index("aVR")] = np.nan
    assert (
        not own_quality(Own(signal, 100, signal, 100))
        .drop(columns="quality_pacemaker")
        .any(axis=None)
    )
    signal[:, LEADS.index("V6")] = np.nan
    found = own_quality(Own(signal, 100, signal, 100)).iloc[0]
    unknown = {
        "limb_reversal",
        "pacemaker",
        "limb_order",
        "chest_order",
        "lead_scaling",
        "polarity",
    }
    assert set(found[found.isna()].index) == {f"quality_{name}" for name in unknown}
    assert not found.dropna().any()
    assert own_quality(Own(signal, 100, flat_lead(signal), 100))["quality_flat"].all()


@pytest.mark.parametrize("rate", [100, 500])
def test_less_than_a_second_is_judged(rate):
    signal = fitting_limbs(ecg_like(0, rate)[: 7 * rate // 10] / 1000)
    assert (
        not own_quality(Own(signal, rate, signal, rate))
        .drop(columns="quality_pacemaker")
        .any(axis=None)
    )


def test_short_records_of_odd_length_are_judged():
    signal = fitting_limbs(
        ecg_like(0, 500)[:1253] / 1000
    )  # 2.506 s: not a whole number of samples at 100 Hz
    assert (
        not own_quality(Own(signal, 500, signal, 500))
        .drop(columns="quality_pacemaker")
        .any(axis=None)
    )
    signal[:, LEADS.index("V2")] = 0.1
    assert own_quality(Own(signal, 500, signal, 500))["quality_flat"].all()


def test_flagged_records_of_a_data_set_are_counted_per_pathology(
    cohort, run_path, tmp_path, capsys
):
    flagged = tmp_path / "flagged"
    shutil.copytree(cohort, flagged)
    table = pd.read_csv(flagged / "ptbxl_database_enriched.csv")
    table["quality_flat"] = table["ecg_id"] % 2 == 0
    table.drop(
        columns=[name for name in table if name.startswith("quality_") and name != "quality_flat"]
    ).to_csv(flagged / "ptbxl_database_enriched.csv", index=False)
    folder = analyse(
        flagged,
        run_path,
        tmp_path,
        "--methods",
        "input_magnitude",
        "--pathologies",
        "NORM",
        "IMI",
        "--strategy",
        "all",
        "--n_samples",
        "7",
        "--max_figures",
        "0",
    )
    ids = {
        name: read_npz(folder / f"input_magnitude_{name}.npz")["ecg_id"] for name in ("NORM", "IMI")
    }
    ids["all"] = np.unique(np.concatenate([*ids.values()]))
    counts = pd.read_csv(folder / "quality.csv").set_index("group")
    for name, members in ids.items():
        assert counts.loc[name, ["n_records", "n_flagged", "flat"]].tolist() == [
            len(members),
            *[(members % 2 == 0).sum()] * 2,
        ]
    n = counts.loc["all"]
    assert (
        f"{n['flat']:.0f} of {n['n_records']:.0f} explained records with a quality flag: flat"
        in capsys.readouterr().out
    )


def test_own_wfdb_record_and_what_is_predicted(ptbxl, tmp_path):
    run_path = checkpoint(tmp_path / "runs", threshold=0.999)
    record = ptbxl / "records500" / "00000" / "00001_hr"
    folder = analyse(
        "nowhere",
        run_path,
        tmp_path,
        "--record",
        str(record),
        "--methods",
        "saliency",
        "--max_figures",
        "0",
    )
    assert (
        len(list(folder.glob("saliency_*.npz"))) == 1
    )  # nothing is above .999: the most probable label
    low = ptbxl / "records100" / "00000" / "00001_lr"
    same = analyse(
        "nowhere",
        run_path,
        tmp_path,
        "--record",
        str(low),
        "--methods",
        "saliency",
        "--max_figures",
        "0",
    )
    high, low = (
        read_npz(next(place.glob("saliency_*.npz")))["logit"][0] for place in (folder, same)
    )
    assert abs(high - low) < 0.05


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda table: table.drop(columns="v3"), "lead V3 is missing; it has i, ii"),
        (lambda table: table.drop(columns="time"), "--record_rate says its sampling rate"),
        (lambda table: table.iloc[:200], "lasts 0.80 s, the model needs 2.50 s"),
        (
            lambda table: table.assign(
                **{name: table[name] * 1000 for name in table if name != "time"}
            ),
            "an ECG stays below 50 mV",
        ),
        (
            lambda table: table.assign(v2=table["v2"].where(table.index != 5)),
            "lead V2 has 1 samples without a value",
        ),
        (lambda table: table.assign(time=table["time"] ** 2), "not evenly spaced"),
    ],
)
def test_broken_own_records_are_refused(own, run_path, tmp_path, change, pattern):
    path = tmp_path / "broken.csv"
    change(pd.read_csv(own[0])).to_csv(path, index=False)
    with pytest.raises(UserError, match=pattern):
        analyse("nowhere", run_path, tmp_path, "--record", str(path))
    assert not (tmp_path / run_path.name).exists()


# ---------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (("--methods", "shap"), "unknown method shap: accepted are saliency"),
        (("--pathologies", "XYZ"), "unknown pathology XYZ: accepted are AMI"),
        (
            ("--layer", "conv9", "--methods", "gradcam"),
            "unknown layer 'conv9': layers with time steps are block1",
        ),
        (
            ("--layer", "pool", "--methods", "gradcam"),
            "has fewer than 2 time steps: a map needs some, as 'block3' has",
        ),
        (("--task", "form"), "--task form contradicts the checkpoint"),
        (("--preset", "best"), "unknown lrp preset best: accepted are epsilon"),
        (
            ("--strategy", "false_negatives", "--pathologies", "IMI"),
            "finds no record for any of IMI",
        ),
        (("--strategy", "false_negatives"), "finds no record for any of NORM, LVH"),
        (("--ecg_ids", "999999"), "no record with ecg_id 999999"),
        (("--record", "nowhere/mine"), r"mine\.hea does not exist"),
        (("--record", "tests"), r"tests is a folder: name one recording in it"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(
    cohort, run_path, tmp_path, options, pattern
):
    with pytest.raises(UserError, match=pattern):
        analyse(cohort, run_path, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "option",
    [
        ("--strategy", "worst"),
        ("--window", "all"),
        ("--record_rate", "0"),
        ("--record_rate", "nan"),
        ("--record_start", "-1"),
    ],
)
def test_bad_choices_end_with_one_line(option, capsys):
    with pytest.raises(SystemExit) as ended:
        lrp_analysis.get_args_parser().parse_args(option)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "choose from" in error or "is not a number" in error


def test_signal_quality_stands_beside_the_record():
    from attribution.figures import quality_note

    row = pd.Series(
        {"age": 50, "quality_noise": True, "quality_limb_reversal": "True", "quality_flat": False}
    )
    assert quality_note(row) == "signal flagged: noise, limb reversal"
    assert quality_note(row.drop(["quality_noise", "quality_limb_reversal"])) == ""
    assert quality_note(
        pd.Series({"age": 50, "quality_flat": True, "quality_pacemaker": None})
    ) == ("signal flagged: flat; pacemaker not judged")
    assert quality_note(pd.Series({"age": 50})) == "quality flags unavailable"
