"""One process at a time in a folder, whatever machine it runs on; names that no other chooses.

Within one machine the system's own lock (flock) tells whether a process lives. On a shared folder
that lock may not reach other machines, nor may a number of a process mean anything there: so the
holder's name lies in the lock's file, and its time is renewed while the holder works.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import socket
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

RENEWED = 20.0  # s between two signs of life
FORGOTTEN = 90.0  # s without one after which another machine's lock no longer holds
KEPT = 86_400.0  # s that another machine's temporary files are left alone


def _here():
    """Eight digits that tell this machine, as it was started and as this container sees it."""
    facts = [socket.gethostname()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        facts.append(str(os.stat("/proc/self/ns/pid").st_ino))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]


HERE = _here()


def lives(process: int) -> bool:
    """Whether a process of this number lives on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def temporary_name(path: Path) -> Path:
    """A name beside `path` that says who writes it, and that nobody can foresee."""
    writer = f"{HERE}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.stem[:100]}.{writer}.tmp{path.suffix}")


def is_left_over(path: Path, machine: str | None, process: int) -> bool:
    """Whether the writer of a temporary file is gone: of another machine only its age tells."""
    if machine in (None, HERE):
        return process != os.getpid() and not lives(process)
    with suppress(OSError):
        return time.time() - path.stat().st_mtime > KEPT
    return False


class HeldError(Exception):
    """Who holds a lock, or why it cannot be one."""


class Lock:
    """The lock of one folder: `take` it, `release` it or `remove` it."""

    def __init__(self, path: Path):
        self.path = path
        self._file: int | None = None
        self._ended = threading.Event()

    def take(self) -> None:
        """Hold the lock, or HeldError where another process does."""
        self._file = self._opened()
        try:
            self._claim()
        except BaseException:
            self._close()
            raise
        self._ended.clear()
        threading.Thread(target=self._renew, args=(self._file,), daemon=True).start()

    def release(self) -> None:
        """Let others in."""
        self._ended.set()
        if self._file is not None:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
            self._close()

    def remove(self) -> None:
        """Let others in, and leave no file behind: while it is held, so that it is one's own."""
        self.path.unlink(missing_ok=True)
        self.release()

    def _opened(self):
        """The lock's file, never through a link and never another file under a second name."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            file = os.open(self.path, flags, 0o666)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
                raise
            raise HeldError(f"{self.path} is no lock of this stage's: remove it") from None
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
            os.close(file)
            raise HeldError(f"{self.path} is no lock of this stage's: remove it")
        return file

    def _claim(self):
        place = f"{self.path.parent} ({self.path.stem[1:]})"
        busy = f"another process is writing {place}"
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeldError(f"{busy}: wait for it, or end it") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
                raise  # else this file system has no such locks, and the holder's name must do
        if not self._is_there():
            raise HeldError(f"another process has just left {place}: give the command again")
        before = os.fstat(self._file).st_mtime
        holder = os.pread(self._file, 200, 0).decode("utf-8", "replace").split()
        os.utime(self._file)
        age = os.fstat(self._file).st_mtime - before  # by one clock: the file system's
        if len(holder) == 3 and holder[0] != HERE and age < FORGOTTEN:
            raise HeldError(
                f"{busy} on the machine {holder[1][:60]}: wait for it, or end it (a lock without a "
                f"sign of life for {FORGOTTEN:.0f} s is taken over)"
            )
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{HERE} {socket.gethostname()} {os.getpid()}\n".encode(), 0)

    def _is_there(self):
        """Whether the path still leads to what was opened: its holder may have removed it since."""
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _renew(self, file):
        while not self._ended.wait(RENEWED):
            with suppress(OSError):
                os.utime(file)

    def _close(self):
        if self._file is not None:
            os.close(self._file)
            self._file = None
