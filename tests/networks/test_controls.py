"""Control networks: nothing of the labels in them, the same each time, made once."""

import numpy as np
import pytest
import torch

from common.files import UserError
from common.labels import LEADS, TASKS
from foreign_networks import foreign
from networks import controls as module
from networks.checkpoints import ModelInfo
from networks.controls import (
    CONTROLS,
    control_folder,
    controls,
    graph_of,
    make_control,
    measure_batch_norm,
    permute_labels,
    training_records,
)
from networks.foreign import wrap
from networks.inference import predict
from networks.metrics import macro_auc
from networks.models import get_model
from networks.training import TrainingSet
from records.dataset import load_dataset
from tiny_dataset import write_tiny_dataset


def info_of(**changes):
    facts = {
        "modelname": "lenet",
        "task": "superdiagnostic",
        "labels": tuple(TASKS["superdiagnostic"]),
        "leads": LEADS,
        "sampling_rate": 100,
        "crop_seconds": 2.5,
        "folds": {"train": list(range(1, 9)), "validation": [9], "test": [10]},
        "seed": 3,
        "run_name": "mine",
    }
    return ModelInfo(**facts | changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The tiny data set, superdiagnostic."""
    return load_dataset(write_tiny_dataset(tmp_path_factory.mktemp("tiny")), "superdiagnostic")


@pytest.fixture(scope="module")
def training(data):
    """The records that networks are trained on."""
    return training_records(info_of(), data)


def test_batch_norm_statistics_are_those_of_the_activations(training):
    torch.manual_seed(0)
    model = get_model("lenet", 5)
    weights = {name: values.clone() for name, values in model.named_parameters()}
    crops = TrainingSet.of(training, LEADS, 250)
    measure_batch_norm(model, crops, 0)
    (rows, starts), *others = crops.batches(module.STATISTICS_BATCH, 0, 0)
    assert not others  # all records in one batch: its statistics are known
    with torch.no_grad():
        activations = model.block1.conv(crops.gather(rows, starts)[0])
    norm = model.block1.norm
    torch.testing.assert_close(norm.running_mean, activations.mean(dim=(0, 2)))
    torch.testing.assert_close(norm.running_var, activations.var(dim=(0, 2)))
    assert norm.momentum == 0.1
    assert not model.training
    for name, values in model.named_parameters():
        assert torch.equal(values, weights[name])


def test_permuted_labels_move_with_patients():
    patients = np.array([5, 5, 9, 2, 2, 7, 8])
    labels = np.arange(7)[:, None] * np.ones((1, 3), dtype=int)
    dealt = permute_labels(labels, patients, seed=4)
    owner = patients[dealt[:, 0]]
    for patient in np.unique(patients):
        assert len(set(owner[patients == patient])) == 1
    assert len(set(owner)) == 5  # every patient gives to one
    assert np.array_equal(dealt, permute_labels(labels, patients, seed=4))
    assert not np.array_equal(dealt, permute_labels(labels, patients, seed=5))


def test_controls_have_learnt_nothing_of_the_labels(data, training):
    """The planted sine gives a network of the true labels an AUC near 1; controls stay by .5."""
    held_out = data.rows(data.labelled & (data.fold > 8))
    true = module._trained(info_of(seed=0), training, module._recipe(20, 0), "cpu")
    true.info = info_of()
    area = macro_auc(predict(true, held_out.signals), held_out.labels)
    assert area > 0.9
    for kind in CONTROLS:
        areas = [
            macro_auc(predict(model, held_out.signals), held_out.labels)
            for model in (make_control(kind, info_of(), training, seed) for seed in range(6))
        ]
        assert abs(np.mean(areas) - 0.5) < 0.15, kind


def test_no_control_starts_from_the_first_weights_of_a_training(training):
    """A training with the control's seed draws its weights from that number itself."""
    torch.manual_seed(0)
    first = get_model("lenet", len(info_of().labels), 12)
    control = dict(make_control("untrained", info_of(), training, 0).named_parameters())
    for name, values in first.named_parameters():
        if values.ndim > 1:
            assert not torch.allclose(values, control[name]), name


@pytest.mark.parametrize("kind", CONTROLS)
def test_a_control_depends_on_its_seed_alone(training, kind):
    x = torch.randn(2, 12, 250, generator=torch.Generator().manual_seed(0))
    before = torch.random.get_rng_state()
    first, again, other = (make_control(kind, info_of(), training, s, 2) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    with torch.no_grad():
        assert torch.equal(first(x), again(x))
        assert not torch.allclose(first(x), other(x))
    assert first.info.seed == 0
    assert not first.training


def test_controls_are_made_once_and_resumed(data, tmp_path, monkeypatch):
    made = []

    def counted(kind, *arguments):
        made.append(kind)
        return make_control(kind, *arguments)

    monkeypatch.setattr(module, "make_control", counted)
    first = list(controls(tmp_path, info_of(), data, 2, epochs=1))
    assert [(one.kind, one.seed) for one in first] == [
        (kind, seed) for kind in CONTROLS for seed in (0, 1)
    ]
    assert len(made) == 4
    content = first[3].path.read_bytes()
    first[3].path.unlink()
    again = list(controls(tmp_path, info_of(seed=8, run_name="another"), data, 2, epochs=1))
    assert len(made) == 5
    assert again[3].path.read_bytes() == content
    assert again[0].load().info.run_name == "untrained_00"


def test_other_data_or_epochs_have_other_controls(training, tmp_path):
    folder = control_folder(tmp_path, info_of(), training, 5)
    assert folder != control_folder(tmp_path, info_of(), training, 6)
    assert folder != control_folder(tmp_path, info_of(leads=LEADS[::-1]), training, 5)
    assert folder != control_folder(tmp_path, info_of(), training.rows(np.arange(30)), 5)
    most = control_folder(tmp_path, info_of(), training, 20)
    assert most == control_folder(tmp_path, info_of(), training, 70)


@pytest.fixture
def own_network():
    """A network with BatchNorm, from elsewhere: its graph, resampling in front."""
    names = list(TASKS["superdiagnostic"])
    module = foreign("functional_resnet", seed=11, classes=len(names))
    return wrap(module, names, sampling_rate=200, seconds=2.5, record_rate=100)


def test_an_imported_network_has_untrained_controls_alone(own_network, data, tmp_path, capsys):
    made = list(
        controls(tmp_path, own_network.info, data, 2, graph=graph_of(own_network), epochs=1)
    )
    assert [(one.kind, one.seed) for one in made] == [("untrained", 0), ("untrained", 1)]
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("left out: permuted (controls of an imported network")
    first, other = (one.load() for one in made)
    learned = {name for name, _ in own_network.named_parameters()}
    for name, before in own_network.tensors.items():
        assert ("weight" in name or "bias" in name) == (name in learned or "resampling" in name)
        if name in learned and not name.endswith(("bn1.weight", "bn2.weight")):
            assert not torch.equal(first.tensors[name], before), name
        if "resampling" in name:
            assert torch.equal(first.tensors[name], before)
    assert not torch.equal(first.tensors["network.fc.weight"], other.tensors["network.fc.weight"])
    assert first.info.run_name == "untrained_00"


def test_an_untrained_graph_has_the_spread_of_pytorchs_own_layers(own_network, training):
    twins = [
        make_control("untrained", own_network.info, training, seed, graph=own_network)
        for seed in range(3)
    ]
    weights = torch.cat([twin.tensors["network.layer1.conv1.weight"].flatten() for twin in twins])
    bound = 1 / (8 * 7) ** 0.5  # nn.Conv1d(8, 8, 7): kaiming_uniform_(a=sqrt(5))
    assert weights.abs().max() <= bound
    assert weights.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    with torch.no_grad():
        x = TrainingSet.of(training, LEADS, 250).signals[:32].transpose(1, 2)[:, :, :250]
        for twin in twins:
            _, kept = twin.run(x, keep=["batch_norm"])
            assert kept["batch_norm"].std().item() == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize(
    ("changes", "words"), [({"task": "T_Wave_Amplitude"}, "labels"), ({"modelname": "own"}, "own")]
)
def test_what_has_no_controls_is_said(data, tmp_path, changes, words):
    with pytest.raises(UserError, match=words):
        next(controls(tmp_path, info_of(**changes), data, 1))
