"""What would turn the network's answers on a record of one's own: a sentence for each class that is
explained, for its page.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from torch import nn

from attribution.plan import Target
from common.cli import say_left_out
from common.files import UserError, write_csv
from counterfactual.body import bodies_of
from counterfactual.edits import limits_of
from counterfactual.job import RECORD_COLUMNS, Job, record_row, search
from records.dataset import Dataset

FILE = "counterfactuals.csv"
MOST = 6  # changes that are combined


def answers(
    model: nn.Module,
    data: Dataset,
    targets: Sequence[Target],
    table: pd.DataFrame,
    window: str,
    folder: Path,
) -> list[Path]:
    """Write counterfactuals.csv into `folder`: for the one record of `data` a row per target, found
    within what the records of the enriched `table` show; its path. Nothing, said once, where the
    table has no measurements.
    """
    try:
        limits = limits_of(table)
    except UserError as error:
        say_left_out({"what would turn the answer": str(error)})
        return []
    job = Job(model, data, list(targets), limits, window, MOST, 0, folder)
    [body] = bodies_of(data.signals[:1], data.sampling_rate, job.limits)
    ecg_id = int(data.ecg_id[0])
    rows = []
    for target in targets:
        found = search(job, target, data.signals[0], body)
        rows.append(record_row(job, target, ecg_id, body, found))
    write_csv(folder / FILE, pd.DataFrame(rows, columns=RECORD_COLUMNS).round(4))
    return [folder / FILE]
