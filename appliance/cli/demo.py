"""What `condev demo` adds to a running appliance: a sign-in, a project, sample traffic, and where to look."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import time
from pathlib import Path
from typing import Final

import click
import httpx
import msgspec
from msgspec import Struct

from appliance.accounts.access import COMMAND_LINE
from appliance.accounts.service import AccountService
from appliance.cli.demo_traffic import HISTORY_EVENTS, HISTORY_SECONDS, envelope
from appliance.cli.demo_visits import HISTORY_VISITS, visit
from appliance.projects.service import ProjectService
from appliance.web.example import ExampleConfig

EMAIL: Final = "owner@example.com"
PROJECT: Final = "Example shop"
SECONDS_BETWEEN: Final = 4.0  # a slow trickle: something moves on the page, nothing fills up
VISITS: Final = 0.3  # of what trickles in; the rest are single events
VISIT_SECONDS: Final = 120.0  # a visit that trickles in began so long ago


class SignIn(Struct, kw_only=True):
    """The made-up owner; kept beside the data, so that a second start prints the same."""

    email: str
    password: str


class Demo:
    """Prepares the demonstration and keeps its traffic going. The appliance calls `start` and `stop`."""

    def __init__(self, data_dir: Path, address: str, *, traffic: bool) -> None:
        self._file = data_dir / "demo-sign-in.json"
        self._address = address
        self._traffic = traffic
        self._task: asyncio.Task[None] | None = None
        self.example = ExampleConfig(dsn="")

    async def start(self, accounts: AccountService, projects: ProjectService) -> None:
        """Make the owner and the project if there are none, print where to look, and begin to send."""
        sign_in = await self._sign_in(accounts)
        mine = [project for project in await projects.list(COMMAND_LINE) if project.name == PROJECT]
        is_new = not mine
        project = mine[0] if mine else await projects.create(COMMAND_LINE, PROJECT)
        self.example = ExampleConfig(dsn=project.keys[0].dsn, project=project.slug)
        self._announce(sign_in)
        if self._traffic:
            self._task = asyncio.create_task(self._send(self.example.dsn, is_new), name="demo-traffic")

    async def stop(self) -> None:
        """End the traffic."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _sign_in(self, accounts: AccountService) -> SignIn | None:
        if not await accounts.setup.needed():
            if not self._file.exists():
                return None
            return msgspec.json.decode(self._file.read_bytes(), type=SignIn)
        made = SignIn(email=EMAIL, password=f"demo-{secrets.token_hex(6)}")
        await accounts.setup.create_owner(made.email, made.password, "Demo owner")
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(made))
        return made

    def _announce(self, sign_in: SignIn | None) -> None:
        sign_in_words = f"{sign_in.email}  /  {sign_in.password}" if sign_in else "your own account"
        click.echo(
            f"\n  Condev Monitor is running. Stop it with Ctrl-C.\n\n"
            f"    Dashboard     {self._address}\n"
            f"    Sign in       {sign_in_words}\n"
            f"    Example page  {self._address}/example/\n"
            f"    DSN           {self.example.dsn}\n"
        )

    async def _send(self, dsn: str, with_history: bool) -> None:
        draw = random.Random(4_180)  # noqa: S311 - the same shop each time, no secret
        scheme, _, rest = dsn.partition("://")
        key, _, place = rest.partition("@")
        host, _, project_id = place.rpartition("/")
        of_sentry = f"{scheme}://{host}/api/{project_id}/envelope/?sentry_key={key}&sentry_version=7"
        of_ours = f"{scheme}://{host}/v2/{key}"
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:

            async def event(age: float) -> None:
                await self._post(client, of_sentry, *envelope(draw, time.time(), age))

            async def visitor(age: float) -> None:
                for one in visit(draw, time.time(), age):
                    await self._post(client, of_ours, one.body, one.user_agent)

            if with_history:
                for _ in range(HISTORY_VISITS):
                    await visitor(draw.triangular(0, HISTORY_SECONDS, 0))
                for _ in range(HISTORY_EVENTS):
                    await event(draw.triangular(0, HISTORY_SECONDS, 0))
            while True:
                await asyncio.sleep(SECONDS_BETWEEN * draw.uniform(0.3, 1.7))
                await (visitor(VISIT_SECONDS) if draw.random() < VISITS else event(0.0))

    async def _post(self, client: httpx.AsyncClient, url: str, body: bytes, agent: str) -> None:
        try:
            answer = await client.post(url, content=body, headers={"User-Agent": agent})
        except httpx.HTTPError as error:
            click.echo(f"condev: demo traffic: {type(error).__name__}: {error}", err=True)
            await asyncio.sleep(SECONDS_BETWEEN)
            return
        if answer.status_code == 429:
            await asyncio.sleep(int(answer.headers.get("Retry-After", "1")))
