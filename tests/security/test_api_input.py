"""The JSON API against its own OpenAPI document: made-up input never breaks it, and it answers what it says it answers.

Seeded and bounded: the same requests in each run.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore"),  # of the generators' libraries
]

EXAMPLES: Final = 12  # of each operation; 20 operations are some 240 requests
SEED: Final = 20_261_123
# Statuses that any operation may have, whether its description lists them or not.
COMMON: Final = {400, 401, 403, 404, 405, 413, 415, 422, 429, 503}
# Retention of everything there is must not be among what is tried: the other tests need it.
HARMFUL: Final = {("POST", "/api/v1/system/dead-letters/discard"), ("POST", "/api/v1/system/dead-letters/retry")}


def operations(site: Any) -> list[Any]:
    document = json.loads(site.ask("GET", "/api/v1/schema").text)
    schema = schemathesis.openapi.from_dict(document)
    return [one.ok() for one in schema.get_all_operations()]


def try_out(site: Any, operation: Any, mode: Any, wrong: list[str]) -> int:
    """Some requests to one operation; how many."""
    documented = {int(status) for status in operation.responses.status_codes if status.isdigit()}
    tried: list[str] = []

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case: Any) -> None:
        if mode is schemathesis.GenerationMode.POSITIVE:  # of what is there, or all would end at "not found"
            own = {"project_id": int(site.project_b["id"]), "issue_id": site.issue_b, "event_id": site.event_b}
            case.path_parameters.update({name: own[name] for name in own.keys() & case.path_parameters.keys()})
        headers = {"Authorization": f"Bearer {site.people['elsewhere'].token}"}
        answer = case.call(base_url=site.appliance.url, headers=headers, timeout=30)
        asked = f"{case.method} {case.formatted_path} {case.query} {case.body!r:.200}"
        tried.append(asked)
        if answer.status_code >= 500 and answer.status_code != 503:
            wrong.append(f"{asked} → {answer.status_code}")
        elif answer.status_code not in documented | COMMON:
            wrong.append(f"undocumented: {asked} → {answer.status_code}")
        if "quokka" in answer.text:
            wrong.append(f"tells: {asked}")

    with contextlib.suppress(Unsatisfiable):  # there is no wrong input for an operation without parameters
        run()
    return len(tried)


def test_made_up_input_never_breaks_the_api(site: Any) -> None:
    """With the token of somebody who may do everything in a project of their own, so that input gets far."""
    wrong: list[str] = []
    tried = 0
    for operation in operations(site):
        if (operation.method.upper(), operation.path) in HARMFUL:
            continue
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            tried += try_out(site, operation, mode, wrong)
    assert wrong == []
    assert tried > 100


TEXT: Final = st.text(min_size=1, max_size=60) | st.sampled_from(
    [
        "'",
        "%",
        "\\",
        "\x00",
        "\u2028",
        "' OR 1=1 --",
        "{{7*7}}",
        "${7*7}",
        "../../etc/passwd",
        "x" * 5000,
        "\ud7ff",
        "😀",
        "0x10",
        "1e999",
        "-1",
        "99999999999999999999",
        "٣",
    ]
)


@seed(SEED)
@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(text=TEXT, data=st.data())
def test_no_text_in_any_filter_breaks_a_list_or_a_page(site: Any, text: str, data: st.DataObject) -> None:
    from urllib.parse import urlencode

    person = site.people["elsewhere"]
    b, issue = site.project_b["id"], site.issue_b
    path, names = data.draw(
        st.sampled_from(
            [
                (
                    f"/api/v1/projects/{b}/issues",
                    (
                        "query",
                        "level",
                        "release",
                        "browser",
                        "environment",
                        "since",
                        "until",
                        "cursor",
                        "sort",
                        "limit",
                    ),
                ),
                (f"/api/v1/projects/{b}/performance", ("metric", "environment", "since", "until", "by_url")),
                (
                    f"/api/v1/projects/{b}/sessions",
                    ("environment", "user", "route", "since", "until", "cursor", "limit"),
                ),
                (f"/api/v1/projects/{b}/measurements", ("metric", "session", "route", "since", "until", "cursor")),
                (f"/api/v1/projects/{b}/page-views", ("session", "route", "browser", "since", "cursor")),
                (f"/api/v1/projects/{b}/spans", ("trace", "release", "since", "until", "cursor")),
                (f"/api/v1/projects/{b}/outcomes", ("since", "until")),
                ("/projects/bilby/performance", ("route", "release", "period", "url")),
                ("/projects/bilby/performance/metric", ("metric", "by", "rating", "route", "cursor", "part")),
                ("/projects/bilby/performance/values/route", ("metric", "period", "route")),
                ("/projects/bilby/sessions", ("user", "route", "browser", "period", "cursor", "part")),
                ("/projects/bilby/traces", ("release", "url", "period", "cursor", "part")),
                ("/projects/bilby/outcomes", ("period",)),
                (f"/api/v1/projects/{b}/replays", ("environment", "release", "since", "cursor")),
                (f"/api/v1/projects/{b}/releases", ("environment", "since", "limit")),
                (f"/api/v1/issues/{issue}/events", ("environment", "since", "until", "cursor", "browser")),
                ("/api/v1/alerts", ("project", "issue", "cursor")),
                ("/api/v1/deliveries", ("project", "notifier", "ok", "cursor")),
                ("/api/v1/projects", ("cursor", "limit")),
                ("/issues", ("q", "project", "sort", "period", "cursor", "part")),
                (f"/issues/{issue}/events", ("text", "tag", "environment", "release", "browser", "cursor", "part")),
                ("/alerts", ("project", "cursor", "part")),
                ("/alerts/messages", ("project", "state", "cursor")),
                ("/alerts/rules", ("project", "done")),
                ("/sign-in", ("next", "done")),
            ]
        )
    )
    name = data.draw(st.sampled_from(names))
    credentials = {"token": person.token} if path.startswith("/api") else {"session": person.session}
    answer = site.ask("GET", f"{path}?{urlencode({name: text})}", **credentials)
    assert answer.status < 500, f"{path} {name}={text!r}"
    assert not answer.tells
