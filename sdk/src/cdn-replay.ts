/** replay.js */
import { startReplay } from "./replay";
import type { Chunks } from "./types";

((globalThis as { condevChunks?: Partial<Chunks> }).condevChunks ||= {}).replay = { startReplay };
