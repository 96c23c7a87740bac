"""Faults of the machine, of disks and of network folders, in one line for people."""

import errno
import os
from collections.abc import Collection

# kinds of errors that only writing meets
WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EXDEV)
# options that memory follows, the ones that cost the least first
LOWERED = ("--max_memory", "--batch_size", "--n_samples", "--limit", "--n_records")
TOO_LITTLE = (
    *("out of memory", "can't allocate memory", "not enough memory"),
    *("could not create a primitive", "could not create a memory object"),  # oneDNN's words for it
)


def of_machine(error: Exception, options: Collection[str] = ()) -> str | None:
    """What went wrong and what can be done; None where the error is none of the machine's.

    options  those of the stage, of which the ones that memory follows are named
    """
    if _is_memory(error):
        return _of_memory(error, options)
    return _of_files(error) if isinstance(error, OSError) else None


def _of_files(error):
    if error.errno == errno.ENOENT and not _stands_somewhere():
        return "the folder that this was started in is not there any more: cd into one that is"
    what = "write" if error.errno in WRITING else "read or write"
    where = f" ({error.filename})" if error.filename else ""
    reason = error.strerror or str(error) or type(error).__name__
    return f"cannot {what}: {reason}{where}; nothing half-written was left"


def _stands_somewhere():
    """Whether the current folder is there."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _is_memory(error):
    """Whether there is too little memory: torch raises RuntimeError, a system call ENOMEM."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return any(words in str(error).lower() for words in TOO_LITTLE)


def _of_memory(error, options):
    lower = [name for name in LOWERED if name in options]
    way = f"lower {' or '.join(lower)}" if lower else "end other programs, or take fewer records"
    asked = str(error).splitlines()[0] if str(error) else "the system gives no more"
    return f"too little memory: {asked[:300]}; {way}"
