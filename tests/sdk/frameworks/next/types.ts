// Not run: the compiler checks the helper's shapes against those of Next.js itself.
import { nextOptions, onRouterTransitionStart, requestErrorReporter } from "@condev-monitor/browser/next";
import type { Instrumentation } from "next";
import type { ClientInstrumentationHooks } from "next/dist/client/router-transition-types";

export const onRequestError: Instrumentation.onRequestError = requestErrorReporter({ dsn: "https://monitor.example.com/v2/KEY" });
export const hooks: ClientInstrumentationHooks = { onRouterTransitionStart };
export const options = nextOptions({ dsn: "https://monitor.example.com/v2/KEY" });
