"""The System page, its API and /metrics: what they show, and to whom."""

from __future__ import annotations

import pytest

from appliance.accounts.access import COMMAND_LINE, Role
from appliance.hookspecs import StoreUnavailableError
from appliance.model import Batch
from appliance.pipeline.counts import add_counts, add_drops
from appliance.pipeline.dead_letters import add
from appliance.pipeline.wire import DeadRecord, Drop
from appliance.spool import SpooledRecord, encode_record
from appliance.system.schemas import BackupState
from appliance.testing.rows import event_row
from appliance.web.formats import size


def dead(number: int, body: bytes = b'{"secret": "<script>alert(1)</script>"}') -> DeadRecord:
    spooled = SpooledRecord(protocol="sentry", route="envelope", project_id=1, received_at=5, body=body)
    return DeadRecord(
        number, f"{number:016x}-00000001-00000002", "sentry", "envelope", 1, 5, "undecodable", "no <b>idea</b>",
        encode_record(spooled),
    )  # fmt: skip


@pytest.fixture
async def busy(world):
    """Something happened."""
    today = world.clock.now() // 86_400_000_000
    letters = [dead(1), dead(2)]
    world.system.dead_letters._files.write(letters)
    async with world.database.write() as session:
        await add_counts(session, {"records": 12_345, "events": 12_000, "duplicates": 5})
        await add_drops(
            session,
            [
                Drop(today, 1, "ingest", "rate_limited", "error", 7),
                Drop(today - 3, 1, "pipeline", "processor:scrub", "error", 2),
                Drop(today, 1, "client", "before_send", "error", 40),
            ],
        )
        await add(session, letters, world.clock.now())
    await world.store.write(Batch(batch_id=1, events=[event_row()]))
    return world


async def test_the_page_shows_figures_drops_plugins_and_problems(busy):
    async with await busy.signed_in(Role.ADMIN) as browser:
        text = (await browser.get("/system")).text
    for words in (
        "12,345",
        "rate limited",
        "processor:scrub",
        "the key is refused",
        "boom",
        "make a new key",
        "memory 1",
    ):
        assert words in text
    assert "2 records could not be processed" in text


async def test_the_last_backup_is_shown_where_backups_are_made_by_schedule(busy):
    state = BackupState(scheduled=True, last_good_at=busy.clock.now() - 3_600_000_000, bytes=5 << 20)

    async def backups() -> BackupState:
        return state

    busy.system._backups = backups
    async with await busy.signed_in(Role.ADMIN) as browser:
        text = (await browser.get("/system")).text
        assert "Last backup" in text
        assert size(5 << 20) in text
        assert "the last try failed" not in text
        busy.system._kept = None
        state = BackupState(scheduled=True, last_error="no room")
        assert "the last try failed" in (await browser.get("/system")).text
        busy.system._kept = None
        state = BackupState(scheduled=False)
        assert "Last backup" not in (await browser.get("/system")).text


async def test_the_figures_alone_come_to_htmx(busy):
    async with await busy.signed_in(Role.OWNER) as browser:
        answer = await browser.get("/system?part=figures", **{"HX-Request": "true"})
    assert answer.text.strip().startswith('<div id="figures"')
    assert "<html" not in answer.text


async def test_a_store_that_does_not_answer_is_said_and_the_page_still_comes(busy, monkeypatch):
    async def unavailable():
        raise StoreUnavailableError("out of memory")

    monkeypatch.setattr(busy.store, "stats", unavailable)
    async with await busy.signed_in(Role.ADMIN) as browser:
        answer = await browser.get("/system")
    assert answer.status_code == 200
    assert "out of memory" in answer.text
    assert (await busy.system.headline()).tone == "bad"


@pytest.mark.parametrize("path", ["/system", "/system/dead-letters", "/system/dead-letters/1"])
@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
async def test_members_and_viewers_see_nothing_of_it(busy, path, role):
    async with await busy.signed_in(role) as browser:
        answer = await browser.get(path)
    assert answer.status_code == 403
    assert "alert(1)" not in answer.text
    assert "Create a project" not in answer.text  # which projects they are in was not asked


async def test_strangers_are_sent_to_sign_in(busy):
    async with busy.site.browser() as browser:
        assert (await browser.get("/system")).status_code in (302, 303, 401)
        assert (await browser.http.get("/api/v1/system")).status_code == 401


async def test_the_api_answers_in_the_documented_shape(busy):
    async with busy.site.browser() as browser:
        headers = {"Authorization": f"Bearer {await token(busy, 'system:read')}"}
        answer = (await browser.http.get("/api/v1/system", headers=headers)).json()
        assert answer["spool"] == {"records": 0, "bytes": 0, "oldest_seconds": 0.0}
        assert answer["processed"] == 12_345
        assert answer["dead_letters"] == 2
        assert answer["dropped"] == {"rate_limited": 7, "processor:scrub": 2}
        assert answer["client_dropped"] == {"before_send": 40}
        assert answer["store"]["backend"] == "memory"
        assert (await browser.http.get("/api/v1/system/dead-letters", headers=headers)).status_code == 403


async def token(world, *scopes: str) -> str:
    accounts = world.site.accounts
    await accounts.users.create(COMMAND_LINE, "robot@example.com", Role.ADMIN, "correct horse battery")
    user = await accounts.users.find(COMMAND_LINE, "robot@example.com")
    return await accounts.tokens.create(COMMAND_LINE, "robot", list(scopes), user_id=user.id)


async def test_dead_letters_are_listed_retried_and_discarded_by_the_api(busy):
    async with busy.site.browser() as browser:
        headers = {"Authorization": f"Bearer {await token(busy, 'system:write')}"}
        listed = (await browser.http.get("/api/v1/system/dead-letters?limit=1", headers=headers)).json()
        assert len(listed["items"]) == 1
        assert listed["next"]
        letter = listed["items"][0]["id"]
        content = (await browser.http.get(f"/api/v1/system/dead-letters/{letter}", headers=headers)).json()
        assert "alert(1)" in content["body"]
        retry = await browser.http.post("/api/v1/system/dead-letters/retry", json={"ids": [letter]}, headers=headers)
        assert retry.json() == {"changed": 1}
        rest = await browser.http.post("/api/v1/system/dead-letters/discard", json={}, headers=headers)
        assert rest.json() == {"changed": 1}


async def test_a_dead_letter_is_shown_escaped_and_discarded_with_the_form(busy):
    async with await busy.signed_in(Role.ADMIN) as browser:
        listed = await browser.get("/system/dead-letters")
        assert "no &lt;b&gt;idea" in listed.text
        shown = await browser.get("/system/dead-letters/1")
        assert "&lt;script&gt;alert(1)" in shown.text
        assert "<script>alert(1)" not in shown.text
        answer = await browser.post("/system/dead-letters", {"id": "1", "action": "discard"})
        assert answer.status_code == 303
        assert "1 record is discarded" in (await browser.get(answer.headers["location"])).text
        refused = await browser.post("/system/dead-letters", {"id": "2", "action": "discard", "_csrf_token": "wrong"})
        assert refused.status_code == 403
        assert (await busy.system.dead_letters.kept())[0] == 1


async def test_metrics_are_for_this_machine_or_a_token(busy):
    async with busy.site.browser("127.0.0.1") as browser:
        text = (await browser.http.get("/metrics")).text
        assert 'condev_processed_total{kind="records"} 12345.0' in text
        assert 'condev_dropped_total{reason="rate_limited"} 7.0' in text
        assert "condev_dead_letters 2.0" in text
        forwarded = await browser.http.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})
        assert forwarded.status_code == 401
    async with busy.site.browser("203.0.113.9") as browser:
        assert (await browser.http.get("/metrics")).status_code == 401
        wrong = {"Authorization": f"Bearer {await token(busy, 'issues:read')}"}
        assert (await browser.http.get("/metrics", headers=wrong)).status_code == 403


async def test_it_answers_that_it_is_alive_and_ready(world):
    async with world.site.browser() as browser:
        assert (await browser.http.get("/healthz")).json() == {"ok": True}
        assert (await browser.http.get("/readyz")).json() == {"ok": True}
