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
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

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


class Took(NamedTuple):
    """Seconds: by the clock, of processor, and of the first thread's processor."""

    clock: float
    cpu: float
    first: float


def timed(work) -> Took:
    """What one call takes."""
    start = time.perf_counter(), time.process_time(), time.thread_time()
    work()
    end = time.perf_counter(), time.process_time(), time.thread_time()
    return Took(*(after - before for before, after in zip(start, end, strict=True)))


def importing(ptbxl: Path, folder: Path, n_records: int = 1000, rounds: int = 3) -> dict:
    """The least `Took` in `rounds` of importing `n_records` WFDB records (copies of the 500 Hz ones
    of `ptbxl`), of reading them one after the other by the import's own reader, and by a
    wfdb.rdsamp loop (over N_WFDB of them).

    folder  for the files: one in memory (/dev/shm) keeps the disk out. ext4 searches longer for
            room where thousands of files were removed in the last minutes.
    """
    import wfdb

    import import_records

    paths = copies(ptbxl, folder / "in", n_records)
    names = [path[:-4] for path in paths[:N_WFDB]]
    words = ["--records", str(folder / "in"), "--output_path", str(folder / "out")]
    args = import_records.get_args_parser().parse_args(words)
    works = {
        "read": lambda: each(read_millivolts, paths),
        "wfdb": lambda: each(wfdb.rdsamp, names),
        "import": lambda: import_records.main(args),
    }
    seconds: dict[str, list[Took]] = {what: [] for what in works}
    for _ in range(rounds):
        for what, work in works.items():
            with contextlib.redirect_stdout(io.StringIO()):
                seconds[what].append(timed(work))
        shutil.rmtree(folder / "out")
    found = {what: Took(*map(min, zip(*took, strict=True))) for what, took in seconds.items()}
    share = n_records / min(n_records, N_WFDB)
    found["wfdb"] = Took(*(share * value for value in found["wfdb"]))
    return {"n": n_records, **found}


def each(read, paths):
    """Read one after the other, and keep none."""
    for path in paths:
        read(path)


def read_millivolts(path):
    """The signal of a recording in mV, which an import need not compute."""
    from records.readers import read_recording

    return read_recording(path).signal


def copies(ptbxl: Path, folder: Path, n_records: int) -> list[str]:
    """Headers of copies of the 500 Hz records under names of their own."""
    headers = sorted((ptbxl / "records500").rglob("*.hea"))
    folder.mkdir()
    made = []
    for number in range(n_records):
        header, copy = headers[number % len(headers)], folder / f"R{number:05d}"
        text = header.read_text().replace(header.stem, copy.name) + "#Dx: 426783006\n"
        copy.with_suffix(".hea").write_text(text)
        copy.with_suffix(".dat").write_bytes(header.with_suffix(".dat").read_bytes())
        made.append(f"{copy}.hea")
    return made


def say_importing(ptbxl: Path, folder: str | None) -> None:
    """Print what importing takes beside reading."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        found = importing(ptbxl, Path(name))
    ours, read, loop = found["import"], found["read"], found["wfdb"]
    per = 1000 / found["n"]
    print_result(
        f"importing {found['n']} records of 10 s at 500 Hz",
        "reading them: by the import's reader / by a wfdb.rdsamp loop",
        f"by the clock {ours.clock / read.clock:.1f} / {ours.clock / loop.clock:.2f} times, "
        f"of processor {ours.cpu / read.cpu:.1f} / {ours.cpu / loop.cpu:.2f} (first thread alone "
        f"{ours.first / read.cpu:.1f}): {per * ours.cpu:.2f} CPU ms each, {per * read.cpu:.2f} / "
        f"{per * loop.cpu:.2f}",
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="+", choices=WHAT)
    parser.add_argument("--ptbxl", type=Path, required=True)
    parser.add_argument("--n_records", type=int, default=4497, help="for memory; PTB-XL has 21837")
    parser.add_argument("--folder", help="for the files of importing, such as /dev/shm")
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
            say_importing(args.ptbxl, args.folder)
        else:
            found = memory(args.ptbxl, args.n_records)
            print_result(
                f"preprocessing {found['n']} records",
                f"an array of {found['array_MB']:.0f} MB",
                f"peak {found['peak_MB']:.0f} MB, {found['cpu_s']:.0f} s of CPU",
            )


if __name__ == "__main__":
    main()
