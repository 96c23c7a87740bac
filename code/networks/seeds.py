"""Networks of the same kind and task from other seeds: how much an answer hangs on the seed."""

import re
from collections.abc import Sequence
from pathlib import Path

from common.files import UserError, sha256
from networks.checkpoints import IMPORTED, find_checkpoint, load_checkpoint

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


SAME = ("modelname", "task", "labels", "leads", "sampling_rate", "crop_seconds", "folds")


def check_seeds(model_path: str | Path, paths: Sequence[str | Path]) -> None:
    """UserError where a network of --seeds (checkpoints or run folders) is not that of --model_path
    trained with another seed, or stands there twice: such networks would agree wholly.

    Seeds of networks that were trained elsewhere are not known; their checkpoints must differ.
    """
    info = load_checkpoint(model_path)[1]
    digests = {sha256(find_checkpoint(model_path)): "--model_path"}
    seeds = {} if info.modelname == IMPORTED else {info.seed: "--model_path"}
    for path in paths:
        other = load_checkpoint(path)[1]
        for what in SAME:
            there, here = getattr(other, what), getattr(info, what)
            if there != here:
                raise UserError(
                    f"--seeds {path} is not another seed of {info.run_folder_name}: its {what} is "
                    f"{there}, not {here}"
                )
        digest = sha256(find_checkpoint(path))
        if digest in digests:
            raise UserError(f"--seeds {path} holds the same network as {digests[digest]}")
        if other.seed in seeds:
            raise UserError(
                f"--seeds {path} has the seed of {seeds[other.seed]}, {other.seed}: train each "
                "with another --seed"
            )
        digests[digest] = path
        if info.modelname != IMPORTED:
            seeds[other.seed] = path
