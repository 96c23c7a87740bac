"""Networks of the same kind and task from other seeds: how much an answer hangs on the seed."""

import re
from pathlib import Path

import torch

from common.files import UserError
from networks.checkpoints import ModelInfo, find_checkpoint, load_model

NAMED = re.compile(r"_seed\d+$")  # how runs of other seeds are named: <run>_seed1


def runs_beside(model_path: str | Path) -> list[Path]:
    """Run folders beside a run that its name marks as its other seeds: <run>, <run>_seed1, ..."""
    checkpoint = find_checkpoint(model_path)
    run = checkpoint.parent.parent.resolve()
    first = run.with_name(NAMED.sub("", run.name))
    found = [first, *sorted(first.parent.glob(f"{first.name}_seed*"))]
    wanted = [one for one in found if one == first or NAMED.search(one.name)]
    return [
        one for one in wanted if one != run and (one / "checkpoints" / checkpoint.name).is_file()
    ]


def load_others(
    paths: list[Path], info: ModelInfo, device: str | torch.device = "cpu"
) -> list[torch.nn.Module]:
    """The networks in these run folders; UserError where one answers another question than `info`'s
    network or is that of the same seed.
    """
    others = []
    for path in paths:
        other = load_model(path, device)
        same = (other.info.modelname, other.info.task, other.info.labels, other.info.leads)
        if same != (info.modelname, info.task, info.labels, info.leads):
            raise UserError(
                f"--seeds {path} is {other.info.run_folder_name}, not another seed of "
                f"{info.run_folder_name}"
            )
        if other.info.seed == info.seed:
            raise UserError(f"--seeds {path} has the seed of {info.run_folder_name}: {info.seed}")
        others.append(other)
    return others
