"""On 1 vCPU and 1 GiB, the stated minimum, at a provider that blocks mail: doctor, busy ports, installing, a storm.

The tests of this file go on from each other, in order.
"""

from __future__ import annotations

import json
import re
from typing import Any, cast

from pytest_httpserver import HTTPServer

from tests.stack.lab.images import APPLIANCE, REPOSITORY
from tests.stack.lab.machines import LIMITED, MAIL_PORTS, Home
from tests.stack.lab.site import DOMAIN, ROOT, container, install, services_well, wait_until
from tests.stack.lab.storm import survives_a_storm
from tests.stack.lab.vps import Vps
from tests.stack.lab.wheel import write_wheel


def preflight(vps: Vps) -> dict[str, dict[str, Any]]:
    """Code → finding, of the image alone on a machine without an installation."""
    vps.path(ROOT).mkdir(exist_ok=True)
    vps.path(f"{ROOT}/config.toml").write_text(f'[deploy]\ndomain = "{DOMAIN}"\ntls = "internal"\n')
    mounts = ("-v", "/var/run/docker.sock:/var/run/docker.sock", "-v", "/:/host:ro", "-v", f"{ROOT}:{ROOT}")
    done = vps.run(
        "docker", "run", "--rm", "--user", "0:0", "--network", "host", *mounts, "--env", "CONDEV_HOST_ROOT=/host",
        APPLIANCE, "doctor", "--json", "--config", f"{ROOT}/config.toml", "--dir", ROOT, check=False,
    )  # fmt: skip
    vps.path(f"{ROOT}/config.toml").unlink()
    return by_code(done.stdout)


def doctor(vps: Vps, *flags: str) -> dict[str, dict[str, Any]]:
    """Code → finding, as the person on the machine asks."""
    return by_code(vps.run("condev", "doctor", "--json", *flags, seconds=300, check=False).stdout)


def by_code(said: str) -> dict[str, dict[str, Any]]:
    findings = cast("list[dict[str, Any]]", json.loads(said)["findings"])
    return {str(one["code"]): one for one in findings}


def bad(found: dict[str, dict[str, Any]], level: str = "error") -> list[str]:
    return sorted(code for code, one in found.items() if one["level"] == level)


def test_a_fresh_machine_has_no_errors_and_blocked_mail_is_said(smallest: Home) -> None:
    found = preflight(smallest.vps)
    assert bad(found) == []
    assert "profile tiny" in found["memory"]["fact"]
    assert "leads here" in found["domain"]["fact"]
    assert "smtp-blocked" in bad(found, "warning")


def test_a_taken_port_is_an_error_and_another_platform_is_seen(smallest: Home) -> None:
    vps = smallest.vps
    theirs = ("--name", "theirs", "--label", "coolify.managed=true", "--entrypoint", "sleep", APPLIANCE, "300")
    vps.docker("run", "-d", *theirs)
    with vps.busy(80):
        found = preflight(vps)
    vps.docker("rm", "--force", "theirs")
    assert bad(found) == ["port-taken"]
    assert "Coolify" in found["other-platform"]["fact"]


def test_busy_ports_are_named_and_nothing_is_started(smallest: Home) -> None:
    vps = smallest.vps
    with vps.busy(80, 443):
        said = install(vps, check=False)
    assert "port-taken" in said
    assert "80" in said
    assert "443" in said
    assert vps.docker("ps", "--all", "--quiet") == ""
    assert not vps.path(f"{ROOT}/compose.yaml").exists()


def test_the_same_line_then_installs_it(smallest: Home) -> None:
    assert f"an event was sent and read back through https://{DOMAIN}" in smallest.installed
    smallest.site.report()


def test_the_running_stack_is_as_planned_and_proves_itself(smallest: Home) -> None:
    assert smallest.installed
    found = doctor(smallest.vps)
    assert bad(found) == []
    assert "run and are healthy" in found["services"]["fact"]
    assert "max_server_memory_usage = " in found["event-store"]["fact"]
    assert "leads here" in found["domain"]["fact"]
    assert not {"engine-settings-differ", "service-limit-differs", "version-differs"} & found.keys()
    blocked = found["smtp-blocked"]
    assert all(str(port) in blocked["fact"] for port in MAIL_PORTS)
    assert "docs/no-outbound-smtp.md" in blocked["mend"]


def test_every_volume_keeps_what_is_written_over_a_restart(smallest: Home) -> None:
    assert smallest.installed
    found = doctor(smallest.vps, "--volumes")
    assert {"volume-not-kept", "volume-not-writable", "volumes-none"} & found.keys() == set()
    assert "volume" in found
    wait_until(lambda: services_well(smallest.vps), "the stack after it")
    assert smallest.vps.run("find", ROOT, "-name", ".condev-doctor-*").stdout == ""


def test_a_pruned_container_is_missed_and_a_changed_config_applied_with_a_plugin_that_delivers(smallest: Home) -> None:
    vps, site = smallest.vps, smallest.site
    vps.docker("rm", "--force", container(vps, "ingest"))
    assert "ingest" in doctor(vps)["service-missing"]["fact"]
    page = (REPOSITORY / "docs" / "plugins" / "writing.md").read_text()
    notifier = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert notifier is not None
    wheel = write_wheel(vps.path(ROOT), "condev_chat", notifier[1])
    with HTTPServer(host=vps.outside) as chat:
        chat.expect_request("/hook", method="POST").respond_with_json({"ok": True})
        config = vps.path(f"{ROOT}/config.toml")
        config.write_text(
            f'{config.read_text()}\n{LIMITED}\n[channels]\nchat = ["chat"]\n\n'
            f'[plugins]\ninstall = ["./{wheel.name}"]\n\n[plugins.chat]\nurl = "{chat.url_for("/hook")}"\n'
        )
        shown = vps.run("condev", "apply", "--dry-run").stdout
        assert "requests_per_second_per_address" in shown
        assert "condev_chat" in shown or "condev-chat" in shown
        vps.run("condev", "apply", "--no-pull", "--yes", seconds=300.0)
        said = vps.run("condev", "notify", "test", "chat").stdout
        assert len(chat.log) == 1, said
    site.report()
    assert services_well(vps)


def test_half_an_hours_worth_of_events_in_a_minute_costs_nothing_that_was_accepted(smallest: Home) -> None:
    survives_a_storm(smallest.site, "stack-1c1g-storm")
    assert smallest.vps.oom_kills() == 0
    smallest.site.report()
