"""A recording that tries to load and to run what it can, and the server that would be asked for it."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final


class Outside:
    """A server that nobody may ask for anything."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outside.asked.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"top.hacked = 'loaded'")

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Tree:
    """Serialised nodes with ids."""

    def __init__(self) -> None:
        self._id = 100

    def element(self, name: str, attributes: dict[str, Any] | None = None, *children: Any) -> dict[str, Any]:
        self._id += 1
        return {
            "type": 2, "id": self._id, "tagName": name, "attributes": attributes or {},
            "childNodes": [self.text(child) if isinstance(child, str) else child for child in children],
        }  # fmt: skip

    def text(self, words: str) -> dict[str, Any]:
        self._id += 1
        return {"type": 3, "id": self._id, "textContent": words}


def hostile_nodes(tree: Tree, url: str) -> list[dict[str, Any]]:
    run = "top.hacked = 'ran'; parent.hacked = 'ran'; window.hacked = 'ran'"
    svg = base64.b64encode(f'<svg xmlns="http://www.w3.org/2000/svg" onload="{run}"/>'.encode()).decode()
    make = tree.element
    return [
        make("script", {"src": f"{url}/script.js"}, run),
        make("SCRIPT", {}, run),
        make("script", {"type": "speculationrules"}, json.dumps({"prefetch": [{"urls": [f"{url}/speculation"]}]})),
        make("img", {"src": f"{url}/img.png", "srcset": f"{url}/srcset.png 2x", "onerror": run, "onload": run}),
        make("img", {"rr_dataURL": f"{url}/rr.png", "alt": "x"}),
        make("img", {"src": f"data:image/svg+xml;base64,{svg}"}),
        make("image", {"src": f"{url}/image.png"}),
        make("iframe", {"src": f"{url}/iframe"}),
        make("iframe", {"src": "javascript:" + run}),
        make("iframe", {"srcdoc": f"<script>{run}</script><img src='{url}/srcdoc.png'>"}),
        make("iframe", {"rr_src": f"{url}/rr_src"}),
        make("frameset", {}, make("frame", {"src": f"{url}/frame"})),
        make("object", {"data": f"{url}/object", "type": "text/html"}),
        make("embed", {"src": f"{url}/embed", "type": "text/html"}),
        make("link", {"rel": "stylesheet", "href": f"{url}/style.css"}),
        *(make("link", {"rel": rel, "href": url}) for rel in ("preconnect", "dns-prefetch", "prefetch", "prerender")),
        make("link", {"rel": "preload", "as": "image", "href": f"{url}/preload.png"}),
        make("link", {"rel": "icon", "href": f"{url}/icon.png"}),
        make("link", {"rel": "stylesheet", "_cssText": f"@import '{url}/i.css'; body {{ background: url({url}/a)}}"}),
        make("style", {"_cssText": f"h1 {{ background: url('{url}/b') }} @font-face {{ src: url({url}/c) }}"}),
        make("style", {}, f"@import url({url}/i.css); p {{ background: image-set('{url}/set.png' 1x) }}"),
        make("meta", {"http-equiv": "refresh", "content": f"0;url={url}/refresh"}),
        make("meta", {"http-equiv": "Content-Security-Policy", "content": "default-src *"}),
        make("base", {"href": url}),
        make("a", {"href": "javascript:" + run, "ping": f"{url}/ping", "target": "_top"}, "click"),
        make("form", {"action": f"{url}/form", "target": "_top"}, make("input", {"autofocus": True, "onfocus": run}),
             make("button", {"formaction": "javascript:" + run}, "go")),
        make("video", {"src": f"{url}/a.mp4", "poster": f"{url}/a.png", "autoplay": True, "rr_mediaState": "played"}),
        make("audio", {"src": f"{url}/audio.mp3", "onerror": run}),
        make("div", {"style": f"background: url({url}/attribute.png)", "onclick": run, "onanimationstart": run}, "x"),
        make("svg", {"onload": run}, make("use", {"xlink:href": f"{url}/use.svg#a"}), make("script", {}, run),
             make("foreignObject", {}, make("img", {"src": f"{url}/foreign.png"}))),
        make("x-element", {"is": "x-element"}) | {"isCustom": True},
        make("not a name<", {"<script>": run, "onload=x": run}),
        make("details", {"open": True, "ontoggle": run}, "x"),
        make("template", {}, make("script", {}, run)),
        make("p", {}, "<img src=x onerror=alert(1)>"),
        make("body", {"onload": run, "background": f"{url}/body.png"}),
    ]  # fmt: skip


def hostile_recording(url: str, now: int) -> list[Any]:
    tree = Tree()
    head = tree.element("head", {}, *hostile_nodes(tree, url))
    body = tree.element(
        "body", {"onload": "top.hacked = 1"}, tree.element("h1", {}, "Still shown"), *hostile_nodes(tree, url)
    )
    page = {"type": 0, "id": 1, "childNodes": [tree.element("html", {"manifest": f"{url}/manifest"}, head, body)]}
    target = body["childNodes"][0]["id"]
    change = {
        "source": 0, "texts": [], "removes": [],
        "adds": [{"parentId": body["id"], "nextId": None, "node": node} for node in hostile_nodes(tree, url)],
        "attributes": [{"id": target, "attributes": {
            "onclick": "top.hacked = 2", "style": {"background-image": f"url({url}/diff.png)"}, "class": "changed"}},
            {"id": target, "attributes": {"__proto__": {"polluted": "yes"}, "src": f"{url}/late.png"}}],
    }  # fmt: skip
    styles = {"source": 8, "id": 1, "adds": [{"rule": f"h1 {{ background: url({url}/rule.png) }}"}]}
    adopted = {
        "source": 15,
        "id": 1,
        "styleIds": [1],
        "styles": [{"styleId": 1, "rules": [{"rule": f"@import '{url}/a.css'"}]}],
    }
    canvas = {
        "source": 9,
        "id": target,
        "type": 0,
        "commands": [{"property": "constructor", "args": ["top.hacked = 3"]}],
    }
    font = {"source": 10, "family": "y", "fontSource": f"url({url}/late.woff)", "buffer": False}
    steps: list[Any] = [
        (4, {"href": "javascript:top.hacked=4", "width": 800, "height": 600}),
        (2, {"node": page, "initialOffset": {"left": 0, "top": 0}}),
        (3, change), (3, styles), (3, adopted), (3, canvas), (3, font), (3, {"source": 16, "define": {"name": "x-y"}}),
        (3, {"source": 0, "texts": [{"id": target + 1, "value": "Changed"}]}),
        (3, {"source": 4, "width": 1e12, "height": -5}), (99, {}), (3, {"source": 0}),
        (5, {"tag": "page", "payload": {"url": "javascript:top.hacked=5"}}),
        (6, {"plugin": "rrweb/console", "payload": {}}), (3, {"source": 3, "id": 1, "x": 0, "y": 9}),
    ]  # fmt: skip
    made: list[Any] = [{"type": kind, "timestamp": now + 100 * n, "data": data} for n, (kind, data) in enumerate(steps)]
    return [*made, None, 7, "x", [], {"type": 2}, {"type": 2, "timestamp": "soon", "data": {}}]


# What the frames would do if nothing had been taken out of the recording before. In a turn of its own: what a debugger
# evaluates may evaluate more, whatever the policy says.
WITHOUT_CLEANING: Final = """url => setTimeout(() => {
  const inner = document.querySelector(".replayer-wrapper > iframe").contentDocument;
  for (const place of [inner.body, document.body]) {
    const where = place === inner.body ? "inner" : "outer";
    const run = (how) => `top.hacked = parent.hacked = window.hacked = '${how} in ${where}'`;
    const box = place.ownerDocument.createElement("div");
    const css = `@import "${url}/raw-import.css"; div { background: url(${url}/raw-css.png) }`;
    box.innerHTML = `<img src="${url}/raw.png" onerror="${run("attribute")}">
      <img src=x onerror="${run("attribute")}">
      <iframe src="${url}/raw-frame"></iframe><iframe srcdoc="<script>${run("srcdoc")}</script>"></iframe>
      <iframe src="javascript:${run("address")}"></iframe>
      <link rel="stylesheet" href="${url}/raw.css"><style>${css}</style>
      <video src="${url}/raw.mp4" autoplay></video><object data="${url}/raw-object"></object>`;
    place.append(box);
    for (const text of [run("element"), ""]) {
      const script = place.ownerDocument.createElement("script");
      if (text) script.textContent = text; else script.src = `${url}/raw.js`;
      place.append(script);
    }
    const meta = place.ownerDocument.createElement("meta");
    meta.httpEquiv = "refresh";
    meta.content = `0;url=${url}/raw-refresh`;
    if (place === inner.body) place.append(meta);
    try { place.ownerDocument.defaultView.eval(run("eval")); } catch {}
  }
  window.tried = true;
})"""
