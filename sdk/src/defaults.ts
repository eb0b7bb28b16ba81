/** The integrations of the full build that cannot wait (the others: idle.ts). Each part adds its own line; the order is the order of their set-up. */
import { clicks } from "./integrations/breadcrumbs";
import { csp } from "./integrations/csp";
import { errors } from "./integrations/errors";
import { navigation } from "./integrations/navigation";
import { requests } from "./integrations/requests";
import { resources } from "./integrations/resources";
import { whiteScreen } from "./integrations/whitescreen";
import type { Integration, Options } from "./types";

export function defaultIntegrations(options: Options): Integration[] {
  return [
    options.errors !== false && errors,
    options.resourceErrors !== false && resources,
    options.csp !== false && csp,
    options.requests !== false && requests,
    clicks,
    navigation,
    options.whiteScreen !== false && whiteScreen(),
  ].filter(Boolean) as Integration[];
}
