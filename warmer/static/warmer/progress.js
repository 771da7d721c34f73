/* A run's page: ask how the run gets on, and show it. Without scripts the page reloads itself instead. */
"use strict";

(function () {
  const page = document.querySelector("[data-warmer-progress]");
  if (!page) {
    return;
  }
  const bar = page.querySelector("progress");
  const wasFinal = page.dataset.warmerFinal === "true";

  function show(name, text) {
    const place = page.querySelector('[data-warmer="' + name + '"]');
    if (place && place.textContent !== text) {
      place.textContent = text;
    }
  }

  function draw(run) {
    show("state", run.state);
    page.querySelector('[data-warmer="state"]').className = "warmer-state warmer-state-" + run.state;
    show("batches", run.batches_done + " of " + (run.batches_total === null ? "?" : run.batches_total));
    show("keys", String(run.keys));
    show("rate", run.keys_per_second === null ? "–" : run.keys_per_second + " keys/s");
    show("seconds", run.state === "queued" ? "not begun" : run.seconds + " s");
    show("left", run.seconds_left === null ? "not known yet" : run.seconds_left + " s");
    if (run.percent === null) {
      bar.removeAttribute("value");
    } else {
      bar.value = run.percent;
    }
    for (const [name, html] of Object.entries(run.parts)) {
      const place = page.querySelector('[data-warmer-part="' + name + '"]');
      const part = document.createElement("template");
      part.innerHTML = html;
      if (place && place.innerHTML !== part.innerHTML) {  // else what somebody has selected there would be lost
        place.replaceChildren(part.content);
      }
    }
  }

  window.warmerPoll({
    address: page.dataset.warmerProgress,
    what: "how the run is",
    note: page.querySelector("[data-warmer-note]"),
    fine: "",
    pause: 1000,
    longest: 15000,
    show: async function (answer) {
      const run = await answer.json();
      draw(run);
      if (run.final && !wasFinal) {
        window.location.reload();
        return true;
      }
      if (run.settled) {  // nor is a batch that was in hand still counted
        show("settling", "");
      }
      return run.settled;
    },
  });
})();
