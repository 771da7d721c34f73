/* Ask the server again and again, and tell in a note how that goes; for the overview and a run's page. */
"use strict";

/*
 * address: what to ask. what: what it answers with, for the note, e.g. "how the run is".
 * note: where to tell. fine: what it says while what is shown is up to date.
 * pause, longest: milliseconds from an answer to the next question; after failures more and more, up to the longest.
 * show: is given each answer, and returns true when no other is wanted.
 */
window.warmerPoll = function ({address, what, note, fine, pause, longest, show}) {
  const BOUND = 10000, SLOW = 3000; // milliseconds until an answer is given up, and until the note says that it is late
  let failures = 0, seen = new Date(), told = null;

  // A screen reader reads the note whenever it is written, so it is written only when it says something else.
  function tell(text, isGood, ...more) {
    if (text !== told) {
      told = text;
      note.className = isGood ? "warmer-quiet" : "warmer-warning";
      note.replaceChildren(text, ...more);
    }
  }

  function seenAt() {
    return "this was seen at " + seen.toLocaleTimeString() + ".";
  }

  function tellOfLogOut() {
    const link = document.createElement("a");
    link.href = window.location.pathname + window.location.search; // from there Django leads to the log-in, and back
    link.textContent = "log in again";
    tell("You are logged out: ", false, link, " to see " + what + "; " + seenAt());
  }

  async function ask() {
    const late = window.setTimeout(function () {
      if (!failures) {
        tell("The server has not answered yet: " + seenAt(), false);
      }
    }, SLOW);
    try {
      const answer = await fetch(address, {
        credentials: "same-origin", redirect: "manual", signal: AbortSignal.timeout(BOUND),
      });
      if (answer.type === "opaqueredirect") { // to the log-in: nothing else leads away from there
        failures += 1;
        tellOfLogOut();
        return false;
      }
      if (!answer.ok) {
        throw new Error("status " + answer.status);
      }
      const isLast = await show(answer);
      failures = 0;
      seen = new Date();
      tell(fine, true);
      return isLast;
    } catch (error) {
      failures += 1;
      const why = error.name === "TimeoutError" ? "not within " + BOUND / 1000 + " s" : error.message;
      tell("The server does not answer (" + why + "): " + seenAt() + " Trying again.", false);
      return false;
    } finally {
      window.clearTimeout(late);
    }
  }

  async function look() {
    if (document.hidden || !await ask()) {
      window.setTimeout(look, Math.min(pause * 2 ** failures, longest));
    }
  }

  tell(fine, true);
  window.setTimeout(look, pause);
};
