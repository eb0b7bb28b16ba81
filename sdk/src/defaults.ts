/** The integrations of the full build that cannot wait (the others: idle.ts). Each part adds its own line; the order is the order of their set-up. */
import { clicks } from "./integrations/breadcrumbs";
import { consoleErrors } from "./integrations/console";
import { csp } from "./integrations/csp";
import { errors } from "./integrations/errors";
import { navigation } from "./integrations/navigation";
import { requests } from "./integrations/requests";
import { resources } from "./integrations/resources";
import { whiteScreen } from "./integrations/whitescreen";
import type { Integration, Options } from "./types";

/** All but those that the option of their name switches off. */
export const defaultIntegrations = (options: Options): Integration[] =>
  [errors, consoleErrors, resources, csp, requests, clicks, navigation, whiteScreen].filter(({ name }) => options[name as keyof Options] !== false);
