"""A small chain of every stage, and what it wrote: one digest per table and array.

    python tests/chain.py CODE_FOLDER WORK_FOLDER > digests.json      # made once, before the move
    into rooms

`test_same_numbers.py` runs the chain with today's code and compares.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

DATA, RUN = "data", "output/lenet_subdiagnostic"
# all classes by name: TCAV's default was all of them when the digests were made
CLASSES = (
    "AMI,CLBBB,CRBBB,ILBBB,IMI,IRBBB,ISCA,ISCI,ISC_,IVCD,LAFB/LPFB,LAO/LAE,LMI,LVH,NORM,NST_,PMI,"
    "RAO/RAE,RVH,SEHYP,STTC,WPW,_AVB"
)
SHARED = ["--data_path", DATA, "--output_path", "output", "--model_path", RUN]
CHAIN = {
    "simulate_ptbxl": ["--output_path", DATA, "--n_records", "300", "--seed", "11"],
    "preprocessing": ["--data_path", DATA],
    "train_model": [
        "--data_path",
        DATA,
        "--logdir",
        "output",
        "--modelname",
        "lenet",
        "--task",
        "subdiagnostic",
        "--epochs",
        "6",
        "--threads",
        "1",
    ],
    "tcav_analysis": [
        *SHARED,
        "--pathologies",
        CLASSES,
        "--n_runs",
        "4",
        "--n_null",
        "400",
        "--threads",
        "1",
    ],
    "lrp_analysis": [*SHARED, "--strategy", "single_best", "--threads", "1"],
    "glocal_analysis": [*SHARED, "--n_samples", "6", "--threads", "1"],
    "sanity_checks": [*SHARED, "--n_samples", "6", "--n_few", "2", "--threads", "1"],
    "discovery": [*SHARED, "--cohort", "AMI or IMI", "--threads", "1"],
}


def run_chain(code: Path, work: Path) -> None:
    """Run every stage of CHAIN with the scripts in `code`, in the folder `work`."""
    for script, words in CHAIN.items():
        command = [sys.executable, str(code / f"{script}.py"), *words]
        done = subprocess.run(
            command,
            cwd=work,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if done.returncode:
            raise RuntimeError(
                f"{script} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )


def digests(work: Path) -> dict[str, str]:
    """sha256 (16 digits) of every csv, npz and npy file below `work`, by relative path;
    segmentations as one.
    """
    found = {}
    segmentations = hashlib.sha256()
    for path in sorted(work.rglob("*")):
        if path.suffix not in (".csv", ".npz", ".npy") or not path.is_file():
            continue
        if path.parent.name == "ptbxl_segmentations":
            segmentations.update(path.read_bytes())
        else:
            found[str(path.relative_to(work))] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    found["ptbxl_segmentations"] = segmentations.hexdigest()[:16]
    return found


if __name__ == "__main__":
    code_folder, work_folder = (Path(word).resolve() for word in sys.argv[1:3])
    work_folder.mkdir(parents=True, exist_ok=True)
    run_chain(code_folder, work_folder)
    print(json.dumps(digests(work_folder), indent=1))
