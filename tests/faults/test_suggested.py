"""What a message tells to type is typed as it stands: with the paths that the user's own call
needed, in quotes where the shell asks for them.
"""

import ast
import importlib
import re
import shlex
import shutil

import pandas as pd
import pytest

import import_records
import preprocessing
import report
from common.stage import Stage, command
from conftest import ROOT
from mutations import attempt
from networks.checkpoints import load_checkpoint
from records.dataset import load_dataset, load_table
from records.origin import to_make
from tiny_dataset import write_tiny_dataset
from tiny_ptbxl import file_name, write_dataset

ODD = "R&D's (1) $HOME"  # what a shell would take apart


def run(stage, *words):
    """The stage's one line of error, or None."""
    return attempt(stage.main, stage.get_args_parser(), list(map(str, words)))[1]


def suggested(text):
    """(stage, its options as they would be parsed) of the command that a message ends with, or has
    between `python` and a full stop.
    """
    words = shlex.split(text[text.index("python code/") :])
    stage = importlib.import_module(re.fullmatch(r"code/(\w+)\.py", words[1])[1])
    return stage, stage.get_args_parser().parse_args(words[2:])


def test_paths_are_in_quotes_and_what_is_not_known_is_left_out():
    line = command("report", "--verify", model_path=ODD, output_path=None, folds=[9, 10])
    words = shlex.split(line)
    assert words[2:] == ["--verify", "--model_path", ODD, "--folds", "9", "10"]


def test_a_data_set_is_made_again_as_it_was_made(tmp_path):
    source, made = write_dataset(tmp_path / ODD), tmp_path / "made of it"
    words = ["--data_path", source, "--output_path", made, "--limit", 4, "--skip_bad"]
    words += ["--min_likelihood", 50, "--measure_at", "100", "--join_duplicates"]
    assert run(preprocessing, *words) is None
    path = (source / file_name(3, 100)).with_suffix(".dat")
    path.write_bytes(path.read_bytes()[::-1])
    line = attempt(lambda _: load_dataset(made))[1]
    stage, args = suggested(line)
    assert stage is preprocessing
    assert args.overwrite
    typed = shlex.split(line[line.index("python code/") :])[2:]
    assert run(stage, *typed) is None
    assert len(load_dataset(made)) == 3  # the fourth is bad now, and skipped
    before = preprocessing.get_args_parser().parse_args([*map(str, words), "--overwrite"])
    assert {**vars(args), "bare": 0} == {**vars(before), "bare": 0}


def test_published_measurements_are_named_again(tmp_path):
    source, addons = write_dataset(tmp_path / "source"), tmp_path / ODD
    addons.mkdir()
    table = pd.read_csv(source / "ptbxl_database.csv")
    table[["ecg_id"]].assign(**{"RS-LVH": True}).to_csv(addons / "concepts.csv", index=False)
    words = ["--data_path", source, "--output_path", tmp_path / "made"]
    error = run(preprocessing, *words, "--addons", addons)
    assert error is None
    assert suggested(to_make(tmp_path / "made"))[1].addons == str(addons)


def test_what_was_not_preprocessed_is_named_with_its_folder(tmp_path):
    folder = write_dataset(tmp_path / ODD)
    for read in (load_dataset, load_table):
        line = attempt(lambda _, read=read: read(folder))[1]
        assert suggested(line)[1].data_path == str(folder)
    line = attempt(lambda _: load_dataset(folder, sampling_rate=500))[1]
    assert suggested(line)[1].sampling_rate == 500
    line = run(preprocessing, "--data_path", tmp_path / "a b")
    assert "./download_data.sh --data_path '" in line
    assert suggested(line)[1].output_path == str(tmp_path / "a b")


def test_a_network_that_is_not_there_is_not_answered_with_a_command_that_trains_another(tmp_path):
    line = attempt(lambda _: load_checkpoint(tmp_path / "a.ckpt"))[1]
    assert "python code/" not in line


# ---------------------------------------------------------------- the report's


@pytest.fixture
def elsewhere(tmp_path):
    """(run folder under another --output_path than the checkpoint's, checkpoint, a data set): the
    network's own data are gone, and one stage has been run on the data set.
    """
    import torch

    from common.labels import LEADS, TASKS
    from networks.checkpoints import ModelInfo, save_checkpoint
    from networks.models import get_model

    data = write_tiny_dataset(tmp_path / ODD / "data")
    labels = tuple(TASKS["superdiagnostic"])
    folds = {"train": [1], "validation": [9], "test": [10]}
    gone = {"name": "x", "sha256": "0", "simulated": False, "folder": "../../../gone"}
    info = ModelInfo("lenet", "superdiagnostic", labels, LEADS, 100, 2.5, folds, 0, dataset=gone)
    torch.manual_seed(0)
    checkpoint = tmp_path / ODD / "lenet_superdiagnostic" / "checkpoints" / "best_model.ckpt"
    save_checkpoint(checkpoint, get_model("lenet", 5), info)
    folder = tmp_path / "other out" / "lenet_superdiagnostic"
    with Stage(folder / "tcav", "tcav", {}) as stage:
        stage.finish(inputs=[checkpoint, data / "ptbxl_database_enriched.csv"])
    return folder, checkpoint, data


def test_the_report_names_network_data_and_folder_where_they_are_needed(elsewhere):
    folder, checkpoint, data = elsewhere
    words = ["--model_path", checkpoint, "--output_path", folder.parent]
    assert run(report, *words) is None
    page = (folder / "report.html").read_text()
    found = [
        suggested(_plain(text)) for text in re.findall(r"<pre[^>]*>(python code.*?)</pre>", page)
    ]
    assert len(found) >= 5
    for stage, args in found:
        assert args.model_path == str(checkpoint.parent.parent)
        assert args.output_path == str(folder.parent)
        assert args.data_path == str(data), stage.__name__


def test_what_was_deleted_is_not_called_not_run_yet(elsewhere):
    folder, checkpoint, data = elsewhere
    with Stage(folder / "glocal", "glocal", {}) as stage:
        table = folder / "glocal" / "segments.csv"
        table.write_text("a\n1\n")
        stage.finish(inputs=[data / "ptbxl_database_enriched.csv"], outputs=[table])
    table.unlink()
    assert run(report, "--model_path", checkpoint, "--output_path", folder.parent) is None
    page = (folder / "report.html").read_text()
    section = page[page.index('id="glocal"') :]
    section = section[: section.index("</section>")]
    assert "not been run yet" not in section
    assert "glocal/segments.csv is not there any more" in section
    shutil.rmtree(folder / "glocal")


def _plain(text):
    return text.replace("&#39;", "'").replace("&amp;", "&").replace("&#34;", '"')


# ---------------------------------------------------------------- all that the code says


def literals(path):
    """(line, text) of the strings of a file but its docstrings; values in f-strings are `{}`."""
    tree = ast.parse(path.read_text())
    holders = (ast.Module, ast.FunctionDef, ast.ClassDef)
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, holders)]
    docs = {id(node.value) for node in first if isinstance(node, ast.Expr)}
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for one in joined for part in ast.walk(one) if part is not one}
    for node in ast.walk(tree):
        if id(node) in docs or id(node) in parts:
            continue
        if isinstance(node, ast.JoinedStr):
            texts = [getattr(part, "value", "{}") for part in node.values]
            yield node.lineno, "".join(text if isinstance(text, str) else "{}" for text in texts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


# words about an option of a stage, which are no command to type; the gallery is the demo's
SPOKEN_OF = (
    "train_model.py --help lists them",
    "train_model.py --test_folds",
    "lrp_analysis.py --record",
    "python code/report.py --model_path output/demo/lenet_subdiagnostic --gallery docs/",
)


def test_commands_are_put_together_by_one_function_that_knows_the_paths():
    """A command that is written out in a message lacks what the user's own call needed."""
    found = []
    for path in sorted((ROOT / "code").rglob("*.py")):
        for line, text in literals(path):
            for words in SPOKEN_OF:
                text = text.replace(words, "")
            text = re.sub(r"download_data\.sh (--features )?--data_path \{\}", "", text)
            if re.search(r"python code/\w|\w\.(?:py|sh) (?:with |again with )?--", text):
                found.append(f"{path.name}:{line}: {text[:80]}")
    assert found == []


@pytest.mark.parametrize("script", sorted(ROOT.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_quote_what_they_tell_to_type(script):
    """`"${*:2}"` and `%s` would hand a path with a blank over in two."""
    for line in script.read_text().splitlines():
        if re.search(r"(printf|echo) .*(python|torchrun) .*code/", line):
            assert "%q" in line, line


def test_an_import_says_what_to_type_next(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("labels\nNORM\nIMI\n")
    import numpy as np

    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(0, 0.3, (2, 1000, 12)))
    words = ["--records", tmp_path / "a.npy", "--table", tmp_path / "a.csv"]
    words += ["--signal_rate", 100, "--output_path", tmp_path / ODD]
    import_records.main(import_records.get_args_parser().parse_args(list(map(str, words))))
    stage, args = suggested(capsys.readouterr().out)
    assert (stage, args.data_path) == (preprocessing, str(tmp_path / ODD))
