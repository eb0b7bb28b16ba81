import vue from "@vitejs/plugin-vue";
import { defineConfig } from "vite";

export default defineConfig({ base: "./", plugins: [vue()], resolve: { dedupe: ["vue"] }, build: { sourcemap: true, target: "es2022" } });
