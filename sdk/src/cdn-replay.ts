/** replay.js */
import * as replay from "./replay";

Object.assign(((globalThis as { condevChunks?: object }).condevChunks ||= {}), { replay });
