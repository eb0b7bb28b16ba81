"""DSNs, snippets and web origins."""

from __future__ import annotations

import pytest

from appliance.config import Sdk
from appliance.ingest.admission import Origins
from appliance.projects.addresses import addresses, parse_origins, sdk_script, snippets
from appliance.web.sdk_files import SdkBuild

KEY = "d181e84c30582abf2a561892a2c2735a"


@pytest.mark.parametrize(
    ("site", "dsn", "condev"),
    [
        ("https://m.example.com", f"https://{KEY}@m.example.com/7", f"https://m.example.com/tracking/{KEY}"),
        ("https://m.example.com/", f"https://{KEY}@m.example.com/7", f"https://m.example.com/tracking/{KEY}"),
        ("http://127.0.0.1:8000", f"http://{KEY}@127.0.0.1:8000/7", f"http://127.0.0.1:8000/tracking/{KEY}"),
        ("https://h/mon/", f"https://{KEY}@h/mon/7", f"https://h/mon/tracking/{KEY}"),
        ("http://[::1]:8000", f"http://{KEY}@[::1]:8000/7", f"http://[::1]:8000/tracking/{KEY}"),
    ],
)
def test_dsns_are_made_from_the_site(site: str, dsn: str, condev: str) -> None:
    found = addresses(site, 7, KEY)
    assert (found.dsn, found.condev_dsn) == (dsn, condev)
    assert found.sdk_dsn == condev.replace("/tracking/", "/v2/")


BUILD = SdkBuild(version="1.2.0-ab", files={}, integrity={"sdk.js": "sha384-abc"})


def test_snippets_carry_the_dsn_as_a_literal() -> None:
    found = addresses("https://m.example.com", 7, KEY)
    own, *others = snippets(found, sdk_script(found.sdk_dsn, Sdk(), BUILD))
    texts = [text for snippet in (own, *others) for _, text in snippet.steps]
    assert any(f'dsn: "{found.dsn}"' in text for text in texts)
    assert found.condev_dsn in texts
    dsn = f'data-dsn="https://m.example.com/v2/{KEY}"'
    assert texts[0] == f'<script src="https://m.example.com/sdk.js"\n  {dsn} defer></script>'
    pinned, bundled = (text for _, text in own.instead)
    assert pinned == (
        '<script src="https://m.example.com/sdk/1.2.0-ab/sdk.js"\n  integrity="sha384-abc"\n  crossorigin="anonymous"\n'
        f"  {dsn} defer></script>"
    )
    assert f'dsn: "https://m.example.com/v2/{KEY}"' in bundled


def test_snippets_have_the_names_that_the_operator_chose_and_no_pinned_line_without_a_build() -> None:
    found = addresses("https://h/mon", 7, KEY, "collect")
    own = snippets(found, sdk_script(found.sdk_dsn, Sdk(script="shop.js", path="collect"), None))[0]
    dsn = f'data-dsn="https://h/mon/collect/{KEY}" data-path="collect"'
    assert own.steps[0][1] == f'<script src="https://h/mon/shop.js"\n  {dsn} defer></script>'
    assert ['path: "collect"' in text for _, text in own.instead] == [True]
    assert not any("integrity" in text for _, text in own.steps + own.instead)


def test_an_address_with_markup_in_it_stays_an_attribute() -> None:
    found = addresses('https://h/"><script>', 7, KEY)
    line = snippets(found, sdk_script(found.sdk_dsn, Sdk(), None))[0].steps[0][1]
    assert line.count("<script") == 1
    assert line.count('"') == 4


@pytest.mark.parametrize(
    ("typed", "origins"),
    [
        ("", ["*"]),
        ("*", ["*"]),
        ("https://shop.example.com/\n\nHTTPS://Shop.example.com", ["https://shop.example.com"]),
        ("https://a.example:443, http://b.example:80", ["https://a.example", "http://b.example"]),
        ("http://localhost:3000", ["http://localhost:3000"]),
        ("https://*.example.com", ["https://*.example.com"]),
        ("https://bücher.example", ["https://xn--bcher-kva.example"]),
        ("http://[::1]:8080", ["http://[::1]:8080"]),
    ],
)
def test_origins_are_taken_as_browsers_send_them(typed: str, origins: list[str]) -> None:
    assert parse_origins(typed) == (origins, "")


@pytest.mark.parametrize(
    "typed",
    ["shop.example.com", "ftp://x", "https://", "https://x/path", "https://x?y", "https://u@x", "https://x:99999",
     "https://x:abc", "https://a*b.example", "https://*.*.example", "https://exa mple", "null", "javascript:alert(1)",
     "https://[::1", "https://" + "a" * 400, "\n".join(f"https://h{n}.example" for n in range(51)),
     "https://" + "\u0080" * 5],
)  # fmt: skip
def test_what_is_no_origin_is_refused_in_a_sentence(typed: str) -> None:
    origins, problem = parse_origins(typed)
    assert origins == []
    assert problem.endswith(".")


def test_what_is_accepted_here_is_understood_by_ingest() -> None:
    origins, _ = parse_origins("https://*.example.com:443\nhttp://localhost:3000")
    allowed = Origins(origins)
    assert allowed.allow("https://shop.example.com")
    assert allowed.allow("http://localhost:3000")
    assert not allowed.allow("https://example.com.evil.test")
    assert not allowed.allow("http://localhost:3001")
