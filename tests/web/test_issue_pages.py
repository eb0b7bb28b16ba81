"""The issue pages over made-up issues: what they show, what their forms ask the service for, what they refuse."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient

from appliance.issues.views import Ignore, Reopen, ResolveIn, ResolveNow
from appliance.testing.clock import FakeClock
from appliance.testing.dashboard import OWNER, MadeUpIssues, dashboard
from appliance.web.pages import Shell

DAY = 24 * 3_600_000_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def issues(clock: FakeClock) -> MadeUpIssues:
    return MadeUpIssues(clock.now())


@pytest.fixture
def client(issues: MadeUpIssues, clock: FakeClock) -> Iterator[TestClient[Any]]:
    with TestClient(dashboard(OWNER, issues, clock=clock)) as client:
        yield client


def _rows(text: str) -> list[int]:
    return [int(number) for number in re.findall(r'data-row data-id="(\d+)"', text)]


def test_the_first_page_leads_to_the_issues(client: TestClient[Any]) -> None:
    answer = client.get("/", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (302, "/issues")


def test_the_list_shows_open_issues_newest_first(client: TestClient[Any], issues: MadeUpIssues) -> None:
    expected = [item.id for item in issues.items if item.state == "open"]
    assert _rows(client.get("/issues").text) == expected[:25]


def test_the_address_says_everything_about_the_list(client: TestClient[Any], issues: MadeUpIssues) -> None:
    client.get("/issues?project=shop-web&q=is:all+level:error+cart&sort=events&period=24h")
    asked = issues.asked[-1]
    assert (asked.project_ids, asked.state, asked.levels, asked.text) == ((1,), "all", ("error",), ("cart",))
    assert asked.sort == "events"
    assert asked.start == issues.now - DAY


@pytest.mark.parametrize("query", ["sort=nonsense", "period=forever", "q=" + "x" * 5000, "q=%00%22", "cursor="])
def test_nonsense_in_the_address_is_not_an_error(client: TestClient[Any], query: str) -> None:
    assert client.get(f"/issues?{query}").status_code == 200


def test_a_project_that_one_does_not_see_is_not_found(client: TestClient[Any]) -> None:
    answer = client.get("/issues?project=secret")
    assert answer.status_code == 404
    assert "There is no project secret, or you are not a member of it." in answer.text
    nowhere = client.get("/nowhere").text
    assert "the address is mistyped" in nowhere
    assert "Not Found" not in nowhere


def test_paging_goes_on_without_scripts_and_with_htmx_as_rows_alone(
    client: TestClient[Any], issues: MadeUpIssues
) -> None:
    first = client.get("/issues").text
    more = re.search(r'<a class="btn" href="([^"]*cursor=[^"]*)"', first)
    assert more
    following = html.unescape(more[1])
    assert len(_rows(client.get(following).text)) == 2
    part = client.get(following + "&part=rows", headers={"HX-Request": "true"}).text
    assert part.strip().startswith("<tr")
    assert 'id="more" hx-swap-oob="true" hidden' in part


def test_a_filter_on_is_taken_away_by_its_chip(client: TestClient[Any]) -> None:
    text = client.get("/issues?q=environment%3Aproduction+level%3Aerror").text
    chip = re.search(r'<a class="chip on" href="([^"]*)"[^>]*>\s*<span class="clip">environment:production', text)
    assert chip
    assert html.unescape(chip[1]) == "/issues?q=level%3Aerror"


def test_what_the_search_did_not_understand_is_said(client: TestClient[Any]) -> None:
    assert "Did you mean environment:?" in html.unescape(client.get("/issues?q=enviroment:production").text)


def test_filter_menus_list_values_as_links_into_the_list(client: TestClient[Any]) -> None:
    text = html.unescape(client.get("/issues/values/release?q=cart", headers={"HX-Request": "true"}).text)
    assert 'href="/issues?q=cart+release%3A4.18.0"' in text
    assert 'href="/issues?q=cart+release%3A%22web+app+4.16%22"' in text
    assert client.get("/issues/values/password").status_code == 404


@pytest.mark.parametrize(
    ("shell", "count", "words"),
    [(Shell(), 0, "No project yet"), (None, 0, "Waiting for the first event")],
)
def test_an_empty_list_teaches_the_next_step(shell: Shell | None, count: int, words: str, clock: FakeClock) -> None:
    with TestClient(dashboard(OWNER, MadeUpIssues(clock.now(), count=count), clock=clock, shell=shell)) as client:
        text = client.get("/issues").text
    assert words in text
    assert 'class="btn main"' in text


def test_a_title_is_clipped_at_its_own_end_whichever_way_it_reads(client: TestClient[Any]) -> None:
    assert re.search(r'<span class="clip" title="[^"]+" dir="auto">', client.get("/issues").text)
    assert re.search(r'<h1 class="issue-title" title="[^"]+" dir="auto">', client.get("/issues/1").text)


def test_a_project_that_waits_leads_to_its_snippet(clock: FakeClock) -> None:
    with TestClient(dashboard(OWNER, MadeUpIssues(clock.now(), count=0), clock=clock)) as client:
        text = client.get("/issues?project=shop-web").text
    assert re.search(r'href="/projects/shop-web/connect"[^>]*>Show the snippet<', text)


def test_a_state_that_no_issue_has_says_what_leads_to_it(clock: FakeClock) -> None:
    with TestClient(dashboard(OWNER, MadeUpIssues(clock.now(), count=1), clock=clock)) as client:
        assert "the issue comes back by itself" in client.get("/issues?q=is:resolved").text
        assert "for good, until a day" in client.get("/issues?q=is:ignored").text


def test_the_values_of_a_menu_are_a_page_of_links_without_scripts(client: TestClient[Any]) -> None:
    text = client.get("/issues/values/browser").text
    assert re.search(r'class="body values-page">\s*<a class="item"', text)
    assert "values-page" not in client.get("/issues/values/browser", headers={"HX-Request": "true"}).text


def test_when_an_event_was_received_stands_in_the_viewers_zone(client: TestClient[Any]) -> None:
    received = client.get("/issues/1").text.partition("<dt>Received</dt>")[2]
    assert re.match(r"<dd><time datetime=\"[^\"]+Z\" [^>]*data-exact>", received)


def test_bulk_actions_work_as_a_plain_form_and_with_htmx(client: TestClient[Any], issues: MadeUpIssues) -> None:
    form = {"id": ["1", "2", "2", "x", "-3"], "action": "resolve", "back": "/issues?q=cart"}
    answer = client.post("/issues/actions", data=form, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/issues?q=cart")
    assert issues.done == [((1, 2), ResolveNow())]
    part = client.post("/issues/actions", data={**form, "action": "ignore"}, headers={"HX-Request": "true"})
    assert "Ignored 2 issues." in part.headers["hx-trigger"]
    assert "<html" not in part.text


@pytest.mark.parametrize("back", ["https://evil.example/issues", "//evil.example", "/users", "/issues/../users"])
def test_a_bulk_form_leads_back_to_the_list_alone(client: TestClient[Any], back: str) -> None:
    form = {"id": "1", "action": "resolve", "back": back}
    assert client.post("/issues/actions", data=form, follow_redirects=False).headers["location"] == "/issues"


def test_an_empty_selection_is_answered_in_words(client: TestClient[Any], issues: MadeUpIssues) -> None:
    answer = client.post(
        "/issues/actions", data={"action": "resolve", "back": "/issues"}, headers={"HX-Request": "true"}
    )
    assert "Select an issue first." in answer.headers["hx-trigger"]
    assert issues.done == []


@pytest.mark.parametrize(
    ("form", "action"),
    [
        ({"action": "resolve"}, ResolveNow()),
        ({"action": "resolve_in", "release": " 4.18.1 "}, ResolveIn("4.18.1")),
        ({"action": "ignore"}, Ignore()),
        ({"action": "ignore_events", "more_events": "100"}, Ignore(more_events=100)),
        ({"action": "reopen"}, Reopen()),
    ],
)
def test_the_state_forms_ask_for_what_they_say(
    client: TestClient[Any], issues: MadeUpIssues, form: dict[str, str], action: object
) -> None:
    answer = client.post("/issues/1/state", data=form, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/issues/1")
    assert issues.done == [((1,), action)]


def test_ignoring_for_a_time_counts_from_now_and_until_a_day_from_its_start(
    client: TestClient[Any], issues: MadeUpIssues
) -> None:
    client.post("/issues/1/state", data={"action": "ignore_for", "hours": "24"})
    client.post("/issues/1/state", data={"action": "ignore_until", "date": "2027-02-01"})
    assert issues.done[0][1] == Ignore(until=issues.now + DAY)
    assert issues.done[1][1] == Ignore(until=1_801_440_000_000_000)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"action": "explode"},
        {"action": "resolve_in", "release": "  "},
        {"action": "ignore_events", "more_events": "-1"},
        {"action": "ignore_events", "more_events": "9" * 30},
        {"action": "ignore_for", "hours": "٣"},
        {"action": "ignore_until", "date": "yesterday"},
        {"action": "ignore_until", "date": "0001-01-01"},
        {"action": "ignore_until", "date": "2030-01-01"},
    ],
)
def test_a_state_form_that_makes_no_sense_is_answered_in_words(
    client: TestClient[Any], issues: MadeUpIssues, form: dict[str, str]
) -> None:
    answer = client.post("/issues/1/state", data=form)
    assert answer.status_code == 422
    assert 'class="note-box bad"' in answer.text
    assert issues.done == []


def test_an_issue_page_shows_every_part_of_its_event(client: TestClient[Any]) -> None:
    text = html.unescape(client.get("/issues/1").text)
    for words in (
        "lineTotal", "return entry.price * line.quantity", "3 library frames",
        "Caused by", "GET /api/prices answered 502",
        "price book is empty", "customer-8841", "Referer", "redux", "cartSize", "sentry.javascript.browser 11.12.0",
        "Regressed", "2 tags beyond the 60th", "unhandled", "why?",
    ):  # fmt: skip
        assert words in text, words


def test_hostile_text_is_escaped_everywhere(client: TestClient[Any]) -> None:
    for path in (
        "/issues?q=valid",
        "/issues/7",
        "/issues/7/events",
        "/issues/7/grouping",
        "/issues/7/events/latest/json",
    ):
        text = client.get(path).text
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "<b>not bold" not in text


def test_a_withheld_payload_is_said_and_its_json_is_not_found(client: TestClient[Any]) -> None:
    assert "was not kept: the bound on payloads an hour was reached" in client.get("/issues/3").text
    assert client.get("/issues/3/events/latest/json").status_code == 404


def test_an_issue_outlives_its_events(client: TestClient[Any]) -> None:
    answer = client.get("/issues/4")
    assert answer.status_code == 200
    assert "No event of this issue is kept any more" in answer.text
    assert client.get("/issues/4/events/" + "a" * 32).status_code == 404


def test_the_raw_json_is_a_page_and_a_download(client: TestClient[Any]) -> None:
    assert "as stored" in client.get("/issues/1/events/latest/json").text
    answer = client.get("/issues/1/events/latest/json?download=1")
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["content-disposition"].startswith('attachment; filename="event-4c79')
    assert answer.json()["id"] == "4c79f60c11214eb38604f4ae0781bfb2"


def test_occurrences_are_filtered_and_say_how_to_get_back(client: TestClient[Any]) -> None:
    assert client.get("/issues/1/events").text.count("data-row") == 20
    text = client.get("/issues/1/events?text=nowhere&tag=plan%3Afree").text
    assert "No event matches" in text
    assert "tag: plan:free" in text


def test_merging_takes_a_number_and_says_what_is_wrong_with_others(
    client: TestClient[Any], issues: MadeUpIssues
) -> None:
    for wrong in ("", "abc", "-1", "99999", "9" * 40):
        answer = client.post("/issues/1/merge", data={"source": wrong})
        assert answer.status_code == 422
        assert 'id="merge-error"' in answer.text
    answer = client.post("/issues/1/merge", data={"source": "#5"}, follow_redirects=False)
    assert answer.headers["location"] == "/issues/1/grouping"
    assert issues.merged == [(1, (5,))]


def test_unmerging_needs_a_group(client: TestClient[Any]) -> None:
    assert client.post("/issues/1/unmerge", data={}).status_code == 422
    chosen = client.post("/issues/1/unmerge", data={"hash": "11d0e94b778f3a2c"}, follow_redirects=False)
    assert chosen.status_code == 303


def test_an_event_alone_leads_to_its_place_in_its_issue(client: TestClient[Any]) -> None:
    answer = client.get("/events/4c79f60c11214eb38604f4ae0781bfb2", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (
        303,
        "/issues/1/events/4c79f60c11214eb38604f4ae0781bfb2",
    )


def test_the_navigation_shows_the_sections_of_the_project_that_an_issue_is_of(client: TestClient[Any]) -> None:
    shown = client.get("/issues/1").text
    assert 'href="/projects/shop-web/performance"' in shown.partition('<main id="main"')[0]
    assert 'href="/projects/admin/performance"' not in shown.partition('<main id="main"')[0]
