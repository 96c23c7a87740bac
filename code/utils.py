"""The front door: what scripts and notebooks share, under one name.

import sys; sys.path.insert(0, "code")
import utils
model = utils.load_model("output/lenet_subdiagnostic", "cpu")
data = utils.load_dataset("data/ptbxl/", task=model.info.task)

own = utils.wrap(my_module, labels=["AF", "LBBB"], sampling_rate=400, seconds=10.24, unit="mV")
maps = utils.explain_records(own, signals, target=0, method="lrp").attributions
"""

from attribution.methods import METHODS, attribute, explain, explain_records
from common.ecg_paper import Heat, Record, twelve_leads
from common.files import UserError, read_pickle
from common.labels import LABEL_MAPPINGS, LEADS, REGRESSION_TASKS, STATEMENTS, TASKS, slug
from common.stage import Stage
from networks.checkpoints import ModelInfo, load_model, run_folder, save_checkpoint
from networks.foreign import wrap
from networks.inference import predict
from networks.models import MODELS, get_model
from records.dataset import Dataset, centre_crop, load_dataset, parse_r_peaks, window_starts
from tcav.activations import class_gradients, collect, layer_names

__all__ = [
    "LABEL_MAPPINGS",
    "LEADS",
    "METHODS",
    "MODELS",
    "REGRESSION_TASKS",
    "STATEMENTS",
    "TASKS",
    "Dataset",
    "Heat",
    "ModelInfo",
    "Record",
    "Stage",
    "UserError",
    "attribute",
    "centre_crop",
    "class_gradients",
    "collect",
    "explain",
    "explain_records",
    "get_model",
    "layer_names",
    "load_dataset",
    "load_model",
    "parse_r_peaks",
    "predict",
    "read_pickle",
    "run_folder",
    "save_checkpoint",
    "slug",
    "twelve_leads",
    "window_starts",
    "wrap",
]
