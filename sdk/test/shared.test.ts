/** Addresses, selectors, debug ids and the flood guard: what several integrations and the client use. */
import { afterEach, describe, expect, test } from "vitest";
import { debugIdsOf } from "../src/debugids";
import { floodGuard } from "../src/floodguard";
import { matches } from "../src/patterns";
import { selectorOf } from "../src/selector";
import type { EventItem } from "../src/types";
import { cleanUrl } from "../src/urls";
import { recorder } from "./recorder";

describe("cleanUrl", () => {
  test.each([
    ["https://x.com/a/b?token=abc&page=2", "https://x.com/a/b?token=*&page=*"],
    ["https://user:pa@ss@x.com/a", "https://x.com/a"],
    ["//user@x.com/a", "//x.com/a"],
    ["https://x.com/mail/a@b.com", "https://x.com/mail/a@b.com"],
    ["https://x.com/?eyJhbGciOi", "https://x.com/?*"],
    ["https://x.com/#access_token=abc&state=1", "https://x.com/#access_token=*&state=*"],
    ["https://x.com/#/orders/1?key=abc", "https://x.com/#/orders/1?key=*"],
    ["https://x.com/#section", "https://x.com/#section"],
    ["/a=b/c?d", "/a=b/c?*"],
    ["/a?next=/b?c=d&e", "/a?next=*?c=*&*"],
    ["data:image/png;base64,AAAA", "data:image/png"],
    ["blob:https://x.com/1", "blob:https://x.com/1"],
    ["inline", "inline"],
    ["", ""],
  ])("%s becomes %s", (url, clean) => expect(cleanUrl(url)).toBe(clean));

  test("is bounded, also for hostile texts", () => {
    expect(cleanUrl(`https://x.com/${"a".repeat(5000)}`).length).toBe(1000);
    expect(cleanUrl(`?${"&".repeat(200_000)}`).length).toBe(1000);
    expect(cleanUrl("?a=".repeat(100_000)).length).toBe(1000);
  });
});

describe("selectorOf", () => {
  test("names an element by what does not change, never by its text or value", () => {
    document.body.innerHTML = `<main><form class="pay now big"><input name="card" type="text" value="4111"><button type="submit" class="primary" data-testid="pay">Pay 42</button></form></main>`;
    expect(selectorOf(document.querySelector("button"))).toBe("body > main > form.pay.now > button.primary[data-testid=pay][type=submit]");
    expect(selectorOf(document.querySelector("input"))).toBe("body > main > form.pay.now > input[name=card][type=text]");
  });

  test("an id ends it", () => {
    document.body.innerHTML = `<div><ul id="cart"><li><b>1</b></li></ul></div>`;
    expect(selectorOf(document.querySelector("b"))).toBe("ul#cart > li > b");
  });

  test("goes out of shadow roots and texts, and names what is no element", () => {
    document.body.innerHTML = `<my-cart></my-cart>`;
    const host = document.querySelector("my-cart") as HTMLElement;
    const root = host.attachShadow({ mode: "open" });
    root.innerHTML = "<p>text</p>";
    expect(selectorOf(root.querySelector("p")?.firstChild)).toBe("html > body > my-cart > p");
    expect(selectorOf(document)).toBe("Document");
    expect(selectorOf(null)).toBe("null");
  });

  test("a form whose fields are called like properties is named all the same", () => {
    document.body.innerHTML = `<form class="pay"><input name="id"><b>1</b></form>`;
    expect(selectorOf(document.querySelector("b"))).toBe("html > body > form.pay > b");
  });

  test("svg elements have classes too, and long names are cut", () => {
    document.body.innerHTML = `<svg id="${"x".repeat(500)}"><path class="a"/></svg>`;
    expect(selectorOf(document.querySelector("path"))).toBe(`svg#${"x".repeat(60)} > path.a`);
  });
});

test("patterns: texts are found anywhere, expressions are tested, one with a global flag each time anew", () => {
  const pattern = /b+/g;
  expect(matches("abba", ["zz", pattern])).toBe(true);
  expect(matches("abba", [pattern])).toBe(true);
  expect(matches("abba", ["bb"])).toBe(true);
  expect(matches("abba", [])).toBe(false);
  expect(matches("abba")).toBe(false);
});

describe("debugIdsOf", () => {
  afterEach(() => {
    Reflect.deleteProperty(globalThis, "_sentryDebugIds");
    Reflect.deleteProperty(globalThis, "_debugIds");
  });
  const stacks = [{ type: "Error", value: "", stack: "Error\n    at f (https://x.com/assets/app.js:1:99)" }];

  test("gives those of the scripts in the stacks", () => {
    Object.assign(globalThis, {
      _sentryDebugIds: {
        "Error\n    at https://x.com/assets/app.js:1:50\n    at https://x.com/boot.js:2:1": "id-app",
        "Error\n    at Object.x (https://x.com:8080/other.js:1:50)": "id-other",
      },
      _debugIds: { "f@https://x.com/firefox.js:1:50\n@https://x.com/assets/app.js:3:1": "id-firefox" },
    });
    expect(debugIdsOf(stacks)).toEqual({ "https://x.com/assets/app.js": "id-app" });
    expect(debugIdsOf([{ type: "", value: "", stack: "g@https://x.com/firefox.js:9:9\n@https://x.com:8080/other.js:1:1" }])).toEqual({
      "https://x.com/firefox.js": "id-firefox",
      "https://x.com:8080/other.js": "id-other",
    });
  });

  test("knows a script by its address without the query, as stacks have it, and does not tell the query", () => {
    Object.assign(globalThis, { _debugIds: { "Error\n    at https://x.com/assets/app.js?token=S:1:50": "id-app" } });
    expect(debugIdsOf(stacks)).toEqual({ "https://x.com/assets/app.js": "id-app" });
  });

  test("is nothing without the globals, without stacks, or with unreadable keys", () => {
    expect(debugIdsOf(stacks)).toBeUndefined();
    Object.assign(globalThis, { _sentryDebugIds: { "no stack": "id" } });
    expect(debugIdsOf(stacks)).toBeUndefined();
    expect(debugIdsOf(undefined)).toBeUndefined();
  });
});

describe("floodGuard", () => {
  const event = (value: string, kind: EventItem["kind"] = "error"): EventItem => ({ type: "event", kind, exceptions: [{ type: "Error", value }] });

  test("all of a burst of different errors are sent: the earlier SDK sent the first only", () => {
    const allowed = floodGuard(recorder());
    expect(Array.from({ length: 20 }, (_, index) => allowed(event(`burst ${index}`)))).toEqual(Array(20).fill(true));
  });

  test("the same error more often than five times a minute is counted; the count goes with the next one", () => {
    const client = recorder();
    const allowed = floodGuard(client);
    const sent = Array.from({ length: 30 }, () => allowed(event("same")));
    expect(sent.filter(Boolean).length).toBe(5);
    client.time += 60_000;
    const later = event("same");
    expect(allowed(later)).toBe(true);
    expect(later.count).toBe(26);
    const next = event("same");
    expect(allowed(next)).toBe(true);
    expect(next.count).toBeUndefined();
    expect(client.drops).toEqual([]);
  });

  test("what is still held when the page is hidden becomes an outcome, once", () => {
    const client = recorder();
    const allowed = floodGuard(client);
    for (let index = 0; index < 12; index++) allowed(event("same"));
    client.emit("hide");
    client.emit("close");
    expect(client.drops).toEqual([["flood", "error", 7]]);
  });

  test("a loop of different errors cannot send more than the minute's number, and each held one is counted", () => {
    const client = recorder();
    const allowed = floodGuard(client);
    let sent = 0;
    for (let index = 0; index < 5000; index++) if (allowed(event(`loop ${index}`))) sent++;
    expect(sent).toBe(60);
    client.emit("hide");
    expect(client.drops.reduce((sum, [, , quantity]) => sum + quantity, 0)).toBe(4940);
    client.time += 60_000;
    expect(allowed(event("after"))).toBe(true);
  });

  test("the numbers can be set", () => {
    const allowed = floodGuard(recorder({ flood: { same: 1, perMinute: 2 } }));
    expect([allowed(event("a")), allowed(event("a")), allowed(event("b")), allowed(event("c"))]).toEqual([true, false, true, false]);
  });

  test("white screens and feedback always pass; custom events are not the same for having one name", () => {
    const allowed = floodGuard(recorder({ flood: { same: 1, perMinute: 3 } }));
    const custom: EventItem = { type: "event", kind: "custom", message: "added to cart" };
    expect([allowed(custom), allowed(custom), allowed(custom), allowed(custom)]).toEqual([true, true, true, false]);
    expect(allowed(event("", "white_screen"))).toBe(true);
    expect(allowed(event("", "feedback"))).toBe(true);
  });

  test("errors of one type and message at two places are two errors", () => {
    const allowed = floodGuard(recorder({ flood: { same: 1 } }));
    const at = (stack: string): EventItem => ({ type: "event", kind: "error", exceptions: [{ type: "Error", value: "x", stack }] });
    expect([allowed(at("at a:1")), allowed(at("at b:2")), allowed(at("at a:1"))]).toEqual([true, true, false]);
  });
});
