import { init } from "@condev-monitor/browser";
import { nextOptions, onRouterTransitionStart } from "@condev-monitor/browser/next";

init(nextOptions({ dsn: process.env.NEXT_PUBLIC_CONDEV_DSN, release: "next-test@1.0.0" }));
export { onRouterTransitionStart };
