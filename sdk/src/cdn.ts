/** sdk.js */
import { getClient } from "./current";
import { defaultIntegrations } from "./defaults";
import { checkWhiteScreen } from "./integrations/whitescreen";
import { publish } from "./script";
import { startSpan } from "./tracing";
import type { Client, SpanOptions } from "./types";

publish(defaultIntegrations, {
  checkWhiteScreen,
  startReplay: async () => (await (getClient() as Client).load("idle")).startReplay(),
  startSpan: (options) => startSpan(getClient(), options as SpanOptions),
});
