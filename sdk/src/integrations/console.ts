/** Console calls as breadcrumbs, and on request as events. */
import { all, patch, wants } from "../patch";
import { brief } from "../selector";
import type { Integration } from "../types";

const METHODS = ["debug", "log", "info", "warn", "error"] as const;
type Method = (typeof METHODS)[number];
const MAX_TEXT = 300; // characters; what is logged may be a whole state tree

export const consoleCalls: Integration = {
  name: "console",
  setup(client) {
    const { breadcrumbs, consoleErrors } = client.options;
    const trail = wants(breadcrumbs, "console");
    const wanted = consoleErrors === true ? ["error"] : consoleErrors || [];
    let busy = false; // a hook of the page's may log while its log is being captured

    const capture = client.guard((method: Method, args: unknown[]) => {
      const level = method === "warn" ? "warning" : method === "log" ? "info" : method;
      const message = args.slice(0, 5).map(textOf).join(" ").slice(0, MAX_TEXT);
      if (wanted.includes(method)) {
        const error = args.find((one) => one instanceof Error);
        if (error) client.captureException(error, { mechanism: "console", level });
        else client.captureMessage(message, level);
      }
      if (trail) client.addBreadcrumb({ category: "console", level, message });
    });
    const methods = METHODS.filter((method) => trail || wanted.includes(method));
    return all(
      ...methods.map((method) =>
        patch(client, console, method, (args) => {
          if (busy) return;
          busy = true;
          capture(method, args);
          busy = false;
        }),
      ),
    );
  },
};

function textOf(value: unknown): string {
  return value instanceof Error ? String(value) : brief(value);
}
