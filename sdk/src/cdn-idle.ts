/** idle.js: two chunks in one file, both of which a page needs when it is idle. With the web vitals they would be too much. */
import * as offline from "./offline";
import * as work from "./vitals/work";

Object.assign(((globalThis as { condevChunks?: object }).condevChunks ||= {}), { offline, work });
