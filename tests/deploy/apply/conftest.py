"""An installation whose engine is a file: what Compose and Docker would have done is written down there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from appliance.config import GIB
from appliance.deploy.apply import run as run_module
from appliance.deploy.apply import switch as switch_module
from appliance.deploy.apply.engine import Compose, EngineError, Service, ServiceState
from appliance.deploy.apply.images import Images, kept_reference
from appliance.deploy.apply.journal import Fate, Releases
from appliance.deploy.apply.layout import Installation
from appliance.deploy.apply.rendering import Rendered
from appliance.deploy.apply.run import Apply, Options
from appliance.deploy.apply.schemas import Schemas
from appliance.deploy.host_facts import HostFacts
from appliance.deploy.plan import Days, Plan, Reserve
from appliance.deploy.render.state import StateDirectory
from appliance.running_file import Running, write_running

SERVICES = ("caddy", "core", "ingest")
PLAN = Plan(
    profile="small", target="compose", facts=HostFacts(memory=2 * GIB, cpus=2, disk=40 * GIB), event_store="embedded",
    metadata="sqlite", reserve=Reserve(memory=GIB // 4, reason="x"), services=(), settings=(),
    days=Days(events_per_day=1, bytes_per_event=1, days=1, reason="x"),
)  # fmt: skip


class FileCompose(Compose):
    """Containers in a file outside of the installation, as the engine's are."""

    def __init__(self, root: Path, engine: Path) -> None:
        super().__init__(root)
        self.root, self.engine = root, engine

    def containers(self) -> dict[str, dict[str, str]]:
        """service → what it runs."""
        return json.loads(self.engine.read_text()) if self.engine.exists() else {}

    def _text(self, files: Sequence[Path]) -> str:
        places = files or [self.root / "compose.yaml", self.root / "compose.override.yaml"]
        return "".join(path.read_text() for path in places)

    def services(self, files: Sequence[Path] = ()) -> dict[str, Service]:
        binds = ((str(self.root / "config.toml"), "/etc/condev/config.toml"), (str(self.root / "plugins"), "/plugins"))
        return {name: Service(name=name, image=f"{name}:1", binds=binds) for name in SERVICES}

    def hashes(self, files: Sequence[Path] = ()) -> dict[str, str]:
        digest = hashlib.sha256(self._text(files).encode()).hexdigest()
        return {name: f"{name}-{digest}" for name in SERVICES}

    def states(self) -> list[ServiceState]:
        return [
            ServiceState(
                service=name, name=f"condev-{name}-1", state=made["state"], health="", status=made["state"], image="",
                config_hash=made["hash"],
            )
            for name, made in self.containers().items()
        ]  # fmt: skip

    def _set(self, name: str, hash_: str, state: str) -> None:
        self.engine.write_text(json.dumps({**self.containers(), name: {"hash": hash_, "state": state}}))

    def up(self, services: Sequence[str] = (), *, wait_seconds: int = 0) -> None:
        broken = "broken" in self._text(())
        data = (
            json.loads((self.root / "data" / "schema").read_text()) if (self.root / "data" / "schema").exists() else 1
        )
        for name, wanted in self.hashes().items():
            self._set(name, wanted, "exited" if broken and name == "core" else "running")
            self._look(f"up {name}")
        if broken:
            raise EngineError("docker compose up: container condev-core-1 is unhealthy")
        if data > 1 and "reads-two" not in self._text(()):
            raise EngineError("docker compose up: the data are of a newer version")
        write_running(  # as a core that came up does
            self.root / "data", Running(version="1", started_at=1, revision=str(data), event_store=1)
        )

    def stop(self, services: Sequence[str]) -> None:
        for name in services:
            self._set(name, self.containers().get(name, {}).get("hash", ""), "exited")
            self._look(f"stop {name}")

    def run(self, service: str, command: Sequence[str], *, volumes: Sequence[str] = ()) -> str:
        self._look(f"run {command[0]}")
        if command[0] == "migrate":
            (self.root / "data" / "schema").write_text("2")
        if command[0] == "restore":
            assert Path(volumes[0].partition(":")[0]).is_file()
            assert not (self.root / "data" / "schema").exists()  # the old version would not open it
            (self.root / "data" / "spool").mkdir(exist_ok=True)
            (self.root / "data" / "schema").write_text("1")
        self._look(f"ran {command[0]}")
        return ""

    def last_logs(self, services: Sequence[str], lines: int) -> str:
        return "core-1  | broken on purpose"

    def _look(self, what: str) -> None:
        """A point at which a kill may come; an audit event, as those of the file system are."""
        import sys

        sys.audit("condev.engine", str(self.root), what)


class FileImages(Images):
    """Every image is here."""

    def __init__(self) -> None: ...

    def close(self) -> None: ...

    def id_of(self, name: str) -> str:
        return "sha256:" + hashlib.sha256(name.encode()).hexdigest() if "condev-release" not in name else name

    def keep(self, service: str, image_id: str) -> str:
        return kept_reference(service, image_id)

    def kept(self) -> set[str]:
        return set()

    def drop(self, references: object) -> None: ...


class House:
    """An installation, and what can be done to it."""

    def __init__(self, root: Path, engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.installation = Installation(root)
        self.compose = FileCompose(root, engine)
        self.said: list[str] = []
        self.rendered: dict[str, str] = {}
        self.schemas = Schemas(
            revision="1",
            known_revisions=("1",),
            revision_readable_by=("1",),
            event_store=1,
            event_store_readable_from=1,
        )
        root.mkdir()
        (root / "config.toml").write_text("")
        self.write("one")
        monkeypatch.setattr(run_module, "check", lambda *_: "looked")
        monkeypatch.setattr("appliance.deploy.apply.prepare.render_apart", lambda *_: self.render())
        monkeypatch.setattr(run_module, "run_self_test", self.self_test)
        monkeypatch.setattr(run_module, "take_backup", self.backup)
        monkeypatch.setattr(run_module, "SETTLE_SECONDS", 0.0)
        assert switch_module.CORE == "core"

    def write(self, text: str, extra: Mapping[str, str] | None = None) -> None:
        """What rendering will give."""
        self.rendered = {"compose.yaml": f"# {text}\n", "Caddyfile": f"# {text}\n", **(extra or {})}

    def render(self) -> Rendered:
        """As `render_apart` would."""
        return Rendered(
            version="1.0", files=self.rendered, plan=PLAN, secrets=[], site_url="", shown={"text": self.rendered},
            directories=[StateDirectory("data", 0, 0o700)], schemas=self.schemas, protocols=["sentry"],
        )  # fmt: skip

    async def self_test(self, *_: object) -> str:
        """It always comes back."""
        return "there and back"

    def backup(self, installation: Installation, target: Path) -> None:
        """A file."""
        installation.backups.mkdir(exist_ok=True)
        target.write_text("backup")

    def apply(self, **options: object) -> str:
        """`condev apply --yes`."""
        one = Apply(self.installation, self.compose, FileImages(), say=self.said.append, confirm=lambda _: True)
        return one.run(Options(**options))  # type: ignore[arg-type]

    def ran(self, revision: str = "1", event_store: int = 1) -> None:
        """A core has run on the data."""
        write_running(
            self.installation.data, Running(version="1", started_at=1, revision=revision, event_store=event_store)
        )

    # ── what must hold ──

    def check_whole(self) -> str:
        """That everything belongs to one good release; what its compose.yaml says."""
        releases = Releases(self.installation)
        current = releases.current
        assert current is not None
        assert releases.fate(current) is Fate.GOOD
        assert releases.unfinished() == []
        assert switch_module.lies_in_place(self.installation, current)
        assert not self.installation.keep_spool.exists()
        hashes = current.record().hashes
        containers = self.compose.containers()
        assert {name: made["hash"] for name, made in containers.items()} == hashes
        assert {made["state"] for made in containers.values()} == {"running"}
        others = {path.name for path in self.installation.root.iterdir() if path.name.startswith(".")}
        assert others <= {".env"}
        return self.installation.compose.read_text().removeprefix("# ").strip()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(tmp_path / "installation", tmp_path / "engine.json", monkeypatch)
