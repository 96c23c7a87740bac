"""import_model.py through its command line: each way in, what it says, and what it refuses."""

import json

import onnx
import pytest
import torch

from conftest import run_script
from import_model import range_lines, tried_records
from networks.checkpoints import load_model
from networks.foreign import wrap
from own_files import dense_model
from tiny_dataset import write_tiny_dataset

CODE = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv1d(12, 8, 9, stride=2), nn.BatchNorm1d(8), nn.ReLU(),
                         nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3), nn.Sigmoid())
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with code, weights and a data set."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_net.py").write_text(CODE)
    names = {}
    exec(CODE, names)
    torch.manual_seed(0)
    torch.save(names["make"]().state_dict(), folder / "weights.pt")
    (folder / "data").mkdir()
    write_tiny_dataset(folder / "data")
    return folder


def import_model(place, *options, check=True):
    return run_script("import_model.py", "--output_path", place / "output", *options, check=check)


@pytest.fixture(scope="module")
def imported(place):
    """The run of code and weights, measured on the data set, and what was said."""
    done = import_model(
        place, "--network", f"{place / 'my_net.py'}:make", "--weights", place / "weights.pt",
        "--labels", "MI", "CD", "Brugada", "--sampling_rate", 400, "--seconds", 10.24,
        "--unit", "1e-4V", "--normalisation", "zscore", "--run_name", "mine",
        "--data_path", place / "data", "--n_bootstrap", 20,
    )  # fmt: skip
    return place / "output" / "imported_own_mine", done


def test_code_and_weights_become_a_run_that_stands_alone(imported, place):
    run, done = imported
    for words in (
        "operations: 6 (", "unit, resampling, normalisation, padding", "ends in a sigmoid",
        "depends on the record", "classes of your own", "saliency: yes", "AUC on",
        "no labels for Brugada", "--sampling_rate 400 of preprocessing.py keeps it",
        "not trained on fold 10",
    ):  # fmt: skip
        assert words in done.stdout + done.stderr
    (place / "my_net.py").rename(place / "gone.py")
    try:
        model = load_model(run)
    finally:
        (place / "gone.py").rename(place / "my_net.py")
    assert model.info.labels == ("MI", "CD", "Brugada")
    assert model.info.crop == 500  # 5 s of the data set's 100 Hz
    assert len(model.info.thresholds) == 3
    metrics = json.loads((run / "metrics.json").read_text())["windows"]
    assert metrics["classes_left_out"] == ["Brugada"]
    assert (run / "import.json").is_file()


def test_the_same_command_again_is_finished_and_another_is_refused(imported, place):
    options = (
        "--network", f"{place / 'my_net.py'}:make", "--weights", place / "weights.pt",
        "--labels", "MI", "CD", "Brugada", "--sampling_rate", 400, "--seconds", 10.24,
        "--unit", "1e-4V", "--normalisation", "zscore", "--run_name", "mine",
    )  # fmt: skip
    measured = ("--data_path", place / "data", "--n_bootstrap", 20)
    assert "finished" in import_model(place, *options, *measured).stdout
    done = import_model(place, *options, check=False)
    assert done.returncode == 2
    assert "other settings" in done.stderr


@pytest.fixture(scope="module")
def onnx_file(place):
    """An ONNX file that says its labels and unit."""
    onnx.save(dense_model(100), place / "net.onnx")
    return place / "net.onnx"


def test_an_onnx_file_says_itself_what_it_takes(place, onnx_file):
    done = import_model(place, "--onnx", onnx_file, "--sampling_rate", 100, "--run_name", "onnx")
    model = load_model(place / "output" / "imported_superdiagnostic_onnx")
    assert model.info.labels == ("MI", "CD", "HYP", "NORM", "STTC")
    assert model.info.crop_seconds == 1
    assert model.info.origin["unit"] == "uV"
    assert "in uV" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "name one network with"),
        (("--onnx", "a.onnx", "--network", "b.py:c"), "name one network with"),
        (("--onnx", "nowhere.onnx", "--sampling_rate", 100), "nowhere.onnx"),
        (("--onnx", "{onnx}"), "--sampling_rate is needed"),
        (("--onnx", "{onnx}", "--sampling_rate", 100, "--seconds", 3), "the network takes 100"),
        (("--onnx", "{onnx}", "--sampling_rate", 100, "--leads", "I", "II"), "no axis of 2 leads"),
        (("--onnx", "{onnx}", "--sampling_rate", 100, "--labels", "A"), "there are 1 labels"),
        (("--network", "{code}:make", "--sampling_rate", 100), "--labels is needed"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_in_one_line_and_nothing_is_written(
    place, onnx_file, options, said
):
    filled = [str(word).format(onnx=onnx_file, code=place / "my_net.py") for word in options]
    done = import_model(place, *filled, "--run_name", "bad", check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list((place / "output").glob("*bad"))


def test_without_a_data_set_the_analyses_are_tried_on_millivolts():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12 * 250, 1))
    info = wrap(network, ["A"], seconds=2.5).info
    signals = tried_records(info, None)
    assert signals.shape[::2] == (8, 12)
    assert 0.5 < abs(signals).max() < 20


def test_outputs_that_look_like_probabilities_are_said():
    """A sigmoid by tanh is no last operation that could be taken off."""

    class ByHand(torch.nn.Sequential):
        def forward(self, x):
            return (1 + torch.tanh(super().forward(x) / 2)) / 2

    layers = torch.nn.Flatten(), torch.nn.Linear(12 * 250, 2)
    x = torch.randn(4, 12, 250)
    for kind, said in ((ByHand, 1), (torch.nn.Sequential, 0)):
        network = wrap(kind(*layers), ["A", "B"], seconds=2.5)
        lines = range_lines(network, network(x))
        assert len(lines) == said
        assert all("between 0 and 1" in line for line in lines)
