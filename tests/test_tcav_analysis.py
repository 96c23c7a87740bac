"""The stage from the command line: what it writes, that it is the same twice, and its words for
what cannot be.
"""

import contextlib
import io
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch

import tcav_analysis
from common import cli
from common.files import UserError, read_npz, write_csv, write_npy, write_pickle
from common.labels import LABEL_MAPPINGS, LEADS
from conftest import run_script
from networks.checkpoints import ModelInfo, save_checkpoint
from networks.models import get_model
from records.dataset import load_dataset
from tcav.activations import layer_names
from tcav.controls import MIN_CLASS

SMALL = ("--n_null", "99", "--n_runs", "4", "--test_runs", "2", "--threads", "1")
TASK = "superdiagnostic"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A small data set whose flags `tall` (raises the signal) and `chance` are known, and
    checkpoints of untrained models.
    """
    folder, rng = tmp_path_factory.mktemp("tcav"), np.random.default_rng(0)
    n = 240
    tall = rng.random(n) < 0.4
    table = pd.DataFrame(
        {
            "ecg_id": np.arange(1, n + 1),
            "patient_id": np.arange(n) // 2,
            "age": rng.integers(20, 90, n),
            "sex": rng.integers(0, 2, n),
            "strat_fold": np.arange(n) // 2 % 10 + 1,
            "r_peaks": "50 150",
            "SLI-LVH": tall,
            "Sex": rng.random(n) < 0.5,
            "decoy_chance": np.where(rng.random(n) < 0.1, None, rng.random(n) < 0.4),
            "MI-RPeak": np.arange(n) == 0,
            "always": True,
            "words": "yes",
            "quality_drift": np.arange(n) % 3 == 0,
        }
    )
    signals = rng.normal(size=(n, 500, 12)).astype(np.float32) * np.where(tall, 2, 1)[
        :, None, None
    ].astype(np.float32)
    labels = (rng.random((n, 5)) < 0.4).astype(int)
    labels[:, LABEL_MAPPINGS[TASK].index("STTC")] = 0
    write_csv(folder / "data" / "ptbxl_database_enriched.csv", table)
    write_pickle(folder / "data" / "raw100.pkl", signals)
    write_npy(folder / "data" / f"multihot_{TASK}.npy", labels)
    for modelname in ("lenet", "resnet", "xresnet"):
        torch.manual_seed(1)
        model = get_model(modelname, 5)
        info = ModelInfo(
            modelname, TASK, tuple(LABEL_MAPPINGS[TASK]), LEADS, 100, 2.5, {"train": [1]}, 0
        )
        save_checkpoint(
            folder / f"{modelname}_{TASK}" / "checkpoints" / "best_model.ckpt", model, info
        )
    return folder


def command(workplace, output, *options, modelname="lenet"):
    return [
        f"--modeltype={modelname}",
        f"--model_checkpoint_path={workplace}/{modelname}_{TASK}/checkpoints/best_model.ckpt",
        f"--logdir={output}/",
        "--data_path",
        str(workplace / "data"),
        *SMALL,
        *options,
    ]


def analyse(*arguments, **keywords):
    """The stage within this process, to save the start-up; returns what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        tcav_analysis.main(
            tcav_analysis.get_args_parser().parse_args(command(*arguments, **keywords))
        )
    return printed.getvalue()


@pytest.fixture(scope="module")
def finished(workplace):
    done = run_script("tcav_analysis.py", *command(workplace, workplace / "out"))
    return workplace / "out" / f"lenet_{TASK}" / "tcav", done


def test_readme_command_writes_everything(finished, workplace):
    folder, done = finished
    scores, runs = (pd.read_csv(folder / name) for name in ("scores.csv", "runs.csv"))
    assert scores["concept"].unique().tolist() == ["SLI-LVH", "Sex"]
    assert scores["layer"].unique().tolist() == layer_names(get_model("lenet", 5))
    assert scores["pathology"].unique().tolist() == ["NORM", "HYP", "CD", "MI"]
    assert len(scores) == 2 * 15 * 4
    assert (scores["learnt"] == "not asked").all()  # there was no --control
    assert len(runs) == len(scores) * 4 * 2
    assert {
        "score",
        "score_low",
        "score_high",
        "magnitude",
        "cav_accuracy",
        "p",
        "p_corrected",
        "n_positive",
        "n_class",
    } <= set(scores)
    assert (
        scores["associated"] == (scores["pathology"] == "HYP") & (scores["concept"] == "SLI-LVH")
    ).all()
    assert "left out: STTC (no record in fold 10)" in done.stdout
    assert "MI-RPeak (1 training records show it, --min_positives is 20)" in done.stdout
    assert "smallest possible corrected p: 0.02" in done.stdout
    cavs = read_npz(folder / "cavs.npz")
    assert cavs["concepts"].tolist() == ["SLI-LVH", "Sex"]
    np.testing.assert_allclose(np.linalg.norm(cavs["cav/block1.relu"], axis=1), 1, rtol=1e-5)
    assert {path.name for path in folder.glob("*.png")} == {
        "concept_SLI-LVH.png",
        "concept_Sex.png",
        "summary_concept.png",
    }
    assert list((folder / "tensorboard").glob("events*"))


def test_flagged_class_records_are_counted_per_class(finished, workplace):
    data = load_dataset(workplace / "data", TASK).in_folds([10])
    counts = pd.read_csv(finished[0] / "quality.csv").set_index("group")
    assert list(counts.index) == ["all", "NORM", "HYP", "CD", "MI"]
    drifting = data.table["quality_drift"].to_numpy()
    for name, member in {
        "all": data.labels.any(axis=1),
        **dict(zip(data.label_names, data.labels.T > 0, strict=True)),
    }.items():
        if name != "STTC":
            assert counts.loc[name, ["n_records", "n_flagged"]].tolist() == [
                member.sum(),
                (member & drifting).sum(),
            ]
    n = counts.loc["all"]
    assert (
        f"{n['n_flagged']:.0f} of {n['n_records']:.0f} explained records with a quality flag: "
        f"drift {n['drift']:.0f}; "
        "not judged: flat, clipped"
    ) in finished[1].stdout


def test_a_concept_that_doubles_the_signal_is_seen_and_chance_is_not(finished):
    scores = pd.read_csv(finished[0] / "scores.csv").groupby(["concept", "layer"]).first()
    assert scores.loc[("SLI-LVH", "block1.relu"), "cav_accuracy"] > 0.9
    assert scores.loc["SLI-LVH"]["cav_valid"]["block1.relu"]
    assert scores.loc[("Sex", "block1.relu"), "cav_accuracy"] < 0.65


def test_same_seed_same_bytes_and_another_seed_others(finished, workplace, tmp_path):
    analyse(workplace, tmp_path / "same")
    folder = tmp_path / "same" / f"lenet_{TASK}" / "tcav"
    for name in ("scores.csv", "runs.csv"):
        assert (folder / name).read_bytes() == (finished[0] / name).read_bytes()
    again = analyse(workplace, tmp_path / "same")
    assert "is finished" in again
    with pytest.raises(UserError, match="seed: 0 there, 1 here"):
        analyse(workplace, tmp_path / "same", "--seed", "1")
    analyse(
        workplace,
        tmp_path / "same",
        "--seed",
        "1",
        "--overwrite",
        "--concepts",
        "SLI-LVH",
        "--layers",
        "hidden",
    )
    assert (folder / "scores.csv").read_bytes() != (finished[0] / "scores.csv").read_bytes()
    shown = {path.name for path in folder.glob("*.png")}
    assert shown == {"concept_SLI-LVH.png", "summary_concept.png"}  # none of the earlier run


def test_figures_need_nothing_but_the_table(finished, tmp_path):
    from tcav.figures import write_figures

    shutil.copy(finished[0] / "scores.csv", tmp_path)
    paths = write_figures(
        pd.read_csv(tmp_path / "scores.csv", keep_default_na=False, na_values=[""]), tmp_path
    )
    for path in paths:
        assert path.read_bytes() == (finished[0] / path.name).read_bytes()


@pytest.mark.parametrize("modelname", ["resnet", "xresnet"])
def test_other_models(workplace, tmp_path, modelname):
    analyse(
        workplace,
        tmp_path,
        "--concepts=[SLI-LVH,",
        "decoy_chance]",
        "--layers",
        "stem,head",
        "--protocol",
        "centre_crop",
        "--pathologies",
        "NORM",
        "MI",
        modelname=modelname,
    )
    scores = pd.read_csv(tmp_path / f"{modelname}_{TASK}" / "tcav" / "scores.csv")
    assert scores.groupby("concept").size().to_dict() == {"SLI-LVH": 4, "decoy_chance": 4}
    blank = scores.set_index("concept").loc["decoy_chance"].iloc[0]
    assert blank["n_positive"] + blank["n_negative"] < 192


def test_relative_matched_and_applied(workplace, finished, tmp_path):
    analyse(
        workplace,
        tmp_path,
        "--relative",
        "SLI-LVH",
        "Sex",
        "--match",
        "sex",
        "age",
        "--layers",
        "block2.relu",
        "--cav",
        "logistic",
        "--n_null",
        "49",
        "--min_positives",
        "10",
    )
    folder = tmp_path / f"lenet_{TASK}"
    scores = pd.read_csv(folder / "tcav" / "scores.csv")
    assert set(zip(scores["concept"], scores["run_kind"], strict=True)) == {
        (concept, kind) for concept in ("SLI-LVH", "Sex") for kind in ("concept", "relative")
    }
    assert (folder / "tcav" / "relative_Sex.png").is_file()
    relative = scores[(scores["run_kind"] == "relative") & (scores["concept"] == "Sex")].iloc[0]
    assert relative["n_positive"] + relative["n_negative"] < 192
    analyse(workplace, tmp_path, "--apply", str(folder / "tcav" / "cavs.npz"), "--folds", "9")
    applied = pd.read_csv(folder / "tcav_applied" / "projections.csv")
    assert applied.columns.tolist() == [
        "ecg_id",
        "layer",
        "SLI-LVH/concept",
        "Sex/concept",
        "SLI-LVH/relative",
        "Sex/relative",
    ]
    table = pd.read_csv(workplace / "data" / "ptbxl_database_enriched.csv").set_index("ecg_id")
    tall = table.loc[applied["ecg_id"], "SLI-LVH"].to_numpy()
    values = applied["SLI-LVH/concept"].to_numpy()
    assert values[tall].min() > np.median(values[~tall])
    assert len(applied) == (table["strat_fold"] == 9).sum()


def test_untrained_networks_are_held_against_controls_and_have_learnt_nothing(workplace, tmp_path):
    seeds = []
    for seed in (1, 2):
        torch.manual_seed(20 + seed)
        labels = tuple(LABEL_MAPPINGS[TASK])
        info = ModelInfo("lenet", TASK, labels, LEADS, 100, 2.5, {"train": [1]}, seed)
        seeds.append(str(tmp_path / f"seed{seed}.ckpt"))
        save_checkpoint(seeds[-1], get_model("lenet", 5), info)
    options = ("--control", "4", "--layers", "block3.relu", "hidden")
    said = analyse(workplace, tmp_path / "out", *options, "--seeds", *seeds)
    scores = pd.read_csv(tmp_path / "out" / f"lenet_{TASK}" / "tcav" / "scores.csv")
    assert (
        "3 trained networks against 4 of each kind of control; smallest possible p: 0.057" in said
    )
    assert scores["n_trained"].eq(3).all()
    assert scores["n_controls"].eq(4).all()
    assert scores["p_control_corrected"].between(2 / 35 - 1e-6, 1).all()
    assert (scores["p_control_corrected"] >= scores["p_control"]).all()
    assert (scores["control_low"] <= scores["control_high"]).all()
    of_pair = scores.groupby(["concept", "pathology"])[["p_control", "learnt"]]
    assert of_pair.nunique().eq(1).all().all()
    enough = scores["n_class"] >= MIN_CLASS
    assert scores.loc[enough, "p_class"].between(0, 1).all()
    assert scores.loc[~enough, "p_class"].isna().all()
    assert scores.groupby("pathology")["p_class"].nunique().le(1).all()
    assert set(scores["learnt"]) <= {"special", "neither"}
    assert "0 learnt" in said
    assert len(list((tmp_path / "out" / "controls").rglob("*.ckpt"))) == 8
    with pytest.raises(UserError, match="the same network as"):
        analyse(workplace, tmp_path / "new", *options, "--seeds", seeds[0], seeds[0])


def test_other_flags_under_the_same_name_are_not_taken_for_these(workplace, tmp_path):
    shutil.copytree(workplace / "data", tmp_path / "data")
    options = ("--concepts", "Sex", "--layers", "pool", "--n_null", "49")
    analyse(workplace, tmp_path / "out", "--data_path", str(tmp_path / "data"), *options)
    path = tmp_path / "data" / "ptbxl_database_enriched.csv"
    table = pd.read_csv(path)
    table.assign(Sex=table["Sex"].sample(frac=1, random_state=0).to_numpy()).to_csv(
        path, index=False
    )
    with pytest.raises(UserError, match="data: "):
        analyse(workplace, tmp_path / "out", "--data_path", str(tmp_path / "data"), *options)


def test_a_concept_that_a_whole_class_shows_is_named(workplace, tmp_path):
    shutil.copytree(workplace / "data", tmp_path / "data")
    path, data = (
        tmp_path / "data" / "ptbxl_database_enriched.csv",
        load_dataset(workplace / "data", TASK),
    )
    member = data.labels[:, data.label_names.index("MI")] > 0
    table = pd.read_csv(path)
    table["Sex"] = np.where(member, True, table["Sex"].astype(bool))
    table.to_csv(path, index=False)
    said = analyse(
        workplace,
        tmp_path / "out",
        "--data_path",
        str(tmp_path / "data"),
        "--concepts",
        "Sex",
        "--layers",
        "pool",
        "--n_null",
        "49",
    )
    assert "note: shown by all or none of a class's training records: Sex in MI" in said


def test_constant_layers_are_named_before_anything_is_written(workplace, tmp_path):
    torch.manual_seed(1)
    model = get_model("lenet", 5)
    torch.nn.init.zeros_(model.hidden.weight)
    info = ModelInfo("lenet", TASK, tuple(LABEL_MAPPINGS[TASK]), LEADS, 100, 2.5, {"train": [1]}, 0)
    save_checkpoint(tmp_path / "dead.ckpt", model, info)
    with pytest.raises(
        UserError,
        match="64 training records: layer hidden, hidden_relu, head; name the others with --layers",
    ):
        analyse(workplace, tmp_path / "out", "--model_path", str(tmp_path / "dead.ckpt"))
    assert not (tmp_path / "out").exists()
    analyse(
        workplace,
        tmp_path / "out",
        "--model_path",
        str(tmp_path / "dead.ckpt"),
        "--layers",
        "pool",
        "--concepts",
        "Sex",
    )


def test_a_patient_on_both_sides_is_refused(workplace, tmp_path):
    shutil.copytree(workplace / "data", tmp_path / "data")
    path = tmp_path / "data" / "ptbxl_database_enriched.csv"
    table = pd.read_csv(path)
    moved = table.index[table["strat_fold"] == 1][0]
    table.loc[moved, "strat_fold"] = 10
    table.to_csv(path, index=False)
    with pytest.raises(
        UserError, match=r"1 patients \(patient_id 0\) have records in folds 1-8 and in fold 10"
    ):
        analyse(workplace, tmp_path / "out", "--data_path", str(tmp_path / "data"))
    assert not (tmp_path / "out").exists()


def test_class_records_of_training_folds_are_taken_where_asked_for_and_said(
    workplace, tmp_path, capsys
):
    folds = [str(fold) for fold in range(1, 11)]
    analyse(workplace, tmp_path / "out", "--folds", *folds, "--concepts", "Sex")
    said = capsys.readouterr().err
    assert "note: class records of fold 1, 2, 3, 4, 5, 6, 7, 8 are in" in said
    scores = pd.read_csv(tmp_path / "out" / f"lenet_{TASK}" / "tcav" / "scores.csv")
    data = load_dataset(workplace / "data", TASK)
    counts = dict(zip(LABEL_MAPPINGS[TASK], data.labels.sum(axis=0), strict=True))
    assert (scores["n_class"] == scores["pathology"].map(counts)).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--concepts", "nonsense"], "unknown concept nonsense"),
        (["--concepts", "always"], "always cannot be tested: all 192 training records show it"),
        (
            ["--concepts", "words"],
            "column words holds yes, where True, False or a blank is expected",
        ),
        (["--concepts", "MI-RPeak"], "1 training records show it, --min_positives is 20"),
        (["--pathologies", "AMI"], "unknown pathology AMI: accepted are CD, HYP, MI, NORM, STTC"),
        (["--pathologies", "STTC"], "no record of STTC in fold 10"),
        (["--layers", "block9"], "unknown layer block9: accepted are block1.conv"),
        (["--n_runs", "1"], "--n_runs 1 shows no spread"),
        (["--n_null", "30"], "--n_null 30 is too small for any significance"),
        (["--folds", "11"], "11 is not a fold"),
        (
            ["--relative", "SLI-LVH", "Sex", "--min_positives", "60"],
            "SLI-LVH against the others cannot be tested: ",
        ),
        (["--relative", "Sex"], "--relative needs at least two concepts"),
        (["--match", "shoes"], "unknown matching shoes"),
        (["--modeltype", "resnet"], "--modelname resnet contradicts the checkpoint"),
        (["--pool", "none", "--coordinates", "white"], "--coordinates white needs at most 1024"),
        (["--max_memory", "0.00001"], "alone needs"),
        (
            ["--seeds", "nowhere.ckpt"],
            "other seeds are held against control networks: add --control",
        ),
        (["--control", "2", "--seeds", "nowhere.ckpt"], "nowhere.ckpt does not exist"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    workplace, tmp_path, options, words, monkeypatch, capsys
):
    checkpoint = workplace / f"lenet_{TASK}" / "checkpoints" / "best_model.ckpt"
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "tcav_analysis.py",
            "--model_path",
            str(checkpoint),
            "--output_path",
            str(tmp_path / "out"),
            "--data_path",
            str(workplace / "data"),
            *options,
        ],
    )
    with pytest.raises(SystemExit) as ended:
        cli.run(tcav_analysis.main, tcav_analysis.get_args_parser())
    assert ended.value.code == 2
    error = capsys.readouterr().err.strip()
    assert words in error
    assert error.count("\n") == 0
    assert not (tmp_path / "out").exists()
