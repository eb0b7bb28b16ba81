/** Console calls as events, on request: captured as they happen, from `init` on. The trail of all calls comes with idle.ts. */
import { all, patch } from "../patch";
import { brief } from "../selector";
import type { ConsoleMethod, Integration, Level, Options } from "../types";

const MAX_TEXT = 300; // characters; what is logged may be a whole state tree

/** The methods whose calls become events. */
export const methodsOf = (options: Options): ConsoleMethod[] => (options.consoleErrors === true ? ["error"] : options.consoleErrors || []);

export const levelOf = (method: ConsoleMethod): Level => (method === "warn" ? "warning" : method === "log" ? "info" : method);

export const consoleErrors: Integration = {
  name: "consoleErrors",
  setup(client) {
    let busy = false; // a hook of the page's may log while its log is being captured
    const capture = client.guard((method: ConsoleMethod, args: unknown[]) => {
      const level = levelOf(method);
      const error = args.find((one) => one instanceof Error);
      if (error) client.captureException(error, { mechanism: "console", level });
      else client.captureMessage(args.slice(0, 9).map(brief).join(" ").slice(0, MAX_TEXT), level);
      client.logged?.(method, args);
    });
    return all(
      ...methodsOf(client.options).map((method) =>
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
