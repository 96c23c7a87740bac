"""Long recordings in stretches (--every): each is that part of its recording, all of one stay
together, and what has a gap or another length is said.
"""

import ast

import numpy as np
import pandas as pd
import pytest
import wfdb

import import_records
import made_files as made
from common.files import UserError
from common.labels import LEADS
from records import sources
from records.layout import read_layout
from records.wfdb_any import read_wfdb
from tiny_ptbxl import ecg_like, fitting_limbs, write_record

RATE, MINUTE = 200, 12_000
NAMES = ("h1", "h2")


def minute(number):
    """(12000, 12) mV, whose beats go on; the first sample of each second is not that of others."""
    pieces = [fitting_limbs(ecg_like(number + k, RATE) / 1000) for k in range(6)]
    return np.concatenate(pieces)[:MINUTE]


def stage(folder, *words):
    """The table that an import writes, and its signals # (N, T, 12) mV."""
    words = [*words, "--output_path", folder / "out", "--seconds", 5]
    import_records.main(import_records.get_args_parser().parse_args(list(map(str, words))))
    table = pd.read_csv(folder / "out" / "ptbxl_database.csv")
    names = table[f"filename_{RATE}"]
    return table, np.stack([read_wfdb(folder / "out" / name).millivolts() for name in names])


def write_wfdb(folder, name, signal):
    write_record(folder / name, np.rint(signal * 1000).astype(np.int16), RATE)


def write_csv(folder, name, signal):
    time = pd.Series(np.arange(len(signal)) / RATE, name="time")
    table = pd.DataFrame(signal.round(3), columns=LEADS)
    pd.concat([time, table], axis=1).to_csv(folder / f"{name}.csv", index=False)


def write_edf(folder, name, signal):
    counts = np.rint(signal.T * 10_000).astype(int)
    (folder / f"{name}.edf").write_bytes(made.edf(counts, LEADS, RATE))


def write_npy(folder, name, signal):
    np.save(folder / f"{name}.npy", signal)


WRITERS = {"WFDB": write_wfdb, "csv": write_csv, "EDF": write_edf, "npy": write_npy}


def cohort(folder, write=write_wfdb, patients=True):
    (folder / "in").mkdir()
    for number, name in enumerate(NAMES):
        write(folder / "in", name, minute(number))
    table = pd.DataFrame({"record_id": NAMES, "labels": ["AFIB", "NORM SR"]})
    if patients:
        table["patient_id"] = [7, 4]
    table.to_csv(folder / "table.csv", index=False)
    return "--records", folder / "in", "--table", folder / "table.csv"


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("block", [600.0, 20.0])
def test_stretches_are_the_parts_of_their_recording(tmp_path, monkeypatch, kind, block):
    monkeypatch.setattr(sources, "BLOCK_SECONDS", block)
    words = cohort(tmp_path, WRITERS[kind])
    rate = ("--signal_rate", RATE) if kind == "npy" else ()
    table, signals = stage(tmp_path, *words, *rate, "--every", 15, "--record_start", 2)
    assert table["start_s"].tolist() == [2, 17, 32, 47] * 2
    assert table["record_id"].tolist()[:2] == ["h1@2s", "h1@17s"]
    assert table["patient_id"].tolist() == [7] * 4 + [4] * 4
    assert table.groupby("patient_id")["strat_fold"].nunique().eq(1).all()
    assert table["scp_codes"].str.contains("AFIB").tolist() == [True] * 4 + [False] * 4
    for row, signal in enumerate(signals):
        first = int(table["start_s"][row]) * RATE
        expected = minute(row // 4)[first : first + 5 * RATE]
        assert np.abs(signal - expected).max() < 1.6e-3  # III follows from two roundings


def test_a_recording_is_a_patient_where_nobody_is_named(tmp_path, capsys):
    table, signals = stage(tmp_path, *cohort(tmp_path, patients=False), "--every", "5")
    assert len(signals) == 24
    assert table["patient_id"].tolist() == [1] * 12 + [2] * 12
    assert "24 stretches of long recordings of 2 patients, 5 s at 200 Hz" in capsys.readouterr().out


def test_a_gap_loses_its_stretch_alone(tmp_path, capsys):
    words = cohort(tmp_path)
    for number, name in enumerate(NAMES):
        counts = np.rint(minute(number).T * 10_000).astype(int)
        onsets = np.arange(60.0) + (np.arange(60) >= 32) * 100 * number
        content = made.edf(counts, LEADS, RATE, onsets=onsets)
        (tmp_path / "in" / f"{name}.edf").write_bytes(content)
        for suffix in ("dat", "hea"):
            (tmp_path / "in" / f"{name}.{suffix}").unlink()
    with pytest.raises(UserError, match="has gaps in this stretch"):
        stage(tmp_path, *words, "--every", 10)
    table, _ = stage(tmp_path, *words, "--every", 10, "--skip_bad")
    assert table["record_id"].str.startswith("h2").sum() == 5
    skipped = pd.read_csv(tmp_path / "out" / "skipped_imports.csv")
    assert skipped["record_id"].tolist() == ["h2@30s"]


def test_short_ones_and_what_lacks_a_length_are_said(tmp_path):
    words = cohort(tmp_path)
    write_wfdb(tmp_path / "in", "h2", minute(1)[: 3 * RATE])
    with pytest.raises(UserError, match="h2@0s lasts 3 s, others 5 s"):
        stage(tmp_path, *words, "--every", 10)
    table, _ = stage(tmp_path, *words, "--every", 10, "--short", "drop")
    assert table["recording"].unique().tolist() == ["h1"]
    parser = import_records.get_args_parser()
    with pytest.raises(UserError, match="--every needs --seconds"):
        import_records.main(
            parser.parse_args([*map(str, words), "--output_path", "x", "--every", "9"])
        )


# ---------------------------------------------------------------- labels from annotations


def annotated(folder):
    """Two minutes of MIT-BIH's kind: fibrillation from 21.5 to 40 s of h1, then two ventricular
    beats; h2 begins without a rhythm, and a rhythm of no statement ends in a mark of its own.
    """
    words = cohort(folder)
    marks = {
        "h1": [(0.1, "+", "(N\0"), (21.5, "+", "(AFIB"), (40, "+", "(N"), (46.2, "V", ""),
               (47, "V", ""), (3, "N", ""), (52, "~", "c")],
        "h2": [(15, "+", "(VT"), (30.5, "+", ")"), (4, "L", "")],
    }  # fmt: skip
    for name, rows in marks.items():
        times, signs, texts = zip(*sorted(rows), strict=True)
        samples = np.rint(np.array(times) * RATE).astype(int)
        options = {"symbol": list(signs), "aux_note": list(texts), "fs": RATE}
        wfdb.wrann(name, "atr", samples, write_dir=str(folder / "in"), **options)
    return words


def test_a_stretch_has_the_rhythms_and_beats_that_are_in_it(tmp_path, capsys):
    words = annotated(tmp_path)
    pd.DataFrame({"record_id": NAMES, "patient_id": [7, 4]}).to_csv(
        tmp_path / "table.csv", index=False
    )
    table, _ = stage(tmp_path, *words, "--every", 10, "--label_annotations", "atr")
    labels = [" ".join(ast.literal_eval(text)) for text in table["scp_codes"]]
    # stretches of 5 s: 20-25 s has 1.5 s of sinus rhythm and 3.5 s of fibrillation
    h1 = ["SR", "SR", "SR AFIB", "AFIB", "SR", "SR"]
    assert labels == [*h1, "CLBBB", "", "VT", "", "", ""]
    assert table["patient_id"].tolist() == [7] * 6 + [4] * 6
    assert "N as SR 5, no mark 4, AFIB 2, beat L as CLBBB 1, VT 1" in capsys.readouterr().out
    layout = read_layout(tmp_path / "out")
    assert layout.facts["label_source"] == "WFDB annotations (atr) of rhythms and beats"


def test_a_recording_has_those_of_what_is_read_of_it(tmp_path):
    folder, table, *_ = annotated(tmp_path)[1::2]
    words = ("--records", folder, "--label_annotations", "atr", "--record_start", 44)
    table, _ = stage(tmp_path, *words)
    assert [ast.literal_eval(text) for text in table["scp_codes"]] == [
        {"SR": 100.0, "PVC": 100.0},
        {},
    ]


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("qrs", r"h1\.qrs does not exist: --label_annotations needs it"),
        ("bad", "is no readable file of annotations"),
        ("../x", "takes a suffix such as atr"),
    ],
)
def test_annotations_that_are_not_there_are_said(tmp_path, suffix, message):
    folder = annotated(tmp_path)[1]
    (folder / "h1.bad").write_bytes(b"\1")
    with pytest.raises(UserError, match=message):
        stage(tmp_path, "--records", folder, "--label_annotations", suffix)


def test_annotations_beside_other_formats_are_not_looked_for(tmp_path):
    words = cohort(tmp_path, write_csv)
    with pytest.raises(UserError, match="needs WFDB records"):
        stage(tmp_path, *words, "--label_annotations", "atr")


@pytest.mark.parametrize(
    ("content", "labels"),
    [(b"", []), (b"\0\0", []), (b"\1", None), (b"\xff" * 4000, None), ("beats alone", ["PVC"])],
)
def test_files_of_annotations_without_a_rhythm_or_damaged(tmp_path, content, labels):
    folder = annotated(tmp_path)[1]
    for name in NAMES:
        (folder / f"{name}.atr").unlink()
        if content == "beats alone":
            wfdb.wrann(name, "atr", np.array([400]), symbol=["V"], write_dir=str(folder))
        else:
            (folder / f"{name}.atr").write_bytes(content)
    words = ("--records", folder, "--label_annotations", "atr")
    if labels is None:
        with pytest.raises(UserError, match="is no readable file of annotations"):
            stage(tmp_path, *words)
        return
    table, _ = stage(tmp_path, *words)
    assert [list(ast.literal_eval(text)) for text in table["scp_codes"]] == [labels] * 2
