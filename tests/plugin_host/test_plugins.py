"""The plugin host: what does not fit is named with its mend; one plugin that fails harms no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.clock import SystemClock
from appliance.config_file import load
from appliance.hookspecs import DeliveryError, HttpAnswer, IssueChange
from appliance.plugins import HostServices, PluginError, PluginHost

HEAD = """
from appliance.hookspecs import *
from msgspec import Struct
plugin = PluginInfo(name="{name}", version="1.0")
"""


class NoHttp:
    async def request(self, method: str, url: str, **_: object) -> HttpAnswer:
        raise DeliveryError(f"{method} {url}: not in this test")


def host(tmp_path: Path, config: str = "", **files: str) -> PluginHost:
    folder = tmp_path / "plugins.d"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(HEAD.format(name=name) + text)
    (tmp_path / "config.toml").write_text(config)
    services = HostServices(
        http=NoHttp(), clock=SystemClock(), data_dir=tmp_path, site_url="http://x", memory_bytes=1 << 30, cpus=2
    )
    return PluginHost.load(load(tmp_path / "config.toml", {}), services)


def refused(tmp_path: Path, config: str = "", **files: str) -> list[str]:
    with pytest.raises(PluginError) as raised:
        host(tmp_path, config, **files)
    return [str(problem) for problem in raised.value.problems]


def test_the_first_party_plugins_load_through_the_same_door(tmp_path: Path) -> None:
    loaded = host(tmp_path)
    ours = {"clickhouse", "sentry_protocol", "condev_protocol", "scrub", "user_agent", "resend", "smtp", "webhook"}
    assert ours <= set(loaded.plugins)
    assert [processor.name for processor in loaded.processors][:1] == ["scrub"]


def test_an_unknown_hook_names_the_nearest_one(tmp_path: Path) -> None:
    said = refused(tmp_path, mine="@hookimpl\ndef register_notifier(context): return []\n")
    assert said == ["plugin mine: register_notifier: no such hook; did you mean register_notifiers?"]


def test_an_argument_that_the_hook_lacks_is_named(tmp_path: Path) -> None:
    (said,) = refused(tmp_path, mine="@hookimpl\ndef register_rules(context, wishes): return []\n")
    assert said.startswith("plugin mine: register_rules: takes 'wishes', which the hook does not have")


def test_a_default_value_is_an_error_because_it_would_never_be_passed(tmp_path: Path) -> None:
    (said,) = refused(tmp_path, mine="@hookimpl\ndef register_rules(context=None): return []\n")
    assert "has a default value, so it would never be passed; remove it" in said


def test_async_where_the_hook_is_called_synchronously_is_an_error(tmp_path: Path) -> None:
    (said,) = refused(tmp_path, mine="@hookimpl\nasync def register_rules(context): return []\n")
    assert said.endswith("make it `def`")


def test_a_newer_contract_than_ours_is_refused(tmp_path: Path) -> None:
    text = 'plugin = PluginInfo(name="mine", version="1", requires_api="2.0")\n'
    (said,) = refused(tmp_path, mine=text)
    assert "requires_api is 2.0, this appliance has 1." in said


def test_a_plugin_that_cannot_be_imported_is_named_with_the_reason(tmp_path: Path) -> None:
    (said,) = refused(tmp_path, mine="import no_such_module_here\n")
    assert said.startswith("plugin mine: cannot be imported from")
    assert "No module named 'no_such_module_here'" in said


def test_a_processor_plugin_that_fails_stops_the_boot_and_a_notifier_one_does_not(tmp_path: Path) -> None:
    (said,) = refused(tmp_path, mine="@hookimpl\ndef register_processors(context): raise RuntimeError('no disk')\n")
    assert "register_processors raised RuntimeError: no disk" in said
    loaded = host(tmp_path, mine="@hookimpl\ndef register_notifiers(context): raise RuntimeError('no disk')\n")
    assert loaded.plugins["mine"].errors == ["register_notifiers raised RuntimeError: no disk"]
    assert "smtp" in loaded.notifiers


def test_a_plugins_own_table_is_decoded_strictly(tmp_path: Path) -> None:
    text = (
        "class Settings(Struct, kw_only=True, forbid_unknown_fields=True):\n    colour: str = 'red'\n"
        'plugin = PluginInfo(name="mine", version="1", config=Settings)\n'
    )
    (said,) = refused(tmp_path, '[plugins.mine]\ncolor = "blue"\n', mine=text)
    assert said.endswith("config.toml: plugins.mine.color: no such key; did you mean colour?")
    loaded = host(tmp_path, '[plugins.mine]\ncolour = "blue"\n', mine=text)
    assert loaded.plugins["mine"].context.config.colour == "blue"


def test_a_table_of_a_plugin_that_is_not_installed_is_an_error(tmp_path: Path) -> None:
    (said,) = refused(tmp_path, "[plugins.clickhose]\n")
    assert said.endswith("plugins.clickhose: no plugin of this name is installed; did you mean clickhouse?")


def test_a_channel_that_names_no_installed_notifier_is_an_error(tmp_path: Path) -> None:
    (said,) = refused(tmp_path, '[channels]\nemail = ["pigeon"]\n')
    assert "channels.email: no notifier 'pigeon'; installed are " in said


def test_a_disabled_plugin_is_not_even_imported(tmp_path: Path) -> None:
    loaded = host(tmp_path, '[plugins]\ndisabled = ["mine"]\n', mine="raise RuntimeError('imported')\n")
    assert "mine" not in loaded.plugins


async def test_a_hook_that_raises_is_reported_and_the_others_are_still_told(tmp_path: Path) -> None:
    loaded = host(
        tmp_path,
        first="@hookimpl\nasync def on_issue_opened(context, change): raise RuntimeError('boom')\n",
        second="seen = []\n@hookimpl\ndef on_issue_opened(change): seen.append(change.issue_id)\n",
    )
    change = IssueChange(
        change="opened", project_id=1, issue_id=7, title="t", culprit="", level="error", kind="error", event_id="e",
        release="", environment="", event_count=1, at=0,
    )  # fmt: skip
    assert await loaded.call_issue_hook("on_issue_opened", change) == ["first.on_issue_opened: RuntimeError: boom"]
    assert loaded.plugins["second"].module.seen == [7]  # type: ignore[attr-defined]


def test_a_plugin_sees_its_own_settings_alone(tmp_path: Path) -> None:
    loaded = host(tmp_path, '[plugins.smtp]\npassword = "hunter2"\n', mine="")
    context = loaded.plugins["mine"].context
    assert "hunter2" not in repr(context)
    assert context.data_dir == tmp_path / "plugins" / "mine"
    assert context.data_dir.stat().st_mode & 0o777 == 0o700
