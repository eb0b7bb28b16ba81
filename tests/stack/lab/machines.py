"""The machines of the stack tests: one at a time, each installed once, whatever test asks for it first.

A test that runs alone finds what it needs; in a whole run the tests of a machine follow each other and share it.
"""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.stack.lab.engine import LAB, Engine
from tests.stack.lab.images import APPLIANCE, CADDY, KEEP, hand_over
from tests.stack.lab.site import DOMAIN, ROOT, Site, install
from tests.stack.lab.vps import Vps, machine

MAIL_PORTS: Final = (25, 465, 587, 2525)


class Kind(NamedTuple):
    """What somebody rents."""

    name: str
    memory: int  # MiB
    cpus: int
    disk: int = 0  # MiB; 0: this machine's
    block: tuple[int, ...] = ()
    env: str = ""  # .env, as it lies there before the first installation
    maps_users: bool = False  # its engine does: `userns-remap`
    config: str = ""  # config.toml to install with; "": answers as flags


# The stated minimum, at a provider that blocks mail.
SMALLEST: Final = Kind("tiny", 1024, 1, block=MAIL_PORTS)
# The size that the original stack ran out of memory on. What it takes of one project is low, so that a test machine
# that is busy with other things still offers ten times as much.
SUSTAINED: Final = 40  # events a second
LIMITED: Final = f"""
[ingest]
requests_per_second = {SUSTAINED}
requests_per_second_per_address = 0
burst_seconds = 1.0
"""
CONFIG: Final = f"""
[site]
url = "https://{DOMAIN}"

[deploy]
domain = "{DOMAIN}"
tls = "internal"
{LIMITED}"""
SMALL: Final = Kind("small", 2048, 2, disk=10 * 1024, config=CONFIG)
# ClickHouse and Postgres as servers of their own. A test machine may not raise its limit of open files to the 262144
# that ClickHouse is given otherwise.
LARGE: Final = Kind("large", 8192, 4, env="CLICKHOUSE_NOFILE=20000\n", config=CONFIG)
# As people have it who want root in a container to be nobody outside.
MAPPED: Final = Kind("mapped", 2048, 2, maps_users=True, config=CONFIG)


class Home:
    """A machine and what is installed on it."""

    def __init__(self, vps: Vps, kind: Kind) -> None:
        self.vps: Final = vps
        self.flags: Final = ("--config", "/root/wanted.toml") if kind.config else ()
        self._said = ""
        self._failed = False
        self._site: Site | None = None
        if kind.config:
            vps.path("/root/wanted.toml").write_text(kind.config)
        if kind.env:
            vps.path(ROOT).mkdir(parents=True)
            vps.path(f"{ROOT}/.env").write_text(kind.env)
            vps.path(f"{ROOT}/.env").chmod(0o600)

    @property
    def installed(self) -> str:
        """What the first installation printed; it is made when there is none yet."""
        if self._failed:  # it takes minutes, and would fail again
            pytest.fail("the installation failed, as an earlier test says")
        if not self._said:
            self._failed = True
            self._said = install(self.vps, *self.flags)
            self._failed = False
        return self._said

    @property
    def site(self) -> Site:
        """A project on it, with an owner."""
        if self._site is None:
            assert self.installed
            self._site = Site.make(self.vps)
        return self._site

    @site.setter
    def site(self, site: Site) -> None:
        self._site = site


class Handed(NamedTuple):
    """A backup, and what was in it."""

    file: Path
    passphrase: Path
    site: Site  # where it was made; its token and its project come along
    events: list[str]


class Machines:
    """At most one runs: they share the engine's directory of images."""

    def __init__(self) -> None:
        self._running: ExitStack | None = None
        self._kind: Kind | None = None
        self._home: Home | None = None
        self._handed: Handed | None = None

    def home(self, kind: Kind) -> Home:
        """The machine of a kind, booted unless it runs; another one is shut down for it, and lost."""
        if self._home is None or self._kind != kind:
            self.close()
            self._running = ExitStack()
            vps = self._running.enter_context(
                machine(
                    kind.name, memory=kind.memory, cpus=kind.cpus, disk=kind.disk, block=kind.block,
                    hosts={DOMAIN: "VPS"}, maps_users=kind.maps_users,
                )
            )  # fmt: skip
            if kind.maps_users:
                with Engine(LAB / "engine").running() as engine:
                    hand_over(engine, vps, KEEP, CADDY)
            vps.docker("tag", KEEP, APPLIANCE)
            self._kind, self._home = kind, Home(vps, kind)
        return self._home

    def handed(self, folder: Path) -> Handed:
        """A backup of the small machine, made once.

        Args:
            folder: where it is kept, outside of any machine.
        """
        if self._handed is None:
            home = self.home(SMALL)
            events = [home.site.report() for _ in range(3)]
            home.vps.path("/root/phrase").write_text(f"{secrets.token_hex(16)}\n")
            home.vps.run("condev", "backup", "/root/first.condev", "--passphrase-file", "/root/phrase")
            for name in ("first.condev", "phrase"):
                (folder / name).write_bytes(home.vps.path(f"/root/{name}").read_bytes())
            self._handed = Handed(folder / "first.condev", folder / "phrase", home.site, events)
        return self._handed

    def close(self) -> None:
        """Shut down what runs."""
        if self._running is not None:
            self._running.close()
        self._running = self._kind = self._home = None
