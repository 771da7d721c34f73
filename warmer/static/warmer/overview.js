/* The overview: ask how the jobs are, and show it. What somebody chose, opened or selected stays as it is. */
"use strict";

(function () {
  const page = document.querySelector("[data-warmer-overview]");
  const body = page && page.querySelector("#warmer-jobs tbody");
  if (!body) {
    return;
  }
  const PAUSE = 10000, LONGEST_PAUSE = 60000;
  const note = page.querySelector("[data-warmer-note]");
  let failures = 0, seen = new Date();

  function inUse(place) {
    const selection = document.getSelection();
    return place.contains(document.activeElement) || place.querySelector("details[open]")
      || (!selection.isCollapsed && selection.containsNode(place, true));
  }

  function renew(place, fresh) {
    if (place.innerHTML !== fresh.innerHTML && !inUse(place)) {
      place.replaceChildren(...fresh.childNodes);
    }
  }

  function rowOf(fresh) {
    const name = CSS.escape(fresh.dataset.warmerJob);
    const row = body.querySelector('tr[data-warmer-job="' + name + '"]');
    if (!row || row.cells.length !== fresh.cells.length) {
      return fresh;
    }
    for (const [at, cell] of [...row.cells].entries()) {
      if (!cell.matches(".warmer-choose")) {
        renew(cell, fresh.cells[at]);
      }
    }
    return row;
  }

  function draw(html) {
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    for (const part of page.querySelectorAll("[data-warmer-part]")) {
      renew(part, fresh.content.querySelector('[data-warmer-part="' + part.dataset.warmerPart + '"]'));
    }
    const jobs = [...fresh.content.querySelectorAll("tr[data-warmer-job]")];
    const rows = jobs.length ? jobs.map(rowOf) : [...fresh.content.querySelectorAll("#warmer-jobs tbody tr")];
    // A row that stays where it is must not be taken out: it may have the keyboard.
    if (rows.length !== body.rows.length || rows.some((row, at) => row !== body.rows[at])) {
      body.replaceChildren(...rows);
    }
  }

  async function look() {
    if (!document.hidden) {
      try {
        const answer = await fetch(page.dataset.warmerOverview + window.location.search, {
          credentials: "same-origin", redirect: "error",
        });
        if (!answer.ok) {
          throw new Error("status " + answer.status);
        }
        draw(await answer.text());
        failures = 0;
        seen = new Date();
        note.textContent = "Brought up to date every " + PAUSE / 1000 + " s.";
        note.className = "warmer-quiet";
      } catch (error) {
        failures += 1;
        note.textContent = "The server does not answer (" + error.message + "): this was seen at "
          + seen.toLocaleTimeString() + ". Trying again.";
        note.className = "warmer-warning";
      }
    }
    window.setTimeout(look, Math.min(PAUSE * 2 ** failures, LONGEST_PAUSE));
  }

  note.textContent = "Brought up to date every " + PAUSE / 1000 + " s.";
  window.setTimeout(look, PAUSE);
})();
