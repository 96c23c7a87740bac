"""The front door: what scripts and notebooks share, under one name.

import sys; sys.path.insert(0, "code")
import utils
model = utils.load_model("output/lenet_subdiagnostic", "cpu")
data = utils.load_dataset("data/ptbxl/", task=model.info.task)
"""

from common.files import UserError, read_pickle
from common.labels import LABEL_MAPPINGS, LEADS, REGRESSION_TASKS, STATEMENTS, TASKS, slug
from common.stage import Stage
from networks.checkpoints import ModelInfo, load_model, run_folder, save_checkpoint
from networks.models import MODELS, get_model
from records.dataset import Dataset, centre_crop, load_dataset, parse_r_peaks, window_starts

__all__ = [
    "LABEL_MAPPINGS",
    "LEADS",
    "MODELS",
    "REGRESSION_TASKS",
    "STATEMENTS",
    "TASKS",
    "Dataset",
    "ModelInfo",
    "Stage",
    "UserError",
    "centre_crop",
    "get_model",
    "load_dataset",
    "load_model",
    "parse_r_peaks",
    "read_pickle",
    "run_folder",
    "save_checkpoint",
    "slug",
    "window_starts",
]
