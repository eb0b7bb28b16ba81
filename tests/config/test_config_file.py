"""config.toml: what is wrong is said all at once, in words, and never shows a secret."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from appliance.config import TAKEN_NAMES, Config
from appliance.config_file import ConfigError, load
from appliance.config_shown import exposed_secrets, shown

REPOSITORY = Path(__file__).parents[2]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def problems(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(path, environ or {})
    return [str(problem) for problem in raised.value.problems]


def test_without_a_file_everything_has_its_default() -> None:
    config = load(None, {})
    assert config.channels == {"email": ["resend", "smtp"]}
    assert config.storage.backend == "clickhouse"


def test_all_problems_are_named_at_once_with_file_key_value_and_what_is_allowed(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
[ingest]
max_bodi = 1
requests_per_second = "many"
spool_max_bytes = "10 parsecs"
[deploy]
target = "kubernetes"
[retentoin]
days = 1
""",
    )
    said = problems(path)
    assert said == [
        f"{path}: ingest.max_bodi: no such key; did you mean max_body?",
        f"{path}: ingest.requests_per_second: expected a number, got a text in quotes; got 'many'",
        f'{path}: ingest.spool_max_bytes: expected a number of bytes, or a text such as "512m" or "10g"; '
        "got '10 parsecs'",
        f"{path}: deploy.target: allowed are 'compose', 'behind-proxy', 'coolify', 'tunnel'; got 'kubernetes'",
        f"{path}: retentoin: no such key; did you mean retention?",
    ]


def test_a_value_out_of_bounds_is_refused(tmp_path: Path) -> None:
    assert problems(write(tmp_path, "[ingest]\nmax_body = 10\n")) == [
        f"{tmp_path}/config.toml: ingest.max_body: must be at least 1024; got 10"
    ]


@pytest.mark.parametrize(
    ("text", "bytes_"), [('"512m"', 512 << 20), ('"10 GiB"', 10 << 30), ("1048576", 1 << 20), ('"1.5g"', 3 << 29)]
)
def test_sizes_may_be_written_as_people_do(tmp_path: Path, text: str, bytes_: int) -> None:
    assert load(write(tmp_path, f"[retention]\nbytes = {text}\n"), {}).retention.bytes == bytes_


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[ingest]\nrequests_per_second = 5\n[channels]\nemail = ["resend"]\n')
    config = load(
        path,
        {
            "CONDEV__INGEST__REQUESTS_PER_SECOND": "0",
            "CONDEV__CHANNELS__EMAIL": '["smtp"]',
            "CONDEV__SITE__TRUSTED_PROXIES": '["127.0.0.1"]',
            "CONDEV__PLUGINS__SMTP__PORT": "2525",
        },
    )
    assert config.ingest.requests_per_second == 0
    assert config.channels == {"email": ["smtp"]}
    assert config.site.trusted_proxies == ["127.0.0.1"]
    assert config.plugin_tables["smtp"]["port"] == "2525"


def test_another_channel_does_not_take_the_default_one_away(tmp_path: Path) -> None:
    config = load(write(tmp_path, '[channels]\nchat = ["webhook"]\n'), {})
    assert config.channels == {"email": ["resend", "smtp"], "chat": ["webhook"]}


def test_a_wrong_variable_is_named_instead_of_the_file(tmp_path: Path) -> None:
    said = problems(write(tmp_path, ""), {"CONDEV__INGEST__MAX_BODY": "big"})
    assert said == [
        'CONDEV__INGEST__MAX_BODY: ingest.max_body: expected a number of bytes, or a text such as "512m" or "10g"; '
        "got 'big'"
    ]


def test_a_missing_secret_is_named_and_a_present_one_is_never_shown(tmp_path: Path) -> None:
    path = write(tmp_path, '[metadata]\nurl = { env = "DATABASE_URL" }\n')
    assert problems(path) == [f"{path}: metadata.url: the environment variable DATABASE_URL is not set"]
    config = load(path, {"DATABASE_URL": "postgresql://u:hunter2@db/x"})
    assert config.metadata.url is not None
    assert config.metadata.url.reveal() == "postgresql://u:hunter2@db/x"
    assert "hunter2" not in f"{config!r}{shown(config)}"


def test_a_secret_file_is_read_and_an_unreadable_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://u:p@db/x\n")
    path = write(tmp_path, f'[metadata]\nurl = {{ file = "{tmp_path}/url" }}\n')
    config = load(path, {})
    assert config.metadata.url is not None
    assert config.metadata.url.reveal() == "postgresql://u:p@db/x"
    path = write(tmp_path, f'[metadata]\nurl = {{ file = "{tmp_path}/nope" }}\n')
    assert problems(path) == [
        f"{path}: metadata.url: the secret file {tmp_path}/nope cannot be read: No such file or directory"
    ]


def test_a_wrong_secret_shows_no_value(tmp_path: Path) -> None:
    path = write(tmp_path, '[metadata]\nurl = { value = "hunter2" }\n')
    assert problems(path) == [f'{path}: metadata.url: expected {{ env = "NAME" }} or {{ file = "/path" }}']


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist: give its path with --config, or leave the option out to run on the defaults"),
        (b"\xff\xfe", "is not UTF-8 (byte 0)"),
        (b"[site\n", "is not valid TOML: "),
    ],
)
def test_an_unreadable_file_is_one_clear_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    (only,) = problems(path)
    assert only.startswith(f"{path}: {said}")


def test_a_secret_in_clear_in_a_readable_file_is_warned_about(tmp_path: Path) -> None:
    path = write(tmp_path, '[plugins.smtp]\npassword = "hunter2"\nhost = "h"\n')
    path.chmod(0o644)
    (warning,) = exposed_secrets(load(path, {}))
    assert "plugins.smtp.password" in warning
    assert "hunter2" not in warning
    path.chmod(0o600)
    assert exposed_secrets(load(path, {})) == []


def test_the_shipped_file_names_every_key_with_its_default(tmp_path: Path) -> None:
    shipped = (REPOSITORY / "config.toml").read_text()
    everything = re.sub(r"^# (\w+ = )", r"\1", shipped, flags=re.MULTILINE)
    core = tomllib.loads(everything)
    plugin_names = [name for name in core["plugins"] if isinstance(core["plugins"][name], dict)]
    for name in plugin_names:
        del core["plugins"][name]
    core["metadata"].pop("url")  # the default of these is to be absent
    core["backup"].pop("passphrase")
    path = tmp_path / "config.toml"
    import tomli_w

    path.write_text(tomli_w.dumps(core))
    config = load(path, {})
    config.source = None
    assert shown(config) == shown(Config())
    listed = {f"{section}.{key}" for section, table in core.items() for key in table}
    known = {f"{section}.{key}" for section, table in shown(Config()).items() for key in table} - {
        "metadata.url",
        "backup.passphrase",
    }
    assert listed == known


def test_it_knows_which_keys_were_set_and_where_secrets_are_kept(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
[retention]
bytes = "10g"
[metadata]
url = { env = "DATABASE_URL" }
[plugins.smtp]
password = { file = "/run/secrets/smtp" }
""",
    )
    config = load(path, {"DATABASE_URL": "postgresql://x", "CONDEV__SITE__NAME": "Ours"})
    assert config.given == {"retention.bytes", "metadata.url", "plugins.smtp.password", "site.name"}
    assert config.references == {
        "metadata.url": ("env", "DATABASE_URL"),
        "plugins.smtp.password": ("file", "/run/secrets/smtp"),
    }


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('script = "sdk.mjs"', "sdk.script"),
        ('script = "../x.js"', "sdk.script"),
        ('script = "static.js"', "sdk.script"),
        ('script = ""', "sdk.script"),
        ('path = "issues"', "sdk.path"),
        ('path = "a/b"', "sdk.path"),
        ('path = "tracking"', "sdk.path"),
        ('path = "Über"', "sdk.path"),
        ('script = "shop.js"\npath = "shop"', "sdk.path"),
    ],
)
def test_the_sdk_cannot_be_given_a_name_that_leads_elsewhere(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, f"[sdk]\n{text}\n"), {})
    assert [problem.key for problem in caught.value.problems] == [key]


def test_the_sdk_may_have_names_of_its_own(tmp_path: Path) -> None:
    config = load(write(tmp_path, '[sdk]\nscript = "shop-metrics.js"\npath = "collect"\n'), {})
    assert (config.sdk.script, config.sdk.path) == ("shop-metrics.js", "collect")


def test_the_names_that_the_sdk_cannot_have_are_those_of_all_pages_and_wire_formats() -> None:
    from appliance.dashboard import ROUTES
    from appliance.deploy.extensions import load_extensions
    from appliance.ingest.asgi import HEALTH_PATHS

    protocols = load_extensions(Config(), Path("/nowhere")).protocols
    own = [getattr(handler, "paths", None) or {handler.path} for handler in ROUTES]  # a router has one
    paths = {path for some in own for path in some} | HEALTH_PATHS
    paths |= {route.path for protocol in protocols for route in protocol.routes}
    first = {path.strip("/").split("/")[0] for path in paths} | {"static", "example"}
    assert first - TAKEN_NAMES - {"", "v2"} == set()
