// The entry of all page scripts. Pages work without it: it adds keys, local times, copying and live updates.
import "./times.js";
import "./controls.js";
import "./list.js";
import "./keys.js";
import "./palette.js";
import "./live.js";
