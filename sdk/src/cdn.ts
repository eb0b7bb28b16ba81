/** sdk.js */
import { getClient } from "./current";
import { defaultIntegrations } from "./defaults";
import { checkWhiteScreen } from "./integrations/whitescreen";
import { publish } from "./script";
import { startSpan } from "./tracing";
import type { Client, SpanOptions } from "./types";

publish(defaultIntegrations, {
  checkWhiteScreen,
  startReplay: async () => {
    const client = getClient() as Client; // handed on: the chunk has no client of its own
    return (await client.load("idle")).startReplay(client);
  },
  startSpan: (options) => startSpan(getClient(), options as SpanOptions),
});
