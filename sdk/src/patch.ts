/**
 * Watching what a page does. A function that is watched stays what it is (a proxy: same name, properties and text),
 * others may wrap it before or after, and the page's own call happens whatever the watcher does.
 */
import type { Cleanup, Client } from "./types";

/** Sees, and may change, the arguments; what it returns is given the result and may return another one, and must not throw. */
export type Watcher = (args: unknown[], self: unknown) => void | ((result: unknown) => unknown);

export function patch<T extends object>(client: Pick<Client, "guard">, target: T, name: keyof T, watcher: Watcher): Cleanup {
  const original: unknown = target[name];
  if (typeof original !== "function") return () => {};
  const watch = client.guard(watcher);
  let active = true;
  const patched = new Proxy(original, {
    apply(fn, self, args) {
      const after = active && watch(args, self);
      const result: unknown = Reflect.apply(fn, self, args);
      return after ? (after(result) ?? result) : result;
    },
  });
  Reflect.set(target, name, patched); // false, not an error, where a page has frozen it
  return () => {
    active = false; // in case another wrapper holds it
    if (target[name] !== patched) return;
    Reflect.deleteProperty(target, name);
    if (target[name] !== original) Reflect.set(target, name, original); // which was not inherited
  };
}

/** Whether a part of an option is on: each is, unless it or the whole option is false. */
export function wants<T extends object>(option: boolean | T | undefined, part: keyof T): boolean {
  return option !== false && (option as Partial<T> | undefined)?.[part] !== false;
}

/** Calls every one of them. */
export const all =
  (...cleanups: Cleanup[]): Cleanup =>
  () =>
    cleanups.forEach((cleanup) => cleanup());

/** An event listener that is taken away by what is returned. */
export function listen<E extends Event>(target: EventTarget, name: string, listener: (event: E) => void, capture = true): Cleanup {
  target.addEventListener(name, listener as EventListener, capture);
  return () => target.removeEventListener(name, listener as EventListener, capture);
}
