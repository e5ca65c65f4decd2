"""What an object file asks for and what it takes: ELF of 32 and 64 bits, little-endian, and WebAssembly."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_ALLOCATED, _NO_BITS, _SYMBOL_TABLE = 2, 8, 2
_WASM_IMPORTS, _WASM_CODE, _WASM_FUNCTION = 2, 10, 0


@dataclass(frozen=True)
class ObjectFile:
    """`code` is the bytes of instructions and tables that a program is loaded with; `calls` names what the
    object leaves to others, sorted."""

    code: int
    calls: tuple[str, ...]


def read_object(data: bytes) -> ObjectFile:
    """Read an object file that a compiler or linker made here."""
    return _read_wasm(data) if data.startswith(b"\0asm") else _read_elf(data)


def code_bytes(files: Mapping[str, bytes]) -> int:
    """Bytes of code in the object files among a target's files."""
    return sum(read_object(data).code for name, data in files.items() if name.endswith(".o"))


@dataclass(frozen=True)
class _Section:
    kind: int
    flags: int
    offset: int
    size: int
    link: int


def _read_elf(data: bytes) -> ObjectFile:
    is_64 = data[4] == 2
    sections = list(_sections(data, is_64))
    code = sum(s.size for s in sections if s.flags & _ALLOCATED and s.kind != _NO_BITS)
    calls = {
        name
        for table in sections
        if table.kind == _SYMBOL_TABLE
        for name in _undefined(data, table, sections[table.link].offset, is_64)
    }
    return ObjectFile(code, tuple(sorted(calls)))


def _sections(data: bytes, is_64: bool) -> Iterator[_Section]:
    """The section headers; where they lie stands in the file's header."""
    (begin,) = struct.unpack_from("<Q" if is_64 else "<I", data, 40 if is_64 else 32)
    size, count = struct.unpack_from("<2H", data, 58 if is_64 else 46)
    layout = "<2I4QI" if is_64 else "<7I"
    for number in range(count):
        _, kind, flags, _, offset, length, link = struct.unpack_from(layout, data, begin + number * size)
        yield _Section(kind, flags, offset, length, link)


def _undefined(data: bytes, table: _Section, names: int, is_64: bool) -> Iterator[str]:
    """Names in a symbol table that belong to no section of this file; the first entry is always empty."""
    width, place = (24, 6) if is_64 else (16, 14)
    for start in range(table.offset + width, table.offset + table.size, width):
        (name,) = struct.unpack_from("<I", data, start)
        (section,) = struct.unpack_from("<H", data, start + place)
        if section == 0:
            yield data[names + name : data.index(b"\0", names + name)].decode()


def _read_wasm(data: bytes) -> ObjectFile:
    code, calls = 0, set()
    reader = _Wasm(data, 8)
    while reader.place < len(data):
        kind, size = reader.byte(), reader.number()
        if kind == _WASM_CODE:
            code = size
        if kind == _WASM_IMPORTS:
            calls.update(_Wasm(data, reader.place).imported_functions())
        reader.place += size
    return ObjectFile(code, tuple(sorted(calls)))


class _Wasm:
    """Reads a WebAssembly module from `place` on."""

    def __init__(self, data: bytes, place: int) -> None:
        self.data = data
        self.place = place

    def byte(self) -> int:
        self.place += 1
        return self.data[self.place - 1]

    def number(self) -> int:
        """An unsigned LEB128: seven bits a byte, the lowest first."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def text(self) -> str:
        size = self.number()
        self.place += size
        return self.data[self.place - size : self.place].decode()

    def imported_functions(self) -> Iterator[str]:
        """Their names. Other imports of an object are a table, a memory and variables of the linker."""
        for _ in range(self.number()):
            _, name, kind = self.text(), self.text(), self.byte()
            if kind == _WASM_FUNCTION:
                self.number()  # its type
                yield name
            elif kind == 3:  # a global: its type, and whether it changes
                self.place += 2
            else:  # a memory, or a table, which has a type: limits
                self.place += kind == 1
                for _ in range(1 + (self.byte() & 1)):
                    self.number()
