import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { errorEvent } from "../src/exceptions";
import type { Exception } from "../src/types";

const chain = (thrown: unknown, hint = {}): Exception[] => errorEvent(thrown, hint).exceptions || [];
const thrownOf = (thrown: unknown, hint = {}): Exception => chain(thrown, hint).at(-1) as Exception;

describe("what is thrown", () => {
  test("an Error keeps its type, message, stack and how it was caught", () => {
    const error = new TypeError("x is undefined");
    expect(thrownOf(error, { mechanism: "onerror", handled: false })).toEqual({
      type: "TypeError",
      value: "x is undefined",
      stack: error.stack,
      mechanism: "onerror",
      handled: false,
    });
  });

  test("a captured Error is not lost: the earlier SDK sent {} for it", () => {
    class CartError extends Error {
      override name = "CartError";
      code = "E_STOCK";
    }
    const event = JSON.parse(JSON.stringify(errorEvent(new CartError("no stock")))) as ReturnType<typeof errorEvent>;
    expect(event.exceptions?.[0]).toMatchObject({ type: "CartError", value: "no stock", mechanism: "generic", handled: true });
    expect(event.exceptions?.[0]?.stack).toContain("exceptions.test");
    expect(event.extra).toEqual({ thrown: { name: "CartError", code: "E_STOCK" } });
  });

  test.each([
    ["cart is locked", "UnhandledRejection", "cart is locked"],
    ["", "UnhandledRejection", ""],
    [undefined, "UnhandledRejection", "undefined"],
    [null, "UnhandledRejection", "null"],
    [42, "UnhandledRejection", "42"],
    [Symbol("s"), "UnhandledRejection", "Symbol(s)"],
    [{ code: 1, id: 2 }, "UnhandledRejection", "Object with code, id"],
    [{}, "UnhandledRejection", "Object with no fields"],
    [["a"], "UnhandledRejection", "Array with 0"],
    [{ message: "by hand" }, "UnhandledRejection", "by hand"],
    [{ name: "ApiError", message: "by hand" }, "ApiError", "by hand"],
    [{ message: { text: 1 } }, "UnhandledRejection", "[object Object]"],
    [new DOMException("taken away", "AbortError"), "AbortError", "taken away"],
    [Object.create(null), "UnhandledRejection", "Object with no fields"],
  ])("a rejection with %o is told as %s: %s", (reason, type, value) => {
    expect(thrownOf(reason, { mechanism: "onunhandledrejection" })).toMatchObject({ type, value });
  });

  test("an error of another realm is an error", () => {
    const foreign: unknown = runInNewContext("new RangeError('from a frame')");
    expect(foreign instanceof Error).toBe(false);
    expect(thrownOf(foreign)).toMatchObject({ type: "RangeError", value: "from a frame", stack: expect.stringContaining("RangeError") as string });
  });

  test("a rejection with an event names the event and its element", () => {
    const image = document.createElement("img");
    image.id = "logo";
    let seen: Event | undefined;
    image.addEventListener("error", (event) => (seen = event));
    image.dispatchEvent(new Event("error"));
    expect(thrownOf(seen).value).toBe('Event "error" of HTMLImageElement');
  });

  test("fields that the page put on it go along, of nested ones the kind", () => {
    const { extra } = errorEvent({ code: 7, ok: false, response: { token: "secret" }, long: "x".repeat(500) });
    expect(extra).toEqual({ thrown: { code: 7, ok: false, response: "Object", long: "x".repeat(300) } });
  });

  test("what throws when it is read is reported as that", () => {
    const trap = new Proxy({}, { get: () => { throw new Error("no"); } });
    expect(thrownOf(trap)).toMatchObject({ type: "", value: "(unreadable)" });
    const getter = { get message(): string { throw new Error("no"); } };
    expect(thrownOf(getter)).toMatchObject({ value: "(unreadable)" });
  });

  test("a message of a megabyte is cut, and the frames behind it are kept", () => {
    const error = new Error("m".repeat(1_000_000));
    const { value, stack = "" } = thrownOf(error);
    expect(value.length).toBe(2000);
    expect(stack.length).toBeLessThanOrEqual(16_000);
    expect(stack).toContain("exceptions.test");
  });
});

describe("a stack", () => {
  test.each([
    ["Error: x\n    at f (https://x.com/callback?code=ABC&token=S:1:2)\n    at https://x.com/a.js?v=1#k=S:3:4", "Error: x\n    at f (https://x.com/callback:1:2)\n    at https://x.com/a.js:3:4"],
    ["f@https://x.com/callback?code=ABC:1:2\nglobal code@https://x.com/callback#token=S:3:4", "f@https://x.com/callback:1:2\nglobal code@https://x.com/callback:3:4"],
    ["at eval (eval at f (https://x.com/cb?code=(ABC):1:2), <anonymous>:1:1)", "at eval (eval at f (https://x.com/cb:1:2), <anonymous>:1:1)"],
    ["f@https://x.com/cb?code=ABC&t=1 line 5 > eval:1:1", "f@https://x.com/cb line 5 > eval:1:1"],
    ["at f (https://x.com/cb?t=12:30:5:1:2)", "at f (https://x.com/cb:1:2)"],
    ["at Cart.#total (https://x.com/a.js:1:2)\n#total@https://x.com/a.js:1:2", "at Cart.#total (https://x.com/a.js:1:2)\n#total@https://x.com/a.js:1:2"],
  ])("%j has no queries and no fragments", (stack, expected) => {
    expect(thrownOf({ message: "x", stack }).stack).toBe(expected);
    expect(thrownOf("a text", { stack }).stack).toBe(expected);
  });

  test("that is cut within an address says nothing of its query", () => {
    const stack = `Error: x\n    at f (https://x.com/${"a".repeat(15_960)}?code=SECRET:1:2)`;
    expect(thrownOf({ message: "x", stack }).stack).not.toMatch(/S/);
  });
});

describe("chains", () => {
  test("causes come before what was thrown, and only that says whether it was handled", () => {
    const root = new Error("connection reset");
    const middle = new Error("request failed", { cause: root });
    const found = chain(new Error("payment failed", { cause: middle }), { handled: false, mechanism: "onerror" });
    expect(found.map((one) => one.value)).toEqual(["connection reset", "request failed", "payment failed"]);
    expect(found.map((one) => one.mechanism)).toEqual([undefined, undefined, "onerror"]);
    expect(found.map((one) => one.handled)).toEqual([undefined, undefined, false]);
  });

  test("a cause that is a text is one too", () => {
    expect(chain(new Error("a", { cause: "b" })).map((one) => one.value)).toEqual(["b", "a"]);
  });

  test("an AggregateError brings its errors", () => {
    const found = chain(new AggregateError([new TypeError("one"), "two"], "all failed"));
    expect(found.map((one) => `${one.type}: ${one.value}`)).toEqual([": two", "TypeError: one", "AggregateError: all failed"]);
  });

  test("a cycle ends", () => {
    const one = new Error("one");
    const two = new Error("two", { cause: one });
    one.cause = two;
    expect(chain(one).map((each) => each.value)).toEqual(["two", "one"]);
  });

  test("a long chain and a large aggregate are cut, the thrown one is kept", () => {
    let error = new Error("0");
    for (let depth = 1; depth < 50; depth++) error = new Error(String(depth), { cause: error });
    expect(chain(error).length).toBe(10);
    expect(chain(error).at(-1)?.value).toBe("49");
    const many = new AggregateError(Array.from({ length: 100_000 }, (_, index) => new Error(`n${index}`)), "many");
    expect(chain(many).length).toBe(10);
    expect(chain(many).at(-1)?.value).toBe("many");
  });
});
