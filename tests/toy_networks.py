"""Networks and TCAV layers of a few numbers, for tests that need no data."""

import numpy as np
import torch
from torch import nn

from common.labels import LEADS
from networks.checkpoints import ModelInfo
from networks.models import get_model
from tcav.analysis import make_layer
from tcav.concept_sets import concept_set

CLASSES = ("A", "B", "C")


def last_map(model):
    """The module whose output is the last convolutional map before pooling, of a Network."""
    names = list(model._modules)
    return model._modules[names[names.index("pool") - 1]]


def randomised(model, seed=0):
    """BatchNorm statistics and weights as no untrained network has them: folding and sums are
    tested for real.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(n, low, width):
        return low + width * torch.rand(n, generator=generator)

    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            n = module.num_features
            module.running_mean.copy_(draw(n, -0.3, 0.6))
            module.running_var.copy_(draw(n, 0.5, 1.0))
            module.weight.data.copy_(draw(n, 0.5, 1.0))
            module.bias.data.copy_(draw(n, -0.3, 0.6))
    return model.eval()


def make_model(modelname, seed=0):
    torch.manual_seed(seed)
    model = get_model(modelname, len(CLASSES)).eval()
    for module in model.modules():  # statistics and zero-initialised weights as after training
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    model.info = ModelInfo(modelname, "superdiagnostic", CLASSES, LEADS, 100, 2.5, {}, 0)
    return model


def toy_concept(flags, strata=None, name="toy"):
    flags = np.asarray(flags, dtype=float)
    return concept_set(
        name,
        flags,
        np.arange(len(flags)),
        np.zeros(len(flags), dtype=int) if strata is None else strata,
    )


def toy_layer(activations, gradients, coordinates="white"):
    per_class = [np.atleast_2d(values).astype(np.float32) for values in gradients]
    return make_layer("toy", activations.astype(np.float32), per_class, coordinates)
