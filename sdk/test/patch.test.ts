import { expect, test, vi } from "vitest";
import { listen, patch as patchFor, type Watcher } from "../src/patch";
import type { Cleanup } from "../src/types";
import { recorder } from "./recorder";

const client = recorder();
const patch = <T extends object>(target: T, name: keyof T, watcher: Watcher): Cleanup => patchFor(client, target, name, watcher);

function target(): { f: (a: number) => number; g?: () => void } {
  return { f: (a) => a + 1 };
}

test("sees arguments and results, keeps both, and the function's name, length and properties", () => {
  const on = target();
  Object.assign(on.f, { extra: 1 });
  const seen: unknown[] = [];
  patch(on, "f", (args) => {
    seen.push(args[0]);
    return (result) => seen.push(result) && result;
  });
  expect(on.f(1)).toBe(2);
  expect(seen).toEqual([1, 2]);
  expect([on.f.name, on.f.length, (on.f as unknown as { extra: number }).extra]).toEqual(["f", 1, 1]);
});

test("a native function still looks native", () => {
  const undo = patch(window as unknown as { parseInt: () => void }, "parseInt", () => {});
  expect(Function.prototype.toString.call((window as unknown as { parseInt: () => void }).parseInt)).toContain("[native code]");
  undo();
});

test("undone, the function is the page's own again", () => {
  const on = target();
  const original = on.f;
  patch(on, "f", () => {})();
  expect(on.f).toBe(original);
});

test("an inherited function is not left behind as an own one", () => {
  const on = Object.create(target()) as ReturnType<typeof target>;
  const undo = patch(on, "f", () => {});
  expect(Object.hasOwn(on, "f")).toBe(true);
  undo();
  expect(Object.hasOwn(on, "f")).toBe(false);
});

test("under another wrapper it cannot be taken out, and falls silent", () => {
  const on = target();
  const watch = vi.fn();
  const undo = patch(on, "f", watch);
  const ours = on.f;
  on.f = (a) => ours(a) * 10;
  undo();
  expect(on.f(1)).toBe(20);
  expect(watch).not.toHaveBeenCalled();
});

test("patched twice, both see it, and may end in either order", () => {
  for (const order of [[0, 1], [1, 0]] as const) {
    const on = target();
    const watchers = [vi.fn(), vi.fn()] as const;
    const undo = watchers.map((watch) => patch(on, "f", watch));
    expect(on.f(1)).toBe(2);
    expect(watchers.map((watch) => watch.mock.calls.length)).toEqual([1, 1]);
    undo[order[0]]?.();
    undo[order[1]]?.();
    expect(on.f(1)).toBe(2);
    expect(watchers.map((watch) => watch.mock.calls.length)).toEqual([1, 1]);
  }
});

test("what is missing or frozen is left alone", () => {
  const on = target();
  patch(on, "g", () => {})();
  expect(on.g).toBeUndefined();
  const frozen = Object.freeze(target());
  patch(frozen, "f", () => {})();
  expect(frozen.f(1)).toBe(2);
});

test("what the page's function throws reaches the page", () => {
  const on = { f: (): void => { throw new Error("the page's"); } };
  patch(on, "f", () => (result) => result);
  expect(() => on.f()).toThrow("the page's");
});

test("listen returns what takes the listener away", () => {
  const heard = vi.fn();
  const off = listen(window, "custom", heard);
  window.dispatchEvent(new Event("custom"));
  off();
  window.dispatchEvent(new Event("custom"));
  expect(heard).toHaveBeenCalledTimes(1);
});

test("what the watcher throws does not reach the page", () => {
  const on = target();
  patch(on, "f", () => {
    throw new Error("ours");
  });
  expect(on.f(1)).toBe(2);
  expect(client.failures).toHaveLength(1);
});
