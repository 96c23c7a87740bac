"""What made a folder: one small JSON per stage beside its outputs, with settings and hashes.

`Stage` claims a folder while a stage runs, resumes what was interrupted, and refuses to mix runs.
"""

import contextlib
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from common.files import (
    ON_WRITE,
    UserError,
    digest_read,
    files_read,
    plain,
    read_json,
    remove_leftovers,
    replacing,
    sha256,
    write_json,
    write_text,
)

LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, of Linux and macOS


def deleted(path: Path, content: dict) -> str | None:
    """The first of the outputs of a finished stage that is not there any more.

    path  the stage's JSON;  content  what it says
    """
    if content.get("status") != "finished":
        return None
    names = content.get("outputs", {})
    return next((name for name in names if not (path.parent / name).is_file()), None)


def read_stage(path: str | Path) -> dict:
    """Read a stage's JSON; UserError where it is missing, damaged, or its parts are not of the kind
    that Stage writes.
    """
    content = read_json(path)
    wrong = [
        key
        for key in ("settings", "counts", "inputs", "outputs", "versions")
        if not isinstance(content.get(key, {}), dict)
    ]
    for key in ("inputs", "outputs"):
        digests = {} if key in wrong else content.get(key, {})
        texts = all(isinstance(digest, str) for digest in digests.values())
        if not texts or not all(map(_can_be_a_path, digests)):
            wrong.append(key)
    written = content.get("written", [])
    if not isinstance(written, list) or not all(map(_can_be_a_path, written)):
        wrong.append("written")
    settings = {} if "settings" in wrong else content.get("settings", {})
    if not _can_be_a_path(settings.get("data_path", "")):
        wrong.append("data_path")
    if wrong or content.get("status") not in (None, "running", "finished"):
        raise UserError(
            f"{path} is not what a stage writes ({', '.join(wrong) or 'status'}): remove it, and "
            "run the stage again"
        )
    return content


def _can_be_a_path(name):
    """Whether the system can be asked for a name at all."""
    if not isinstance(name, str) or "\0" in name or len(name) > LONGEST_PATH:
        return False
    with contextlib.suppress(UnicodeEncodeError):
        return all(len(os.fsencode(part)) <= LONGEST_NAME for part in name.split("/"))
    return False


def command(stage: str, *flags: str, **options: object) -> str:
    """The line that runs a stage, as it can be typed where this one was: values with blanks and
    signs of the shell in quotes, lists one by one, options that are None left out.
    """
    scripts = os.path.dirname(sys.argv[0]) if sys.argv else "code"
    if os.path.basename(os.path.abspath(scripts)) != "code":
        scripts = "code"
    words = ["python", os.path.join(scripts, f"{stage}.py"), *flags]
    for name, value in options.items():
        if value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            words += [f"--{name}", *map(str, values)]
    return shlex.join(words)


def source_folder(data_path: str | Path) -> Path | None:
    """The folder that preprocessing.py made a data set from; None where that is not known.

    Its note is relative to the data set's own folder, wherever a stage is called from.
    """
    for noted in sorted(Path(data_path).glob("preprocessing*.json")):
        if noted.is_file():
            source = read_stage(noted).get("settings", {}).get("data_path")
            return Path(os.path.normpath(Path(data_path) / source)) if source else None
    return None


def made_path(data_path: str | Path, sampling_rate: int) -> Path:
    """The JSON that preprocessing.py writes beside the signals of a rate (Hz)."""
    rate = "" if sampling_rate == 100 else sampling_rate
    return Path(data_path) / f"preprocessing{rate}.json"


def data_folders(data_path: str | Path) -> list[Path]:
    """A data set's own folder, then the one it was made from where that is another."""
    own, source = Path(data_path), source_folder(data_path)
    return [own, source] if source and source.resolve() != own.resolve() else [own]


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on."""
    packages = ("torch", "numpy", "pandas", "scipy", "scikit-learn", "wfdb", "captum", "matplotlib")
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in packages},
    }


def _version(package):
    """As metadata.version, which takes in the whole text of long descriptions."""
    text = metadata.distribution(package).read_text("METADATA") or ""
    found = re.search(r"^Version: *(\S+)", text, re.MULTILINE)
    return found[1] if found else metadata.version(package)


class Stage:
    """One stage's folder: claimed while it runs, described by `<name>.json`, resumable, never mixed
    up.

    with Stage(folder, "tcav", settings, overwrite=args.overwrite) as stage:
        if stage.finished_before():      # same command, nothing to do; says so
            return
        ...                              # files of an interrupted run are still there when
                                         stage.resumed
        stage.finish(inputs=[...], outputs=[...], counts={...})

    `settings` are the plain values that the result depends on; a folder that holds other settings
    is refused with the difference, unless `overwrite`. A second process on the same folder is
    refused. `facts` are kept in the file beside the settings; nothing is refused for them. `bare`
    says that the user named no setting at all: what is finished there, of the same network and
    data, is then what they get, whatever its settings.
    """

    def __init__(
        self,
        folder: str | Path,
        name: str,
        settings: dict,
        overwrite: bool = False,
        facts: dict | None = None,
        bare: bool = False,
    ):
        self.facts = facts or {}
        self.folder, self.name = Path(folder), name
        self.settings = json.loads(json.dumps(plain(settings)))
        self.overwrite, self.bare = overwrite, bare
        self.path = self.folder / f"{name}.json"
        self.finished = self.resumed = False

    def __enter__(self):
        above = (self.folder, *self.folder.parents)
        self._made = [folder for folder in above if not folder.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, FileNotFoundError):
            raise UserError(
                f"{self.folder} cannot be made: part of this path is a file, or takes no folders"
            ) from None
        from common.locks import HeldError, Lock

        self._lock = Lock(self.folder / f".{self.name}.lock")
        try:
            self._lock.take()
        except HeldError as error:
            raise UserError(str(error)) from None
        try:
            self._open()
        except BaseException:
            self._leave()
            raise
        ON_WRITE.append(self._note)
        return self

    def _open(self):
        self._before = self.path.read_bytes() if self.path.is_file() else None
        if self.path.is_file() and not self.overwrite:
            before = read_stage(self.path)
            gone = deleted(self.path, before)
            self._compare(before, gone)
            self.finished = before.get("status") == "finished" and not gone
            if gone:
                print(f"{self.folder}: {gone} is not there any more: it is made again")
            self.resumed = not self.finished
        self._own = self._named()
        if not self.finished:
            remove_leftovers(self.folder)
            write_text(self._journal, "".join(f"{name}\n" for name in sorted(self._own)))
            content = {"stage": self.name, "status": "running", "settings": self.settings}
            write_json(self.path, {**content, **self.facts})

    def _compare(self, content, gone):
        """Refuse a run of other settings, or take them over where none were asked for and all that
        they made is there.
        """
        before = content.get("settings", {})
        differing = [
            key
            for key in {**before, **self.settings}
            if before.get(key) != self.settings.get(key)
            # an option that is newer than the run there, and is not used
            and (key in before or self.settings[key])
        ]
        if not differing:
            return
        if (
            self.bare
            and content.get("status") == "finished"
            and _same_subject(before, self.settings)
        ):
            if gone:
                raise UserError(
                    f"{self.folder}: {gone} is not there any more. What made it was no bare "
                    f"command, and is to be given again: {content.get('command')}"
                )
            print(f"settings of the run there, not today's defaults: {', '.join(differing)}")
            self.settings = before
            return
        shown = "; ".join(
            f"{key}: {before.get(key)!r} there, {self.settings.get(key)!r} here"
            for key in differing
        )
        raise UserError(
            f"{self.folder} holds a run with other settings ({shown}): "
            "--overwrite to start anew, or choose another folder"
        )

    def finished_before(self) -> bool:
        """Whether the same command ended before: then says so, and how to compute anew."""
        if self.finished:
            print(
                f"{self.folder} is finished: {self.path.name} says what made it (--overwrite makes "
                "it anew)"
            )
        return self.finished

    # ------------------------------------------------------------ whose files are whose

    @property
    def _journal(self):
        """Names of what is being written, until the stage's file names it."""
        return self.folder / f".{self.name}.files"

    def _named(self):
        """What earlier runs of this stage have written here, by their own account."""
        names = set()
        if self._before is not None:
            with contextlib.suppress(UserError):
                before = read_stage(self.path)
                names |= set(before.get("outputs", {})) | set(before.get("written", ()))
        if self._journal.is_file() and not self._journal.is_symlink():
            names |= set(self._journal.read_text(encoding="utf-8", errors="replace").splitlines())
        return names

    def _note(self, path):
        """Note a file of this stage before it gets its final name."""
        name = os.path.relpath(os.path.abspath(path), os.path.abspath(self.folder))
        hidden = any(part.startswith(".") for part in Path(name).parts)
        if hidden or name in self._own or name == self.path.name:
            return
        self._own.add(name)
        with open(self._journal, "a", encoding="utf-8") as journal:
            journal.write(f"{name}\n")

    def expect(self, paths: Iterable[str | Path]) -> None:
        """Note files that other processes will write into this folder for this stage."""
        for path in paths:
            self._note(path)

    def clear(self, *patterns: str, own: Iterable[str] = ()) -> None:
        """Remove what earlier runs of this stage have left of these patterns (relative to the
        folder). UserError, and nothing is removed, where any of them is not this stage's.

        own  names that are this stage's wherever its file was there before
        """
        if self._before is not None:
            self._own |= set(own)
        found = []
        for pattern in patterns:
            found += sorted(path for path in self.folder.glob(pattern) if not path.is_dir())
        strangers = [path for path in found if not self._is_own(path)]
        if strangers:
            self.withdraw()
            raise UserError(
                f"{self.folder} holds {_in_short(self.folder, strangers)}, which this stage has "
                "not written: move it elsewhere, or choose another folder"
            )
        for path in found:
            path.unlink(missing_ok=True)

    def _is_own(self, path):
        name = path.relative_to(self.folder)
        if path.is_symlink() or any(
            (self.folder / above).is_symlink() for above in name.parents[:-1]
        ):
            return False
        logged = name.match("tensorboard/events.out.tfevents.*")
        return str(name) in self._own or (logged and self._before is not None)

    @property
    def begun_before(self) -> bool:
        """Whether this stage's file was there already."""
        return self._before is not None

    def withdraw(self) -> None:
        """Leave the stage file as it was found: for a stage that stops at its checks, before
        writing anything.
        """
        if self._before is None:
            self.path.unlink(missing_ok=True)
            if not self._own:
                self._journal.unlink(missing_ok=True)
        else:
            with replacing(self.path) as temporary:
                temporary.write_bytes(self._before)
            there = read_stage(self.path)
            if {*there.get("outputs", {}), *there.get("written", ())} >= self._own:
                self._journal.unlink(missing_ok=True)

    def finish(
        self,
        inputs: Iterable[str | Path] = (),
        outputs: Iterable[str | Path] = (),
        counts: dict | None = None,
    ) -> None:
        """Mark the stage finished and store command, versions, counts and the hashes of inputs and
        outputs.
        """
        digests = self._hashes(outputs)
        beside = sorted(name for name in self._own - {*digests} if (self.folder / name).is_file())
        settled = [name for name in beside if not name.endswith(".json")]  # others may change
        digests |= self._hashes(self.folder / name for name in settled)
        beside = [name for name in beside if name not in digests]
        write_json(
            self.path,
            {
                "stage": self.name,
                "status": "finished",
                "settings": self.settings,
                **self.facts,
                "command": shlex.join(["python", *sys.argv]),
                "versions": versions(),
                "counts": counts or {},
                "inputs": self._inputs(inputs),
                "outputs": digests,
                **({"written": beside} if beside else {}),
            },
        )
        self._journal.unlink(missing_ok=True)
        self.finished = True

    def _inputs(self, paths):
        """Hashes of inputs when they were read, and of all that was read beside them: in the
        folders they lie in, and in those that a data set was made from.
        """
        paths = [Path(path) for path in paths]
        folders = [own for path in paths for own in data_folders(path.parent)]
        own = os.path.join(os.path.realpath(self.folder), "")
        read = [path for path in files_read(folders) if not path.startswith(own)]
        return self._hashes([*paths, *sorted(read)], digest_read)

    def _hashes(self, paths, digest=sha256):
        """Paths relative to this folder, so that a moved tree can still be verified; links are
        resolved (`..` ignores them).
        """
        here = os.path.realpath(self.folder)
        return {os.path.relpath(os.path.realpath(path), here): digest(path) for path in paths}

    def __exit__(self, kind, *_):
        ON_WRITE.remove(self._note)
        if kind is UserError and self._before is None and not self._own:
            self._vanish()  # nothing was written yet: no trace of what was refused
        self._leave()

    def _vanish(self):
        """Leave as if the stage had never begun: neither its files nor the folders made for it."""
        self.withdraw()
        self._lock.remove()
        for folder in self._made:
            with contextlib.suppress(OSError):  # somebody else's files are in it
                folder.rmdir()

    def _leave(self):
        if self.finished:
            self._journal.unlink(missing_ok=True)
        self._lock.release()


def _same_subject(before, now):
    """Whether two runs' settings name the same network and the same data."""

    def subject(settings):
        networks = settings.get("checkpoints") or [settings.get("checkpoint")]
        return networks[0], settings.get("data")

    return subject(before) == subject(now) and None not in subject(now)


def _in_short(folder, paths):
    """'a.png, b.png and 3 more'"""
    names = [str(path.relative_to(folder)) for path in paths]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def broken_link(json_path: str | Path) -> str | None:
    """An input or output of a finished stage that has changed since, or else is missing, in words;
    None if all hold.
    """
    json_path = Path(json_path)
    content = read_stage(json_path)
    if content.get("status") != "finished":
        return f"{json_path}: the stage is not finished"
    missing = None
    for kind in ("inputs", "outputs"):
        for name, digest in content.get(kind, {}).items():
            path = Path(os.path.realpath(json_path.parent / name))
            what = f"{json_path}: {kind[:-1]} {os.path.relpath(path)}"
            if not path.is_file():
                missing = missing or f"{what} is missing"
            elif sha256(path) != digest:
                return f"{what} has changed since"
    return missing
