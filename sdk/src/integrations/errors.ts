/** What nobody caught: errors and rejected promises. */
import { all, listen } from "../patch";
import type { Data, Integration } from "../types";
import { cleanUrl } from "../urls";

const FRAMES = 50; // Chrome takes 10 by itself, which frameworks fill alone
const HIDDEN = "Needs crossorigin and CORS";

export const errors: Integration = {
  name: "errors",
  setup(client) {
    const limits = Error as { stackTraceLimit?: number };
    const limit = limits.stackTraceLimit || 0;
    limits.stackTraceLimit = Math.max(limit, FRAMES);
    let explained = false;

    const onError = ({ error, message, filename, lineno, colno }: ErrorEvent): void => {
      if (!message && !error) return; // a resource: see resources.ts
      if (/^ResizeObserver loop/.test(message)) return client.drop("ignored", "error"); // the browser will look again: no fault
      let extra: Data = {};
      if (!error && !filename && /^script error/i.test(message)) {
        if (explained) return client.drop("flood", "error");
        explained = true;
        extra = { note: HIDDEN, scripts: foreignScripts() };
      }
      client.captureException(error ?? message, { mechanism: "onerror", handled: false, extra, stack: filename && `@${filename}:${lineno}:${colno}` });
    };
    const onRejection = ({ reason }: PromiseRejectionEvent): void => {
      client.captureException(reason, { mechanism: "onunhandledrejection", handled: false });
    };
    return all(
      listen(window, "error", client.guard(onError)),
      listen(window, "unhandledrejection", client.guard(onRejection)),
      () => (limits.stackTraceLimit = limit),
    );
  },
};

/** Those of which the browser says nothing but "Script error." */
function foreignScripts(): string[] {
  const foreign = [...document.scripts].filter(({ src, crossOrigin }) => src && crossOrigin === null && !src.startsWith(location.origin));
  return foreign.slice(0, 5).map(({ src }) => cleanUrl(src));
}
