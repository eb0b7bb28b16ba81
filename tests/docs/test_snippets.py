"""What the docs show can be done as they show it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer

from appliance.testing.running import RunningAppliance

DOCS = Path(__file__).parents[2] / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(page: str, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall((DOCS / page).read_text("utf-8")) if kind == language]


def test_the_plugin_of_the_docs_delivers_a_message(tmp_path: Path, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/room", method="POST").respond_with_data("ok")
    (plugin,) = snippets("plugins/writing.md", "python")
    config = snippets("plugins/writing.md", "toml")[0]
    running = RunningAppliance(tmp_path / "data", config=config, environ={"CHAT_URL": httpserver.url_for("/room")})
    (running.data_dir / "plugins.d").mkdir()
    (running.data_dir / "plugins.d" / "chat.py").write_text(plugin)
    assert "all right" in running.verb("plugins", "check")
    running.verb("notify", "test", "chat")
    assert len(httpserver.log) == 1
    assert httpserver.log[0][0].get_json()["text"]


@pytest.mark.parametrize("page", sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")))
def test_a_page_leads_only_to_what_is_there_and_its_toml_is_toml(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (DOCS / page).parent.joinpath(target).exists(), f"docs/{page} leads to {target}, which is not there"
    for snippet in snippets(page, "toml"):
        tomllib.loads(snippet)


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if path.parent.name != "decisions"}
    assert [page for page in sorted(pages - {"README.md"}) if page not in index] == []
