"""The stage from the command line: what it writes, how it resumes, what it refuses."""

import numpy as np
import pandas as pd
import pytest

import counterfactuals
from common.files import UserError, read_npz
from common.labels import LEADS
from common.stage import broken_link
from conftest import run_script
from counterfactual import job
from counterfactual.edits import EDITS
from counterfactual.sentences import edit_in_words
from mutations import attempt
from networks.checkpoints import ModelInfo, load_model, save_checkpoint
from networks.inference import predict
from networks.metrics import sigmoid
from networks.models import get_model
from records.dataset import load_dataset

OPTIONS = ("--n_samples", 3, "--max_figures", 1, "--pathologies", "NORM", "--folds", 9, 10)


@pytest.fixture(scope="module")
def made(cohort, trained, tmp_path_factory):
    """The stage's folder, and what it said."""
    output = tmp_path_factory.mktemp("counterfactuals")
    done = run_script("counterfactuals.py", *words(cohort, trained, output))
    return output / "lenet_subdiagnostic" / "counterfactual", done.stdout


def words(cohort, trained, output, *more):
    return (
        "--data_path",
        cohort,
        "--model_path",
        trained,
        "--output_path",
        output,
        *OPTIONS,
        *more,
    )


def test_the_tables_say_what_the_network_says_of_the_edited_records(made, cohort, trained):
    folder, said = made
    table = pd.read_csv(folder / "counterfactuals.csv")
    model = load_model(trained, "cpu")
    data = load_dataset(cohort, "subdiagnostic", label_names=model.info.labels)
    stored = read_npz(folder / "signals_NORM.npz")
    assert stored["ecg_id"].tolist() == table["ecg_id"].tolist()
    index = model.info.index("NORM")
    originals = data.signals[data.positions(table["ecg_id"])]
    for column, signals in (("before", originals), ("after", stored["signals"])):
        logits = predict(model, signals)[:, index]
        assert np.allclose(table[f"logit_{column}"], logits, atol=1e-3)
        assert np.allclose(table[f"probability_{column}"], sigmoid(logits), atol=1e-3)
    threshold = model.info.thresholds[index]
    assert np.allclose(table["threshold"], threshold, atol=1e-4)
    assert ((table["probability_after"] < threshold) == table["turned"]).all()
    assert f"{table['turned'].sum()} of {len(table)} decisions turned" in said


def test_every_edit_is_counted_and_measured(made):
    folder, _ = made
    table, edits = (pd.read_csv(folder / f"{name}.csv") for name in ("counterfactuals", "edits"))
    assert (
        edits.groupby("ecg_id").size().to_dict() == table.set_index("ecg_id")["n_edits"].to_dict()
    )
    cost = edits.groupby("ecg_id")["cost"].sum()
    assert np.allclose(cost, table.set_index("ecg_id")["cost"].loc[cost.index], atol=1e-3)
    assert (edits["measured_dose"] - edits["dose"]).abs().median() < 0.02
    for line in table.itertuples():
        own = edits[edits["ecg_id"] == line.ecg_id]
        for made_edit in own.itertuples():
            words = edit_in_words(EDITS[made_edit.edit], made_edit.dose)
            assert words in line.sentence


def test_figures_groups_and_card_are_there(made):
    folder, _ = made
    assert len(list(folder.glob("NORM_*.png"))) == 1
    assert (folder / "groups.png").is_file()
    card = pd.read_csv(folder / "card.csv")
    assert card["n_records"].tolist() == [3]
    groups = pd.read_csv(folder / "groups.csv")
    assert groups["turned_alone"].between(0, 1).all()
    assert not (folder / ".parts").exists()


def test_the_same_command_is_finished_and_another_is_refused(made, cohort, trained):
    folder, _ = made
    output = folder.parent.parent
    again = run_script("counterfactuals.py", *words(cohort, trained, output))
    assert "is finished" in again.stdout
    other = words(cohort, trained, output, "--max_edits", 2)
    refused = run_script("counterfactuals.py", *other, check=False)
    assert refused.returncode == 2
    assert "max_edits: 6 there, 2 here" in refused.stderr


def test_an_interrupted_run_goes_on(made, cohort, trained, tmp_path, monkeypatch):
    """The chunks that are there are not computed again, and the tables are the same bytes."""
    folder, _ = made
    monkeypatch.setattr(job, "CHUNK", 2)
    parser = counterfactuals.get_args_parser()
    args = [*map(str, words(cohort, trained, tmp_path))]
    real, calls = job._chunk, []

    def once(*given):
        if calls:
            raise KeyboardInterrupt
        calls.append(given)
        return real(*given)

    monkeypatch.setattr(job, "_chunk", once)
    with pytest.raises(KeyboardInterrupt):
        counterfactuals.main(parser.parse_args(args))
    monkeypatch.setattr(job, "_chunk", lambda *given: calls.append(given) or real(*given))
    counterfactuals.main(parser.parse_args(args))
    assert len(calls) == 2
    own = tmp_path / "lenet_subdiagnostic" / "counterfactual"
    for name in ("counterfactuals", "edits", "alone", "groups", "card"):
        assert (own / f"{name}.csv").read_bytes() == (folder / f"{name}.csv").read_bytes()


def test_a_network_that_decides_nothing_is_refused(tmp_path):
    info = ModelInfo("lenet", "T_Wave_Amplitude", LEADS, LEADS, 100, 2.5, {}, 0)
    path = tmp_path / "run" / "checkpoints" / "best_model.ckpt"
    save_checkpoint(path, get_model("lenet", 12), info)
    args = counterfactuals.get_args_parser().parse_args(["--model_path", str(path)])
    with pytest.raises(UserError, match="decides nothing that could be turned"):
        counterfactuals.main(args)
    assert not (tmp_path / "run" / "counterfactual").exists()


def test_cards_are_read_before_anything_is_searched_and_are_an_input(cohort, trained, tmp_path):
    parser, cards = counterfactuals.get_args_parser(), tmp_path / "cards.csv"
    asked = words(cohort, trained, tmp_path / "out", "--max_edits", 1, "--cards", cards)
    cards.write_text("label,lead,segment\nNORM,XX,T\n")
    assert "lead XX is not among" in attempt(counterfactuals.main, parser, asked)[1]
    assert not (tmp_path / "out").exists()
    cards.write_text("label,lead,segment\nNORM,II,T\n")
    assert attempt(counterfactuals.main, parser, asked)[1] is None
    [stage] = (tmp_path / "out").rglob("counterfactual.json")
    assert broken_link(stage) is None
    cards.write_text("label,lead,segment\nNORM,V6,T\n")
    assert "cards.csv has changed since" in broken_link(stage)
    assert "own_cards" in attempt(counterfactuals.main, parser, asked)[1]


def test_concepts_are_switched_beside(cohort, trained, tmp_path):
    more = ("--remove_concept", "SLI-LVH", "--n_samples", 2, "--max_figures", 0)
    done = run_script("counterfactuals.py", *words(cohort, trained, tmp_path), *more)
    folder = tmp_path / "lenet_subdiagnostic" / "counterfactual"
    switched = pd.read_csv(folder / "concepts.csv")
    assert set(switched["concept"]) == {"SLI-LVH"}
    stay = switched[~switched["switched"]]
    assert np.allclose(stay["logit_before"], stay["logit_after"])
    assert switched["switched"].any(), done.stdout
    [answer] = pd.read_csv(folder / "concept_answers.csv").itertuples()
    assert (answer.pathology, answer.n_records) == ("NORM", len(switched))


def test_a_concept_without_waves_is_refused(trained, cohort, tmp_path):
    given = [*map(str, words(cohort, trained, tmp_path)), "--add_concept", "Sex"]
    with pytest.raises(UserError, match="no wave is known to switch Sex"):
        counterfactuals.main(counterfactuals.get_args_parser().parse_args(given))
