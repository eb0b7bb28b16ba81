"""The backup file's format: whatever is changed, left out, moved or cut off is noticed."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import pytest

from appliance.deploy.backup import BackupError
from appliance.deploy.backup.archive import MAGIC, PIECE_BYTES, ArchiveReader, ArchiveWriter, Frame, file_source
from appliance.deploy.backup.files import place
from appliance.deploy.backup.manifest import peek
from appliance.secret import Secret

SECRET = Secret("correct horse")


async def written(passphrase: Secret | None, *things: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()

    async def sink(data: bytes) -> None:
        out.write(data)

    writer = await ArchiveWriter.begin(sink, b'{"manifest": 1}', passphrase)
    for name, data in things:
        await writer.put("thing", name, data, rows=3)
    await writer.finish(Frame("end", "", b""))
    assert writer.bytes == len(out.getvalue())
    return out.getvalue()


async def read(raw: bytes, passphrase: Secret | None) -> list[Frame]:
    reader = await ArchiveReader.open(file_source(io.BytesIO(raw)), passphrase)
    assert reader.manifest == b'{"manifest": 1}'
    return [frame async for frame in reader.frames()]


@pytest.mark.parametrize("passphrase", [SECRET, None])
async def test_what_was_written_is_read(passphrase: Secret | None) -> None:
    large = os.urandom(2 * PIECE_BYTES + 5)
    frames = await read(await written(passphrase, ("a", b""), ("b", b"text"), ("c", large)), passphrase)
    assert [(f.name, len(f.data), f.rows, f.more) for f in frames] == [
        ("a", 0, 3, False), ("b", 4, 3, False),
        ("c", PIECE_BYTES, 0, True), ("c", PIECE_BYTES, 0, True), ("c", 5, 3, False), ("", 0, 0, False),
    ]  # fmt: skip
    assert b"".join(f.data for f in frames if f.name == "c") == large


@pytest.mark.parametrize("passphrase", [SECRET, None])
async def test_no_byte_can_be_changed(passphrase: Secret | None) -> None:
    raw = await written(passphrase, ("a", b"some text"), ("b", b"other"))
    chance = random.Random(1)
    places = {*chance.sample(range(len(raw)), 40), 0, len(raw) - 1}
    for at in sorted(places):
        broken = bytearray(raw)
        broken[at] ^= 1 << chance.randrange(8)
        with pytest.raises((BackupError, AssertionError)):  # the manifest itself is compared in `read`
            await read(bytes(broken), passphrase)


async def test_no_end_can_be_cut_off(tmp_path: Path) -> None:
    raw = await written(None, ("a", b"some text"), ("b", b"other"))
    for size in range(len(raw)):
        with pytest.raises(BackupError):
            await read(raw[:size], None)


async def test_frames_cannot_be_moved_or_added() -> None:
    raw = await written(None, ("a", b"1"), ("b", b"2"), ("c", b"3"))
    head = len(MAGIC) + 16 + 32 + 4 + len(b'{"manifest": 1}')
    frames: list[bytes] = []
    at = head
    while at < len(raw):
        size = 4 + int.from_bytes(raw[at : at + 4], "little")
        frames.append(raw[at : at + size])
        at += size
    for order in ([1, 0, 2, 3], [0, 2, 3], [0, 1, 2, 3, 3], [0, 0, 1, 2, 3], [3]):
        with pytest.raises(BackupError):
            await read(raw[:head] + b"".join(frames[n] for n in order), None)
    assert len(await read(raw[:head] + b"".join(frames), None)) == 4


async def test_a_wrong_passphrase_is_said_and_a_missing_one_too() -> None:
    raw = await written(SECRET, ("a", b"secret text"))
    assert b"secret text" not in raw
    with pytest.raises(BackupError, match="the passphrase is wrong, or the file is damaged"):
        await read(raw, Secret("another"))
    with pytest.raises(BackupError, match="give its passphrase"):
        await read(raw, None)


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04 something else", MAGIC, MAGIC + bytes(48) + b"\xff\xff\xff\xff"])
async def test_what_is_no_backup_is_said(raw: bytes) -> None:
    with pytest.raises(BackupError):
        await peek(file_source(io.BytesIO(raw)))


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "plugins.d/../../x", "plugins.d", "../plugins.d/x", "spool/x", "plugins.d//x", "plugins.d/./x",
     "plugins.d\\x", "plugins.d/x\0y", "plugins.d/" + "x" * 2_000, "", ".", "metadata.db", "backups/x"],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="leads elsewhere"):
        place(tmp_path, name)
    assert place(tmp_path, "plugins.d/mine/a file.py") == tmp_path / "plugins.d/mine/a file.py"
