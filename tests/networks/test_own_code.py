"""Networks of one's own by their code: what tells them apart, and what cannot be trained."""

from argparse import Namespace

import numpy as np
import pytest
from torch import nn

from common.files import UserError
from import_model import contents
from networks.distributed import synchronise_batch_norm
from networks.run import check_trainable
from networks.training import Recipe
from records.dataset import Dataset


def test_an_import_of_changed_code_or_another_table_is_another_one(tmp_path):
    code, table = tmp_path / "my_net.py", tmp_path / "means.csv"
    code.write_text("one")
    table.write_text("lead,mean,deviation")
    asked = Namespace(network=f"{code}:make", normalisation=str(table))
    before = contents(asked)
    assert contents(asked) == before
    code.write_text("two")
    table.write_text("lead,mean,deviation\n")
    after = contents(asked)
    assert all(after[what] != before[what] for what in ("code", "normalisation file"))
    assert contents(Namespace(network=None, normalisation="zscore")) == {}


@pytest.mark.parametrize(
    "norm",
    [nn.BatchNorm2d(3), nn.BatchNorm1d(3, affine=False), nn.BatchNorm1d(3, momentum=None)],
)
def test_norms_that_processes_cannot_share_are_refused(norm):
    inner = nn.ModuleDict({"norm": norm})
    with pytest.raises(UserError, match=r"cannot train inner\.norm \(BatchNorm"):
        synchronise_batch_norm(nn.ModuleDict({"inner": inner}))


def splits_of(n_records):
    """Training and validation splits of so many records, as far as their check looks."""

    class Split(Dataset):
        def __init__(self):
            self.__dict__["labels"] = np.eye(n_records)[:, :2]

        def __len__(self):
            return n_records

    return {"train": Split(), "validation": Split()}


def test_a_batch_of_one_record_is_refused_where_it_has_no_spread():
    info, odd = Namespace(task="superdiagnostic", modelname="xresnet"), splits_of(5)
    with pytest.raises(UserError, match="5 training records in batches of 2 leave some of 1"):
        check_trainable(odd, info, Recipe(batch_size=2))
    check_trainable(odd, info, Recipe(batch_size=3))
    check_trainable(odd, Namespace(**{**vars(info), "modelname": "lenet"}), Recipe(batch_size=2))
