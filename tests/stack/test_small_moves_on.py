"""On 2 vCPU and 2 GiB: backup, upgrades that fail and that do not, and the end.

The tests of this file go on from each other, in order: they are chapters.
"""

from __future__ import annotations

from pathlib import Path

from appliance import __version__
from tests.stack.lab.images import APPLIANCE
from tests.stack.lab.machines import Handed, Home
from tests.stack.lab.site import ROOT, services_well
from tests.stack.lab.vps import Vps


def test_a_backup_is_made_while_it_runs_and_holds_what_it_says(small: Home, handed: Handed) -> None:
    words = ("/root/first.condev", "--passphrase-file", "/root/phrase")
    assert "all right" in small.vps.run("condev", "backup", "verify", *words).stdout
    assert handed.file.stat().st_size > 0


OTHER_VERSION = """
FROM {image}
USER 0:0
RUN sed -i 's/^Version: .*/Version: {other}/' /app/lib/*/site-packages/condev_monitor-*.dist-info/METADATA && {harm}
USER 10001:10001
"""
# A version whose services end as soon as they start, while its `condev apply` works.
HARM = (
    "mv /app/bin/condev /app/bin/real && chmod 755 /app/bin/real && "
    'printf \'#!/bin/sh\\n[ "$1" != serve ] || exit 1\\nexec /app/bin/real "$@"\\n\' > /app/bin/condev && '
    "chmod 755 /app/bin/condev"
)


def make_version(vps: Vps, other: str, harm: str = "true") -> None:
    """An image of another version, on the machine as if it had been pulled."""
    text = OTHER_VERSION.format(image=APPLIANCE, other=other, harm=harm)
    tag = APPLIANCE.replace(__version__, other)
    vps.run("docker", "build", "--quiet", "--tag", tag, "-", stdin=text, env={"DOCKER_BUILDKIT": "0"})


def test_an_upgrade_that_does_not_become_healthy_goes_back(small: Home) -> None:
    vps, site = small.vps, small.site
    make_version(vps, "0.9.1", HARM)
    done = vps.run("condev", "upgrade", "--to", "0.9.1", "--no-pull", "--yes", check=False, seconds=600.0)
    assert done.returncode == 1, done.stdout
    assert services_well(vps), done.stdout + done.stderr
    assert __version__ in vps.path(f"{ROOT}/image").read_text()
    site.report()


def test_an_upgrade_is_taken_and_taken_back(small: Home) -> None:
    vps, site = small.vps, small.site
    make_version(vps, "0.9.2")
    before = site.report()
    vps.run("condev", "upgrade", "--to", "0.9.2", "--no-pull", "--yes", seconds=600.0)
    assert "0.9.2" in vps.run("condev", "status").stdout
    assert "0.9.2" in vps.run("condev", "--version").stdout
    vps.run("condev", "rollback", "--yes", seconds=300.0)
    assert "0.9.2" not in vps.run("condev", "--version").stdout
    assert site.has(before)
    site.report()


def test_uninstalling_leaves_nothing_but_what_it_names(small: Home) -> None:
    vps = small.vps
    assert small.installed
    asked = vps.run("condev-uninstall", check=False)
    assert (asked.returncode, vps.path(ROOT).exists()) == (2, True)
    said = vps.run("condev-uninstall", "--yes").stdout
    assert not vps.path(ROOT).exists()
    assert list(Path(vps.path("/usr/local/bin")).iterdir()) == []
    assert vps.docker("ps", "--all", "--quiet") + vps.docker("volume", "ls", "--quiet") == ""
    assert "condev" not in vps.docker("network", "ls")
    images = vps.docker("image", "ls", "--format", "{{.Repository}}").split()
    assert {"condev-monitor", "condev-release/core"} & set(images) == set()
    assert "caddy:2" in said
