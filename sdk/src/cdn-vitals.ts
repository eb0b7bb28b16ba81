/** vitals.js */
import { startVitals } from "./vitals";
import type { Chunks } from "./types";

((globalThis as { condevChunks?: Partial<Chunks> }).condevChunks ||= {}).vitals = { startVitals };
