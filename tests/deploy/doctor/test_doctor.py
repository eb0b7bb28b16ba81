"""All checks together: at once, each with a deadline, ordered; and the command."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import structlog.testing

from appliance.cli.doctor import _Loop  # pyright: ignore[reportPrivateUsage]
from appliance.deploy.doctor import CHECKS, GROUPS, DoctorContext, Finding, Probes, run
from appliance.deploy.doctor.findings import Reporter, size
from appliance.testing.running import CONDEV

from .conftest import HostTree, MakeContext, configured, free_port, only


async def test_checks_run_beside_each_other_and_are_given_up_in_time(make_context: MakeContext) -> None:
    say = Reporter("machine")
    started: list[str] = []

    async def first(_context: DoctorContext) -> list[Finding]:
        started.append("first")
        while len(started) < 2:  # would never end if they ran one after another
            await asyncio.sleep(0.01)
        return [say.ok("first", "done")]

    async def check_the_second(_context: DoctorContext) -> list[Finding]:
        started.append("second")
        await asyncio.sleep(60)
        return []

    found = await run(make_context(seconds=0.5), [("machine", first), ("network", check_the_second)])
    assert [one.code for one in found] == ["first", "check-timed-out"]
    assert "the second" in found[1].fact
    assert found[1].group == "network"


async def test_a_check_that_fails_does_not_take_the_others_with_it(make_context: MakeContext) -> None:
    async def check_broken(_context: DoctorContext) -> list[Finding]:
        raise RuntimeError("nobody thought of it")

    async def fine(_context: DoctorContext) -> list[Finding]:
        return [Reporter("ports").ok("fine", "yes")]

    with structlog.testing.capture_logs() as logs:
        found = await run(make_context(), [("docker", check_broken), ("ports", fine)])
    assert "RuntimeError: nobody thought of it" in only(found, "check-failed").fact
    assert found[-1].code == "fine"
    assert logs[0]["check"] == "check_broken"


async def test_groups_come_in_order_and_errors_first(make_context: MakeContext) -> None:
    async def mixed(_context: DoctorContext) -> list[Finding]:
        mail, machine = Reporter("mail"), Reporter("machine")
        return [mail.error("a", "f", "c", "m"), machine.ok("b", "f"), machine.error("c", "f", "c", "m")]

    assert [one.code for one in await run(make_context(), [("mail", mixed)])] == ["c", "b", "a"]


async def test_a_whole_host_is_looked_at(make_context: MakeContext, host: HostTree) -> None:
    host.write("proc/net/tcp6", "  sl  local_address\n")
    config = configured(doctor={"https": [], "smtp_host": "127.0.0.1"}, deploy={"domain": "monitor.example.com"})
    config.plugin_tables = {"resend": {"base_url": f"http://127.0.0.1:{free_port()}"}}

    async def nowhere(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    probes = Probes(
        http_port=free_port(), https_port=free_port(), listen=("127.0.0.1",), seconds=2,
        smtp_ports={port: free_port() for port in (25, 465, 587, 2525)},
    )  # fmt: skip
    found = await run(make_context(config=config, probes=probes, resolver=nowhere))
    assert "check-failed" not in [one.code for one in found]
    assert {one.group for one in found} >= set(GROUPS) - {"running"}
    assert [GROUPS.index(one.group) for one in found] == sorted(GROUPS.index(one.group) for one in found)


def test_every_module_of_checks_is_asked() -> None:
    assert {group for group, _ in CHECKS} == set(GROUPS)
    assert len({check for _, check in CHECKS}) == len(CHECKS)


def test_sizes_are_for_people() -> None:
    assert [size(n) for n in (512, 3 << 20, 2 << 30, 64 << 30)] == ["512 bytes", "3.0 MiB", "2.0 GiB", "64 GiB"]


def test_what_hangs_in_a_thread_does_not_keep_the_command_from_ending() -> None:
    async def main() -> None:
        hanging = asyncio.create_task(asyncio.to_thread(time.sleep, 30))
        await asyncio.sleep(0.05)
        hanging.cancel()

    began = time.monotonic()
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(main())
        assert runner.run(asyncio.to_thread(lambda: 42)) == 42
    assert time.monotonic() - began < 25  # it sleeps 30; the executor of the library would be waited for


# ── the command ──


def command(tmp_path: Path, *words: str, config: str = "") -> subprocess.CompletedProcess[str]:
    place = tmp_path / "config.toml"
    place.write_text(f'[doctor]\nhttps = []\nsmtp_host = "127.0.0.1"\n{config}')
    environ = {**os.environ, "DOCKER_HOST": f"unix://{tmp_path / 'none.sock'}"}
    return subprocess.run(
        [CONDEV, "doctor", "--config", str(place), "--data-dir", str(tmp_path / "data"), "--dir",
         str(tmp_path / "condev"), *words],
        check=False, capture_output=True, text=True, env=environ, timeout=100, cwd=tmp_path,
    )  # fmt: skip


RESEND = f'[plugins.resend]\nbase_url = "http://127.0.0.1:{free_port()}"\n'


def test_the_command_speaks_json_and_writes_nothing(tmp_path: Path) -> None:
    done = command(tmp_path, "--json", config=RESEND)
    answer: dict[str, Any] = json.loads(done.stdout)
    findings = answer["findings"]
    assert done.returncode == 1
    assert answer["ok"] is False
    assert answer["errors"] == sum(one["level"] == "error" for one in findings)
    assert answer["warnings"] == sum(one["level"] == "warning" for one in findings)
    assert {one["code"] for one in findings} & {"docker-missing", "docker-not-answering"}
    assert all(one["consequence"] and one["mend"] for one in findings if one["level"] != "ok")
    assert answer["mail"]["email"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml"]


def test_the_command_in_words_names_what_is_wrong_with_the_file_and_goes_on(tmp_path: Path) -> None:
    done = command(tmp_path, config='[site]\nurll = "x"\n')
    assert done.returncode == 1
    assert "config-invalid" in done.stdout
    assert "did you mean url?" in done.stdout
    assert "machine" in done.stdout
    assert "docs/troubleshooting.md" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
