"""Bundles that were cut, damaged or forged: every one is refused before anything of it is used."""

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from runtime_builders import contents, running_sum, with_target_file

from millstream.package import assemble, write
from millstream_runtime import Limits, archive, errors, read
from millstream_runtime.spec import FORMAT_VERSION

END = 22


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("bundle") / "good.mill"
    write(path, with_target_file(contents(running_sum())))
    return path.read_bytes()


def refused(folder: Path, data: bytes, error: type[errors.MillstreamError] = errors.BundleError) -> None:
    path = folder / "bad.mill"
    path.write_bytes(data)
    with pytest.raises(error):
        read(path)


def test_the_good_bundle_is_taken(raw, tmp_path):
    path = tmp_path / "good.mill"
    path.write_bytes(raw)
    assert read(path).members["targets/board/firmware.bin"] == bytes(range(100))


def test_cut_anywhere(raw, tmp_path):
    for length in (*range(0, len(raw), 64), *range(len(raw) - 2 * END, len(raw))):
        refused(tmp_path, raw[:length])


def test_one_bit_flipped_anywhere(raw, tmp_path):
    """Members, headers, padding, directory and end record: no byte of the file is free."""
    damaged = bytearray(raw)
    for position in range(len(raw)):
        bit = 1 << position % 8
        damaged[position] ^= bit
        refused(tmp_path, damaged)
        damaged[position] ^= bit


def test_bytes_before_and_after(raw, tmp_path):
    refused(tmp_path, b"#!/bin/sh\n" + raw, errors.NotABundle)
    refused(tmp_path, raw + b"\0", errors.NotABundle)
    refused(tmp_path, raw + raw, errors.NotABundle)  # two archives, each with its own directory


def test_a_comment(raw, tmp_path):
    refused(tmp_path, raw[:-2] + struct.pack("<H", 3) + b"abc", errors.NotABundle)


def renamed(raw: bytes, new: bytes) -> bytes:
    old = b"report.json"
    assert len(new) == len(old)
    return raw.replace(old, new)


UNSAFE_NAMES = (
    b"../ort.json",
    b"a/../b.json",
    b"a/./bb.json",
    b"/eport.json",
    b"a//ort.json",
    b"a\\port.json"[:11],
    b"C:port.json",
    b"re\0ort.json",
    b"re\nort.json",
    b"re\xffort.json",
    b".eport.json",
    b"report.jso/",
)


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_unsafe_names(raw, tmp_path, name):
    refused(tmp_path, renamed(raw, name), errors.MemberUnsafe)


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_unsafe_names_are_not_written(name):
    with pytest.raises(errors.MemberUnsafe):
        list(archive.pack({name.decode("latin-1"): b""}))


def central_entries(raw: bytes) -> list[int]:
    """Where each entry of the central directory begins."""
    count, _, position = struct.unpack_from("<HII", raw, len(raw) - END + 10)
    starts = []
    for _ in range(count):
        starts.append(position)
        position += 46 + struct.unpack_from("<H", raw, position + 28)[0]
    return starts


def patched(raw: bytes, central: dict[int, tuple[str, int]], local: dict[int, tuple[str, int]]) -> bytes:
    """The archive with fields of its second member changed; keys are offsets in the headers."""
    data = bytearray(raw)
    entry = central_entries(raw)[1]
    header = struct.unpack_from("<I", raw, entry + 42)[0]
    for start, changes in ((entry, central), (header, local)):
        for offset, (form, value) in changes.items():
            struct.pack_into(form, data, start + offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("central", "local"),
    [
        pytest.param({10: ("<H", 8)}, {8: ("<H", 8)}, id="compressed"),
        pytest.param({8: ("<H", 1)}, {6: ("<H", 1)}, id="encrypted"),
        pytest.param({8: ("<H", 8)}, {6: ("<H", 8)}, id="data descriptor"),
        pytest.param({8: ("<H", 0x800)}, {6: ("<H", 0x800)}, id="utf-8 flag"),
        pytest.param({38: ("<I", 0o120777 << 16)}, {}, id="symbolic link"),
        pytest.param({38: ("<I", 0o040755 << 16)}, {}, id="folder by mode"),
        pytest.param({38: ("<I", 0o100644 << 16 | 0x10)}, {}, id="folder by DOS bit"),
        pytest.param({38: ("<I", 0o020644 << 16)}, {}, id="device"),
        pytest.param({42: ("<I", 0)}, {}, id="overlap"),
        pytest.param({42: ("<I", 2**31)}, {}, id="outside the file"),
        pytest.param({16: ("<I", 1)}, {}, id="checksums differ"),
        pytest.param({}, {8: ("<H", 8)}, id="compressed in the local header only"),
        pytest.param({}, {30: ("<B", ord("x"))}, id="names differ"),
        pytest.param({30: ("<H", 4)}, {}, id="extra field in the directory"),
        pytest.param({32: ("<H", 4)}, {}, id="comment of a member"),
        pytest.param({34: ("<H", 1)}, {}, id="on another disk"),
    ],
)
def test_members_stored_otherwise(raw, tmp_path, central, local):
    refused(tmp_path, patched(raw, central, local), errors.MemberUnsafe)


@pytest.mark.parametrize("size", [2**32 - 1, 2**31, 10_000])
def test_sizes_that_lie(raw, tmp_path, size):
    sizes = ("<I", size)
    refused(tmp_path, patched(raw, {20: sizes, 24: sizes}, {18: sizes, 22: sizes}))


def test_a_member_twice(tmp_path):
    twins = with_target_file(contents(running_sum()))
    target, _ = twins.targets[1]
    _, members = assemble(twins)
    members[f"targets/{target.name}/firmware.bix"] = b"another"
    data = b"".join(archive.pack(members)).replace(b"firmware.bix", b"firmware.bin")
    refused(tmp_path, data, errors.MemberUnsafe)


def test_gap_between_members(raw, tmp_path):
    """64 bytes of nobody between the last member and the directory, the offsets made to fit."""
    size, start = struct.unpack_from("<II", raw, len(raw) - END + 12)
    end = raw[-END:-6] + struct.pack("<I", start + 64) + raw[-2:]
    refused(tmp_path, raw[:start] + bytes(64) + raw[start : start + size] + end, errors.MemberUnsafe)


def test_directory_with_something_after_its_entries(raw, tmp_path):
    """Four bytes more in the directory, its size made to fit."""
    size, start = struct.unpack_from("<II", raw, len(raw) - END + 12)
    end = raw[-END:-10] + struct.pack("<I", size + 4) + raw[-6:]
    refused(tmp_path, raw[: start + size] + b"more" + end, errors.NotABundle)


def test_overlap_that_a_gap_makes_up_for(tmp_path):
    """A member inside another one, and as many bytes of nobody: every sum is right."""
    hidden = archive._Entry("hidden", zlib.crc32(b"x"), 1, 64)
    inner = archive._local_header(hidden) + b"x"
    filler = bytes(64 - len(archive._local_header(archive._Entry("outer", 0, 0, 0))))
    outer = archive._Entry("outer", zlib.crc32(filler + inner), len(filler + inner), 0)
    data = archive._local_header(outer) + filler + inner
    directory = archive._central_header(outer) + archive._central_header(hidden)
    end = len(data) + len(inner)
    data += bytes(len(inner)) + directory + archive._end_record(2, len(directory), end)
    refused(tmp_path, data, errors.MemberUnsafe)


def repacked(change: Callable[[dict[str, bytes]], None]) -> bytes:
    """A well-formed archive of members that were changed after the manifest was made."""
    _, members = assemble(contents(running_sum()))
    change(members)
    return b"".join(archive.pack(members))


def test_member_that_the_manifest_does_not_name(tmp_path):
    refused(tmp_path, repacked(lambda m: m.update({"extra.bin": b"x"})), errors.MemberUnknown)


def test_manifest_wrong_about_a_size(tmp_path):
    def longer(members: dict[str, bytes]) -> None:
        manifest = json.loads(members["manifest.json"])
        manifest["members"]["report.json"]["size"] += 1
        members["manifest.json"] = json.dumps(manifest).encode()

    refused(tmp_path, repacked(longer), errors.MemberCorrupt)


@pytest.mark.parametrize("name", ["step.onnx", "golden.safetensors", "report.json", "manifest.json"])
def test_member_missing(tmp_path, name):
    refused(tmp_path, repacked(lambda m: m.pop(name)), errors.MemberMissing)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["step.onnx", "golden.safetensors", "report.json"])
def test_member_replaced(tmp_path, name):
    """Zip's own checksums are right; only the manifest's hash tells."""

    def same_size(members: dict[str, bytes]) -> None:
        members[name] = bytes([members[name][0] ^ 1]) + members[name][1:]

    refused(tmp_path, repacked(same_size), errors.MemberCorrupt)
    refused(tmp_path, repacked(lambda m: m.update({name: m[name] + b"\0"})), errors.MemberCorrupt)


NO_MANIFESTS = (b"", b"{", b"[]", b"\xff", b'{"a": 1, "a": 1}', b"[" * 100_000, b'{"a": NaN}', b"[1e999]")


@pytest.mark.parametrize("manifest", NO_MANIFESTS)
def test_manifest_that_is_none(tmp_path, manifest):
    refused(tmp_path, repacked(lambda m: m.update({"manifest.json": manifest})), errors.ManifestInvalid)


def test_newer_format(tmp_path):
    def newer(members: dict[str, bytes]) -> None:
        unknown = {"format_version": FORMAT_VERSION + 1, "invented_later": True}
        manifest = json.loads(members["manifest.json"]) | unknown
        members["manifest.json"] = json.dumps(manifest).encode()

    refused(tmp_path, repacked(newer), errors.FormatTooNew)


@pytest.mark.parametrize(
    "limits", [Limits(member_bytes=100), Limits(total_bytes=1000), Limits(members=3)], ids=str
)
@pytest.mark.parametrize("form", ["file", "folder"])
def test_limits(tmp_path, limits, form):
    path = f"{tmp_path}/b.mill" + ("/" if form == "folder" else "")
    write(path, contents(running_sum()))
    assert read(path)
    with pytest.raises(errors.BundleTooLarge):
        read(path, limits=limits)


def test_huge_manifest(tmp_path):
    spaces = b" " * 2**24
    refused(tmp_path, repacked(lambda m: m.update({"manifest.json": spaces + b"{}"})), errors.BundleTooLarge)


def test_a_zip_of_another_tool(raw, tmp_path):
    """The same members, zipped by hand: not aligned, with times and attributes of its own."""
    (tmp_path / "good.mill").write_bytes(raw)
    with (
        zipfile.ZipFile(tmp_path / "good.mill") as good,
        zipfile.ZipFile(tmp_path / "bad.mill", "w") as bad,
    ):
        for name in good.namelist():
            bad.writestr(name, good.read(name))
    with pytest.raises(errors.MemberUnsafe):
        read(tmp_path / "bad.mill")


def test_no_bundle(tmp_path):
    with pytest.raises(errors.BundleNotFound):
        read(tmp_path / "nothing.mill")
    with pytest.raises(errors.BundleNotFound):
        read("/dev/null")
    with pytest.raises(errors.MemberMissing):
        read(tmp_path)
    refused(tmp_path, b"", errors.NotABundle)
    refused(tmp_path, bytes(100), errors.NotABundle)


@pytest.fixture
def folder(tmp_path) -> Path:
    write(f"{tmp_path}/b/", with_target_file(contents(running_sum())))
    return tmp_path / "b"


def test_folder_with_links(folder, tmp_path):
    outside = tmp_path / "outside"
    (folder / "report.json").rename(outside)
    os.symlink(outside, folder / "report.json")
    with pytest.raises(errors.MemberUnsafe):
        read(folder)


def test_folder_with_a_linked_folder(folder, tmp_path):
    (folder / "targets").rename(tmp_path / "targets")
    os.symlink(tmp_path / "targets", folder / "targets")
    with pytest.raises(errors.MemberUnsafe):
        read(folder)


def test_folder_with_a_pipe(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(errors.MemberUnsafe):
        read(folder)


def test_folder_with_more_less_or_other(folder):
    (folder / "targets" / "more.bin").write_bytes(b"")
    with pytest.raises(errors.MemberUnknown):
        read(folder)
    (folder / "targets" / "more.bin").rename(folder / "step.onnx")
    with pytest.raises(errors.MemberCorrupt):
        read(folder)
    (folder / "step.onnx").unlink()
    with pytest.raises(errors.MemberMissing):
        read(folder)
    (folder / "na me").write_bytes(b"")
    with pytest.raises(errors.MemberUnsafe):
        read(folder)
