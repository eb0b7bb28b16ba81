// Not run: the compiler checks the helper's shapes against those of Next.js itself.
import type { Instrumentation } from "next";
import { nextOptions, onRouterTransitionStart, requestErrorReporter } from "@condev-monitor/browser/next";
import type { ClientInstrumentationHooks } from "next/dist/client/app-index";

export const onRequestError: Instrumentation.onRequestError = requestErrorReporter({ dsn: "https://monitor.example.com/v2/KEY" });
export const hooks: ClientInstrumentationHooks = { onRouterTransitionStart };
export const options = nextOptions({ dsn: "https://monitor.example.com/v2/KEY" });
