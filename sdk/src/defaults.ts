/** The integrations of the full build. Each part adds its own line; the order is the order of their set-up. */
import type { Integration } from "./types";

export function defaultIntegrations(): Integration[] {
  return [];
}
