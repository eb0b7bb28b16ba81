/** vitals.js */
import * as vitals from "./vitals";

Object.assign(((globalThis as { condevChunks?: object }).condevChunks ||= {}), { vitals });
