/** The integrations of the full build. Each part adds its own line; the order is the order of their set-up. */
import { clicks } from "./integrations/breadcrumbs";
import { consoleCalls } from "./integrations/console";
import { csp } from "./integrations/csp";
import { errors } from "./integrations/errors";
import { navigation } from "./integrations/navigation";
import { requests } from "./integrations/requests";
import { resources } from "./integrations/resources";
import { whiteScreen } from "./integrations/whitescreen";
import type { Integration, Options } from "./types";

export function defaultIntegrations(options: Options): Integration[] {
  const { errors: uncaught, resourceErrors, csp: violations, consoleErrors, breadcrumbs, requests: calls, whiteScreen: white } = options;
  return [
    uncaught !== false && errors,
    resourceErrors !== false && resources,
    violations !== false && csp,
    breadcrumbs !== false && clicks,
    navigation,
    calls !== false && requests,
    consoleErrors && consoleCalls,
    white !== false && whiteScreen(),
  ].filter((one) => typeof one === "object");
}
