"""The report: one page that asks nothing of anyone, says what is missing, and finds the link that
broke.
"""

import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from common.figure_files import write_figure
from common.files import write_csv, write_json
from common.labels import LEADS, TASKS
from common.stage import Stage
from conftest import run_script
from networks.checkpoints import ModelInfo, save_checkpoint
from networks.models import get_model
from records.quality import count_flags
from reporting.explanations import _flagged
from reporting.local import _names
from reporting.page import cell, table
from reporting.run import Run, broken_links
from reporting.sections import SECTIONS


@pytest.fixture
def run_folder(tmp_path):
    """A run folder as the stages leave it, with a hostile label in it."""
    folder = tmp_path / "output" / "lenet_superdiagnostic"
    info = ModelInfo(
        "lenet",
        "superdiagnostic",
        tuple(TASKS["superdiagnostic"]),
        LEADS,
        100,
        2.5,
        {"train": [1, 2], "validation": [9], "test": [10]},
        3,
    )
    save_checkpoint(folder / "checkpoints" / "best_model.ckpt", get_model("lenet", 5), info)
    auc = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 50, "n_positive": 4, "n_classes": 2}
    per_class = {"MI": auc, "<script>alert(1)</script>": auc}
    write_json(folder / "metrics.json", {"windows": {"macro_auc": auc, "per_class_auc": per_class}})
    with Stage(folder / "tcav", "tcav_analysis", {"seed": 3}) as stage:
        write_csv(
            folder / "tcav" / "scores.csv",
            pd.DataFrame(
                {
                    "concept": ["R56-LVH"],
                    "run_kind": ["concept"],
                    "associated": [True],
                    "layer": ["head"],
                    "pathology": ["HYP"],
                    "score": [1.0],
                    "magnitude": [0.2],
                    "cav_valid": [False],
                    "p": [0.001],
                    "p_corrected": [0.01],
                    "n_positive": [25],
                    "n_class": [9],
                }
            ),
        )
        figure = plt.figure()
        figure.text(0.5, 0.5, "concept")
        pictures = write_figure(figure, folder / "tcav" / "concept_R56-LVH")
        stage.finish(
            inputs=[folder / "checkpoints" / "best_model.ckpt"],
            outputs=[folder / "tcav" / "scores.csv", *pictures],
        )
    return folder


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.attributes, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in ("meta", "img", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def report(run_folder, *options, check=True):
    return run_script(
        "report.py",
        "--model_path",
        run_folder,
        "--output_path",
        run_folder.parent,
        *options,
        check=check,
    )


def test_the_page_is_whole_and_requests_nothing(run_folder):
    report(run_folder)
    text = (run_folder / "report.html").read_text()
    page = _Page(text)
    assert page.open == []
    links = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert links
    assert all(value.startswith(("data:image/png;base64,", "data:,", "#")) for value in links)
    assert "url(" not in text
    assert "@import" not in text
    assert "<script>alert(1)" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "default-src 'none'" in text


def test_it_shows_what_is_there_and_the_command_for_what_is_not(run_folder):
    report(run_folder)
    text = (run_folder / "report.html").read_text()
    assert "0.900 [0.800, 0.950]" in text
    assert "Fewer than 10 positives" in text
    assert "R56-LVH" in text
    assert "no better than random" in text
    assert text.count("<figure>") == 1
    assert f"code/glocal_analysis.py --model_path {run_folder}" in text
    assert "tcav_analysis (tcav/): command, versions, hashes" in text


def test_verify_names_the_first_broken_link(run_folder):
    assert "verified: 1 stages" in report(run_folder, "--verify").stdout
    with open(run_folder / "tcav" / "scores.csv", "a") as file:
        file.write("x")
    done = report(run_folder, "--verify", check=False)
    assert done.returncode == 1
    assert re.match(
        r"broken: .*tcav_analysis\.json: output .*scores\.csv has changed since", done.stdout
    )
    report(run_folder)
    assert "Artefacts do not match" in (run_folder / "report.html").read_text()


def test_verify_names_a_stage_whose_own_json_is_gone(run_folder):
    (run_folder / "glocal").mkdir()
    assert broken_links(run_folder) == []  # nothing is in it
    (run_folder / "glocal" / "maps.npz").write_text("x")
    (run_folder / "local_case1").mkdir()
    (run_folder / "local_case1" / "ecg.html").write_text("x")
    (run_folder / "notes").mkdir()
    (run_folder / "notes" / "mine.txt").write_text("x")
    done = report(run_folder, "--verify", check=False)
    assert done.returncode == 1
    assert "glocal.json: what the stage says of its own results is missing" in done.stdout
    assert "(and 1 more stages)" in done.stdout
    report(run_folder)
    text = (run_folder / "report.html").read_text()
    assert "Cannot be checked: what the stage says of its own results is missing" in text


def test_verify_walks_the_data_set_that_was_read(run_folder, tmp_path):
    data = tmp_path / "data"
    with Stage(data, "preprocessing", {}) as stage:
        for name in ("raw100.pkl", "ptbxl_database_enriched.csv"):
            (data / name).write_text("x")
        stage.finish(outputs=[data / "raw100.pkl", data / "ptbxl_database_enriched.csv"])
    with Stage(run_folder / "local", "local", {}) as stage:
        stage.finish(inputs=[data / "ptbxl_database_enriched.csv"])
    assert broken_links(run_folder) == []
    (data / "raw100.pkl").write_text("y")
    (line,) = broken_links(run_folder)
    assert re.search(r"preprocessing\.json: output .*raw100\.pkl has changed since", line)


def test_the_page_names_every_data_set_training_first_and_what_cannot_be_checked(
    run_folder, tmp_path
):
    for name, stage_name in (("z", "train"), ("a", "local")):
        data = tmp_path / name
        with Stage(data, "preprocessing", {}) as stage:
            (data / "ptbxl_database_enriched.csv").write_text("x")
            stage.finish(
                outputs=[data / "ptbxl_database_enriched.csv"],
                counts={"version": f"version {name}", "records": 3},
            )
        with Stage(run_folder / stage_name, stage_name, {}) as stage:
            stage.finish(inputs=[data / "ptbxl_database_enriched.csv"])
    report(run_folder)
    text = (run_folder / "report.html").read_text()
    assert 0 < text.index("Data set: version z") < text.index("Data set: version a")
    shutil.rmtree(tmp_path / "a")
    report(run_folder)
    text = (run_folder / "report.html").read_text()
    assert text.count("Cannot be checked") == 1
    assert "a/ptbxl_database_enriched.csv is missing (local.json)" in text
    assert "Artefacts do not match" not in text


def test_a_run_in_a_linked_folder_is_verified(run_folder, tmp_path):
    far = tmp_path / "far" / "away"
    far.mkdir(parents=True)
    (tmp_path / "link").symlink_to(far)
    (tmp_path / "in.csv").write_text("x")
    with Stage(tmp_path / "link" / "run", "local", {}) as stage:
        stage.finish(inputs=[tmp_path / "in.csv"])
    assert broken_links(tmp_path / "link" / "run") == []
    (tmp_path / "in.csv").unlink()
    (line,) = broken_links(tmp_path / "link" / "run")
    assert line.endswith("in.csv is missing")


def test_another_folder_that_no_stage_has_written_to_is_said_to_be_none(run_folder, tmp_path):
    words = ("--model_path", run_folder, "--output_path", tmp_path / "other")
    done = run_script("report.py", *words, check=False)
    assert done.returncode == 2
    assert "does not exist: no stage has written results of this network there" in done.stderr


def test_a_run_that_is_not_there_is_one_line(tmp_path):
    done = run_script("report.py", "--model_path", tmp_path / "none", check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_cells_and_tables():
    values = (None, float("nan"), 0.12345, 12345.6, True, "a")
    assert [cell(value) for value in values] == ["–", "–", "0.123", "12,346", "yes", "a"]
    shown = table(pd.DataFrame({"<x>": range(5)}), limit=2)
    assert "&lt;x&gt;" in shown
    assert "3 more rows" in shown


def test_broken_claims_and_flagged_signals_are_warned_about(run_folder, tmp_path):
    write_csv(
        run_folder / "sanity" / "checks.csv",
        pd.DataFrame({"check": ["axiom_completeness"], "method": ["ig"]}),
    )
    write_csv(
        run_folder / "sanity" / "axioms.csv",
        pd.DataFrame(
            {
                "axiom": "completeness",
                "method": ["ig", "saliency", "lrp"],
                "model": "lenet",
                "claimed": [True, False, True],
                "worst": [0.5, 0.6, 0.001],
                "tolerance": 0.01,
                "kept": [False, False, True],
                "n": 16,
            }
        ),
    )
    data = tmp_path / "data"
    write_csv(
        data / "ptbxl_database_enriched.csv",
        pd.DataFrame({"ecg_id": [7, 8], "quality_noise": [True, True]}),
    )
    cells = pd.DataFrame({"ecg_id": [7], "method": ["ig"], "pathology": ["MI"], "rank": [1]})
    write_csv(run_folder / "local" / "cells.csv", cells)
    with Stage(run_folder / "local", "local", {"data_path": "elsewhere"}) as stage:
        stage.finish(inputs=[data / "ptbxl_database_enriched.csv"])
    report(run_folder)
    text = (run_folder / "report.html").read_text()
    assert "Integrated Gradients claims completeness and breaks it on lenet: 0.5" in text
    assert text.count("and breaks it") == 1
    assert "noise in record 7: read its maps with care" in text
    (data / "ptbxl_database_enriched.csv").unlink()
    lines = list(_flagged(Run(run_folder, None), [7]))
    assert lines == [
        f"Names of flagged records unavailable: {data / 'ptbxl_database_enriched.csv'} is not "
        "there."
    ]
    (run_folder / "local" / "local.json").unlink()
    assert "names no ptbxl_database_enriched.csv" in next(_flagged(Run(run_folder, None), [7]))


def test_flags_are_found_from_wherever_the_report_is_made(run_folder, tmp_path):
    """The data set as a relative path, the report from another folder than the stage."""
    data = tmp_path / "data"
    write_csv(
        data / "ptbxl_database_enriched.csv",
        pd.DataFrame({"ecg_id": [7, 8], "quality_drift": [True, False]}),
    )
    write_csv(
        run_folder / "local" / "cells.csv",
        pd.DataFrame({"ecg_id": [7, 8], "method": "ig", "pathology": "MI", "rank": 1}),
    )
    with Stage(run_folder / "local", "local", {"data_path": "data/"}) as stage:
        stage.finish(inputs=[data / "ptbxl_database_enriched.csv"])
    (tmp_path / "deep" / "er").mkdir(parents=True)
    run_script(
        "report.py",
        "--model_path",
        run_folder,
        "--output_path",
        run_folder.parent,
        cwd=tmp_path / "deep" / "er",
    )
    assert "drift in record 7: read its maps with care" in (run_folder / "report.html").read_text()


def test_every_section_says_how_many_records_are_flagged(run_folder):
    table = pd.DataFrame(
        {"quality_noise": [True, True, False]}, index=pd.Index([1, 2, 3], name="ecg_id")
    )
    flagged = count_flags(table, {"MI": [1, 3], "CD": [2, 3]})
    files = {
        "tcav": "scores",
        "glocal": "segments",
        "sanity": "checks",
        "discovery": "table",
        "local": "cells",
    }
    columns = {
        "segments": ["rank", "pathology", "method"],
        "table": ["metric", "note"],
        "cells": ["ecg_id", "method", "pathology"],
    }
    for folder, name in files.items():
        if not (run_folder / folder / f"{name}.csv").is_file():
            write_csv(
                run_folder / folder / f"{name}.csv",
                pd.DataFrame(columns=columns.get(name, ["check"])),
            )
    sections = {"tcav": "concepts"} | {
        name: name for name in ("glocal", "sanity", "discovery", "local")
    }
    found = Run(run_folder, None)
    for folder, section in sections.items():
        assert f"Quality flags unavailable: {folder}/quality.csv is not there" in "".join(
            SECTIONS[section].build(found)
        )
        write_csv(run_folder / folder / "quality.csv", flagged)
        text = "".join(SECTIONS[section].build(found))
        assert "2 of 3 explained records with a quality flag: noise 2; not judged: flat" in text
        assert (
            '<td><abbr title="myocardial infarction">MI</abbr></td><td>2</td><td>1</td><td>–</td>'
            in text
        )
        write_csv(run_folder / folder / "quality.csv", count_flags(table[[]], {"MI": [1, 3]}))
        assert "Quality flags unavailable: the data set was preprocessed without them" in "".join(
            SECTIONS[section].build(found)
        )


def test_flags_where_stored_concept_vectors_were_applied_are_told_from_those_of_the_analysis(
    run_folder,
):
    table = pd.DataFrame({"quality_noise": [True, False]}, index=pd.Index([1, 2], name="ecg_id"))
    write_csv(run_folder / "tcav" / "quality.csv", count_flags(table, {"MI": [2]}))
    write_csv(run_folder / "tcav_applied" / "quality.csv", count_flags(table, {"MI": [1, 2]}))
    text = "".join(SECTIONS["concepts"].build(Run(run_folder, None)))
    analysed, applied = text.split("applied to other records")
    assert "0 of 1 explained records" in analysed
    assert "1 of 2 explained records with a quality flag: noise 1" in applied


def test_records_of_ones_own_have_a_part_each(run_folder):
    for name, flag in (("anna", "flat"), ("bert", "limb_reversal")):
        folder = run_folder / f"local_{name}"
        write_csv(
            folder / "cells.csv",
            pd.DataFrame({"ecg_id": [0], "method": ["ig"], "pathology": ["MI"], "rank": [1]}),
        )
        write_csv(
            folder / "quality.csv",
            count_flags(pd.DataFrame({f"quality_{flag}": [True]}), {"MI": [0]}),
        )
        figure = plt.figure()
        write_figure(figure, folder / f"ig_MI_{name}")
    text = "".join(SECTIONS["local"].build(Run(run_folder, None)))
    assert re.findall("<h3>(.*?)</h3>", text) == ["Record anna", "Record bert"]
    anna, bert = text.split("<h3>")[1:]
    assert "with a quality flag: flat 1" in anna
    assert "with a quality flag: limb reversal 1" in bert
    assert re.findall("<figcaption>(.*?)</figcaption>", text) == ["ig MI anna", "ig MI bert"]
    assert "Names of flagged records" not in text  # no data set is asked about them


def test_the_report_is_written_beside_its_checkpoint_from_any_directory(run_folder, tmp_path):
    other = tmp_path / "elsewhere"
    (other / "output" / run_folder.name).mkdir(parents=True)
    run_script("report.py", "--model_path", run_folder, cwd=other)
    assert (run_folder / "report.html").is_file()
    assert not list(other.rglob("report.html"))


def test_maps_of_classes_with_odd_names_keep_their_method(tmp_path):
    """lrp__AVB.npz is LRP for _AVB, saliency_ISC_.npz saliency for ISC_."""
    run = SimpleNamespace(info=SimpleNamespace(labels=("_AVB", "ISC_", "LAFB/LPFB", "a_b")))
    for number, name in enumerate(("lrp__AVB", "saliency_ISC_", "lrp-epsilon_LAFB-LPFB", "ig_a_b")):
        method = name.split("_")[0].replace("lrp-", "lrp:")
        found = _names(tmp_path / f"{name}.npz", {"target": number}, run)
        assert found == (run.info.labels[number], method)
