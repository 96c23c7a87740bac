"""Reading a pickle that holds one array of numbers, and nothing else.

NumPy's own way back from a pickle trusts what the file says of types and flags: a made-up type of
objects has it follow addresses that the file chose. Here nothing of NumPy is called by the file.
The names that an array's pickle uses stand for functions of this module; these keep a type's text
and the raw bytes, and the array is made when both were found to be plain and of one size.
"""

import math
import pickle
import re
from functools import partial
from typing import BinaryIO

import numpy as np

MAX_STEPS = 10_000  # an array's pickle takes some 50
PIECE = 16 << 20  # bytes read at a time
PLAIN = re.compile(r"[<>|=]?[biuf](1|2|4|8)|bool|u?int(8|16|32|64)|float(16|32|64)")


class NotPlainError(Exception):
    """What a pickle holds beside, or instead of, one array of plain numbers."""


class _Stretch:
    """Bytes that were left in the file: from where, and how many."""

    def __init__(self, start: int, length: int):
        self.start, self.length = start, length

    def __len__(self):
        return self.length


class _Type:
    """A number type as a pickle describes it: only its text is kept."""

    def __init__(self, text, *_):
        if not isinstance(text, str) or not PLAIN.fullmatch(text):
            raise NotPlainError(
                f"its numbers are of type {str(text)[:40]!r}, and only numpy arrays are read whose "
                "numbers are plain"
            )
        self.dtype = np.dtype(text)

    def __setstate__(self, state):
        # (version, byte order, no subarray, no names, no fields, no size, no alignment, no flags)
        fine = (
            isinstance(state, tuple) and len(state) in (8, 9) and state[1] in ("<", ">", "|", "=")
        )
        if not fine or state[2:8] != (None, None, None, -1, -1, 0):
            raise NotPlainError("its numbers are not of a plain type")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array between its name and its bytes."""

    def __init__(self, *_):
        self.array = None

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise NotPlainError("its array is not described as NumPy does")
        shape, kind, by_columns, content = state[-4:]
        if type(by_columns) not in (bool, int) or not isinstance(content, bytes):
            raise NotPlainError("its array does not hold plain bytes")
        self.array = _made(content, kind, shape, "F" if by_columns else "C").copy()


def _from_buffer(content, kind, shape, order):
    """What protocol 5 stores of an array."""
    found = _Array()
    found.array = _made(content, kind, shape, order)
    return found


def _made(content, kind, shape, order):
    """The array of plain bytes, if these are as many as its type and shape say."""
    sizes = isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)
    plain = isinstance(content, bytes | bytearray | _Stretch) and isinstance(kind, _Type)
    if not sizes or not plain or order not in ("C", "F"):
        raise NotPlainError("its array is not one of plain numbers")
    if len(shape) > 32 or math.prod(shape) * kind.dtype.itemsize != len(content):
        raise NotPlainError(f"its {len(content)} bytes are not an array {str(shape)[:80]}")
    if isinstance(content, _Stretch):
        return partial(
            np.memmap, dtype=kind.dtype, mode="r", offset=content.start, shape=shape, order=order
        )
    return np.frombuffer(content, dtype=kind.dtype).reshape(shape, order=order)


def _to_bytes(text, encoding):
    """How protocols 0 to 2 store bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise NotPlainError("it holds a text where bytes are expected")
    return text.encode("latin1")


def _no_bytes():
    """How protocols 0 to 2 store the bytes of an array without numbers."""
    return b""


_NUMPY = {
    "multiarray": {"_reconstruct": _Array},
    "numeric": {"_frombuffer": _from_buffer},
}
NAMES = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _to_bytes,
    ("__builtin__", "bytes"): _no_bytes,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")  # numpy 1 and 2
        for module, names in _NUMPY.items()
        for name, stand_in in names.items()
    },
}


# the steps of a pickle that an array is written with, by any protocol
STEPS = (
    *("PROTO", "FRAME", "GLOBAL", "STACK_GLOBAL", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT"),
    *("BINGET", "LONG_BINGET", "GET", "SHORT_BINUNICODE", "BINUNICODE", "UNICODE", "MARK"),
    *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "BININT", "BININT1", "BININT2"),
    *("INT", "LONG", "LONG1", "LONG4", "NONE", "NEWTRUE", "NEWFALSE", "SHORT_BINBYTES"),
    *("BINBYTES", "BINBYTES8", "BYTEARRAY8", "REDUCE", "BUILD", "STOP"),
)


class _Steps(dict):
    """The steps, each looked up before it is taken: endless ones are ended."""

    def __init__(self, known):
        super().__init__(
            {getattr(pickle, name)[0]: known[getattr(pickle, name)[0]] for name in STEPS}
        )
        self.taken = 0

    def __getitem__(self, step):
        self.taken += 1
        if step not in self or self.taken > MAX_STEPS:
            raise NotPlainError(
                "it holds something else than an array, and only numpy arrays are read"
            )
        return super().__getitem__(step)


class _Bounded:
    """A file that is never asked for more than it has."""

    def __init__(self, file: BinaryIO, size: int):
        self.file, self.size = file, size

    def read(self, n: int) -> bytes:
        """The next n bytes."""
        if n > self.size:
            raise NotPlainError("it declares more bytes than it has")
        return self.file.read(n)

    def readinto(self, buffer: bytearray) -> int:
        """Fill a buffer."""
        return self.file.readinto(buffer)

    def readline(self) -> bytes:
        """The rest of a line, which is short in an array's pickle."""
        return self.file.readline(10_000)


class _ArrayUnpickler(pickle._Unpickler):
    """Python's own unpickler with the names and steps above. Written in Python it keeps what it was
    given in a dictionary, so that no number of the file is taken for a size of memory.
    """

    def __init__(self, file: BinaryIO, size: int, in_memory: int | None):
        self._size, self._file, self._in_memory = size, file, in_memory
        self.dispatch = _Steps(
            type(self).dispatch
            | {
                pickle.BYTEARRAY8[0]: type(self)._load_buffer,
                pickle.BUILD[0]: type(self)._load_state,
            }
        )
        super().__init__(_Bounded(file, size))

    def find_class(self, module: str, name: str) -> object:
        """What a name stands for here."""
        if (module, name) not in NAMES:
            raise NotPlainError(
                f"it holds {module[:60]}.{name[:60]}, and only numpy arrays are read"
            )
        return NAMES[module, name]

    def _load_buffer(self):
        """Bytes, whose number is compared with the file's before there is room made for them."""
        length = int.from_bytes(self.read(8), "little")
        if length > self._size:
            raise NotPlainError("it declares more bytes than it has")
        # pickle writes large ones outside of its frames, as they are
        framed = self._unframer.current_frame
        if self._in_memory is not None and length > self._in_memory and not framed:
            self.append(self._left_there(length))
            return
        content = bytearray(length)
        for start in range(0, length, PIECE):  # by pieces: the whole would be there twice
            piece = self.read(min(PIECE, length - start))
            content[start : start + len(piece)] = piece
        self.append(content)

    def _left_there(self, length):
        """Bytes that are not read."""
        start = self._file.tell()
        if start + length > self._size:
            raise NotPlainError("it declares more bytes than it has")
        self._file.seek(length, 1)
        return _Stretch(start, length)

    def _load_state(self):
        """What BUILD gives: to an array or a type, never to a function."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Array | _Type):
            raise NotPlainError("it changes something else than an array")
        self.stack[-1].__setstate__(state)


def load_array(file: BinaryIO, size: int, in_memory: int | None = None) -> np.ndarray:
    """The array of an open pickle of `size` bytes.

    in_memory  bytes that are read; a larger array (of protocol 5) is mapped read-only into memory
    Raises NotPlainError for all that is not one plain array of numbers, before any is looked at.
    """
    found = _ArrayUnpickler(file, size, in_memory).load()
    if not isinstance(found, _Array) or found.array is None:
        raise NotPlainError("it holds no array")
    mapped_later = isinstance(found.array, partial)
    return found.array(file.name) if mapped_later else found.array
