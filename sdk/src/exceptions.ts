/**
 * Whatever was thrown, rejected or captured, to the exceptions of an event. Errors are known by their shape, not by
 * `instanceof`: they may come from a frame, be DOMExceptions, or be made by hand. Reading them never throws.
 */
import { flat } from "./flat";
import { brief, isObject } from "./selector";
import type { EventItem, Exception, Hint } from "./types";
import { cleanStack } from "./urls";

const MAX_EXCEPTIONS = 10; // a longer chain of causes is a loop, or says no more
const MAX_VALUE = 2000; // characters; pages put whole responses into messages
const MAX_STACK = 16_000; // 50 frames with long addresses; a quarter of what a page hide can send

/**
 * The fields of an error event. The thrown one is the last exception, its causes come before it; one without a type is
 * given its name by the server, from what is thrown with it. `hint.stack` is for what has none of its own.
 */
export function errorEvent(thrown: unknown, { mechanism = "generic", handled = true, stack }: Hint = {}): Partial<EventItem> {
  const first = { type: /reject/.test(mechanism) ? "UnhandledRejection" : "", mechanism, handled, stack } as Partial<Exception>;
  const exceptions: Exception[] = [];
  const event: Partial<EventItem> = { kind: "error", exceptions };
  const queue = new Set([thrown]); // of a set each is visited once, those added meanwhile too: cycles end
  for (const value of queue) {
    if (exceptions[MAX_EXCEPTIONS - 1]) break;
    const found: Exception = { type: "", value: "(unreadable)", ...(!exceptions[0] && first) };
    try {
      describe(found, value);
      const { cause, errors } = Object(value) as { cause?: unknown; errors?: unknown };
      if (cause != null) queue.add(cause);
      if (Array.isArray(errors)) for (const error of errors.slice(0, MAX_EXCEPTIONS)) queue.add(error);
      if (!exceptions[0] && isObject(value) && Object.keys(value)[0]) event.extra = { thrown: flat(value) };
    } catch {
      // A getter or proxy of the page's threw: that it was thrown is all that can be said.
    }
    exceptions.unshift(found);
  }
  return event;
}

function describe(found: Exception, value: unknown): void {
  let text = brief(value);
  const { name, message, stack = found.stack, type, target } = Object(value) as Partial<Error & Event>;
  if (message !== undefined) {
    text = String(message);
    found.type = String(name || found.type);
  } else if (isObject(value)) {
    text += target ? ` "${type}" of ${brief(target)}` : ` with ${Object.keys(value).slice(0, 9).join(", ") || "no fields"}`;
  }
  found.value = text.slice(0, MAX_VALUE);
  // Chrome's stack begins with the message; a long one would leave no room for the frames.
  if (stack) found.stack = cleanStack(String(stack).replace(text, () => found.value).slice(0, MAX_STACK)) as string;
}
