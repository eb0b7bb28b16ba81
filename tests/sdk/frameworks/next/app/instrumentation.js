import { requestErrorReporter } from "@condev-monitor/browser/next";

export const onRequestError = requestErrorReporter({
  dsn: process.env.CONDEV_DSN,
  release: "next-test@1.0.0",
  environment: "test",
  debug: true,
});
