"""The download scripts against a server on 127.0.0.1: whole, cut off, corrupt, refused, no server,
no disk, run twice.
"""

import fcntl
import hashlib
import http.server
import io
import os
import re
import shutil
import subprocess
import sys
import threading
import zipfile

import pytest

from conftest import ROOT

# every command the scripts may use
COMMANDS = (
    "awk",
    "basename",
    "bash",
    "cat",
    "cksum",
    "cut",
    "curl",
    "df",
    "dirname",
    "env",
    "find",
    "flock",
    "grep",
    "head",
    "mkdir",
    "mktemp",
    "mv",
    "python3",
    "rm",
    "sed",
    "sha256sum",
    "shasum",
    "sleep",
    "tr",
    "unzip",
    "wc",
    "wget",
)
TOP = "ptb-xl-a-large-publicly-available-electrocardiography-dataset-1.0.1"
CONTENT = {
    "ptbxl_database.csv": b"ecg_id,patient_id\n1,1\n",
    "scp_statements.csv": b"x\n",
    "RECORDS": b"records100/1\n",
    "records100/00000/00001_lr.dat": bytes(range(256)) * 400,
}


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; the first `cuts` transfers break off half-way; `ranges` off ignores Range
    headers.
    """

    def __init__(self, files, cuts=0, ranges=True):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cuts, self.ranges, self.log = files, cuts, ranges, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.respond(send=False)

    def do_GET(self):
        self.respond(send=True)

    def respond(self, send):
        asked = self.headers.get("Range")
        body = self.server.files.get(self.path.lstrip("/"))
        if send:
            self.server.log.append((self.path, asked))
        if body is None:
            self.send_error(404)
            return
        start = int(re.match(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest = body[start:]
        if send and self.server.cuts:
            self.server.cuts -= 1
            rest = rest[: len(rest) // 2]
            self.close_connection = True
        if send:
            self.wfile.write(rest)

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """serve(files, ...) starts a server that ends with the test."""
    servers = []

    def start(*args, **kwargs):
        servers.append(Server(*args, **kwargs))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def archive(content=None, top=TOP, sums=True, separator=" "):
    """A zip as PhysioNet makes it: one folder, SHA256SUMS.txt with one space between sum
    and name.
    """
    content = dict(CONTENT if content is None else content)
    if sums:
        lines = [
            f"{hashlib.sha256(body).hexdigest()}{separator}{name}\n"
            for name, body in content.items()
        ]
        content["SHA256SUMS.txt"] = "".join(lines).encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, body in content.items():
            file.writestr(f"{top}/{name}", body)
    return packed.getvalue()


def download(script, target, *arguments, path=None, **environment):
    """Run a download script into `target` from another working directory."""
    settings = {"RETRY_PAUSE": "0", **environment, **({"PATH": path} if path else {})}
    return subprocess.run(
        [str(ROOT / script), "--data_path", str(target), *arguments],
        capture_output=True,
        text=True,
        cwd=target.parent,
        env={**os.environ, **settings},
    )


def data(target, server, *arguments, **options):
    return download(
        "download_data.sh",
        target,
        *arguments,
        PTBXL_BASE_URL=server.url,
        PTBXL_PLUS_BASE_URL=f"{server.url}/plus",
        **options,
    )


def segmentations(target, server, **options):
    return download(
        "download_segmentations.sh", target, SEGMENTATIONS_BASE_URL=server.url, **options
    )


def leftovers(folder):
    """Hidden files other than the lock and the note of the version."""
    return sorted(
        path.name for path in folder.rglob(".*") if path.name not in (".download.lock", ".version")
    )


def path_with(tmp_path, *hidden, **fakes):
    """A PATH of COMMANDS but the `hidden` ones; fakes: command -> text of a script that stands in
    for it.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    fakes = {
        "python3": f'exec {sys.executable} "$@"',
        **fakes,
    }  # not a version manager's stand-in, which needs more
    for command in COMMANDS:
        if command in hidden:
            continue
        if command in fakes:
            (folder / command).write_text(f"#!/usr/bin/env bash\n{fakes[command]}\n")
            (folder / command).chmod(0o755)
        elif shutil.which(command):
            (folder / command).symlink_to(shutil.which(command))
    return str(folder)


def assert_whole(target):
    found = {
        str(path.relative_to(target)): path.read_bytes()
        for path in target.rglob("*")
        if path.is_file()
    }
    assert {name: found.get(name) for name in CONTENT} == CONTENT
    assert leftovers(target.parent) == []


def assert_fails(done, match):
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(match, done.stderr.splitlines()[-1]), done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(("tool", "unpacker"), [("curl", "unzip"), ("wget", "python3")])
def test_a_whole_archive_arrives_and_a_second_run_fetches_nothing(tmp_path, serve, tool, unpacker):
    if not all(map(shutil.which, (tool, unpacker))):
        pytest.skip(f"no {tool} or no {unpacker} here")
    hidden = ({"curl", "wget"} - {tool}) | ({"unzip"} - {unpacker})
    path, target = path_with(tmp_path, *hidden), tmp_path / "data" / "ptbxl"
    target.parent.mkdir()
    server = serve({f"{TOP}.zip": archive()})
    done = data(target, server, path=path)
    assert done.returncode == 0, done.stderr
    assert_whole(target)
    n_requests = len(server.log)
    again = data(target, server, path=path)
    assert again.returncode == 0, again.stderr
    assert "there and whole" in again.stdout
    assert len(server.log) == n_requests


@pytest.mark.parametrize(
    ("summer", "separator"),
    [("sha256sum", " "), ("sha256sum", " *"), ("shasum", " "), ("python3", "  ")],
)
def test_sums_are_checked_whatever_the_spacing_and_the_tool(tmp_path, serve, summer, separator):
    if not shutil.which(summer):
        pytest.skip(f"no {summer} here")
    path = path_with(tmp_path, *({"sha256sum", "shasum"} - {summer}))
    assert (
        data(
            tmp_path / "good", serve({f"{TOP}.zip": archive(separator=separator)}), path=path
        ).returncode
        == 0
    )
    wrong = dict(CONTENT, **{"SHA256SUMS.txt": f"{'0' * 64}{separator}RECORDS\n".encode()})
    done = data(tmp_path / "bad", serve({f"{TOP}.zip": archive(wrong, sums=False)}), path=path)
    assert_fails(done, "not as its SHA256SUMS.txt has them: the archive was removed")
    assert "RECORDS" in done.stderr
    assert not (tmp_path / "bad").exists()


def test_sums_that_cannot_be_computed_do_not_pass(tmp_path, serve):
    path = path_with(tmp_path, "shasum", sha256sum="exit 1")
    done = data(tmp_path / "ptbxl", serve({f"{TOP}.zip": archive()}), path=path)
    assert_fails(done, "not as its SHA256SUMS.txt has them")


@pytest.mark.parametrize("tool", ["curl", "wget"])
def test_a_cut_transfer_is_resumed_where_it_broke_off(tmp_path, serve, tool):
    if not shutil.which(tool):
        pytest.skip(f"no {tool} here")
    server, target = serve({f"{TOP}.zip": archive()}, cuts=2), tmp_path / "d" / "ptbxl"
    target.parent.mkdir()
    done = data(target, server, path=path_with(tmp_path, *({"curl", "wget"} - {tool})))
    assert done.returncode == 0, done.stderr
    assert_whole(target)
    starts = [int(re.match(r"bytes=(\d+)-", asked)[1]) if asked else 0 for _, asked in server.log]
    assert starts[0] == 0
    assert 0 < starts[1] < starts[2]


def test_a_broken_run_is_resumed_by_the_next(tmp_path, serve):
    packed, target = archive(), tmp_path / "d" / "ptbxl"
    target.parent.mkdir()
    server = serve({f"{TOP}.zip": packed}, cuts=99)
    # the transfer halves what is left each time, until less than two bytes arrive: three idle
    # attempts end it
    first = data(target, server)
    assert_fails(first, "no mirror delivered .*: check the network and run the same command again")
    assert not target.exists()
    server.cuts = 0
    asked_before = len(server.log)
    assert data(target, server).returncode == 0
    assert server.log[asked_before][1] not in (None, "bytes=0-")
    assert_whole(target)


def test_a_server_that_cannot_resume_is_asked_for_the_whole(tmp_path, serve):
    target = tmp_path / "d" / "ptbxl"
    target.parent.mkdir()
    assert data(target, serve({f"{TOP}.zip": archive()}, cuts=1, ranges=False)).returncode == 0
    assert_whole(target)


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (archive()[:-2000] + bytes(2000), "is damaged"),
        (b"<html>moved</html>", "is damaged"),
        (archive({"other.txt": b""}), "it holds no ptbxl_database.csv"),
        (archive(sums=False), "it holds no SHA256SUMS.txt to verify it with"),
    ],
)
def test_a_useless_archive_is_refused_and_not_kept(tmp_path, serve, packed, why):
    target = tmp_path / "d" / "ptbxl"
    target.parent.mkdir()
    server = serve({f"{TOP}.zip": packed})
    assert_fails(
        data(target, server), f"{why}: the archive was removed, run the same command again"
    )
    assert not target.exists()
    assert leftovers(tmp_path) == []
    server.files[f"{TOP}.zip"] = archive()
    assert data(target, server).returncode == 0
    assert_whole(target)


def test_mirrors_are_tried_in_turn(tmp_path, serve):
    dead, empty, good = serve({}), serve({}), serve({f"{TOP}.zip": archive()})
    dead.shutdown()
    dead.server_close()
    done = download(
        "download_data.sh", tmp_path / "ptbxl", PTBXL_BASE_URL=f"{dead.url} {empty.url} {good.url}"
    )
    assert done.returncode == 0, done.stderr
    assert_whole(tmp_path / "ptbxl")


def test_no_server_is_one_clear_error(tmp_path, serve):
    server = serve({})
    server.shutdown()
    server.server_close()
    for script, name in (
        ("download_data.sh", "PTBXL_BASE_URL"),
        ("download_segmentations.sh", "SEGMENTATIONS_BASE_URL"),
    ):
        # a name of its own for the zip: one mirror, one round of attempts
        done = download(script, tmp_path / "ptbxl", **{name: f"{server.url}/x.zip"})
        assert_fails(done, "no mirror delivered")
    assert not (tmp_path / "ptbxl" / "ptbxl_database.csv").exists()


def test_too_little_disk_is_said_before_fetching(tmp_path, serve):
    path = path_with(tmp_path, df="echo Filesystem; echo /dev/x 100 99 1 99% /")
    server = serve({f"{TOP}.zip": archive(), "ptbxl_segmentations_8bit.zip": archive()})
    for call in (data, segmentations):
        assert_fails(
            call(tmp_path / "ptbxl", server, path=path),
            r"not enough disk space in .*: .* needed, .* free",
        )
    assert server.log == []


@pytest.mark.parametrize("tool", ["curl", "unzip"])
def test_a_missing_tool_is_named(tmp_path, serve, tool):
    path = path_with(tmp_path, *{"curl": ("curl", "wget"), "unzip": ("unzip", "python3")}[tool])
    assert_fails(data(tmp_path / "ptbxl", serve({}), path=path), f"{tool} or .* is needed")


def test_damaged_data_are_fetched_again_and_what_else_is_there_stays(tmp_path, serve):
    target, server = tmp_path / "ptbxl", serve({f"{TOP}.zip": archive()})
    (target / "ptbxl_segmentations").mkdir(parents=True)
    (target / "ptbxl_segmentations" / "1.npy").write_bytes(b"x")
    assert data(target, server).returncode == 0
    (target / "records100/00000/00001_lr.dat").write_bytes(b"short")
    (target / "raw100.pkl").write_bytes(b"mine")
    done = data(target, server)
    assert done.returncode == 0, done.stderr
    assert "00001_lr.dat" in done.stderr
    assert_whole(target)
    assert (target / "ptbxl_segmentations" / "1.npy").read_bytes() == b"x"
    assert (target / "raw100.pkl").read_bytes() == b"mine"


@pytest.mark.skipif(not shutil.which("flock"), reason="no flock here")
def test_a_second_run_at_the_same_time_is_refused_and_spoils_nothing(tmp_path, serve):
    (tmp_path / ".ptbxl.partial").mkdir()
    with open(tmp_path / ".download.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_fails(
            data(tmp_path / "ptbxl", serve({f"{TOP}.zip": archive()})),
            "another download into .* is running",
        )
    assert (tmp_path / ".ptbxl.partial").is_dir()
    assert not (tmp_path / "ptbxl").exists()


def test_another_version_in_the_folder_is_refused(tmp_path, serve):
    target, server = tmp_path / "ptbxl", serve({f"{TOP}.zip": archive()})
    assert data(target, server).returncode == 0
    assert_fails(
        data(target, server, "--version", "1.0.3"), "holds PTB-XL of version 1.0.1, not 1.0.3"
    )


def test_every_version_is_asked_for_by_its_own_name(tmp_path, serve):
    for version in ("1.0.2", "1.0.3"):
        server = serve({f"ptb-xl-{version}.zip": archive()})
        assert data(tmp_path / version, server, f"--version={version}").returncode == 0
        assert server.log[-1][0] == f"/ptb-xl-{version}.zip"


def test_features_are_fetched_and_verified(tmp_path, serve):
    table = b"ecg_id,R_Amp_V5\n1,1.5\n"
    sums = (
        f"{'1' * 64} features/other.csv\n{hashlib.sha256(table).hexdigest()} "
        "features/unig_features.csv\n"
    ).encode()
    server = serve(
        {
            f"{TOP}.zip": archive(),
            "plus/features/unig_features.csv": table,
            "plus/SHA256SUMS.txt": sums,
        }
    )
    target = tmp_path / "ptbxl"
    assert data(target, server).returncode == 0
    done = data(target, server, "--features")
    assert done.returncode == 0, done.stderr
    file = target / "ptbxl_plus/features/unig_features.csv"
    assert file.read_bytes() == table
    assert leftovers(tmp_path) == []
    file.unlink()
    server.files["plus/features/unig_features.csv"] = table.replace(b"1.5", b"9.9")
    assert_fails(data(target, server, "--features"), r"unig_features\.csv arrived damaged")
    assert not file.exists()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "folder", ["ptbxl_segmentations_8bit", "ptbxl_segmentations_8it", "deep/er"]
)
def test_segmentations_arrive_whatever_their_folder_is_called(tmp_path, serve, folder):
    packed = archive({"1.npy": b"\x93NUMPY1", "2.npy": b"\x93NUMPY2"}, top=folder, sums=False)
    server, target = serve({"ptbxl_segmentations_8bit.zip": packed}, cuts=1), tmp_path / "ptbxl"
    done = segmentations(target, server)
    assert done.returncode == 0, done.stderr
    found = {path.name: path.read_bytes() for path in (target / "ptbxl_segmentations").iterdir()}
    assert found == {"1.npy": b"\x93NUMPY1", "2.npy": b"\x93NUMPY2"}
    assert leftovers(tmp_path) == []
    n_requests = len(server.log)
    again = segmentations(target, server)
    assert again.returncode == 0
    assert "are there" in again.stdout
    assert len(server.log) == n_requests


def test_corrupt_segmentations_leave_nothing(tmp_path, serve):
    packed = bytearray(archive({"1.npy": bytes(5000)}, top="x", sums=False))
    packed[200] ^= 1  # a bit inside the stored file: only the checksum tells
    assert_fails(
        segmentations(tmp_path / "ptbxl", serve({"ptbxl_segmentations_8bit.zip": bytes(packed)})),
        "damaged",
    )
    assert sorted(path.name for path in (tmp_path / "ptbxl").iterdir()) == [".download.lock"]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--version", "2"], "unknown version 2: accepted are 1.0.1, 1.0.2, 1.0.3"),
        (["--version"], "needs a value"),
        (["--nonsense"], "unknown option --nonsense"),
    ],
)
def test_a_wrong_option_is_one_line_and_code_2(words, match):
    done = subprocess.run([str(ROOT / "download_data.sh"), *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert match in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("script", ["download_data.sh", "download_segmentations.sh"])
def test_help_names_the_options_and_the_variable(script):
    done = subprocess.run([str(ROOT / script), "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--data_path DIR" in done.stdout
    assert "BASE_URL" in done.stdout
    assert "set -euo" not in done.stdout


# ---------------------------------------------------------------- nothing of the user's is lost


def test_an_edited_table_and_own_files_stay(tmp_path, serve):
    table = b"ecg_id,R_Amp_V5\n1,1.5\n"
    files = {f"{TOP}.zip": archive(), "plus/features/unig_features.csv": table}
    target, server = tmp_path / "ptbxl", serve(files)
    assert data(target, server).returncode == 0
    (target / "ptbxl_database.csv").write_bytes(b"ecg_id,patient_id,mine\n1,1,x\n")
    (target / "records100" / "mine.txt").write_bytes(b"mine")
    n_requests = len(server.log)
    done = data(target, server, "--features")
    assert done.returncode == 0, done.stderr
    assert "mine" in (target / "ptbxl_database.csv").read_text()
    assert not [path for path, _ in server.log[n_requests:] if path.endswith(".zip")]
    done = data(target, server)
    assert done.returncode == 0, done.stderr
    assert "ptbxl_database.csv.before is what was there" in done.stderr
    assert "mine" in (target / "ptbxl_database.csv.before").read_text()
    assert (target / "records100" / "mine.txt").read_bytes() == b"mine"
    assert_whole(target)
    (target / "ptbxl_database.csv").write_bytes(b"ecg_id,patient_id,second\n1,1,x\n")
    done = data(target, server)
    assert "ptbxl_database.csv.before2 is what was there" in done.stderr
    assert "mine" in (target / "ptbxl_database.csv.before").read_text()
    assert "second" in (target / "ptbxl_database.csv.before2").read_text()
    assert_whole(target)


def test_what_the_sums_do_not_name_is_not_installed(tmp_path, serve):
    packed = io.BytesIO(archive())
    with zipfile.ZipFile(packed, "a") as file:
        file.writestr(f"{TOP}/records100/evil.py", b"harm")
    target = tmp_path / "ptbxl"
    done = data(target, serve({f"{TOP}.zip": packed.getvalue()}))
    assert done.returncode == 0, done.stderr
    assert "left out: records100/evil.py" in done.stderr
    assert not (target / "records100" / "evil.py").exists()
    assert_whole(target)


def test_a_server_that_cannot_resume_and_always_breaks_off_is_left_soon(tmp_path, serve):
    server = serve({f"{TOP}.zip": archive()}, cuts=10_000, ranges=False)
    done = data(tmp_path / "ptbxl", server)
    assert_fails(done, "no mirror delivered")
    assert len(server.log) < 60


@pytest.mark.parametrize("script", ["download_data.sh", "download_segmentations.sh"])
@pytest.mark.parametrize("words", [["--data_path", ""], ["--data_path="]])
def test_an_empty_folder_is_not_the_current_one(tmp_path, script, words):
    done = subprocess.run(
        [str(ROOT / script), *words], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "--data_path needs a folder" in done.stderr
    assert list(tmp_path.iterdir()) == []
