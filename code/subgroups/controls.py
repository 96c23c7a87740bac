"""Clusters of networks that have learnt nothing, beside those of the network.

An untrained network parts anterior from inferior infarctions as well, since its maps are shaped by
the signal. Control networks (networks/controls.py) explain the same records for the same output;
their maps and features are clustered in the same way, into as many clusters, and held against the
same hidden labels: p_control says how often they agree as well, p_control_corrected allows for all
representations and metrics.
"""

import argparse
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from common.beside import beside_controls
from common.files import UserError
from networks.controls import Control, check_controls, controls_for, graph_of
from networks.distributed import together
from networks.inference import load_dataset_for
from subgroups.clusters import METRICS, score
from subgroups.cohort import Cohort
from subgroups.findings import Design, Found, clusters_into
from subgroups.representations import REPRESENTATIONS, Material

WITHOUT_NETWORK = ("signal",)  # representations that no network has a part in
COLUMNS = ["representation", "metric", "kind", "seed", "value"]


def control_scores(
    found: dict[str, Found],
    cohort: Cohort,
    design: Design,
    material: Material,
    made: Iterable[Control],
    args: argparse.Namespace,
    device: str | torch.device = "cpu",
) -> pd.DataFrame:
    """Agreement with the hidden labels of every control network's clusters (COLUMNS), for each
    representation that has more than one cluster and that a network has a part in.
    """
    asked = [name for name, one in found.items() if one.k > 1 and name not in WITHOUT_NETWORK]
    labels = cohort.labels[design.reported]

    def rows_of(control):
        model, rows = control.load(device), []
        twin = Material(cohort.data, model, material.target, material.method, material.window)
        for name in asked:
            features = np.nan_to_num(REPRESENTATIONS[name](twin))
            clusters = clusters_into(found[name].k, features, cohort, design, args)
            for metric in METRICS:
                value = score(metric, clusters[design.reported], labels)
                rows.append((name, metric, control.kind, control.seed, value))
        return rows

    rows = together([rows_of(control) for control in (made if asked else ())])
    return pd.DataFrame(list(chain.from_iterable(rows)), columns=COLUMNS)


def check_control(model: nn.Module, cohort: Cohort) -> None:
    """UserError where control networks cannot be made, or have nothing to be held against."""
    check_controls(model.info, graph_of(model))
    if not cohort.hidden_labels:
        raise UserError(
            "--control holds agreement with hidden labels against networks that have learnt "
            'nothing: name a --cohort of two labels or more, such as "AMI or IMI"'
        )


def against_networks(
    args: argparse.Namespace,
    table: pd.DataFrame,
    found: dict[str, Found],
    cohort: Cohort,
    design: Design,
    material: Material,
    run: Path,
) -> pd.DataFrame:
    """table.csv with what `args.control` networks of each kind reach that have learnt nothing; they
    are kept beside the folder of the run.
    """
    device = next(material.model.parameters()).device
    data = load_dataset_for(material.model.info, args.data_path, args.limit)
    made = controls_for(args, material.model, data, run, device)
    scores = control_scores(found, cohort, design, material, made, args, device)
    return with_controls(table, scores)


def with_controls(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """table.csv with what the controls reach (common/beside.py), allowing for all representations
    and metrics; blank where no network has a part in the row.
    """
    keys = ["representation", "metric"]
    asked = scores.drop_duplicates(keys)[keys]
    own = table.merge(asked, on=keys).set_index(keys)["value"]
    found = beside_controls(own, scores, keys).drop(columns="control_mean")
    found["n_controls"] = found["n_controls"].where(found["n_controls"] > 0)
    return table.join(found, on=keys)
