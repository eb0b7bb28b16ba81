/**
 * Whatever was thrown, rejected or captured, to the exceptions of an event. Errors are known by their shape, not by
 * `instanceof`: they may come from a frame, be DOMExceptions, or be made by hand. Reading them never throws.
 */
import { selectorOf } from "./selector";
import type { Data, EventItem, Exception, Hint } from "./types";

const MAX_EXCEPTIONS = 10; // a longer chain of causes is a loop, or says no more
const MAX_VALUE = 2000; // characters; pages put whole responses into messages
const MAX_STACK = 16_000; // 50 frames with long addresses; a quarter of what a page hide can send
const MAX_KEYS = 20;

// "Uncaught TypeError: boom", as `onerror` has it, and texts that were thrown: type and value.
const TITLE = /^(?:uncaught (?:exception: )?)?(?:([\w.$]*(?:Error|Exception)): )?([^]*)/i;

/** The fields of an error event. The thrown one is the last exception, its causes come before it. */
export function errorEvent(thrown: unknown, hint: Hint = {}): Partial<EventItem> {
  const exceptions: Exception[] = [];
  const seen = new Set<unknown>();
  const mechanism = hint.mechanism || "generic";
  const queue: [value: unknown, mechanism: string][] = [[thrown, mechanism]];
  let extra: Data | undefined;
  for (const [value, how] of queue) {
    if (seen.has(value) || exceptions.length === MAX_EXCEPTIONS) continue;
    seen.add(value);
    let found: Exception = { type: "Error", value: "could not be read" };
    try {
      found = described(value, how);
      if (value && typeof value === "object") {
        const { cause, errors } = value as { cause?: unknown; errors?: unknown };
        if (cause != null) queue.push([cause, "cause"]);
        if (Array.isArray(errors)) queue.push(...errors.slice(0, MAX_EXCEPTIONS).map((one): [unknown, string] => [one, "errors"]));
        if (value === thrown) extra = ownFields(value);
      }
    } catch {
      // A getter or proxy of the page's threw: that it was thrown is all that can be said.
    }
    exceptions.unshift({ ...found, mechanism: how, ...(value === thrown && { handled: hint.handled !== false }) });
  }
  return { kind: "error", exceptions, ...(extra && { extra: { thrown: extra } }) };
}

function described(value: unknown, mechanism: string): Exception {
  const unnamed = mechanism === "onunhandledrejection" ? "UnhandledRejection" : "Error";
  if (typeof value === "string") {
    const [, type, text = ""] = TITLE.exec(value) || [];
    return { type: type || unnamed, value: text.slice(0, MAX_VALUE) };
  }
  if (!value || typeof value !== "object") return { type: unnamed, value: `${String(value)} (not an Error)` };
  const { name, message, stack, type, target } = value as Partial<Error & Event>;
  if (message !== undefined) {
    const text = String(message);
    const cut = text.slice(0, MAX_VALUE);
    // Chrome's stack begins with the message, and would be cut before its frames.
    const lines = typeof stack === "string" && (cut === text ? stack : stack.split(text).join(cut));
    return { type: String(name || unnamed), value: cut, ...(lines && { stack: lines.slice(0, MAX_STACK) }) };
  }
  const name_ = Object.prototype.toString.call(value).slice(8, -1);
  return {
    type: unnamed,
    value: type && target ? `${name_} "${type}" of ${selectorOf(target)}` : `${name_} with ${Object.keys(value).slice(0, MAX_KEYS).join(", ") || "no fields"}`,
  };
}

/** Codes and ids that the page put on it; nothing nested, which may be large or be a response. */
function ownFields(value: object): Data | undefined {
  const fields = Object.entries(value).filter(([name, one]) => !/^(name|message|stack)$/.test(name) && /^[snb]/.test(typeof one));
  return fields[0] && Object.fromEntries(fields.slice(0, MAX_KEYS).map(([name, one]) => [name, String(one).slice(0, 200)]));
}
