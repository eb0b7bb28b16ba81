/** idle.js */
import { begin, integrity, startReplay } from "./idle";
import type { Chunks } from "./types";

((globalThis as { condevChunks?: Partial<Chunks> }).condevChunks ||= {}).idle = { begin, integrity, startReplay };
