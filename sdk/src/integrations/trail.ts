/** Console calls as breadcrumbs. */
import { all, patch, wants } from "../patch";
import { brief } from "../selector";
import type { ConsoleMethod, Integration } from "../types";
import { levelOf, methodsOf } from "./console";

const METHODS = ["debug", "log", "info", "warn", "error"] as const;
const MAX_TEXT = 300; // characters; what is logged may be a whole state tree

export const consoleTrail: Integration = {
  name: "console",
  setup(client) {
    const { options } = client;
    if (!wants(options.breadcrumbs, "console")) return;
    const watched = methodsOf(options); // by console.ts, which hands on what it saw
    let busy = false; // a hook of the page's may log while its log is being kept
    const add = client.guard((method: ConsoleMethod, args: unknown[]) => {
      const message = args.slice(0, 5).map(textOf).join(" ").slice(0, MAX_TEXT);
      client.addBreadcrumb({ category: "console", level: levelOf(method), message });
    });
    const log = (method: ConsoleMethod, args: unknown[]): void => {
      if (busy) return;
      busy = true;
      add(method, args);
      busy = false;
    };
    client.logged = log;
    return all(
      ...METHODS.filter((method) => !watched.includes(method)).map((method) => patch(client, console, method, (args) => log(method, args))),
      () => (client.logged = undefined),
    );
  },
};

function textOf(value: unknown): string {
  return value instanceof Error ? String(value) : brief(value);
}
