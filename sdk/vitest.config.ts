import { defineConfig } from "vitest/config";

export default defineConfig({
  define: { __VERSION__: JSON.stringify("0.0.0-test"), __CHUNKS__: JSON.stringify({ idle: "sha256-of-idle" }) },
  test: {
    environment: "jsdom",
    environmentOptions: { jsdom: { url: "https://shop.example.com/cart?coupon=secret" } },
    include: ["test/**/*.test.{ts,tsx}"],
    restoreMocks: true,
    unstubGlobals: true,
  },
});
