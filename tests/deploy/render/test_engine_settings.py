"""Every setting that is rendered for a ClickHouse server is one that ClickHouse knows: it ignores those it does not.

The embedded engine is asked, since no server can be had here: it is the same code, one release line later.
"""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from appliance.config import Config

from .tools import rendered

PROGRAM = """
import chdb, json
names = {table: chdb.query(f"SELECT name FROM system.{table}", "TSV").data().split()
         for table in ("server_settings", "settings", "merge_tree_settings")}
print(json.dumps(names))
"""
# Of the file's structure, or of the server around the engine, which the embedded one lacks.
NOT_SETTINGS = {"listen_host", "mysql_port", "postgresql_port", "interserver_http_port", "logger", "merge_tree"}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        check=True,
        cwd=tmp_path_factory.mktemp("engine"),
        capture_output=True,
        text=True,
        timeout=100,
    )
    return {table: set(names) for table, names in json.loads(done.stdout.splitlines()[-1]).items()}


def test_every_rendered_setting_is_known(known: dict[str, set[str]]) -> None:
    _, files, _ = rendered(Config(), 8)
    server = ET.fromstring(files["clickhouse/config.d/condev.xml"])  # noqa: S314 - our own
    names = {element.tag for element in server if element.get("remove") is None}
    assert names - NOT_SETTINGS - known["server_settings"] == set()
    merges = server.find("merge_tree")
    assert merges is not None
    assert {element.tag for element in merges} <= known["merge_tree_settings"]
    users = ET.fromstring(files["clickhouse/users.d/condev.xml"])  # noqa: S314 - our own
    profile = users.find("profiles/default")
    assert profile is not None
    assert len(profile) >= 5
    assert {element.tag for element in profile} <= known["settings"]


def test_what_bounds_a_small_pool_fits_into_it() -> None:
    """A server whose merge tree wants more free places than its pool has does not start."""
    for memory in (3.8, 8, 64):
        plan, files, _ = rendered(Config(), memory)
        pool = int(plan.setting("clickhouse", "background_pool_size"))
        server = ET.fromstring(files["clickhouse/config.d/condev.xml"])  # noqa: S314 - our own
        ratio = server.findtext("background_merges_mutations_concurrency_ratio")
        wanted = [int(element.text or 0) for element in server.iterfind("merge_tree/*")]
        assert max(wanted) <= pool * int(ratio or 0)
