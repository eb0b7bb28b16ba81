"""`condev doctor` on a real machine: before there is a stack, and with one.

The tests of this file go on from each other, in order.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Generator
from typing import Any, cast

import pytest

from tests.stack.lab.images import APPLIANCE
from tests.stack.lab.site import DOMAIN, ROOT, container, install, services_well, wait_until
from tests.stack.lab.vps import Vps, machine

SMTP = (25, 465, 587, 2525)
LISTEN = "import socket, time; s = socket.create_server(('0.0.0.0', 80)); time.sleep(300)"


@pytest.fixture(scope="module")
def vps(built: None) -> Generator[Vps]:
    with machine("doctor", memory=1024, cpus=1, hosts={DOMAIN: "VPS"}, block=SMTP) as made:
        yield made


def preflight(vps: Vps) -> dict[str, dict[str, Any]]:
    """Code → finding, of the image alone on a machine without an installation."""
    vps.path(ROOT).mkdir(exist_ok=True)
    vps.path(f"{ROOT}/config.toml").write_text(f'[deploy]\ndomain = "{DOMAIN}"\ntls = "internal"\n')
    mounts = ("-v", "/var/run/docker.sock:/var/run/docker.sock", "-v", "/:/host:ro", "-v", f"{ROOT}:{ROOT}")
    done = vps.run(
        "docker", "run", "--rm", "--user", "0:0", "--network", "host", *mounts, "--env", "CONDEV_HOST_ROOT=/host",
        APPLIANCE, "doctor", "--json", "--config", f"{ROOT}/config.toml", "--dir", ROOT, check=False,
    )  # fmt: skip
    return by_code(done.stdout)


def doctor(vps: Vps, *flags: str) -> dict[str, dict[str, Any]]:
    """Code → finding, as the person on the machine asks."""
    return by_code(vps.run("condev", "doctor", "--json", *flags, seconds=300, check=False).stdout)


def by_code(said: str) -> dict[str, dict[str, Any]]:
    findings = cast("list[dict[str, Any]]", json.loads(said)["findings"])
    return {str(one["code"]): one for one in findings}


def bad(found: dict[str, dict[str, Any]], level: str = "error") -> list[str]:
    return sorted(code for code, one in found.items() if one["level"] == level)


def test_a_fresh_machine_has_no_errors_and_its_own_size(vps: Vps) -> None:
    found = preflight(vps)
    assert bad(found) == []
    assert "profile tiny" in found["memory"]["fact"]
    assert "leads here" in found["domain"]["fact"]


def test_blocked_smtp_is_said_and_is_no_error(vps: Vps) -> None:
    found = preflight(vps)
    assert "smtp-blocked" in bad(found, "warning")


def test_a_taken_port_is_an_error(vps: Vps) -> None:
    words = vps.words(["python3", "-c", LISTEN])
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as holder:
        try:
            wait_until(lambda: ":0050 " in vps.run("cat", "/proc/net/tcp").stdout, "port 80 taken")
            assert bad(preflight(vps)) == ["port-taken"]
        finally:
            holder.terminate()


def test_another_platforms_container_is_seen(vps: Vps) -> None:
    vps.docker(
        "run", "-d", "--name", "theirs", "--label", "coolify.managed=true", "--entrypoint", "sleep", APPLIANCE, "300"
    )
    found = preflight(vps)
    vps.docker("rm", "--force", "theirs")
    assert "Coolify" in found["other-platform"]["fact"]


def test_a_running_stack_is_as_planned_and_proves_itself(vps: Vps) -> None:
    vps.path(f"{ROOT}/config.toml").unlink()
    install(vps)
    found = doctor(vps)
    assert bad(found) == []
    assert "run and are healthy" in found["services"]["fact"]
    assert "max_server_memory_usage = " in found["event-store"]["fact"]
    assert "leads here" in found["domain"]["fact"]
    assert not {"engine-settings-differ", "service-limit-differs", "version-differs"} & found.keys()


def test_every_volume_keeps_what_is_written_over_a_restart(vps: Vps) -> None:
    found = doctor(vps, "--volumes")
    assert {"volume-not-kept", "volume-not-writable", "volumes-none"} & found.keys() == set()
    assert "volume" in found
    wait_until(lambda: services_well(vps), "the stack after it")
    left = vps.run("find", ROOT, "-name", ".condev-doctor-*").stdout
    assert left == ""


def test_a_pruned_container_is_missed(vps: Vps) -> None:
    vps.docker("rm", "--force", container(vps, "ingest"))
    assert "ingest" in doctor(vps)["service-missing"]["fact"]
    vps.run("condev", "apply", "--yes", seconds=300)
    assert "service-missing" not in doctor(vps)
