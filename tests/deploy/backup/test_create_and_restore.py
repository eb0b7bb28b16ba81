"""Backups of parts: any database into any other, what is not taken, what stops a restore, what a broken one leaves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import func, select

from appliance.config import Backup, Config, Storage
from appliance.deploy.backup import BackupError, Parts, Target, create, restore, verify, write
from appliance.deploy.backup.archive import PartFile
from appliance.deploy.backup.service import Backups, backups_in
from appliance.hookspecs import EventStore
from appliance.metadata.database import Database
from appliance.metadata.migrate import migrate
from appliance.model import Batch
from appliance.pipeline.boundary import Boundary, PauseError
from appliance.pipeline.dead_letters import DeadLetterFiles
from appliance.pipeline.models import DropCountModel, IntentModel
from appliance.projects.models import ProjectModel
from appliance.secret import Secret
from appliance.spool import SpoolWriter
from appliance.testing.clock import FakeClock
from appliance.testing.databases import BACKENDS, Backend, temporary_database
from appliance.testing.reference_store import MemoryStore
from appliance.testing.rows import event_row
from condev_plugins.local_blobs import LocalBlobs

PASSPHRASE = Secret("a passphrase")
HASH = (1 << 64) - 3  # does not fit into a signed column
BLOB = "replays/1/2027-01-15/abc"


@asynccontextmanager
async def appliance(root: Path, backend: Backend, config: Config | None = None) -> AsyncIterator[Parts]:
    """The parts of an appliance that does not run, empty."""
    data_dir = root / "data"
    for name in ("tmp", "spool", "plugins", "plugins.d", "dead_letters"):
        (data_dir / name).mkdir(parents=True, exist_ok=True)
    async with temporary_database(backend, data_dir, with_tables=False) as database:
        await migrate(database, data_dir)
        yield Parts(
            config=config or Config(),
            data_dir=data_dir,
            database=database,
            store=MemoryStore(),
            blobs=LocalBlobs(data_dir / "blobs"),
            clock=FakeClock(),
            pause=nullcontext,
        )


async def fill(parts: Parts) -> None:
    """A little of everything."""
    async with parts.database.write() as session:
        session.add(ProjectModel(id=7, slug="shop", name="Shop", created_at=1))
        await session.flush()
        session.add(IntentModel(epoch=HASH, segment=1, start=2, end=3, attempts=1, created_at=4))
        session.add(DropCountModel(day=1, project_id=7, source="ingest", reason="é", category="error", quantity=2**40))
    await parts.store.write(Batch(batch_id=HASH << 64, events=[event_row(n, payload=b"x" * 5_000) for n in range(300)]))
    await parts.blobs.put(BLOB, os.urandom(3 << 20))
    (parts.data_dir / "plugins.d" / "mine").mkdir()
    (parts.data_dir / "plugins.d" / "mine" / "__init__.py").write_text("x = 1\n")
    (parts.data_dir / "plugins.d" / "outside").symlink_to("/etc/passwd")
    (parts.data_dir / "sdk" / "1.0").mkdir(parents=True)
    (parts.data_dir / "sdk" / "1.0" / "sdk.js").write_text("old")
    letters = DeadLetterFiles(parts.data_dir / "dead_letters")
    letters.path("0123456789abcdef-00000001-00000002").write_bytes(b"a record")


def target_of(parts: Parts) -> Target:
    return Target(
        config=parts.config, data_dir=parts.data_dir, database=parts.database, store=parts.store, blobs=parts.blobs
    )


async def events_of(store: EventStore) -> frozenset[int]:
    return (await store.present(HASH << 64, (0, 1 << 62)))["events"]


async def count(database: Database, model: type[object]) -> int:
    async with database.read() as session:
        return await session.scalar(select(func.count()).select_from(model)) or 0


@pytest.mark.parametrize("here", BACKENDS)
@pytest.mark.parametrize("there", BACKENDS)
async def test_everything_comes_back_from_any_database_into_any_other(
    here: Backend, there: Backend, tmp_path: Path
) -> None:
    file = tmp_path / "condev.backup"
    async with appliance(tmp_path / "here", here) as parts:
        await fill(parts)
        body = await parts.blobs.get(BLOB)
        writer = await asyncio.to_thread(
            SpoolWriter.open, parts.data_dir / "spool", max_bytes=1 << 30, min_free_bytes=0
        )
        await writer.append(b"waits")
        manifest = await create(parts, file, PASSPHRASE)
        await writer.close()
        epoch = (parts.data_dir / "spool" / "epoch").read_text()
    assert (manifest.metadata.backend == "sqlite") == (here == "sqlite")
    assert manifest.store.tables["events"] == 300
    assert await verify(file, PASSPHRASE) == manifest
    async with appliance(tmp_path / "there", there) as parts:
        (parts.data_dir / "sdk" / "2.0").mkdir(parents=True)  # as the start of a fresh appliance leaves it
        (parts.data_dir / "sdk" / "2.0" / "sdk.js").write_text("own")
        await restore(file, target_of(parts), PASSPHRASE)
        assert (parts.data_dir / "sdk" / "1.0" / "sdk.js").read_text() == "old"  # pages pin it
        assert await events_of(parts.store) == set(range(300))
        assert await parts.blobs.get(BLOB) == body
        assert (parts.data_dir / "spool" / "epoch").read_text() == epoch
        assert (parts.data_dir / "plugins.d" / "mine" / "__init__.py").read_text() == "x = 1\n"
        assert not (parts.data_dir / "plugins.d" / "outside").exists()
        assert (
            parts.data_dir / "dead_letters" / "0123456789abcdef-00000001-00000002.record"
        ).read_bytes() == b"a record"
        async with parts.database.write() as session:
            intent = (await session.scalars(select(IntentModel))).one()
            assert (intent.epoch, intent.done_at) == (HASH, None)
            assert (await session.scalars(select(DropCountModel.quantity))).one() == 2**40
            project = ProjectModel(slug="next", name="Next", created_at=2)
            session.add(project)
            await session.flush()
            assert project.id == 8  # goes on counting behind what was restored


async def test_nothing_of_a_failed_backup_looks_like_one(tmp_path: Path) -> None:
    async with appliance(tmp_path, "sqlite") as parts:
        await fill(parts)
        calls = 0

        async def full(_data: bytes) -> None:
            nonlocal calls
            calls += 1
            if calls == 5:
                raise OSError(28, "No space left on device")

        with pytest.raises(BackupError, match="No space left"):
            await write(parts, full, PASSPHRASE)
        async with PartFile(tmp_path / "x.backup") as left_early:
            await left_early.write(b"half")
        assert not list(tmp_path.glob("x.backup*"))
        assert not list((parts.data_dir / "tmp").iterdir())
        (tmp_path / "x.backup.part").write_bytes(b"of one that was killed")
        await create(parts, tmp_path / "x.backup", PASSPHRASE)  # and the next one is whole
        assert [path.name for path in tmp_path.glob("x.backup*")] == ["x.backup"]
        with pytest.raises(BackupError, match="is there already"):
            await create(parts, tmp_path / "x.backup", PASSPHRASE)


async def test_a_restore_touches_nothing_before_the_whole_backup_was_read(tmp_path: Path) -> None:
    file = tmp_path / "condev.backup"
    async with appliance(tmp_path / "here", "sqlite") as parts:
        await fill(parts)
        await create(parts, file, PASSPHRASE)
        raw = bytearray(file.read_bytes())
        raw[-30] ^= 1  # in the last frame
        broken = tmp_path / "broken.backup"
        broken.write_bytes(raw)
        for path, secret in ((broken, PASSPHRASE), (file, Secret("wrong")), (file, None)):
            with pytest.raises(BackupError):
                await restore(path, target_of(parts), secret, replace=True)
        assert len(await events_of(parts.store)) == 300
        assert await count(parts.database, ProjectModel) == 1
        assert not (parts.data_dir / "restore.incomplete").exists()


async def test_what_is_there_is_named_and_kept_unless_it_may_go(tmp_path: Path) -> None:
    file = tmp_path / "condev.backup"
    async with appliance(tmp_path / "here", "sqlite") as parts:
        await create(parts, file, None)  # of an empty one
        await fill(parts)
        with pytest.raises(BackupError, match=r"\(metadata, events, files, blobs\).*--replace"):
            await restore(file, target_of(parts), None)
        await restore(file, target_of(parts), None, replace=True)
        assert await count(parts.database, ProjectModel) == 0
        assert await events_of(parts.store) == frozenset()
        assert [blob async for blob in parts.blobs.list("")] == []
        assert not list((parts.data_dir / "dead_letters").iterdir())


async def test_a_restore_that_was_interrupted_leaves_a_mark_and_can_be_done_again(tmp_path: Path) -> None:
    file = tmp_path / "condev.backup"
    async with appliance(tmp_path / "here", "sqlite") as parts:
        await fill(parts)
        await create(parts, file, PASSPHRASE)
    async with appliance(tmp_path / "there", "sqlite") as parts:

        class Broken(MemoryStore):
            async def load(self, description, chunks):  # type: ignore[no-untyped-def]
                raise OSError(28, "No space left on device")

        target = target_of(parts)
        target.store = Broken()
        with pytest.raises(BackupError, match="No space left"):
            await restore(file, target, PASSPHRASE)
        assert (parts.data_dir / "restore.incomplete").exists()
        await restore(file, target_of(parts), PASSPHRASE)  # what half of one left needs no --replace
        assert len(await events_of(parts.store)) == 300
        assert not (parts.data_dir / "restore.incomplete").exists()


async def test_a_backup_of_another_storage_backend_is_refused_with_the_mend(tmp_path: Path) -> None:
    file = tmp_path / "condev.backup"
    async with appliance(tmp_path / "here", "sqlite", Config(storage=Storage(backend="other"))) as parts:
        await create(parts, file, None)
    async with appliance(tmp_path / "there", "sqlite") as parts:
        with pytest.raises(BackupError, match=r"backend 'other', this appliance has 'clickhouse'.*\[storage\] backend"):
            await restore(file, target_of(parts), None)


async def test_a_backup_of_a_newer_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "condev.backup"
    async with appliance(tmp_path / "here", "sqlite") as parts:
        await create(parts, file, None)
        monkeypatch.setattr("appliance.deploy.backup.metadata_rows.known_revisions", lambda: frozenset({"older"}))
        with pytest.raises(BackupError, match="which this version does not know"):
            await restore(file, target_of(parts), None)


async def test_the_secrets_come_along_encrypted_and_are_left_for_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text('[plugins.resend]\napi_key = { env = "RESEND_API_KEY" }\n')
    (tmp_path / ".env").write_text("RESEND_API_KEY=re_topsecret\n")
    monkeypatch.setenv("RESEND_API_KEY", "re_topsecret")
    file, plain = tmp_path / "condev.backup", tmp_path / "plain.backup"
    async with appliance(tmp_path / "here", "sqlite", Config(source=tmp_path / "config.toml")) as parts:
        await create(parts, file, PASSPHRASE)
        manifest = await create(parts, plain, None)
        assert (manifest.encrypted, manifest.with_secrets) == (False, False)
    assert b"re_topsecret" not in file.read_bytes()
    async with appliance(tmp_path / "there", "sqlite") as parts:
        restored = await restore(file, target_of(parts), PASSPHRASE)
        assert [path.name for path in restored.left] == ["config.toml", "env"]
        assert (parts.data_dir / "restored" / "env").read_text() == "RESEND_API_KEY=re_topsecret\n"
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in restored.left)
        restored = await restore(plain, target_of(parts), None, replace=True)
        assert [path.name for path in restored.left] == ["config.toml"]


async def test_one_backup_at_a_time(tmp_path: Path) -> None:
    async with appliance(tmp_path, "sqlite") as parts:

        async def another(_data: bytes) -> None:
            await create(parts, tmp_path / "second.backup", None)

        with pytest.raises(BackupError, match="another backup or restore"):
            await write(parts, another, None)


# ── by schedule ──


def clock_of(parts: Parts) -> FakeClock:
    assert isinstance(parts.clock, FakeClock)
    return parts.clock


def scheduled(parts: Parts, **settings: object) -> Backups:
    config = replace(parts.config, backup=replace(Backup(schedule="daily", keep=2), **settings))
    return Backups(replace(parts, config=config))


async def test_scheduled_backups_are_kept_in_number_and_a_stranger_stays(tmp_path: Path) -> None:
    async with appliance(tmp_path, "sqlite") as parts:
        assert Backups(parts).jobs() == []
        backups = scheduled(parts)
        assert [job.every_seconds for job in backups.jobs()] == [86_400]
        assert (await backups.state()).last_good_at is None
        directory = parts.data_dir / "backups"
        directory.mkdir()
        (directory / "before-the-move.backup").write_text("a person's")
        made: list[Path] = []
        for _ in range(4):
            made.append(await backups.scheduled())
            clock_of(parts).advance(3_600)
        assert backups_in(directory) == made[-2:]
        assert (directory / "before-the-move.backup").exists()
        state = await backups.state()
        assert (state.scheduled, state.last_error) == (True, "")
        assert state.last_good_at is not None


async def test_a_scheduled_backup_that_fails_removes_no_older_one_and_says_why(tmp_path: Path) -> None:
    async with appliance(tmp_path, "sqlite") as parts:
        good = [await scheduled(parts).scheduled()]
        clock_of(parts).advance(60)
        good.append(await scheduled(parts).scheduled())
        clock_of(parts).advance(60)
        held = Boundary()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(held.batch)
            stuck = replace(parts, pause=lambda: held.paused(wait=0.01))
            with pytest.raises(PauseError):
                await scheduled(stuck, keep=1).scheduled()
        assert backups_in(parts.data_dir / "backups") == good
        state = await scheduled(parts).state()
        assert "did not end its batch" in state.last_error
        assert state.last_good_at is not None


async def test_whatever_stops_a_scheduled_backup_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with appliance(tmp_path, "sqlite") as parts:

        async def broken(*_: object) -> Path:
            raise RuntimeError("a fault of ours")

        async def endless(*_: object) -> Path:
            return await asyncio.Future()

        with monkeypatch.context() as patch:
            patch.setattr("appliance.deploy.backup.service.create", broken)
            with pytest.raises(RuntimeError):
                await scheduled(parts).scheduled()
            assert (await scheduled(parts).state()).last_error == "RuntimeError: a fault of ours"
        monkeypatch.setattr("appliance.deploy.backup.service.create", endless)
        monkeypatch.setattr("appliance.deploy.backup.service.MAX_SECONDS", 0.05)
        with pytest.raises(BackupError, match="it was not done after"):
            await scheduled(parts).scheduled()
        assert "it was not done after" in (await scheduled(parts).state()).last_error
        assert [job.retry_seconds for job in scheduled(parts).jobs()] == [3_600]


async def test_the_metadata_are_let_go_of_before_the_blobs_are_written(tmp_path: Path) -> None:
    file = tmp_path / "condev.backup"
    async with appliance(tmp_path / "here", "sqlite") as parts:
        await fill(parts)
        held: list[int] = []

        class Blobs(LocalBlobs):
            async def get(self, key: str) -> bytes:
                held.append(parts.database.engine.pool.checkedout())  # type: ignore[attr-defined]
                return await super().get(key)

        await create(replace(parts, blobs=Blobs(parts.data_dir / "blobs")), file, PASSPHRASE)
        assert held == [0]


async def test_a_backup_takes_no_room_that_ingest_needs(tmp_path: Path) -> None:
    async with appliance(tmp_path, "sqlite") as parts:
        parts.config.ingest.spool_min_free_bytes = type(parts.config.ingest.spool_min_free_bytes)(1 << 60)
        with pytest.raises(BackupError, match="with what ingest must be left"):
            await scheduled(parts).scheduled()
        assert backups_in(parts.data_dir / "backups") == []


async def test_dead_letters_that_go_during_a_backup_are_in_it(tmp_path: Path) -> None:
    file = tmp_path / "condev.backup"
    async with appliance(tmp_path / "here", "sqlite") as parts:
        await fill(parts)
        removed = False

        async def sink(data: bytes) -> None:
            nonlocal removed
            if not removed:
                removed = True
                for path in (parts.data_dir / "dead_letters").iterdir():
                    path.unlink()
            with file.open("ab") as opened:
                opened.write(data)

        await write(parts, sink, PASSPHRASE)
    async with appliance(tmp_path / "there", "sqlite") as parts:
        await restore(file, target_of(parts), PASSPHRASE)
        assert len(list((parts.data_dir / "dead_letters").iterdir())) == 1
