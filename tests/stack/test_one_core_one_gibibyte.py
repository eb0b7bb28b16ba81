"""On 1 vCPU and 1 GiB, the stated minimum, at a provider that blocks mail: busy ports, installing, a storm.

The tests of this file go on from each other, in order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator

import pytest
from pytest_httpserver import HTTPServer

from tests.stack.lab.images import REPOSITORY
from tests.stack.lab.site import DOMAIN, ROOT, Site, install, memory_of, services_well, wait_until, write_result
from tests.stack.lab.storm import storm
from tests.stack.lab.vps import Vps, machine
from tests.stack.lab.wheel import write_wheel

MAIL_PORTS = (25, 465, 587, 2525)
STORM_SECONDS = 15.0
# A second, of one project: half the default, so that a test machine that is busy with other things still makes a storm.
SUSTAINED = 100
INGEST = f"""
[ingest]
requests_per_second = {SUSTAINED}
requests_per_second_per_address = 0
burst_seconds = 1.0
"""


@pytest.fixture(scope="module")
def vps(built: None) -> Generator[Vps]:
    with machine("tiny", memory=1024, cpus=1, hosts={DOMAIN: "VPS"}, block=MAIL_PORTS) as made:
        yield made


@pytest.fixture(scope="module")
def site(vps: Vps) -> Generator[Site]:
    install(vps)
    made = Site(vps)
    yield made
    made.client.close()


def test_busy_ports_are_named_and_nothing_is_started(vps: Vps) -> None:
    with vps.busy(80, 443):
        said = install(vps, check=False)
    assert "port-taken" in said
    assert "80" in said
    assert "443" in said
    assert vps.docker("ps", "--all", "--quiet") == ""
    assert not vps.path(f"{ROOT}/compose.yaml").exists()


def test_the_same_line_then_installs_it(site: Site) -> None:
    site.report()


def test_blocked_mail_is_found_with_the_way_round_it(vps: Vps, site: Site) -> None:
    found = json.loads(vps.run("condev", "doctor", "--json", check=False).stdout)
    findings = {one["code"]: one for one in found["findings"]}
    blocked = findings["smtp-blocked"]
    assert all(str(port) in blocked["fact"] for port in MAIL_PORTS)
    assert "docs/no-outbound-smtp.md" in blocked["mend"]


def test_a_changed_config_is_shown_and_applied(vps: Vps, site: Site) -> None:
    config = vps.path(f"{ROOT}/config.toml")
    config.write_text(config.read_text() + INGEST)
    shown = vps.run("condev", "apply", "--dry-run").stdout
    assert "requests_per_second_per_address" in shown
    vps.run("condev", "apply", "--no-pull", "--yes", seconds=300.0)
    site.report()


def test_a_third_party_plugin_is_installed_and_delivers_a_message(vps: Vps, site: Site) -> None:
    page = (REPOSITORY / "docs" / "plugins" / "writing.md").read_text()
    notifier = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert notifier is not None
    wheel = write_wheel(vps.path(ROOT), "condev_chat", notifier[1])
    with HTTPServer(host=vps.outside) as chat:
        chat.expect_request("/hook", method="POST").respond_with_json({"ok": True})
        config = vps.path(f"{ROOT}/config.toml")
        config.write_text(
            f'{config.read_text()}\n[channels]\nchat = ["chat"]\n\n[plugins]\ninstall = ["./{wheel.name}"]\n\n'
            f'[plugins.chat]\nurl = "{chat.url_for("/hook")}"\n'
        )
        vps.run("condev", "apply", "--no-pull", "--yes", seconds=300.0)
        said = vps.run("condev", "notify", "test", "chat").stdout
        assert len(chat.log) == 1, said
    site.report()


def test_a_storm_is_refused_in_part_and_nothing_that_was_accepted_is_lost(vps: Vps, site: Site) -> None:
    before = site.get("system")["processed"]
    seen = storm(site, seconds=STORM_SECONDS)
    assert set(seen.statuses) <= {200, 429}, seen.statuses
    offered = sum(seen.statuses.values()) / STORM_SECONDS
    assert seen.statuses[429] > 0, f"{offered:.0f} a second were no storm"
    peak = memory_of(vps)
    wait_until(lambda: site.get("system")["spool"]["records"] == 0, "the spool is empty", seconds=300.0)
    missing = [event_id for event_id in seen.accepted[:: max(1, len(seen.accepted) // 100)] if not site.has(event_id)]
    assert missing == []
    assert site.get("system")["processed"] - before >= len(seen.accepted)
    counted = sum(issue["event_count"] for issue in site.get(f"projects/{site.project['id']}/issues")["items"])
    assert counted >= len(seen.accepted)
    write_result(
        "stack-1c1g-storm",
        {
            "offered_per_second": offered, "sustained_per_second": SUSTAINED, "accepted": len(seen.accepted),
            "refused": seen.statuses[429], "mebibytes_after_the_storm": peak, "killed_for_memory": vps.oom_kills(),
        },
    )  # fmt: skip


def test_nothing_was_killed_for_memory_and_all_is_well(vps: Vps, site: Site) -> None:
    assert vps.oom_kills() == 0
    assert services_well(vps)
    restarts = vps.docker("ps", "--all", "--quiet").split()
    assert set(vps.docker("inspect", "--format", "{{.RestartCount}}", *restarts).split()) == {"0"}
    site.report()
