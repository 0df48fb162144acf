"""What only the loaded neonize knows: its token dictionaries, its protobufs, its trusted root key.

Reading them from the library that is installed means that an upgrade of neonize cannot drift away from
the simulator. Go keeps a string as a (pointer, length) pair; the tables are found in the library's
writable data by the lengths of their first entries.
"""

import ctypes
import importlib
import io
import logging
import os
import re
import struct
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from service.errors import SimulatorError
from service.simulator.stanza import Tokens

# whatsmeow handshake.go, WACertPubKey
_WHATSAPP_ROOT: Final = bytes.fromhex("142375574d0a587166aae71ebe516437c4a28b73e3695c6ce1f7f9545da8ee6b")

_FIRST_TOKENS: Final = ("xmlstreamstart", "xmlstreamend", "s.whatsapp.net", "type", "participant", "from")
_SINGLE_TOKENS: Final = 236
_TABLES, _TABLE_SIZE = 4, 256
_LONGEST_TOKEN: Final = 200
_STRING: Final = struct.Struct("<QQ")
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ +(.*)")


@cache
def module(name: str) -> Any:
    """A module of neonize by its full name, such as `neonize.proto.waCert.WACert_pb2`.

    neonize cannot be had in part: its package imports the Go library with everything else.
    """
    with _silence(), patch.object(os, "popen", _popen):
        importlib.import_module("pylibmagic")  # neonize needs libmagic, which the machine may lack
        importlib.import_module("neonize._binder")
        return importlib.import_module(name)


@contextmanager
def _silence() -> Iterator[None]:
    """neonize configures the root logger when it is imported, and its dependencies warn."""
    root = logging.getLogger()
    level, quiet = root.level, logging.NullHandler()
    root.addHandler(quiet)  # basicConfig does nothing where a handler stands
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeHandler(quiet)
        root.setLevel(level)


def _popen(command: str) -> io.StringIO:
    """neonize asks `uname -a` and leaves pipe and process to the garbage collector, which warns later."""
    answer = subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, check=False)  # noqa: S603
    return io.StringIO(answer.stdout.decode(errors="replace"))


def trust(root_key: bytes) -> None:
    """Make the library in this process trust this Noise root key (32 bytes) in place of WhatsApp's.

    Only the simulator's own engine entry point does this. Raises SimulatorError when the key is not found.
    """
    if len(root_key) != len(_WHATSAPP_ROOT):
        raise SimulatorError(f"a root key of {len(root_key)} bytes: must be {len(_WHATSAPP_ROOT)}")
    for start, data in _writable():
        at = data.find(_WHATSAPP_ROOT)
        if at >= 0:
            ctypes.memmove(start + at, root_key, len(root_key))
            return
    raise SimulatorError("the loaded neonize does not hold WhatsApp's root key, or it was replaced before")


@cache
def tokens() -> Tokens:
    """The dictionaries of the loaded library. Raises SimulatorError when they are not found."""
    inside = _Memory()
    lengths = (b".{8}" + re.escape(struct.pack("<Q", len(token))) for token in _FIRST_TOKENS)
    first = re.compile(b"".join(lengths), re.DOTALL)
    slices = re.compile((b".{8}" + re.escape(_STRING.pack(_TABLE_SIZE, _TABLE_SIZE))) * _TABLES, re.DOTALL)
    single: tuple[str, ...] | None = None
    double: tuple[tuple[str, ...], ...] | None = None
    for start, data in _writable():
        for match in first.finditer(data):
            # the table's first entry, the empty string, stands before the first that has a length
            single = single or inside.strings(start + match.start() - _STRING.size, _SINGLE_TOKENS)
        for match in slices.finditer(data):
            heads = [struct.unpack_from("<Q", data, match.start() + 24 * i)[0] for i in range(_TABLES)]
            tables = [inside.strings(head, _TABLE_SIZE) for head in heads]
            if double is None and all(tables):
                double = tuple(table for table in tables if table)
    if single is None or double is None or single[1 : 1 + len(_FIRST_TOKENS)] != _FIRST_TOKENS:
        raise SimulatorError("the token dictionaries were not found in the loaded neonize")
    return Tokens(single, double)


class _Memory:
    """The library's readable memory, and Go strings in it."""

    def __init__(self) -> None:
        self._ranges = list(_mapped("r"))

    def strings(self, address: int, count: int) -> tuple[str, ...] | None:
        """An array of Go strings, or None when that is not what lies there."""
        if not self._holds(address, count * _STRING.size):
            return None
        rows = _STRING.iter_unpack(ctypes.string_at(address, count * _STRING.size))
        pairs = [(pointer, length) for pointer, length in rows]
        if not all(n == 0 or (n < _LONGEST_TOKEN and self._holds(pointer, n)) for pointer, n in pairs):
            return None
        try:
            return tuple(ctypes.string_at(pointer, n).decode() if n else "" for pointer, n in pairs)
        except UnicodeDecodeError:
            return None

    def _holds(self, address: int, size: int) -> bool:
        return any(start <= address and address + size <= end for start, end in self._ranges)


def _writable() -> Iterator[tuple[int, bytes]]:
    for start, end in _mapped("rw"):
        yield start, ctypes.string_at(start, end - start)


def _mapped(access: str) -> Iterator[tuple[int, int]]:
    """Address ranges of the library that allow at least this access."""
    path = str(Path(module("neonize._binder").gocode._name).resolve())
    maps = Path("/proc/self/maps")
    if not maps.exists():
        raise SimulatorError("the simulator needs /proc/self/maps, which only Linux has")
    for line in maps.read_text().splitlines():
        match = _MAPPING.match(line)
        if match and match[4] == path and match[3].startswith(access):
            yield int(match[1], 16), int(match[2], 16)
