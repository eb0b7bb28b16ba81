"""On an engine that maps users (`userns-remap`): root in a container is another user of the machine."""

from __future__ import annotations

from pathlib import Path

from tests.stack.lab.machines import Home
from tests.stack.lab.site import DOMAIN, ROOT, first_process, services_well
from tests.stack.lab.vps import FIRST_MAPPED

SERVICE_USER = 10001


def test_the_stack_installs_and_its_files_belong_to_the_hosts_users(mapped: Home) -> None:
    vps = mapped.vps
    assert "name=userns" in vps.docker("info", "--format", "{{.SecurityOptions}}")
    assert f"an event was sent and read back through https://{DOMAIN}" in mapped.installed
    mapped.site.report()
    assert services_well(vps)
    processes = [Path("/proc", str(first_process(vps, service))) for service in ("caddy", "ingest", "core")]
    assert {process.stat().st_uid for process in processes} == {SERVICE_USER}
    owners = {path.lstat().st_uid for path in vps.path(f"{ROOT}/data").rglob("*")}
    assert owners == {SERVICE_USER}
    assert max(path.lstat().st_uid for path in vps.path(ROOT).rglob("*")) < FIRST_MAPPED
    assert "nothing to change" in vps.run("condev", "apply", "--no-pull", "--yes", seconds=300.0).stdout
