"""Secrets of the configuration, of accounts and of links are only where they are meant to be; files are ours alone."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import pytest

from appliance.accounts.tokens import new_csrf_token, new_secret
from appliance.testing.mailbox import Mailbox, ReceivedMail
from appliance.testing.running import CONDEV, Owner, RunningAppliance

SITE: Final = "https://monitor.example.com"
# Each is a different one, so that a failure says which got out.
FILE_SECRET: Final = "zq-file-secret-51"
ENV_SECRET: Final = "zq-env-secret-52"
PLAIN_SECRET: Final = "zq-plain-secret-53"
HEADER_SECRET: Final = "zq-header-secret-54"
ALL: Final = (FILE_SECRET, ENV_SECRET, PLAIN_SECRET, HEADER_SECRET)
PAGES: Final = (
    "/issues",
    "/projects",
    "/alerts",
    "/alerts/messages",
    "/alerts/channels",
    "/alerts/rules",
    "/system",
    "/system/dead-letters",
    "/users",
    "/account",
    "/account/tokens",
    "/account/sessions",
    "/nothing",
)
API: Final = (
    "/api/v1/system",
    "/api/v1/projects",
    "/api/v1/deliveries",
    "/api/v1/alerts",
    "/api/v1/schema",
    "/metrics",
    "/readyz",
    "/api/v1/system/dead-letters",
)


class House:
    """A running appliance with every kind of secret, its owner, and the mails that it sent."""

    def __init__(self, appliance: RunningAppliance, owner: Owner, mailbox: Mailbox, set_up_link: str) -> None:
        self.appliance, self.owner, self.mailbox, self.set_up_link = appliance, owner, mailbox, set_up_link
        self.session = ""
        self.seen: list[tuple[str, str]] = []  # (where, what was said)

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {
            "host": "evil.example",
            "x-forwarded-host": "evil.example",
            "origin": SITE,
            **more.pop("headers", {}),
        }
        if self.session:
            headers["cookie"] = f"__Host-condev_session={self.session}"
        answer = httpx.request(method, self.appliance.url + path, headers=headers, trust_env=False, **more)
        self.seen.append((f"{method} {path}", str(answer.headers) + answer.text))
        return answer

    def post(self, path: str, **form: str) -> httpx.Response:
        visitor = self.session or new_secret()
        headers = {} if self.session else {"cookie": f"__Host-condev_visitor={visitor}"}
        return self.ask("POST", path, data={"_csrf_token": new_csrf_token(visitor), **form}, headers=headers)

    def mail(self, words: str) -> ReceivedMail:
        found: list[ReceivedMail] = []

        def arrived() -> bool:
            found[:] = [mail for mail in self.mailbox.received if words in mail.subject]
            return bool(found)

        self.appliance.wait_until(arrived, f"a mail about {words}")
        return found[0]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "smtp-password").write_text(FILE_SECRET + "\n")
    (folder / "smtp-password").chmod(0o600)
    data = folder / "data"
    data.mkdir(mode=0o755)  # as a volume that somebody made before
    with Mailbox(users={"monitor": FILE_SECRET}) as mailbox:
        config = f"""
[site]
url = "{SITE}"
[mail]
from = "Monitor <monitor@example.com>"
[channels]
email = ["resend", "smtp"]
[plugins.resend]
api_key = {{ env = "ZQ_RESEND" }}
base_url = "http://127.0.0.1:9"
[plugins.smtp]
host = "{mailbox.host}"
port = {mailbox.port}
security = "none"
username = "monitor"
password = {{ file = "{folder / "smtp-password"}" }}
[plugins.webhook]
url = "http://127.0.0.1:9/"
secret = "{PLAIN_SECRET}"
headers = {{ Authorization = "{HEADER_SECRET}" }}
[log]
level = "debug"
[accounts]
sign_in_attempts = 3
"""
        environ = {"ZQ_RESEND": ENV_SECRET}
        appliance = RunningAppliance(data, config=config, environ=environ)
        with appliance:  # nobody owns it yet: the log has the link
            link = re.search(r"/setup/([\w-]{43})", appliance.log_file.read_text())
            assert link is not None
            page = httpx.get(f"{appliance.url}/setup/{link[1]}", trust_env=False)
            assert page.status_code == 200
        owner = Owner(appliance)
        with appliance:
            made = House(appliance, owner, mailbox, link[1])
            yield made


def sign_in(house: House) -> None:
    if house.session:
        return
    answer = house.post("/sign-in", email=Owner.EMAIL, password=Owner.PASSWORD)
    assert answer.status_code == 303, answer.text
    cookie = next(one for one in answer.headers.get_list("set-cookie") if "_session=" in one)
    assert {"httponly", "secure"} <= {part.strip().lower() for part in cookie.split(";")}
    house.session = cookie.split("=", 1)[1].split(";")[0]


@pytest.mark.timeout(240)
def test_no_secret_is_on_a_page_in_the_api_in_the_log_or_in_a_process_list(house: House) -> None:
    sign_in(house)
    for path in PAGES:
        assert house.ask("GET", path).status_code == (404 if path == "/nothing" else 200), path
    bearer = {"authorization": f"Bearer {house.owner.token}"}
    for path in API:
        answer = house.ask("GET", path, headers=bearer)
        assert answer.status_code == 200, path
    for channel in ("email", "nothing"):
        house.post(f"/alerts/channels/{channel}/test")
    house.mail("Test message")
    for path in ("/alerts/messages", "/alerts/channels", "/system"):
        house.ask("GET", path)
    house.ask("POST", "/api/v1/projects", content=b"{", headers=bearer)
    for words in (
        ("config", "show"),
        ("config", "show", "--json"),
        ("plugins", "list"),
        ("plugins", "check"),
        ("config", "check"),
    ):
        done = subprocess.run(
            [CONDEV, *words, "--config", house.appliance.config_file, "--data-dir", house.appliance.data_dir],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "ZQ_RESEND": ENV_SECRET},
        )
        house.seen.append((f"condev {' '.join(words)}", done.stdout + done.stderr))
    process = psutil.Process(house.appliance.pid)
    for one in (process, *process.children(recursive=True)):
        house.seen.append((f"process {one.pid}", " ".join(one.cmdline())))
    assert len(process.children()) >= 1
    house.seen.append(("log", house.appliance.log_file.read_text("utf-8", "replace")))
    private = (*ALL, house.session, house.owner.token, Owner.PASSWORD)
    found = [f"{where}: {secret}" for where, said in house.seen for secret in private if secret in said]
    found = [one for one in found if not one.startswith("POST /sign-in: ")]  # the one answer that sets the cookie
    assert found == []


def test_the_secret_of_the_set_up_link_is_one_line_of_the_log_and_worth_nothing_later(house: House) -> None:
    log = house.appliance.log_file.read_text("utf-8", "replace")
    assert log.count(house.set_up_link) == 1
    assert log.count("/setup/") == 1
    assert house.ask("GET", f"/setup/{house.set_up_link}").status_code == 404
    with sqlite3.connect(f"file:{house.appliance.data_dir / 'metadata.db'}?mode=ro", uri=True) as database:
        assert house.set_up_link not in "".join(database.iterdump())


@pytest.mark.timeout(120)
def test_links_in_mails_lead_to_the_site_whatever_host_was_asked(house: House) -> None:
    answer = house.post("/forgot-password", email=Owner.EMAIL)
    assert answer.status_code == 200
    mail = house.mail("new password")
    secret = re.search(r"/reset/([\w-]{43})", mail.body())
    assert secret is not None
    for kind in ("plain", "html"):
        addresses = set(re.findall(r"\w+://[^/\s\"<]+\b", mail.body(kind)))
        assert addresses == {SITE}
    assert "evil.example" not in mail.content.decode("utf-8", "replace")

    def wiped() -> bool:
        with sqlite3.connect(f"file:{house.appliance.data_dir / 'metadata.db'}?mode=ro", uri=True) as database:
            return secret[1] not in "".join(database.iterdump())

    house.appliance.wait_until(wiped, "the link to be gone from the outbox")
    assert secret[1] not in house.appliance.log_file.read_text("utf-8", "replace")
    sign_in(house)
    for path in ("/alerts/messages", "/users", "/system"):
        assert secret[1] not in house.ask("GET", path).text
    # A guessed or cut one tells nothing; the right one is not used up by looking.
    assert house.ask("GET", f"/reset/{secret[1][:-1]}x").status_code == 404
    assert house.ask("GET", f"/invitation/{secret[1]}").status_code == 404
    assert house.ask("GET", f"/reset/{secret[1]}").status_code == 200


def test_the_answer_to_a_forgotten_password_tells_nothing(house: House) -> None:
    known = house.post("/forgot-password", email="owner@example.com")
    unknown = house.post("/forgot-password", email="nobody@example.com")
    plain = [re.sub(r'value="[^"]*"|Request <code>\w+|content="[^"]{60,}"', "", one.text) for one in (known, unknown)]
    assert known.status_code == unknown.status_code == 200
    assert plain[0] == plain[1]


def test_guessing_passwords_ends_soon_for_known_and_unknown_addresses_alike(house: House) -> None:
    house.session, kept = "", house.session
    statuses: list[list[int]] = []
    for email in (Owner.EMAIL, "nobody@example.com"):
        statuses.append([house.post("/sign-in", email=email, password=f"guess {n}").status_code for n in range(5)])
        with sqlite3.connect(house.appliance.data_dir / "metadata.db") as database:  # their common address is not meant
            database.execute("DELETE FROM sign_in_failures")
    house.session = kept
    assert statuses[0] == statuses[1] == [422, 422, 422, 429, 429]


def test_files_are_for_the_user_of_the_appliance_alone(house: House) -> None:
    event = {"event_id": "a" * 32, "timestamp": time.time(), "message": "on disk"}
    head, payload = json.dumps({"event_id": "a" * 32}), json.dumps(event)
    item = json.dumps({"type": "event", "length": len(payload)})
    path = f"/api/{house.owner.project_id}/envelope/?sentry_key={house.owner.key}&sentry_version=7"
    status, _ = house.appliance.post(path, f"{head}\n{item}\n{payload}\n".encode(), {"content-type": "text/plain"})
    assert status == 200
    house.appliance.wait_until(
        lambda: house.appliance.get(f"/api/v1/projects/{house.owner.project_id}/issues", house.owner.token)["items"],
        "the event to be applied",
    )
    data = house.appliance.data_dir
    open_to_others: list[str] = []
    for place in (data, *data.rglob("*")):
        try:
            mode = stat.S_IMODE(place.lstat().st_mode)
        except FileNotFoundError:
            continue
        if place != data and not place.is_symlink() and mode & 0o077:
            open_to_others.append(f"{mode:o} {place.relative_to(data)}")
    assert open_to_others == []
    assert {"spool", "dead_letters", "blobs", "metadata.db", "admission.json"} <= {one.name for one in data.iterdir()}


def test_the_decode_worker_is_told_no_secret_of_other_plugins(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZQ_RESEND", ENV_SECRET)
    from appliance.app import create_app
    from appliance.config_file import load

    config = load(house.appliance.config_file)
    made = create_app(config, Path(house.appliance.data_dir))
    assert made.core is not None
    assert made.core.pipeline is not None
    start = made.core.pipeline._worker._start_frame  # what goes over its standard input
    made.core.accounts.close()
    assert b"scrub" in start or b"sentry" in start or b"disabled" in start
    assert not [secret for secret in ALL if secret.encode() in start]
    assert b"ZQ_RESEND" not in start
    assert b"smtp-password" not in start


def test_the_decode_worker_finds_no_secret_in_its_environment_nor_in_its_parents(house: House) -> None:
    """`{ env = … }` secrets are in the environment of the process that was started; what reads traffic is another."""
    parent = psutil.Process(house.appliance.pid)
    (worker,) = parent.children()
    own = worker.environ()
    assert not [secret for secret in ALL if secret in "".join(own.values())]
    assert "ZQ_RESEND" not in own
    assert {name for name in own if name.startswith("CONDEV")} == set()
    assert own["PATH"] == os.environ["PATH"]


def test_another_process_of_the_same_user_cannot_read_the_environment_of_what_serves() -> None:
    """Linux shows /proc/PID/environ and /proc/PID/mem of a process that may not be dumped to root alone."""
    asks = "import ctypes; from appliance.cli import serve; ask = ctypes.CDLL(None).prctl; before = ask(3)"
    program = f"{asks}; serve._hide_environment(); print(before, ask(3))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0"]
