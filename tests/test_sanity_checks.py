"""The stage as a user runs it: files, resuming, --strict, and what it says when something does not
fit.
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

import sanity_checks
from attribution.methods import METHODS
from common.cli import run
from common.files import UserError, read_npz
from common.labels import LABEL_MAPPINGS, LEADS
from common.stage import read_stage
from conftest import run_script
from networks.checkpoints import ModelInfo, load_checkpoint, load_model, save_checkpoint
from networks.models import get_model
from records.dataset import load_table
from sanity import figures as sanity_figures
from sanity.checks import CHECKS, checks_of
from sanity.subject import COLUMNS

METHODS_USED = ["saliency", "lrp", "random"]


@pytest.fixture(scope="module")
def amplitude_run(tmp_path_factory):
    """An untrained LeNet for the R amplitudes: its maps need not be good, only be scored."""
    torch.manual_seed(0)
    info = ModelInfo(
        "lenet",
        "R_Peak_Amplitude",
        LEADS,
        LEADS,
        100,
        2.5,
        {"train": [1], "validation": [9], "test": [10]},
        0,
    )
    path = tmp_path_factory.mktemp("amplitude") / "lenet_R_Peak_Amplitude"
    save_checkpoint(path / "checkpoints" / "best_model.ckpt", get_model("lenet", 12).eval(), info)
    return path


def arguments(cohort, trained, out, *more):
    return [
        "--model_path",
        str(trained),
        "--data_path",
        str(cohort),
        "--output_path",
        str(out),
        "--n_samples",
        "10",
        "--n_few",
        "3",
        "--methods",
        *METHODS_USED,
        *map(str, more),
    ]


def another_seed(trained, folder):
    """A checkpoint of its own with the same maps but for their size: the last layer is larger."""
    content, info = load_checkpoint(trained)
    facts = {name: value for name, value in content.items() if name not in ("model", "info")}
    model = load_model(trained)
    with torch.no_grad():
        for weights in list(model.parameters())[-2:]:
            weights *= 1.01
    path = folder / "checkpoints" / "best_model.ckpt"
    save_checkpoint(path, model, replace(info, seed=info.seed + 1), **facts)
    return folder


def write_answers(folder, ecg_ids):
    """What counterfactuals.py would have found: R in V5 turns NORM in every record."""
    folder.mkdir(parents=True)
    answers = pd.DataFrame({"ecg_id": ecg_ids, "pathology": "NORM", "turned": True})
    answers.to_csv(folder / "counterfactuals.csv", index=False)
    for name in ("edits", "alone"):
        answers.assign(edit="R V5", cost=1.5).to_csv(folder / f"{name}.csv", index=False)


@pytest.fixture(scope="module")
def finished(cohort, trained, amplitude_run, tmp_path_factory):
    """A whole run on a few records with three methods: (folder, the command's options)."""
    out = tmp_path_factory.mktemp("sanity")
    other = another_seed(trained, out / "seed 1, other")
    options = arguments(
        cohort, trained, out, "--amplitude_models", amplitude_run, "--seeds", other, "--strict"
    )
    write_answers(out / trained.name / "counterfactual", load_table(cohort).index)
    done = run_script("sanity_checks.py", *options)
    assert "about" in done.stderr.splitlines()[0]
    return out / trained.name / "sanity", options


def test_every_check_is_in_the_table_with_interval_chance_and_n(finished):
    folder, _ = finished
    table = pd.read_csv(folder / "checks.csv")
    assert list(table.columns) == [*COLUMNS, "favoured"]
    for check in sanity_checks.CHECKS:
        prefix = {
            "dose_response": "dose",
            "axioms": "axiom",
            "agreement": "agreement_methods",
            "seeds": "agreement_seeds",
            "layers": "layer",
        }.get(check, check)
        rows = table[table["check"].str.startswith(prefix)]
        if (
            check == "localisation"
            and not pd.read_csv(folder / "localisation_gate.csv")["passed"].sum()
        ):
            assert rows.empty  # a barely trained model need not use any cause
        elif check == "layers":
            assert {"gradcam@original", "gradcam@last"} <= set(rows["method"])
        else:
            assert set(METHODS_USED) <= set(rows["method"]), check
    known = table[table["n"] > 1].dropna(subset=["low"])
    assert (known["low"] <= known["value"] + 1e-9).all()
    assert (known["value"] <= known["high"] + 1e-9).all()
    assert not table.duplicated(["check", "method", "model", "task"]).any()


def test_the_same_model_as_another_seed_agrees_fully(finished):
    table = pd.read_csv(finished[0] / "checks.csv").set_index(["check", "method"])
    assert table.loc[("agreement_seeds_samples", "saliency"), "value"] == pytest.approx(1)


def test_figures_and_tables_beside_it(finished):
    written = {path.name for path in finished[0].iterdir()}
    assert {
        "details.csv",
        "comparisons.csv",
        "best.csv",
        "standings.csv",
        "axioms.csv",
        "dose_response.csv",
        "favours.csv",
        "localisation_gate.csv",
        "agreement_pairs.csv",
        "ranking.png",
        "ranking_column.png",
        "amplitude_boxes.png",
        "amplitude_curves.png",
        "randomisation.png",
        "removal.png",
        "layers.png",
        "agreement.png",
    } <= written


def test_flagged_records_are_counted_per_model(finished, cohort, amplitude_run):
    counts = pd.read_csv(finished[0] / "quality.csv").set_index("group")
    flags = load_table(cohort).filter(like="quality_").any(axis=1)
    ids = read_npz(next((finished[0] / "maps").glob("full__saliency__lenet_subdiagnostic.npz")))[
        "ecg_id"
    ]
    assert list(counts.index) == ["all", "lenet_subdiagnostic", amplitude_run.name]
    assert counts.loc["lenet_subdiagnostic", ["n_records", "n_flagged"]].tolist() == [
        len(ids),
        flags[ids].sum(),
    ]
    assert len(ids) <= counts.loc["all", "n_records"] <= counts["n_records"].iloc[1:].sum()


def test_nothing_is_clipped_in_figures_of_a_single_amplitude_model(finished):
    tables = {path.stem: pd.read_csv(path) for path in finished[0].glob("*.csv")}
    records = pd.concat(
        [pd.read_csv(path) for path in (finished[0] / "parts").iterdir()], ignore_index=True
    )
    sanity_figures.style()
    for name, draw in sanity_figures.FIGURES.items():
        figure = draw(tables, records)
        if figure is None:
            continue
        figure.draw_without_rendering()
        texts = [
            *figure.texts,
            *(ax.yaxis.label for ax in figure.axes),
            *(ax.title for ax in figure.axes),
        ]
        for one in [*figure.legends, *(text for text in texts if text.get_text())]:
            box = one.get_window_extent()
            inside = (
                min(box.x0, box.y0) > -1
                and box.x1 < figure.bbox.x1 + 1
                and box.y1 < figure.bbox.y1 + 1
            )
            assert inside, (name, one)
        plt.close(figure)


def test_finished_says_so_and_an_interrupted_run_ends_with_the_same_table(
    finished, monkeypatch, capsys
):
    folder, options = finished
    before = (folder / "checks.csv").read_bytes()
    sanity_checks.main(sanity_checks.get_args_parser().parse_args(options))
    assert "is finished" in capsys.readouterr().out
    state = folder / "sanity.json"
    state.write_text(state.read_text().replace('"finished"', '"running"'))
    (folder / "checks.csv").unlink()
    lost = next((folder / "parts").glob("axioms__saliency__*.csv"))
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in (folder / "parts").iterdir()}
    sanity_checks.main(sanity_checks.get_args_parser().parse_args(options))
    assert (folder / "checks.csv").read_bytes() == before
    assert lost.is_file()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def untrained(folder):
    """A LeNet whose outputs hardly move: its run folder."""
    torch.manual_seed(0)
    labels = LABEL_MAPPINGS["subdiagnostic"]
    model = get_model("lenet", len(labels)).eval()
    folds = {"train": list(range(1, 9)), "validation": [9], "test": [10]}
    info = ModelInfo("lenet", "subdiagnostic", tuple(labels), LEADS, 100, 2.5, folds, 0)
    save_checkpoint(folder / info.run_folder_name / "checkpoints" / "best_model.ckpt", model, info)
    return folder / info.run_folder_name


def test_other_settings_are_refused(finished, cohort, trained):
    _, options = finished
    done = run_script("sanity_checks.py", *options, "--n_samples", 11, check=False)
    assert done.returncode == 2
    assert "n_samples" in done.stderr
    assert "--overwrite" in done.stderr


def test_a_run_anew_leaves_no_figure_or_table_of_the_earlier_one(cohort, trained, tmp_path):
    folder = tmp_path / trained.name / "sanity"
    for checks in (("randomisation", "axioms"), ("axioms",)):
        options = arguments(cohort, trained, tmp_path, "--checks", *checks, "--overwrite")
        sanity_checks.main(sanity_checks.get_args_parser().parse_args(options))
        drawn = (folder / "randomisation.png").exists()
        assert drawn == ("randomisation" in checks)
    outputs = read_stage(folder / "sanity.json")["outputs"]
    there = {path.name for path in folder.iterdir() if path.is_file() and path.name[0] != "."}
    assert there - {"sanity.json"} <= outputs.keys()


def test_strict_fails_on_a_claim_that_does_not_hold(cohort, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(METHODS, "saliency", replace(METHODS["saliency"], axioms=("completeness",)))
    options = arguments(cohort, trained, tmp_path, "--checks", "axioms", "--strict")
    monkeypatch.setattr("sys.argv", ["sanity_checks.py", *options])
    for _ in range(2):  # the second time from the finished run
        with pytest.raises(SystemExit) as stopped:
            run(sanity_checks.main, sanity_checks.get_args_parser())
        assert stopped.value.code == 1
        assert "completeness" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / trained.name / "sanity" / "axioms.csv")
    assert table.loc[table["claimed"] & ~table["kept"], "axiom"].tolist() == ["completeness"]
    sanity_checks.main(
        sanity_checks.get_args_parser().parse_args(options[:-1])
    )  # without --strict it only says so


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--methods", "nonsense"), "unknown method"),
        (("--checks", "nonsense"), "unknown check"),
        (("--checks", "amplitude"), "none of the checks"),
        (("--amplitude_models", "RUN"), "not of an amplitude task"),
        (("--model_path", "AMPLITUDE"), "give a classifier"),
        (("--seeds", "AMPLITUDE"), "not another seed"),
        (("--amplitude_models", "AMPLITUDE", "AMPLITUDE"), "two networks of one task"),
        (("--task", "rhythm"), "contradicts the checkpoint"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_written(
    cohort, trained, amplitude_run, tmp_path, monkeypatch, capsys, more, said
):
    more = [{"RUN": str(trained), "AMPLITUDE": str(amplitude_run)}.get(word, word) for word in more]
    monkeypatch.setattr(
        "sys.argv", ["sanity_checks.py", *arguments(cohort, trained, tmp_path), *more]
    )
    with pytest.raises(SystemExit) as stopped:
        run(sanity_checks.main, sanity_checks.get_args_parser())
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.rglob("*.csv"))


def test_planted_causes_that_were_asked_for_and_are_not_there_are_refused(tmp_path):
    args = sanity_checks.get_args_parser().parse_args(["--planted", str(tmp_path)])
    with pytest.raises(UserError, match=r"--planted .* holds no planted causes"):
        checks_of(args, tmp_path)


def test_a_set_without_planted_causes_leaves_localisation_out(
    trained, cohort, tmp_path, monkeypatch, capsys
):
    args = sanity_checks.get_args_parser().parse_args(arguments(tmp_path, trained, tmp_path))
    checks, planted = checks_of(args, tmp_path)
    assert set(CHECKS) - set(checks) == {
        "amplitude",
        "counterfactual",
        "seeds",
        "localisation",
        "layers",
    }
    assert planted is None
    [left_out] = [line for line in capsys.readouterr().out.splitlines() if "left out: " in line]
    assert "localisation (no planted causes in" in left_out


@pytest.mark.parametrize("check", ["localisation", "layers"])
def test_no_record_through_the_gate_is_said_in_one_line(cohort, tmp_path, check):
    run = untrained(tmp_path)
    done = run_script(
        "sanity_checks.py",
        "--model_path",
        run,
        "--data_path",
        cohort,
        "--output_path",
        tmp_path / "out",
        "--checks",
        check,
        "--methods",
        "saliency",
        "--n_samples",
        8,
        "--threads",
        1,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "no record passes the intervention gate" in done.stderr.splitlines()[-1]
