"""Other seeds of a network: the same training but for the seed, each network once."""

import pytest
import torch

from common.files import UserError
from common.labels import LEADS
from networks.checkpoints import ModelInfo, save_checkpoint
from networks.foreign import wrap
from networks.models import get_model
from networks.seeds import check_seeds

FOLDS = {"train": [1], "validation": [9], "test": [10]}


def stored(folder, name, weights=0, **changes):
    """A checkpoint whose weights are drawn from `weights`."""
    torch.manual_seed(weights)
    facts = {"modelname": "lenet", "task": "superdiagnostic", "labels": ("MI", "NORM")}
    facts |= {"leads": LEADS, "sampling_rate": 100, "crop_seconds": 2.5, "folds": FOLDS, "seed": 0}
    path = folder / f"{name}.ckpt"
    save_checkpoint(path, get_model("lenet", 2), ModelInfo(**{**facts, **changes}))
    return path


def test_networks_of_other_seeds_fit(tmp_path):
    others = [stored(tmp_path, f"seed{seed}", seed, seed=seed) for seed in (1, 2)]
    check_seeds(stored(tmp_path, "own"), others)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "has the seed of --model_path, 0"),
        ({"seed": 1, "task": "subdiagnostic", "labels": ("AMI", "NORM")}, "its task is"),
        ({"seed": 1, "crop_seconds": 5.0}, "its crop_seconds is 5.0, not 2.5"),
        ({"seed": 1, "folds": {**FOLDS, "train": [2]}}, "its folds is"),
    ],
)
def test_networks_of_another_training_are_named(tmp_path, changes, words):
    other = stored(tmp_path, "other", 1, **changes)
    with pytest.raises(UserError, match=f"--seeds {other} .*{words}"):
        check_seeds(stored(tmp_path, "own"), [other])


def test_no_network_counts_twice(tmp_path):
    own, other = stored(tmp_path, "own"), stored(tmp_path, "other", 1, seed=1)
    with pytest.raises(UserError, match="the same network as --model_path"):
        check_seeds(own, [own])
    with pytest.raises(UserError, match=f"the same network as {other}"):
        check_seeds(own, [other, other])


def test_seeds_of_networks_from_elsewhere_are_not_known(tmp_path):
    paths = []
    for seed in range(3):
        torch.manual_seed(seed)
        network = wrap(get_model("lenet", 2), ["one", "other"], seconds=2.5)
        paths.append(tmp_path / f"{seed}.ckpt")
        save_checkpoint(paths[-1], network, network.info)
    check_seeds(paths[0], paths[1:])
    with pytest.raises(UserError, match="the same network as --model_path"):
        check_seeds(paths[0], paths[:1])
