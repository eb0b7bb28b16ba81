"""Stack frames of three browsers and many builds in one form."""

from __future__ import annotations

import pytest

from appliance.issues.grouping.frames import clean_function, clean_module, clean_path, host_of, is_in_app, read_frame
from appliance.model import Frame


@pytest.mark.parametrize(
    ("written", "name"),
    [
        # Chrome
        ("total", "total"), ("Cart.total", "total"), ("Object.total", "total"), ("async Cart.total", "total"),
        ("new Cart", "Cart"), ("Cart.total [as sum]", "total"), ("get total", "total"), ("Function.total", "total"),
        ("Object.<anonymous>", ""), ("HTMLButtonElement.<anonymous>", ""), ("<anonymous>", ""), ("?", ""), ("", ""),
        ("Cart.#total", "total"), ("Cart.[Symbol.iterator]", "iterator"), ("window.start", "start"),
        ("Object../src/cart.ts", ""), ("Module.42", ""), ("total$1", "total"), ("eval", ""),
        # Firefox
        ("async*total", "total"), ("promise callback*total", "total"), ("setTimeout handler*total", "total"),
        ("total/<", ""), ("total/</<", ""), ("outer/total", "total"), ("outer/this.total", "total"),
        ("Cart.prototype.total", "total"), ("EventListener.handleEvent*", ""),
        # Safari
        ("global code", ""), ("module code", ""), ("eval code", ""), ("anonymous", ""), ("[native code]", ""),
        # others
        ("<module>", ""), ("cart.<locals>.<lambda>", ""), ("Cart.total.<locals>.inner", "inner"),
    ],
)  # fmt: skip
def test_a_function_has_one_name_however_it_is_written(written: str, name: str) -> None:
    assert clean_function(written) == name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://cdn.example.com/assets/main.c2bd8183.js", "https://example.com/assets/main.89a58f3a.js"),
        ("/assets/index-DiwrgTda.js", "/assets/index-B_q3-xYz.js"),
        ("https://x.org/main.0a1b2c3d4e5f.chunk.js", "https://x.org/main.ffffffff1111.chunk.js?v=3"),
        ("/_next/static/chunks/pages/_app-1a2b3c4d5e6f7a8b.js", "/_next/static/chunks/pages/_app-99887766554433aa.js"),
        ("chunk-7XQKZ2AB.js", "chunk-ABCDEFG3.js"),
        ("https://x.org/4127.9f2c0a11.js", "https://x.org/893.77aabbcc.js"),
        ("/v1.2.3/app.js", "/v1.10.0/app.js"),
        ("/jquery-3.6.0.min.js", "/jquery-3.7.1.min.js"),
        ("webpack:///./src/cart.ts?1a2b", "webpack://shop-web/./src/cart.ts"),
        ("webpack-internal:///(app-pages-browser)/./src/cart.ts", "webpack:///src/cart.ts"),
        ("http://localhost:5173/src/App.tsx?t=1690000000000", "http://127.0.0.1:5174/src/App.tsx"),
        ("https://shop.example.com/orders/1042?tab=2", "https://shop.example.com/orders/7#top"),
        ("C:\\app\\src\\cart.js", "C:/app/src/cart.js"),
        ("blob:https://x.org/5f3a9c22-1111-2222-3333-444455556666", "blob:https://x.org/other"),
    ],
)
def test_a_module_is_the_same_after_every_build_and_on_every_host(one: str, other: str) -> None:
    assert clean_module(one) == clean_module(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("/assets/checkout.c2bd8183.js", "/assets/account.c2bd8183.js"),
        ("/src/CartView.tsx", "/src/UserList.tsx"),
        ("/page-settings.js", "/page-payments.js"),
        ("src/step1.ts", "src/step2.ts"),
        ("/admin/app.js", "/shop/app.js"),
    ],
)
def test_modules_with_different_names_stay_different(one: str, other: str) -> None:
    assert clean_module(one) != clean_module(other)


@pytest.mark.parametrize(
    ("frame", "in_app"),
    [
        (Frame(function="f", filename="https://x.org/app.js"), True),
        (Frame(function="f", filename="https://x.org/app.js", in_app=False), False),
        (Frame(function="f", in_app=True), True),
        (Frame(function="f", filename="webpack:///./node_modules/react-dom/index.js", in_app=True), False),
        (Frame(function="f", filename="chrome-extension://abcdef/content.js", in_app=True), False),
        (Frame(function="f", filename="safari-web-extension://ABC/x.js"), False),
        (Frame(function="f", filename="webkit-masked-url://hidden/"), False),
        (Frame(function="f", filename="https://cdn.jsdelivr.net/npm/vue@3/dist/vue.js"), False),
        (Frame(function="f", filename="https://www.googletagmanager.com/gtm.js"), False),
        (Frame(function="Array.map", filename="<anonymous>", in_app=True), False),
        (Frame(function="f", filename="[native code]"), False),
        (Frame(function="f", filename="node:internal/modules/run_main"), False),
        (Frame(function="HTMLButtonElement.sentryWrapped", filename="https://x.org/app.js", in_app=True), False),
        (Frame(function="f", filename="https://monitor.example.org/sdk.js", in_app=True), False),
        (Frame(function="f", filename="/usr/lib/python3.11/threading.py"), False),
        (Frame(function="f", filename="/app/venv/lib/python3.11/site-packages/flask/app.py"), False),
        (Frame(function="f", filename="/app/shop/cart.py"), True),
        (Frame(function="f", filename="http://localhost:5173/node_modules/.vite/deps/vue.js?v=1"), False),
    ],
)
def test_whose_code_a_frame_is(frame: Frame, in_app: bool) -> None:
    assert is_in_app(frame) is in_app


def test_a_short_name_counts_in_source_code_and_not_in_minified_code() -> None:
    assert read_frame(Frame(function="fn", filename="a.js", colno=12)).function == "fn"
    assert read_frame(Frame(function="Kd.fn", filename="a.js", colno=48_211)).function == ""
    assert read_frame(Frame(function="Kd.checkout", filename="a.js", colno=48_211)).function == "checkout"


def test_paths_of_pages_lose_ids_queries_and_hosts() -> None:
    assert clean_path("https://shop.example.com/orders/1042?tab=2#x") == "/orders/*"
    assert clean_path("https://shop.example.com/u/5f3a9c22-1111-2222-3333-444455556666/") == "/u/*"
    assert clean_path("https://shop.example.com/app/#/cart/17") == "/app/#/cart/*"
    assert clean_path("https://shop.example.com") == clean_path("https://shop.example.com/?q=1") == "/"
    assert clean_path("/static/logo.c2bd8183.png") != ""
    assert clean_path("") == ""


def test_hosts_lose_ports_credentials_and_www() -> None:
    assert host_of("https://user:secret@WWW.Example.com:8443/x") == "example.com"
    assert host_of("inline") == ""
