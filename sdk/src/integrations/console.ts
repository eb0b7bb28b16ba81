/** Console calls as breadcrumbs, and on request as events. */
import { all, patch } from "../patch";
import type { Integration, Level } from "../types";

const METHODS = ["debug", "log", "info", "warn", "error"] as const;
const LEVELS: Partial<Record<string, Level>> = { debug: "debug", warn: "warning", error: "error" };
const MAX_TEXT = 300; // characters; what is logged may be a whole state tree

export const consoleCalls: Integration = {
  name: "console",
  setup(client) {
    const { breadcrumbs, consoleErrors } = client.options;
    const trail = typeof breadcrumbs === "object" ? breadcrumbs.console !== false : breadcrumbs !== false;
    const wanted = consoleErrors === true ? ["error"] : consoleErrors || [];
    let busy = false; // a hook of the page's may log while its log is being captured

    return all(
      ...METHODS.map((method) => {
        const level = LEVELS[method] || "info";
        const called = client.guard((args: unknown[]) => {
          const message = args.slice(0, 5).map(textOf).join(" ").slice(0, MAX_TEXT);
          if (wanted.includes(method)) {
            const error = args.find((one) => one instanceof Error);
            const hint = { mechanism: "console", level };
            if (error) client.captureException(error, hint);
            else client.captureMessage(message, level, hint);
          }
          if (trail) client.addBreadcrumb({ category: "console", level, message });
        });
        return trail || wanted.includes(method)
          ? patch(console, method, (args) => {
              if (busy) return;
              busy = true;
              called(args);
              busy = false;
            })
          : () => {};
      }),
    );
  },
};

/** Objects by their kind only: reading them could be slow, run the page's code, or find what must not leave the page. */
function textOf(value: unknown): string {
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  return value && typeof value === "object" ? Object.prototype.toString.call(value) : String(value);
}
