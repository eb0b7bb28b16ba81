import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { csp } from "../src/integrations/csp";
import { errors } from "../src/integrations/errors";
import { resources } from "../src/integrations/resources";
import type { Cleanup, Integration } from "../src/types";
import { KEY, type Recorder, recorder } from "./recorder";

let client: Recorder;
let cleanups: Cleanup[];

function start(integration: Integration): void {
  const cleanup = integration.setup(client);
  if (cleanup) cleanups.push(cleanup);
}

beforeEach(() => {
  client = recorder();
  cleanups = [];
  document.body.innerHTML = "";
});
afterEach(() => cleanups.forEach((cleanup) => cleanup()));

function rejection(reason: unknown): Event {
  return Object.assign(new Event("unhandledrejection"), { reason, promise: undefined });
}

test("an uncaught error is reported with what was thrown, as unhandled", () => {
  start(errors);
  const error = new TypeError("boom");
  window.dispatchEvent(new ErrorEvent("error", { error, message: "Uncaught TypeError: boom", filename: "https://x.com/a.js?t=1", lineno: 3, colno: 9 }));
  expect(client.events).toHaveLength(1);
  expect(client.events[0]?.exceptions).toEqual([{ type: "TypeError", value: "boom", stack: error.stack, mechanism: "onerror", handled: false }]);
  expect(client.hints[0]).toMatchObject({ originalException: error, handled: false, mechanism: "onerror" });
});

test("a thrown text has no stack: the place comes from the event", () => {
  start(errors);
  window.dispatchEvent(new ErrorEvent("error", { error: "cart is locked", message: "Uncaught cart is locked", filename: "https://x.com/a.js", lineno: 3, colno: 9 }));
  expect(client.events[0]?.exceptions?.[0]).toMatchObject({
    value: "cart is locked",
    stack: "@https://x.com/a.js:3:9",
  });
});

test("where the browser gives no error object, the server reads type and text from the message", () => {
  start(errors);
  window.dispatchEvent(new ErrorEvent("error", { message: "Uncaught TypeError: boom", filename: "https://x.com/a.js", lineno: 3, colno: 9 }));
  window.dispatchEvent(new ErrorEvent("error", { error: undefined, message: "Uncaught undefined", filename: "https://x.com/a.js", lineno: 3, colno: 9 }));
  expect(client.events.map((event) => event.exceptions?.[0]?.type)).toEqual(["", ""]);
  expect(client.events.map((event) => event.exceptions?.[0]?.value)).toEqual(["Uncaught TypeError: boom", "Uncaught undefined"]);
});

test("an unhandled rejection is reported whatever its reason", () => {
  start(errors);
  const reasons = [new Error("late"), "text", undefined, null, { code: 4 }, new DOMException("gone", "DataError")];
  reasons.forEach((reason) => window.dispatchEvent(rejection(reason)));
  expect(client.events.map((event) => event.exceptions?.at(-1)?.value)).toEqual([
    "late",
    "text",
    "undefined",
    "null",
    "Object with code",
    "gone",
  ]);
  expect(client.events.every((event) => event.exceptions?.at(-1)?.mechanism === "onunhandledrejection")).toBe(true);
  expect(client.events.every((event) => event.exceptions?.at(-1)?.handled === false)).toBe(true);
});

test("all of a burst of errors are captured, not the first only", () => {
  start(errors);
  for (let index = 0; index < 20; index++) window.dispatchEvent(new ErrorEvent("error", { error: new Error(`burst ${index}`), message: "x" }));
  expect(client.events.map((event) => event.exceptions?.[0]?.value)).toEqual(Array.from({ length: 20 }, (_, index) => `burst ${index}`));
});

test('"Script error." is sent once, with what to do and which scripts it may be', () => {
  document.body.innerHTML = `<script src="https://cdn.example.net/lib.js?key=1"></script><script src="https://cdn.example.net/cors.js" crossorigin></script><script src="/own.js"></script>`;
  start(errors);
  for (let index = 0; index < 3; index++) window.dispatchEvent(new ErrorEvent("error", { message: "Script error.", filename: "" }));
  expect(client.events).toHaveLength(1);
  expect(client.events[0]).toMatchObject({ exceptions: [{ value: "Script error.", handled: false }] });
  expect(client.hints[0]).toMatchObject({
    extra: { note: expect.stringContaining("crossorigin") as string, scripts: ["https://cdn.example.net/lib.js?key=*"] },
  });
  expect(client.drops).toEqual([["flood", "error", 1], ["flood", "error", 1]]);
});

test("after close nothing is reported, and Chrome's stack limit is the page's again", () => {
  const limits = Error as { stackTraceLimit?: number };
  const before = limits.stackTraceLimit;
  limits.stackTraceLimit = 10;
  start(errors);
  expect(limits.stackTraceLimit).toBe(50);
  cleanups.pop()?.();
  expect(limits.stackTraceLimit).toBe(10);
  Object.assign(limits, { stackTraceLimit: before });
  const heard = vi.fn();
  window.addEventListener("error", heard);
  window.dispatchEvent(new ErrorEvent("error", { error: new Error("after"), message: "after" }));
  window.dispatchEvent(rejection("after"));
  window.removeEventListener("error", heard);
  expect(heard).toHaveBeenCalledTimes(1);
  expect(client.events).toEqual([]);
});

test.each([
  [`<script id="e" src="https://x.com/a.js?v=1"></script>`, "error", "script", "https://x.com/a.js?v=*", "script#e"],
  [`<link class="e" rel="stylesheet" href="https://x.com/a.css">`, "error", "link", "https://x.com/a.css", "html > body > link.e"],
  [`<img class="e" src="https://x.com/a.png">`, "warning", "img", "https://x.com/a.png", "html > body > img.e"],
  [`<video><source class="e" src="https://x.com/a.mp4"></video>`, "warning", "source", "https://x.com/a.mp4", "html > body > video > source.e"],
  [`<object class="e" data="https://x.com/a.svg"></object>`, "warning", "object", "https://x.com/a.svg", "html > body > object.e"],
  [`<img class="e" src="data:image/png;base64,AAAA">`, "warning", "img", "data:image/png", "html > body > img.e"],
])("%s that does not load is a resource error", (html, level, tag, url, element) => {
  start(errors);
  start(resources);
  document.body.innerHTML = html;
  document.querySelector("#e, .e")?.dispatchEvent(new Event("error"));
  expect(client.events).toEqual([
    { kind: "resource_error", level, message: `Failed to load ${tag}: ${url}`, contexts: { resource: { url, tag, element } } },
  ]);
  expect(client.crumbs).toEqual([{ category: "resource", level, message: `Failed to load ${tag}: ${url}` }]);
});

test("the SDK's own failures are not the page's: chunks, requests, and what a policy blocks of them", () => {
  start(resources);
  start(csp);
  document.body.innerHTML = `<script class="e" src="https://monitor.test/sdk/0.0.0-test/idle.js"></script>`;
  document.querySelector(".e")?.dispatchEvent(new Event("error"));
  for (const blockedURI of ["https://monitor.test/sdk/0.0.0-test/idle.js", `${client.endpoint}?sdk=x`, `https://monitor.test/app-config?appId=${KEY}&v=2`]) {
    document.dispatchEvent(violation({ blockedURI }));
  }
  expect(client.events).toEqual([]);
  expect(client.crumbs).toEqual([]);
  document.body.innerHTML = `<img class="e" src="https://monitor.test/logo.png">`;
  document.querySelector(".e")?.dispatchEvent(new Event("error"));
  expect(client.events).toMatchObject([{ kind: "resource_error" }]);
});

test("an empty address, an svg's and an uncaught error are no resource errors", () => {
  start(resources);
  document.body.innerHTML = `<img class="e" src=""><svg><image class="e" href="a.png"/></svg><p class="e"></p>`;
  document.querySelectorAll(".e").forEach((element) => element.dispatchEvent(new Event("error")));
  window.dispatchEvent(new ErrorEvent("error", { error: new Error("x"), message: "x" }));
  expect(client.events).toEqual([]);
  expect(client.failures).toEqual([]);
});

const violation = (fields: object): Event =>
  Object.assign(new Event("securitypolicyviolation"), {
    blockedURI: "https://evil.example/x.js?t=1",
    effectiveDirective: "script-src-elem",
    disposition: "enforce",
    sourceFile: "https://x.com/a.js",
    lineNumber: 4,
    columnNumber: 2,
    sample: "",
    ...fields,
  });

test("a CSP violation says what was blocked by which directive, and where", () => {
  start(csp);
  document.dispatchEvent(violation({}));
  document.dispatchEvent(violation({ disposition: "report", blockedURI: "inline", effectiveDirective: "style-src", sourceFile: null }));
  expect(client.events).toMatchObject([
    {
      kind: "csp",
      level: "warning",
      message: "Blocked by script-src-elem: https://evil.example/x.js?t=*",
      contexts: { csp: { blockedURI: "https://evil.example/x.js?t=*", effectiveDirective: "script-src-elem", sourceFile: "https://x.com/a.js", lineNumber: 4 } },
    },
    { kind: "csp", message: "Blocked by style-src: inline", contexts: { csp: { disposition: "report", sourceFile: "" } } },
  ]);
});

test.each([
  ["https://evil.example/pixel.png?t=1", "https://evil.example/pixel.png?t=1"],
  ["data:image/png;base64,AAAA", "data"],
])("what a policy blocked is its event alone, not the element's as well: %s", (src, blockedURI) => {
  start(resources);
  start(csp);
  document.dispatchEvent(violation({ blockedURI, effectiveDirective: "img-src" }));
  document.body.innerHTML = `<img class="e" src="${src}">`;
  document.querySelector(".e")?.dispatchEvent(new Event("error"));
  expect(client.events.map(({ kind }) => kind)).toEqual(["csp"]);
  expect(client.crumbs).toHaveLength(1);
});

test("what a policy blocked is known where the browser says its address as the page wrote it", () => {
  start(resources);
  start(csp);
  document.dispatchEvent(violation({ blockedURI: "https://shop.example.com/blocked.png", effectiveDirective: "img-src" }));
  document.body.innerHTML = `<img class="e" src="/blocked.png">`;
  const image = document.querySelector(".e") as HTMLImageElement;
  Object.defineProperty(image, "currentSrc", { value: "/blocked.png" });
  image.dispatchEvent(new Event("error"));
  expect(client.events.map(({ kind }) => kind)).toEqual(["csp"]);
});

test("what a policy only reported did not fail because of it", () => {
  start(resources);
  start(csp);
  document.dispatchEvent(violation({ blockedURI: "https://x.com/only-reported.png", disposition: "report" }));
  document.body.innerHTML = `<img class="e" src="https://x.com/only-reported.png">`;
  document.querySelector(".e")?.dispatchEvent(new Event("error"));
  expect(client.events.map(({ kind }) => kind)).toEqual(["csp", "resource_error"]);
});

test("what a person's browser extension does is not the page's matter", () => {
  start(csp);
  document.dispatchEvent(violation({ sourceFile: "chrome-extension://abc/content.js" }));
  document.dispatchEvent(violation({ sourceFile: "", blockedURI: "moz-extension://abc/font.woff" }));
  expect(client.events).toEqual([]);
});

test("what browsers say of a ResizeObserver that goes on in the next frame is no fault", () => {
  start(errors);
  window.dispatchEvent(new ErrorEvent("error", { message: "ResizeObserver loop completed with undelivered notifications.", filename: location.href }));
  expect(client.events).toEqual([]);
  expect(client.drops).toEqual([["ignored", "error", 1]]);
});
