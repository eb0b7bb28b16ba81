"""installer.sh in the shells that people's machines have, with a `docker` that only writes down what it is told.

What Docker then does with it is tests/stack.
"""

from __future__ import annotations

import re
import shutil
import stat
import tomllib

import pytest

from appliance import __version__
from tests.deploy.installer.machine import ANSWERS, INSTALLER, REPOSITORY, Machine


def test_it_is_short_and_runs_nothing_before_its_last_line() -> None:
    lines = INSTALLER.read_text().splitlines()
    assert len(lines) <= 250
    assert lines[-1] == 'main "$@"'
    top = [line for line in lines if line and not line.startswith(("#", " ", "}"))]
    allowed = re.compile(r"(set -eu|[A-Z_]+='.*|[a-z_0-9]+\(\) \{.*|main \"\$@\")")
    assert [line for line in top if not allowed.fullmatch(line)] == []


def test_it_installs_the_version_that_it_lies_beside() -> None:
    assert f"VERSION='{__version__}'" in INSTALLER.read_text()


def test_its_header_names_every_flag_and_variable() -> None:
    text = INSTALLER.read_text()
    header, code = text.split("set -eu", 1)
    flags = set(re.findall(r"(?<![\w-])--[a-z-]+(?=[ |)\\])", code.split("read_arguments() {")[1].split("need() {")[0]))
    assert flags >= {"--domain", "--no-pull", "--offline"}
    assert {flag for flag in flags if flag not in header} == set()
    variables = set(re.findall(r"\$\{(CONDEV_[A-Z_]+)", code))
    assert len(variables) > 15
    assert {variable for variable in variables if variable not in header} == set()


def test_without_a_terminal_all_missing_answers_are_named_at_once(machine: Machine) -> None:
    done = machine.install()
    assert done.returncode == 2
    assert "--domain" in done.stderr
    assert "CONDEV_MAIL" in done.stderr
    assert machine.commands == []
    more = machine.install("--mail", "smtp")
    assert more.returncode == 2
    assert all(flag in more.stderr for flag in ("--domain", "--smtp-host", "--mail-from"))


@pytest.mark.parametrize(
    ("kind", "secret", "question"),
    [("resend", "RESEND_API_KEY", "Resend API key:"), ("smtp", "SMTP_PASSWORD", "Password of --smtp-user:")],
)
def test_what_is_open_is_asked_at_a_terminal_and_a_secret_is_never_shown(
    machine: Machine, kind: str, secret: str, question: str
) -> None:
    flags = ("--mail", kind, "--smtp-host", "mail.a.test", "--smtp-user", "me")
    typed = [("Domain:", "a.test"), (question, "correct horse"), ("Sender:", "me@a.test")]
    seen = machine.install_at_a_terminal(*flags, typed=typed)
    assert "correct horse" not in seen
    assert "a.test" in seen  # what is no secret is shown as it is typed: so is what follows the secret
    assert "me@a.test" in seen
    assert machine.answers[secret] == "correct horse"
    assert machine.answers["CONDEV_SETUP_domain"] == "a.test"


def test_wrong_answers_are_named_at_once_and_never_run(machine: Machine) -> None:
    done = machine.install(
        "--domain", "https://x/y", "--mail", "pigeon", "--tls", "maybe", "--url", 'http://x/$(touch evil)`touch evil`"'
    )
    assert done.returncode == 2
    assert all(word in done.stderr for word in ("https://x/y", "pigeon", "maybe", "quotes"))
    assert not (machine.place / "evil").exists()


def test_an_unknown_flag_and_one_without_a_value_are_refused(machine: Machine) -> None:
    assert machine.install("--domian", "x").returncode == 2
    done = machine.install("--domain")
    assert (done.returncode, "needs a value" in done.stderr) == (2, True)


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(machine: Machine) -> None:
    before = sorted(str(path) for path in machine.place.rglob("*"))
    done = machine.install("--dry-run", "--domain", "a.test", "--mail", "none")
    assert done.returncode == 0, done.stderr
    assert "would build condev-monitor" in done.stdout
    assert "would run condev apply" in done.stdout
    assert [command for command in machine.commands if not command.startswith(("info", "image inspect"))] == []
    after = sorted(str(path) for path in machine.place.rglob("*") if path.name != "docker.log.env")
    assert after == before


def test_a_checkout_builds_its_image_and_hands_over(machine: Machine) -> None:
    mail = ("--mail", "smtp", "--smtp-host", "mail.test", "--mail-from", "A <a@a.test>")
    done = machine.install("--domain", "a.test", *mail, SMTP_PASSWORD="p$HOME*x")
    assert done.returncode != 0  # the image, which is made up here, would have written the command that comes next
    assert "bin/condev" in done.stderr
    assert (
        f"build --quiet --build-arg VERSION={__version__} --tag condev-monitor:{__version__} {REPOSITORY}"
        in machine.commands
    )
    setup = machine.commands[-1]
    assert setup.endswith(f"--entrypoint /app/host-commands/setup condev-monitor:{__version__}")
    assert "p$HOME" not in setup
    assert machine.answers["CONDEV_SETUP_mail_from"] == "A <a@a.test>"
    assert machine.answers["SMTP_PASSWORD"] == "p$HOME*x"
    assert machine.answers["CONDEV_SETUP_dir"] == str(machine.root)


def test_read_from_a_pipe_it_takes_variables_and_no_checkout(machine: Machine) -> None:
    (machine.place / "Dockerfile").write_text("FROM evil\n")
    done = machine.install(
        "--dry-run", from_stdin=True, CONDEV_DOMAIN="a.test", CONDEV_MAIL="none", CONDEV_NO_VERIFY="1"
    )
    assert done.returncode == 0, done.stderr
    assert (
        f"would download and verify https://github.com/condev/condev-monitor/releases/download/v{__version__}/"
        in done.stdout
    )


def test_help_from_a_file_lists_all_and_from_a_pipe_installs_nothing(machine: Machine) -> None:
    done = machine.install("--help")
    assert (done.returncode, "--no-verify" in done.stdout) == (0, True)
    piped = machine.install("--help", from_stdin=True, CONDEV_DOMAIN="a.test", CONDEV_MAIL="none")
    assert (piped.returncode, "top of installer.sh" in piped.stdout, machine.commands) == (0, True, [])


def test_a_directory_of_something_else_is_refused(machine: Machine) -> None:
    machine.root.mkdir(parents=True)
    (machine.root / "lost+found").mkdir()  # a disk of its own
    assert machine.install("--dry-run", *ANSWERS).returncode == 0
    (machine.root / "photographs").mkdir()
    done = machine.install("--dry-run", *ANSWERS)
    assert (done.returncode, "holds other files" in done.stderr) == (2, True)
    (machine.root / "image").write_text("condev-monitor:1\n")  # ours, interrupted before it was whole
    assert machine.install("--dry-run", *ANSWERS).returncode == 0


def test_work_is_done_on_disk_not_in_tmp(dash: Machine) -> None:
    place = dash.place / "work"
    place.mkdir()
    dash.program("mktemp", f'#!/bin/sh\necho "$*" >> {dash.place}/asked\nexec {shutil.which("mktemp")} "$@"\n')
    dash.install("--dry-run", *ANSWERS)
    dash.install("--dry-run", *ANSWERS, TMPDIR=str(place))
    asked = (dash.place / "asked").read_text().splitlines()
    assert asked == ["-d /var/tmp/condev.XXXXXX", f"-d {place}/condev.XXXXXX"]
    assert list(place.iterdir()) == []


def test_a_config_that_is_there_needs_no_answers(machine: Machine) -> None:
    machine.root.mkdir(parents=True)
    (machine.root / "config.toml").write_text("[site]\nurl = 'https://a.test'\n")
    done = machine.install("--dry-run", "--domain", "b.test")
    assert (done.returncode, "config.toml stands" in done.stdout) == (0, True)


def test_a_missing_docker_is_only_installed_when_that_is_agreed_to(machine: Machine) -> None:
    (machine.programs / "docker").unlink()
    bare = machine.place / "bare"  # a path with the usual tools and no docker
    bare.mkdir()
    tools = "sh printf sed tr dirname basename mktemp rm tail cat sleep env grep sort uname"
    for name in tools.split():
        (bare / name).symlink_to(shutil.which(name) or name)
    machine.program("apt-get", f'#!/bin/sh\necho "apt-get $*" >> {machine.log}\n')
    machine.program("sleep", "#!/bin/sh\n")  # it waits for an engine that never comes; BusyBox has a sleep of its own
    answers = ("--domain", "a.test", "--mail", "none")
    refused = machine.install(*answers, path=str(bare))
    assert (refused.returncode, machine.commands) == (2, [])
    assert "apt-get install -y docker.io" in refused.stderr
    machine.install(*answers, "--yes", path=str(bare))
    assert machine.commands == ["apt-get update -qq", "apt-get install -y docker.io"]


def test_files_are_written_once_secrets_for_root_alone(machine: Machine) -> None:
    machine.root.mkdir(parents=True)
    setup = REPOSITORY / "appliance" / "deploy" / "host_commands" / "setup"
    names = (
        "domain",
        "target",
        "tls",
        "url",
        "mail",
        "mail_from",
        "smtp_host",
        "smtp_port",
        "smtp_user",
        "registry",
        "image",
    )
    variables = dict.fromkeys((f"CONDEV_SETUP_{name}" for name in names), "")
    variables |= {
        "CONDEV_SETUP_dir": str(machine.root), "CONDEV_SETUP_bin_dir": str(machine.bin),
        "CONDEV_SETUP_domain": "a.test", "CONDEV_SETUP_target": "compose", "CONDEV_SETUP_tls": "internal",
        "CONDEV_SETUP_mail": "resend", "CONDEV_SETUP_mail_from": "Monitor <m@a.test>",
        "CONDEV_SETUP_image": "condev-monitor:1", "RESEND_API_KEY": "re_$1",
    }  # fmt: skip
    assert machine.install(script=setup, **variables).returncode == 0
    config, secrets = machine.root / "config.toml", machine.root / ".env"
    assert tomllib.loads(config.read_text()) == {
        "site": {"url": "https://a.test"},
        "deploy": {"target": "compose", "domain": "a.test", "tls": "internal"},
        "mail": {"from": "Monitor <m@a.test>"},
        "channels": {"email": ["resend"]},
        "plugins": {"resend": {"api_key": {"env": "RESEND_API_KEY"}}},
    }
    assert secrets.read_text() == "RESEND_API_KEY='re_$1'\n"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert stat.S_IMODE((machine.bin / "condev").stat().st_mode) == 0o755
    assert f"DIR='{machine.root}'" in (machine.bin / "condev").read_text()
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (config, secrets, machine.bin / "condev")}
    again = variables | {"CONDEV_SETUP_domain": "b.test", "RESEND_API_KEY": "re_2"}
    assert machine.install(script=setup, **again).returncode == 0
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert [path.name for path in machine.root.iterdir() if path.name.endswith(".new")] == []
