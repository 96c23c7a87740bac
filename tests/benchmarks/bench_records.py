"""What reading records and the whole of preprocessing cost: against wfdb, per record, in memory.

Reads:  records in PTB-XL's layout (--ptbxl).
Writes: nothing that stays.

Times are CPU seconds of this process, which other processes' load disturbs least; ratios are taken
within one run. Larger data sets than --ptbxl are made by listing its records several times under
new ids.

Example:
    python tests/benchmarks/bench_records.py reading cost memory --ptbxl ../shared/ptbxl
"""

import argparse
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "code"))

from ratios import print_result

SIZES = (250, 500, 1000, 1499)
WHAT = ("reading", "importing", "cost", "memory", "child")
N_WFDB = 300  # records of the wfdb loop, which is the slow one


def reading(ptbxl: Path) -> dict:
    """Records per CPU second by read_records and by a wfdb.rdsamp loop, and the largest difference
    (mV).
    """
    import wfdb

    from records.wfdb_files import read_records

    table = pd.read_csv(ptbxl / "ptbxl_database.csv").head(N_WFDB)
    names = table["filename_lr"].tolist()
    read_records(
        ptbxl, names, table["ecg_id"], 100, progress=False
    )  # files into the cache: both read from memory
    start = time.process_time()
    oracle = np.stack([wfdb.rdsamp(str(ptbxl / name))[0] for name in names])
    loop = time.process_time() - start
    ours = []
    for _ in range(5):
        start = time.process_time()
        signals = read_records(ptbxl, names, table["ecg_id"], 100, progress=False).signals
        ours.append(time.process_time() - start)
    return {
        "n": len(names),
        "records_per_s": len(names) / np.median(ours),
        "wfdb_records_per_s": len(names) / loop,
        "ratio": loop / np.median(ours),
        "largest_difference_mV": float(np.abs(signals - oracle).max()),
    }


def cost(ptbxl: Path, sizes=SIZES) -> dict:
    """CPU ms per record of everything that preprocessing.py does after its imports, for several
    numbers of records.
    """
    preprocess(ptbxl, sizes[0])  # what is slow only once
    return {n: 1000 * preprocess(ptbxl, n) / n for n in sizes}


def preprocess(data_path: Path, n_records: int) -> float:
    """CPU seconds of one run of the stage."""
    import preprocessing

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        words = [
            "--data_path",
            str(data_path),
            "--output_path",
            folder,
            "--limit",
            str(n_records),
            "--measure_at",
            "100",
        ]
        args = preprocessing.get_args_parser().parse_args(words)
        start = time.process_time()
        preprocessing.main(args)
        return time.process_time() - start


def memory(ptbxl: Path, n_records: int) -> dict:
    """Peak memory of preprocessing.py in a process of its own, for `n_records` records."""
    with tempfile.TemporaryDirectory() as folder:
        repeat(ptbxl, Path(folder), n_records)
        done = subprocess.run(
            [sys.executable, __file__, "child", "--ptbxl", folder],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return {"n": n_records, **json.loads(done.stdout.splitlines()[-1])}


def repeat(ptbxl: Path, folder: Path, n_records: int) -> None:
    """A data set of `n_records` records: those of `ptbxl`, again and again, under rising ids."""
    table = pd.read_csv(ptbxl / "ptbxl_database.csv")
    table = table.iloc[np.arange(n_records) % len(table)].assign(ecg_id=np.arange(1, n_records + 1))
    table.to_csv(folder / "ptbxl_database.csv", index=False)
    (folder / "records100").symlink_to((ptbxl / "records100").resolve())


def child(data_path: Path) -> dict:
    """Run the stage and report the peak of this process."""
    start = time.process_time()
    import preprocessing

    with contextlib.redirect_stdout(io.StringIO()):
        preprocessing.main(
            preprocessing.get_args_parser().parse_args(["--data_path", str(data_path)])
        )
    array = (data_path / "raw100.pkl").stat().st_size / 1e6
    peak = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        / 1e3
        * (1.024 if sys.platform != "darwin" else 1e-3)
    )
    return {
        "array_MB": array,
        "peak_MB": peak,
        "limit_MB": 2 * array + 500,
        "cpu_s": time.process_time() - start,
    }


def importing(ptbxl: Path, n_records: int = 1000) -> dict:
    """CPU seconds of importing `n_records` WFDB records (copies of the 500 Hz ones of `ptbxl`),
    of reading them by the import's own reader, and by a wfdb.rdsamp loop (over N_WFDB of them).
    """
    import wfdb

    import import_records
    from records.readers import read_recording

    headers = sorted((ptbxl / "records500").rglob("*.hea"))
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(name)
        (folder / "in").mkdir()
        for number in range(n_records):
            header, copy = headers[number % len(headers)], f"R{number:05d}"
            text = header.read_text().replace(header.stem, copy) + "#Dx: 426783006\n"
            (folder / "in" / f"{copy}.hea").write_text(text)
            data = header.with_suffix(".dat").read_bytes()
            (folder / "in" / f"{copy}.dat").write_bytes(data)
        paths = sorted((folder / "in").glob("*.hea"))
        seconds = {}
        for what, work in {
            "read": lambda: [read_recording(path) for path in paths],
            "wfdb": lambda: [wfdb.rdsamp(str(path.with_suffix(""))) for path in paths[:N_WFDB]],
            "import": lambda: import_records.main(
                import_records.get_args_parser().parse_args(
                    ["--records", str(folder / "in"), "--output_path", str(folder / "out")]
                )
            ),
        }.items():
            start = time.process_time()
            work()
            seconds[what] = time.process_time() - start
        seconds["wfdb"] *= n_records / min(n_records, N_WFDB)
    return {"n": n_records, **seconds}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="+", choices=WHAT)
    parser.add_argument("--ptbxl", type=Path, required=True)
    parser.add_argument("--n_records", type=int, default=4497, help="for memory; PTB-XL has 21837")
    args = parser.parse_args()
    for what in args.what:
        if what == "child":
            print(json.dumps(child(args.ptbxl)))
        elif what == "cost":
            for n, ms in cost(args.ptbxl).items():
                print_result(f"preprocessing, {n} records", "", f"{ms:.2f} CPU ms per record")
        elif what == "reading":
            found = reading(args.ptbxl)
            print_result(
                f"reading {found['n']} records",
                "a wfdb.rdsamp loop",
                f"{found['ratio']:.1f} times as fast, largest difference "
                f"{found['largest_difference_mV']:.2g} mV",
            )
        elif what == "importing":
            found = importing(args.ptbxl)
            each = {name: 1000 * found[name] / found["n"] for name in ("read", "wfdb", "import")}
            print_result(
                f"importing {found['n']} records of 10 s at 500 Hz",
                "reading them: by the import's reader / by a wfdb.rdsamp loop",
                f"{each['import']:.2f} CPU ms each, {found['import'] / found['read']:.1f} / "
                f"{found['import'] / found['wfdb']:.2f} times as long ({each['read']:.2f} / "
                f"{each['wfdb']:.2f} ms)",
            )
        else:
            found = memory(args.ptbxl, args.n_records)
            print_result(
                f"preprocessing {found['n']} records",
                f"an array of {found['array_MB']:.0f} MB",
                f"peak {found['peak_MB']:.0f} MB, {found['cpu_s']:.0f} s of CPU",
            )


if __name__ == "__main__":
    main()
