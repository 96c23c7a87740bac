"""The report's section on checks: which control networks it speaks of."""

from types import SimpleNamespace

import pandas as pd
import pytest

from networks.checkpoints import IMPORTED
from reporting.checks import sanity
from reporting.run import Run


@pytest.mark.parametrize(("modelname", "trained"), [("lenet", True), (IMPORTED, False)])
def test_an_imported_network_has_no_controls_on_permuted_labels(tmp_path, modelname, trained):
    (tmp_path / "sanity").mkdir()
    checks = pd.DataFrame({"check": ["localisation_auc"], "method": ["ig"], "value": [0.7]})
    checks.to_csv(tmp_path / "sanity/checks.csv", index=False)
    controls = checks.assign(beyond_controls=True, n_controls=20)
    controls.to_csv(tmp_path / "sanity/controls.csv", index=False)
    page = "".join(map(str, sanity(Run(tmp_path, SimpleNamespace(modelname=modelname)))))
    assert "1 of 1 localisation scores are beyond 20 untrained networks" in page
    assert ("trained on labels dealt out anew" in page) == trained
