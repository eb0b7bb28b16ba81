"""What the whole dashboard says of itself to browsers, clients and whoever adds a route."""

from __future__ import annotations

from pathlib import Path

import pytest
from litestar import get
from litestar.testing import AsyncTestClient

from appliance import app as wiring
from appliance import dashboard
from appliance.accounts.guards import UndeclaredRouteError
from appliance.config import Config
from appliance.data_dir import prepare_data_dir


def made(data_dir: Path, url: str = "") -> wiring.Appliance:
    prepare_data_dir(data_dir)
    config = Config()
    config.site.url = url
    return wiring.create_app(config, data_dir)


@pytest.mark.parametrize(("url", "sent"), [("https://monitor.example.com", "max-age=31536000"), ("", None)])
async def test_browsers_are_told_to_stay_with_https_where_the_site_has_it(
    tmp_path: Path, url: str, sent: str | None
) -> None:
    site = made(tmp_path / "data", url)
    assert site.web is not None
    client = AsyncTestClient(site.web)  # without its lifespan: /healthz needs no database
    for path in ("/healthz", "/static/nothing"):
        assert (await client.get(path)).headers.get("strict-transport-security") == sent
    assert site.core is not None
    site.core.accounts.close()


def test_openapi_says_how_to_send_a_token(tmp_path: Path) -> None:
    site = made(tmp_path / "data")
    assert site.web is not None
    schema = site.web.openapi_schema.to_schema()
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    assert schema["security"] == [{"token": []}]
    assert site.core is not None
    site.core.accounts.close()


def test_a_route_without_a_permission_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @get("/forgotten")
    async def forgotten() -> str:
        return ""

    monkeypatch.setattr(dashboard, "ROUTES", [*dashboard.ROUTES, forgotten])
    with pytest.raises(UndeclaredRouteError, match=r"/forgotten .* does not say who may use it: give its handler opt="):
        made(tmp_path / "data")
