"""The SDK's files: short and by version, under both names, for any origin; and what is said where there are none."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from appliance.web.sdk_files import MISSING, SdkBuild, SdkFiles

BODY = b"(()=>{console.log('sdk')})();//" + b"x" * 2_000


def build(folder: Path, version: str = "1.2.0-ab12", body: bytes = BODY) -> SdkBuild:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sdk.js").write_bytes(body)
    (folder / "sdk.js.map").write_bytes(b"{}")
    (folder / "vitals.js").write_bytes(b"vitals")
    (folder / "errors.js").write_bytes(b"errors alone")
    (folder / "LICENSES.txt").write_text("…")
    (folder / "integrity.json").write_text(json.dumps({"version": version, "files": {}}))
    return SdkBuild.read(folder)


@pytest.fixture
def files(tmp_path: Path) -> SdkFiles:
    found = SdkFiles(build(tmp_path / "built"), tmp_path / "kept", "shop.js")
    found.open()
    return found


class Answered:
    def __init__(self, messages: list[dict[str, Any]]) -> None:
        start, body = messages
        self.status: int = start["status"]
        self.headers: dict[str, str] = {name.decode(): value.decode() for name, value in start["headers"]}
        self.body: bytes = body["body"]


async def ask(files: SdkFiles, path: str, method: str = "GET", **headers: str) -> Answered:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    assert files.claims(path), path
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    await files({"type": "http", "method": method, "path": path, "headers": raw}, send)
    return Answered(messages)


async def test_a_script_that_has_a_map_says_so_in_a_header(tmp_path: Path) -> None:
    folder = tmp_path / "mapped"
    folder.mkdir()
    for name, text in (("integrity.json", '{"version": "1.0"}'), ("sdk.js", "1"), ("sdk.js.map", "{}")):
        (folder / name).write_text(text)
    mapped = SdkFiles(SdkBuild.read(folder), tmp_path / "kept", "shop.js")
    for path in ("/sdk.js", "/shop.js", "/sdk/1.0/sdk.js"):
        assert (await ask(mapped, path)).headers["sourcemap"] == "sdk.js.map"
    assert (await ask(mapped, "/sdk.js.map")).status == 200
    assert "sourcemap" not in (await ask(mapped, "/sdk.js.map")).headers


@pytest.mark.parametrize("path", ["/sdk.js", "/shop.js", "//shop.js/", "/dsn-api/sdk.js"])
async def test_the_short_address_is_kept_for_minutes_and_asked_again_by_its_tag(files: SdkFiles, path: str) -> None:
    found = await ask(files, path)
    assert (found.status, found.body) == (200, BODY)
    assert found.headers["content-type"] == "text/javascript; charset=utf-8"
    assert found.headers["cache-control"].startswith("public, max-age=300,")
    again = await ask(files, path, if_none_match=found.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert (await ask(files, path, if_none_match='"another"')).status == 200


@pytest.mark.parametrize(
    "path", ["/sdk/1.2.0-ab12/sdk.js", "/shop/1.2.0-ab12/shop.js", "/sdk/1.2.0-ab12/shop.js", "/shop/1.2.0-ab12/sdk.js"]
)
async def test_an_address_with_the_version_is_kept_for_ever(files: SdkFiles, path: str) -> None:
    if path == "/sdk/1.2.0-ab12/shop.js":  # each folder has its own script, and the files' own names
        assert (await ask(files, path)).status == 404
        return
    found = await ask(files, path)
    assert (found.status, found.body) == (200, BODY)
    assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert found.headers["access-control-allow-origin"] == "*"
    assert found.headers["cross-origin-resource-policy"] == "cross-origin"


async def test_the_integrity_is_that_of_what_is_sent(files: SdkFiles, tmp_path: Path) -> None:
    found = await ask(files, "/sdk/1.2.0-ab12/vitals.js")
    expected = f"sha384-{base64.b64encode(hashlib.sha384(found.body).digest()).decode()}"
    assert SdkBuild.read(tmp_path / "built").integrity["vitals.js"] == expected


async def test_errors_alone_have_an_address_of_their_own(files: SdkFiles) -> None:
    for path in ("/sdk-errors.js", "/shop-errors.js", "/sdk-errors/1.2.0-ab12/errors.js", "/shop/1.2.0-ab12/errors.js"):
        assert (await ask(files, path)).body == b"errors alone", path
    assert (await ask(files, "/sdk-errors/1.2.0-ab12/vitals.js")).body == b"vitals"


async def test_a_script_is_sent_compressed_and_its_map_lies_beside_it(files: SdkFiles) -> None:
    found = await ask(files, "/sdk.js", accept_encoding="gzip")
    assert (found.headers["content-encoding"], gzip.decompress(found.body)) == ("gzip", BODY)
    assert found.headers["vary"] == "accept-encoding"
    assert found.headers["etag"] != (await ask(files, "/sdk.js")).headers["etag"]
    assert (await ask(files, "/shop.js.map")).body == b"{}"


async def test_only_reading_is_allowed_and_a_head_has_no_body(files: SdkFiles) -> None:
    head = await ask(files, "/sdk.js", "HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(BODY)))
    assert (await ask(files, "/sdk.js", "POST")).status == 405
    assert (await ask(files, "/sdk.js", "OPTIONS")).status == 204


@pytest.mark.parametrize("path", ["/", "/sdk", "/sdk/", "/sdk/1.0", "/sdkx.js", "/issues/sdk.js", "/sdk/a/b/c.js"])
def test_other_addresses_are_left_to_others(files: SdkFiles, path: str) -> None:
    assert not files.claims(path)


@pytest.mark.parametrize(
    "path", ["/sdk/9.9.9/sdk.js", "/sdk/../sdk.js", "/sdk/%2e%2e/x", "/sdk/1.2.0-ab12/integrity.json", "/sdk/\x00/x.js"]
)
async def test_what_is_not_there_is_said_in_words(files: SdkFiles, path: str) -> None:
    found = await ask(files, path)
    assert (found.status, found.headers["cache-control"]) == (404, "no-store")
    assert found.headers["content-type"] == "text/plain; charset=utf-8"
    assert b"SDK" in found.body


async def test_where_the_sdk_was_not_built_its_address_says_how_to_build_it(tmp_path: Path) -> None:
    files = SdkFiles(None, tmp_path / "kept")
    files.open()
    for path in ("/sdk.js", "/sdk/1.0.0/sdk.js"):
        found = await ask(files, path)
        assert (found.status, found.body.decode()) == (404, MISSING)


async def test_a_version_that_a_page_pinned_is_served_after_an_upgrade(files: SdkFiles, tmp_path: Path) -> None:
    newer = SdkFiles(build(tmp_path / "newer", "1.3.0-cd", b"newer"), tmp_path / "kept")
    newer.open()
    assert (await ask(newer, "/sdk.js")).body == b"newer"
    old = await ask(newer, "/sdk/1.2.0-ab12/sdk.js")
    assert (old.status, old.body) == (200, BODY)
    assert (await ask(newer, "/sdk/1.2.0-ab12/vitals.js")).body == b"vitals"
    assert "immutable" in old.headers["cache-control"]


async def test_a_half_kept_version_is_mended_by_the_program_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "kept" / "1.2.0-ab12").mkdir(parents=True)
    for _ in range(2):
        files = SdkFiles(build(tmp_path / "built"), tmp_path / "kept")
        files.open()
    assert SdkBuild.read(tmp_path / "kept" / "1.2.0-ab12").files["sdk.js"].body == BODY
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["1.2.0-ab12"]


async def test_a_data_directory_that_takes_nothing_keeps_no_version_and_serves_this_one(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    files = SdkFiles(build(tmp_path / "built"), tmp_path / "kept")
    files.open()
    assert (await ask(files, "/sdk.js")).status == 200


@pytest.mark.parametrize("manifest", ["{}", '{"version":"../../etc"}', '{"version":1}', "nonsense", '{"version":""}'])
def test_a_folder_that_is_no_build_is_none(tmp_path: Path, manifest: str) -> None:
    build(tmp_path)
    (tmp_path / "integrity.json").write_text(manifest)
    with pytest.raises(ValueError, match=r".+"):
        SdkBuild.read(tmp_path)
