import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  base: "./",
  plugins: [react()],
  resolve: { dedupe: ["react", "react-dom"] }, // the SDK is a link to the checkout, which has no React of its own
  build: { sourcemap: true, target: "es2022" },
});
