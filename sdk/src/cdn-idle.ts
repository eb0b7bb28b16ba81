/** idle.js */
import * as idle from "./idle";

Object.assign(((globalThis as { condevChunks?: object }).condevChunks ||= {}), { idle });
