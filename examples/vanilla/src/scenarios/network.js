// Replay, and what happens when reports cannot be sent, or are too many.
import { plug } from "../wire/watch.js";
import { event, type } from "./expect.js";

let isPlugged = true;

export const network = {
  id: "network",
  title: "Replay and rough weather",
  note: "Nothing is lost while the network is away; a loop cannot flood it.",
  scenarios: [
    {
      id: "replay",
      title: "Start a replay",
      note: "records what you do from here; inputs are masked",
      expects: type("replay_segment"),
      run: (condev, say) => {
        condev.startReplay();
        say("recording: put something into the cart");
      },
    },
    {
      id: "offline",
      title: "Pull the network cable",
      note: "an error while offline; again to plug it back in",
      expects: event("Said while offline"),
      run: (condev, say) => {
        isPlugged = !isPlugged;
        plug(isPlugged);
        if (isPlugged) return say("back online: waiting for what was kept …");
        condev.captureException(named("OfflineError", `Said while offline, at ${new Date().toLocaleTimeString()}`));
        say("offline, and an error was captured: press again");
      },
    },
    {
      id: "flood",
      title: "The same error 200 times",
      note: "a few are sent, the rest is counted",
      expects: event("Stock service is busy"),
      run: (condev) => {
        for (let round = 0; round < 200; round += 1) condev.captureException(named("StockError", "Stock service is busy"));
      },
    },
  ],
};

/** An error with a name of its own: of minified code without its source map, the name is what tells two places apart. */
function named(name, message) {
  return Object.assign(new Error(message), { name });
}
