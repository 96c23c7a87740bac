"""The glocal stage on a simulated cohort: files, reproducibility, reuse of local maps,
cross-fitting, refusals.
"""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import glocal_analysis
from attribution.cards import CARDS, planted_cards, planted_path, textbook_cards
from attribution.cells import CellMaps, cell_maps, density
from attribution.methods import METHODS, attribute_records
from common import figure_files
from common.files import UserError, sha256, write_text
from common.labels import LEADS, TASKS
from common.stage import Stage
from common.stats import patient_weights
from ecg.beats import cut_beats, find_beats
from ecg.segments import SEGMENTS
from glocal import figures as glocal_figures
from glocal import groups as glocal_groups
from glocal import tables as glocal_tables
from glocal.groups import (
    Asked,
    check_cross_fit,
    fill_group,
    fill_groups,
    label_bars,
    load_pool,
    make_group,
    twin_of,
)
from glocal.scorecard import permuted_cards, score
from networks.checkpoints import ModelInfo, load_model, save_checkpoint
from networks.models import get_model
from records.dataset import load_dataset
from records.segmentations import load_segments

SMALL = ("--selection", "all", "--n_samples", "8", "--n_bootstrap", "40", "--n_permutations", "99")


def run(*arguments):
    """The stage in this process."""
    glocal_analysis.main(glocal_analysis.get_args_parser().parse_args(list(map(str, arguments))))


@pytest.fixture(scope="module")
def no_figures():
    """Tables alone: figures take seconds, and one run draws them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glocal_figures, "draw_all", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def done(cohort, trained, tmp_path_factory):
    """A whole run with figures and a contrast: its glocal folder."""
    output = tmp_path_factory.mktemp("glocal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_files, "FORMATS", ("png",))  # a pdf each would take seconds more
        run(
            "--data_path",
            cohort,
            "--model_path",
            trained,
            "--output_path",
            output,
            *SMALL,
            "--pathologies",
            "LVH",
            "NORM",
            "--contrast",
            "LVH",
            "NORM",
        )
    return output / trained.name / "glocal"


# ---------------------------------------------------------------- files


def test_every_map_is_a_tidy_table(done):
    table = pd.read_csv(done / "segments.csv")
    assert list(table.columns[:9]) == [
        "pathology",
        "method",
        "lead",
        "segment",
        "density",
        "share",
        "low",
        "high",
        "rank",
    ]
    assert set(table["method"]) == {"saliency", "random", "input_magnitude"}
    assert len(table) == 2 * 3 * 288
    assert list(table["lead"].unique()) == list(LEADS)
    assert list(table["segment"].unique()) == list(SEGMENTS)
    for _, one in table.groupby(["pathology", "method"]):
        assert one["share"].sum() == pytest.approx(1)
        assert one["time_share"].sum() == pytest.approx(1)
        known = one.dropna(subset=["low", "high"])
        assert (
            (known["low"] <= known["density"] + 1e-9) & (known["density"] <= known["high"] + 1e-9)
        ).mean() > 0.95
        assert sorted(one["rank"].dropna())[:5] == [1, 2, 3, 4, 5]


def test_ranks_say_whether_they_hang_on_boundaries(done):
    table = pd.read_csv(done / "segments.csv")
    of_network = table["method"] == "saliency"
    known = table[of_network & table["rank"].notna()]
    assert known["rank_stability"].between(0, 1).all()
    assert (known["rank_low"] <= known["rank_high"]).all()
    # most cells are far from the first five and stay outside of them
    assert known["rank_stability"].median() == 1
    assert table.loc[~of_network, "rank_stability"].isna().all()
    card = pd.read_csv(done / "scorecard.csv")
    assert card["rank"].between(1, card["card"].nunique()).all()
    assert card.loc[card["method"] == "saliency", "rank_stability"].between(0, 1).all()


def test_beats_and_groups_say_who_was_averaged(done):
    beats, groups, records = (
        pd.read_csv(done / f"{name}.csv") for name in ("beats", "groups", "records")
    )
    assert beats.groupby(["pathology", "method", "lead"]).size().eq(80).all()
    assert (beats["low"] <= beats["median"]).all()
    assert (beats["median"] <= beats["high"]).all()
    assert (beats["relevance"] >= beats["signed"].abs() - 1e-9).all()
    assert records.groupby("pathology").size().eq(8).all()
    assert (
        records.groupby("pathology")["logit"]
        .apply(lambda logit: logit.is_monotonic_decreasing)
        .all()
    )
    assert (records["fold"] == 10).all()
    assert groups["n_beats"].max() == records.groupby("pathology")["n_beats"].sum().max()


def test_scorecard_holds_every_map_against_every_card(done, cohort):
    table = pd.read_csv(done / "scorecard.csv")
    assert {
        "pathology",
        "method",
        "card",
        "own",
        "lift",
        "low",
        "high",
        "p",
        "p_holm",
        "p_floor",
        "top5_precision",
    } <= set(table)
    cards = set(table["card"])
    assert {"LVH", "CLBBB", "IMI", "AMI"} <= cards  # the planted ones: the cohort is simulated
    assert len(table) == 2 * 3 * len(cards)
    assert (table["own"] == (table["card"] == table["pathology"])).all()
    assert table.loc[table["method"] == "random", "lift"].between(0.9, 1.1).all()
    assert table["p"].between(1 / 100, 1).all()
    assert table.loc[~table["own"], "p_holm"].isna().all()
    rules = pd.read_csv(done / "rules.csv")
    assert list(rules.columns) == ["pathology", "leads", "segments", "sign", "reads", "source"]


def test_figures_and_contrast_are_written(done):
    for name in (
        "groups_saliency",
        "cells_saliency_LVH",
        "contrast_LVH_NORM_saliency",
        "scorecard",
    ):
        assert (done / f"{name}.png").stat().st_size > 20_000
    table = pd.read_csv(done / "contrast.csv")
    assert len(table) == 3 * 288
    assert set(table["target"]) == {"LVH"}
    assert (table["p_holm"].dropna() >= table["p"].dropna()).all()


def test_the_same_command_says_it_is_done_and_another_is_refused(done, cohort, trained, capsys):
    common = (
        "--data_path",
        cohort,
        "--model_path",
        trained,
        "--output_path",
        done.parent.parent,
        *SMALL,
        "--pathologies",
        "LVH",
        "NORM",
    )
    before = sha256(done / "segments.csv")
    run(*common, "--contrast", "LVH", "NORM")
    assert "is finished" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"other settings .*contrast"):
        run(*common)
    assert sha256(done / "segments.csv") == before


def test_same_seed_same_bytes(done, cohort, trained, tmp_path, no_figures):
    folder = tmp_path / trained.name / "glocal"
    with Stage(folder, "glocal", {}) as earlier:  # of other settings, interrupted
        write_text(folder / "cells_saliency_AMI.png", "of an earlier run")
    assert not earlier.finished
    run(
        "--overwrite",
        "--data_path",
        cohort,
        "--model_path",
        trained,
        "--output_path",
        tmp_path,
        *SMALL,
        "--pathologies",
        "LVH,NORM",
        "--contrast=[LVH, NORM]",
    )
    assert not list(folder.glob("*.png"))
    for name in ("segments", "beats", "scorecard", "contrast", "records", "quality"):
        assert sha256(done / f"{name}.csv") == sha256(
            tmp_path / trained.name / "glocal" / f"{name}.csv"
        ), name


def test_flagged_records_are_counted_per_group(cohort, trained, tmp_path, no_figures, capsys):
    flagged = tmp_path / "flagged"
    shutil.copytree(cohort, flagged)
    table = pd.read_csv(flagged / "ptbxl_database_enriched.csv")
    planted = {name: False for name in table if name.startswith("quality_")} | {
        "quality_limb_reversal": table["ecg_id"] % 3 == 0
    }
    table.assign(**planted).to_csv(flagged / "ptbxl_database_enriched.csv", index=False)
    run(
        "--data_path",
        flagged,
        "--model_path",
        trained,
        "--output_path",
        tmp_path,
        *SMALL,
        "--pathologies",
        "LVH",
        "NORM",
    )
    folder = tmp_path / trained.name / "glocal"
    records, counts = (
        pd.read_csv(folder / "records.csv"),
        pd.read_csv(folder / "quality.csv").set_index("group"),
    )
    assert list(counts.index) == ["all", "LVH", "NORM"]
    for name, ids in {
        "all": records["ecg_id"].drop_duplicates(),
        **dict(list(records.groupby("pathology")["ecg_id"])),
    }.items():
        assert counts.loc[name, ["n_records", "n_flagged", "limb_reversal"]].tolist() == [
            len(ids),
            *[(ids % 3 == 0).sum()] * 2,
        ]
    n = counts.loc["all"]
    assert (
        f"{n['n_flagged']:.0f} of {n['n_records']:.0f} explained records with a quality flag: "
        f"limb reversal {n['n_flagged']:.0f}\n"
    ) in capsys.readouterr().out


# ---------------------------------------------------------------- against plain computation


def test_group_heat_and_cells_equal_a_plain_computation(cohort, trained):
    model = load_model(trained)
    data = load_dataset(cohort, model.info.task)
    pool = load_pool([model], data, [10])
    group = make_group(pool, "LVH", "all", 5, "centre_crop")
    fill_group(group, pool, ["saliency"])
    again, other = twin_of(group), twin_of(group)
    fill_groups([Asked(again), Asked(other, target="NORM")], pool, ["saliency"])
    again, other = (twin.cells["saliency"] for twin in (again, other))
    np.testing.assert_array_equal(again.relevance, group.cells["saliency"].relevance)
    assert not np.allclose(other.relevance, again.relevance)
    maps = attribute_records(
        model, group.data.signals, model.info.index("LVH"), "saliency", "centre_crop"
    )
    crop = slice(375, 625 - 27)  # LeNet never reads the last 27 samples
    kept = [
        (row, peak)
        for row in range(5)
        for peak in group.data.r_peaks(row)
        if peak - 30 >= crop.start and peak + 50 <= crop.stop
    ]
    plain = np.stack([maps[row, peak - 30 : peak + 50] for row, peak in kept])
    np.testing.assert_allclose(
        group.heat["saliency"], np.abs(plain).mean(axis=0), rtol=1e-4, atol=1e-9
    )
    np.testing.assert_allclose(
        group.signed_heat["saliency"], plain.mean(axis=0), rtol=1e-3, atol=1e-7
    )
    windows = np.stack([group.data.signals[row, peak - 30 : peak + 50] for row, peak in kept])
    for found, quantile in zip(group.median_beat(), (50, 5, 95), strict=True):
        np.testing.assert_allclose(
            found, np.percentile(windows, quantile, axis=0), rtol=1e-5, atol=1e-6
        )
    weights = load_segments(group.data, np.arange(5))[:, crop]
    summed = np.einsum("ntl,ntlk->nlk", np.abs(maps[:, crop]), weights)
    np.testing.assert_allclose(group.cells["saliency"].relevance, summed, rtol=1e-4, atol=1e-8)
    bars = label_bars(group, model.info.labels)
    assert bars[0][:2] == (
        "LVH",
        pytest.approx(group.data.labels[:, model.info.index("LVH")].mean()),
    )
    assert bars[0][2] == pytest.approx(group.probability[:, model.info.index("LVH")].mean())


def test_batches_do_not_change_the_maps(cohort, trained, monkeypatch):
    model = load_model(trained)
    pool = load_pool([model], load_dataset(cohort, model.info.task), [10])
    groups = []
    for batch in (3, 32):
        monkeypatch.setattr(glocal_groups, "BATCH", batch)
        groups.append(make_group(pool, "NORM", "all", 7))
        fill_group(groups[-1], pool, ["saliency", "random"])
    for method in ("saliency", "random"):
        np.testing.assert_allclose(
            density(groups[0].cells[method]), density(groups[1].cells[method]), rtol=1e-4, atol=1e-9
        )
        np.testing.assert_allclose(
            groups[0].heat[method], groups[1].heat[method], rtol=1e-4, atol=1e-9
        )


def test_the_score_separates_the_planted_card_from_the_others(cohort):
    """A map of what really differs (the label's mean beat less that of NORM) stands out on its own
    card and not on the others.
    """
    data = load_dataset(cohort, "subdiagnostic")
    names = ("LVH", "CLBBB", "IMI", "AMI")
    cards = planted_cards(planted_path(cohort), "subdiagnostic", names)
    only = data.labels.sum(axis=1) == 1
    chosen = {
        name: np.flatnonzero(only & (data.labels[:, data.label_names.index(name)] == 1))[:25]
        for name in (*names, "NORM")
    }
    normal = _aligned(data, chosen["NORM"])[0].mean(axis=0)
    lead_lifts = {}
    for name in names:
        windows, beats, group = _aligned(data, chosen[name])
        maps = np.zeros(group.signals.shape)
        difference = windows.mean(axis=0) - normal
        for record, samples in zip(beats.record, beats.samples, strict=True):
            maps[record, samples] = difference
        cells = cell_maps(maps, load_segments(group, np.arange(len(group))), group.patient_id)
        weights = patient_weights(cells.patients, 20, 0)
        for card in names:
            entry = score(cells, cards[card], weights, permuted_cards(cards[card].cells, 500, 0))
            lead_lifts[name, card] = entry["lead_lift"]
            if name == card:
                assert entry["p"] < 0.05, (name, entry)
    for name in names:
        assert max(names, key=lambda card, name=name: lead_lifts[name, card]) == name, (
            name,
            lead_lifts,
        )


def _aligned(data, rows):
    group = data.rows(rows)
    beats = find_beats(
        [group.r_peaks(row) for row in range(len(group))], group.signals.shape[1], 100
    )
    return cut_beats(group.signals, beats), beats, group


def test_every_method_of_the_registry_maps(cohort, trained):
    model = load_model(trained)
    pool = load_pool([model], load_dataset(cohort, model.info.task), [10])
    group = make_group(pool, "LVH", "all", 1, "centre_crop")
    quick = [name for name, declared in METHODS.items() if declared.passes < 500]
    fill_group(group, pool, [*quick, "shapley"])  # the others draw coalitions of the same players
    for method in group.cells:
        declared = METHODS[method]
        cells, heat = density(group.cells[method]), group.heat[method]
        assert np.isfinite(heat).all(), method
        assert np.isfinite(cells.compressed()).all(), method
        if heat.any():  # Grad-CAM is rectified: all zero is possible
            assert np.allclose(heat, heat[:, :1]) != declared.has_lead_axis, method


def test_maps_that_are_zero_everywhere_have_tables_but_no_score(capsys):
    time = np.full((3, 12, 24), 5.0)
    some, none = (
        CellMaps(time, time, time, np.arange(3)),
        CellMaps(0 * time, 0 * time, time, np.arange(3)),
    )
    group = SimpleNamespace(
        pathology="IMI",
        data=SimpleNamespace(patient_id=np.arange(3)),
        cells={"lrp": some, "guided_gradcam": none, "input_magnitude": some},
        jittered={},
    )
    table = glocal_tables.scorecard_csv(
        [group], textbook_cards(["IMI", "AMI"]), list(group.cells), 20, 50, 0
    )
    assert set(table["method"]) == {"lrp", "input_magnitude"}
    assert "no scorecard for guided_gradcam of IMI" in capsys.readouterr().err
    cells = glocal_tables.cells_of(
        glocal_tables.segments_csv([group], ["guided_gradcam"], 20, 0), "IMI", "guided_gradcam"
    )
    assert np.isnan(cells["density"]).all()
    assert np.isnan(cells["rank"]).all()


# ---------------------------------------------------------------- cross-fitting


def checkpoint(folder, seed, test, task="subdiagnostic", modelname="lenet"):
    """An untrained network that says its test folds."""
    torch.manual_seed(seed)
    train = [fold for fold in range(1, 11) if fold not in test]
    info = ModelInfo(
        modelname,
        task,
        tuple(TASKS[task]),
        LEADS,
        100,
        2.5,
        {"train": train, "validation": [], "test": list(test)},
        seed,
        thresholds=(0.0,) * len(TASKS[task]),
    )
    path = folder / f"{seed}.ckpt"
    save_checkpoint(path, get_model(modelname, len(info.labels)), info)
    return path


def test_cross_fit_explains_each_record_by_the_model_that_has_not_seen_it(cohort, tmp_path):
    models = [load_model(checkpoint(tmp_path, seed, test)) for seed, test in ((1, [9]), (2, [10]))]
    data = load_dataset(cohort, "subdiagnostic")
    pool = load_pool(models, data)
    assert sorted(set(pool.data.fold)) == [9, 10]
    assert (pool.data.fold == np.where(pool.model_of == 0, 9, 10)).all()
    group = make_group(pool, "NORM", "all", 30, "centre_crop")
    fill_group(group, pool, ["saliency"])
    target = models[0].info.index("NORM")
    for row in (0, 7, 29):
        model = models[0] if group.data.fold[row] == 9 else models[1]
        maps = attribute_records(
            model, group.data.signals[[row]], target, "saliency", "centre_crop"
        )
        plain = np.nansum(np.abs(maps[0]))
        assert group.cells["saliency"].relevance[row].sum() == pytest.approx(plain, rel=1e-4)


def test_cross_fit_refuses_checkpoints_that_do_not_belong_together(tmp_path):
    infos = [
        load_model(checkpoint(tmp_path, seed, test)).info for seed, test in ((1, [9]), (2, [9, 10]))
    ]
    with pytest.raises(UserError, match="fold 9 as its test fold"):
        check_cross_fit(infos)
    other = load_model(checkpoint(tmp_path, 3, [10], task="superdiagnostic")).info
    with pytest.raises(UserError, match="differ in task"):
        check_cross_fit([infos[0], other])


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pathologies", "FLU"), "unknown pathology FLU: accepted are AMI"),
        (("--methods", "magic"), "unknown method magic: accepted are saliency"),
        (("--contrast", "LVH"), "takes pairs of groups, got 1"),
        (("--contrast", "LVH", "LVH"), "two different groups"),
        (("--pathologies", "PMI"), "no group has a record for strategy true_positives"),
        (
            ("--pathologies", "PMI", "--contrast", "LVH", "NORM"),
            "no group has a record for strategy true_positives",
        ),
        (("--folds", "10", "--limit", "1"), "no record is in fold 10"),
        (("--contrast", "LVH", "NORM", "--selection", "all"), "two patients on either side"),
        (("--cards", "planted", "--task", "form"), "contradicts the checkpoint"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(
    cohort, trained, tmp_path, arguments, message
):
    with pytest.raises(UserError, match=message):
        run(
            "--data_path",
            cohort,
            "--model_path",
            trained,
            "--output_path",
            tmp_path / "none",
            *arguments,
        )
    assert not (tmp_path / "none").exists()


def test_an_amplitude_model_is_refused(cohort, tmp_path):
    path = checkpoint(tmp_path, 1, [10], task="R_Peak_Amplitude")
    with pytest.raises(UserError, match="predicts amplitudes"):
        run("--data_path", cohort, "--model_path", path, "--output_path", tmp_path)


def test_planted_cards_need_a_simulated_cohort(tmp_path):
    with pytest.raises(UserError, match=r"has no planted_causes\.csv"):
        CARDS["planted"](tmp_path, SimpleNamespace(task="subdiagnostic", labels=()))
    assert "LVH" in CARDS["auto"](tmp_path, SimpleNamespace(task="subdiagnostic", labels=("LVH",)))
