/** What nobody caught: errors and rejected promises. */
import { errorEvent } from "../exceptions";
import { all, listen } from "../patch";
import type { Client, Hint, Integration } from "../types";
import { cleanUrl } from "../urls";

const FRAMES = 50; // Chrome takes 10 by itself, which frameworks fill alone
const HIDDEN =
  "The browser hides errors of scripts from another origin. Add crossorigin=\"anonymous\" to their script elements, and have their server send Access-Control-Allow-Origin.";

export const errors: Integration = {
  name: "errors",
  setup(client) {
    const limits = Error as { stackTraceLimit?: number };
    const limit = limits.stackTraceLimit;
    if (limit && limit < FRAMES) limits.stackTraceLimit = FRAMES;
    let explained = false;

    const onError = (event: ErrorEvent): void => {
      const { error, message, filename, lineno, colno } = event;
      if (!message && !error) return; // a resource: see resources.ts
      if (!error && !filename && /^script error/i.test(message)) {
        if (explained) return client.drop("flood", "error");
        explained = true;
        return scriptError(client, message);
      }
      const hint: Hint = { mechanism: "onerror", handled: false, originalException: error };
      const found = errorEvent(error ?? message, hint);
      const thrown = found.exceptions?.at(-1);
      if (thrown && !thrown.stack && filename) {
        thrown.frames = [{ function: "?", file: cleanUrl(filename), line: lineno, column: colno }];
      }
      client.captureEvent(found, hint);
    };
    const onRejection = ({ reason }: PromiseRejectionEvent): void => {
      client.captureException(reason, { mechanism: "onunhandledrejection", handled: false });
    };
    return all(listen(window, "error", client.guard(onError)), listen(window, "unhandledrejection", client.guard(onRejection)), () => {
      if (limits.stackTraceLimit === FRAMES && limit) limits.stackTraceLimit = limit;
    });
  },
};

/** An error of which the browser says nothing. It is sent once, with what to do about it and the scripts it may be. */
function scriptError(client: Client, message: string): void {
  const scripts = [...document.scripts]
    .filter((script) => script.src && script.crossOrigin === null && new URL(script.src).origin !== location.origin)
    .map((script) => cleanUrl(script.src));
  const hint: Hint = { mechanism: "onerror", handled: false };
  client.captureEvent({ ...errorEvent(message, hint), level: "warning", extra: { note: HIDDEN, scripts: scripts.slice(0, 5) } }, hint);
}
