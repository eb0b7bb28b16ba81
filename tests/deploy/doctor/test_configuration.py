"""What is said of config.toml and .env before anything is started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.config import Backup, Config
from appliance.config_file import load
from appliance.deploy.doctor import configuration
from appliance.host_services import host_services
from appliance.plugins import PluginHost

from .conftest import HostTree, MakeContext, codes, configured, only


async def test_a_good_configuration(make_context: MakeContext, tmp_path: Path) -> None:
    config = configured(site={"url": "https://monitor.example.com"}, mail={"sender": "Monitor <m@example.com>"})
    config.plugin_tables = {"resend": {"api_key": "re_1"}}
    notifiers = PluginHost.load(config, host_services(config, tmp_path, config.site.url)).notifiers
    context = make_context(config=config, notifiers=notifiers)
    for check in configuration.CHECKS:
        assert {one.level for one in await check(context)} <= {"ok"}


async def test_every_problem_of_the_file_is_an_error(make_context: MakeContext) -> None:
    problems = ["config.toml: a: wrong", "config.toml: b: odd"]
    found = await configuration.check_file(make_context(config_problems=problems))
    assert [(one.code, one.level) for one in found] == [("config-invalid", "error")] * 2
    assert found[1].fact == "config.toml: b: odd"


async def test_a_secret_in_a_file_that_others_read(make_context: MakeContext, tmp_path: Path) -> None:
    place = tmp_path / "config.toml"
    place.write_text('[plugins.resend]\napi_key = "re_very_secret"\n')
    place.chmod(0o644)
    found = only(await configuration.check_file(make_context(config=load(place, {}))), "secret-in-clear")
    assert "plugins.resend.api_key" in found.fact
    assert "re_very_secret" not in str(found)
    place.chmod(0o600)
    assert codes(await configuration.check_file(make_context(config=load(place, {})))) == ["config"]


@pytest.mark.parametrize(
    ("site", "deploy", "code"),
    [
        ({}, {}, "site-url-missing"),
        ({}, {"domain": "monitor.example.com"}, "site-url"),
        ({"url": "https://monitor.example.com"}, {}, "site-url"),
        ({"url": "http://monitor.example.com"}, {}, "site-url-insecure"),
        ({}, {"domain": "monitor.example.com", "tls": "off"}, "site-url-insecure"),
        ({"url": "http://localhost:8000"}, {}, "site-url"),
    ],
)
async def test_the_public_address(
    make_context: MakeContext, site: dict[str, str], deploy: dict[str, str], code: str
) -> None:
    context = make_context(config=configured(site=site, deploy=deploy))
    assert codes(await configuration.check_address(context)) == [code]


@pytest.mark.parametrize(
    ("sender", "code"),
    [
        ("Monitor <monitor@example.com>", "mail-sender"),
        ("Condev Monitor <monitor@localhost>", "mail-sender-local"),
        ("monitor@host.lan", "mail-sender-local"),
        ("me@gmail.com", "mail-sender-freemail"),
        ("nobody", "mail-sender-invalid"),
    ],
)
async def test_the_sender_of_mail(make_context: MakeContext, sender: str, code: str) -> None:
    assert codes(await configuration.check_sender(make_context(config=configured(mail={"sender": sender})))) == [code]


async def test_channels_that_cannot_deliver(make_context: MakeContext, tmp_path: Path) -> None:
    config = Config()
    notifiers = PluginHost.load(config, host_services(config, tmp_path, "http://localhost")).notifiers
    config.channels = {"email": ["resend", "smtp"], "chat": ["slack"], "hook": ["webhook"]}
    found = await configuration.check_channels(make_context(config=config, notifiers=notifiers))
    assert only(found, "channel-unknown-notifier").level == "error"
    unusable = [one for one in found if one.code == "channel-unusable"]
    assert "api_key" in unusable[0].mend
    assert "[plugins.smtp] host" in unusable[0].mend


async def test_plugins_that_could_not_be_loaded_say_nothing_of_channels(make_context: MakeContext) -> None:
    assert await configuration.check_channels(make_context(notifiers=None)) == []


COMPOSE = "services:\n  core:\n    environment:\n      A: ${CONDEV_KEY:?say it}\n      B: ${POSTGRES_PASSWORD:?}\n"


async def test_secrets_that_compose_asks_for(make_context: MakeContext, host: HostTree) -> None:
    assert await configuration.check_secrets(make_context()) == []  # nothing is installed
    host.write("opt/condev/compose.yaml", COMPOSE)
    host.write("opt/condev/.env", "# POSTGRES_PASSWORD=x\nCONDEV_KEY=abc\n", 0o640)
    found = await configuration.check_secrets(make_context())
    assert only(found, "secret-missing").fact.startswith("/opt/condev/.env lacks POSTGRES_PASSWORD,")
    assert only(found, "secrets-readable").mend == "chmod 600 /opt/condev/.env"
    host.write("opt/condev/.env", "CONDEV_KEY=abc\nPOSTGRES_PASSWORD='x'\n", 0o600)
    assert codes(await configuration.check_secrets(make_context())) == ["secrets"]
    host.write("opt/condev/.env", "CONDEV_KEY=abc\n", 0o600)
    assert codes(await configuration.check_secrets(make_context(environ={"POSTGRES_PASSWORD": "x"}))) == ["secrets"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to another user")
async def test_a_directory_for_backups_has_to_be_there_and_writable_for_the_services(
    host: HostTree, make_context: MakeContext
) -> None:
    context = make_context(config=Config(backup=Backup(directory="/mnt/backups")))
    assert only(await configuration.check_backups(context), "backup-directory-unusable").level == "warning"
    place = host.root / "mnt/backups"
    place.mkdir(parents=True, mode=0o700)
    assert only(await configuration.check_backups(context), "backup-directory-unusable").level == "warning"
    os.chown(place, 10001, 10001)
    assert codes(await configuration.check_backups(context)) == ["backup-directory"]
    assert await configuration.check_backups(make_context()) == []
