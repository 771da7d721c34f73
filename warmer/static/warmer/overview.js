/* The overview: ask how the jobs are, and show it. What somebody chose, opened or selected stays as it is. */
"use strict";

(function () {
  const page = document.querySelector("[data-warmer-overview]");
  const body = page && page.querySelector("#warmer-jobs tbody");
  if (!body) {
    return;
  }
  const PAUSE = 10000;

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

  // A row that stays is not taken out, not even to be put back: it may have the keyboard.
  function arrange(rows) {
    for (const row of [...body.rows]) {
      if (!rows.includes(row)) {
        row.remove();
      }
    }
    for (const [at, row] of rows.entries()) {
      if (body.rows[at] !== row) {
        body.insertBefore(row, body.rows[at] || null);
      }
    }
  }

  function draw(html) {
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    for (const part of page.querySelectorAll("[data-warmer-part]")) {
      renew(part, fresh.content.querySelector('[data-warmer-part="' + part.dataset.warmerPart + '"]'));
    }
    const jobs = [...fresh.content.querySelectorAll("tr[data-warmer-job]")];
    arrange(jobs.length ? jobs.map(rowOf) : [...fresh.content.querySelectorAll("#warmer-jobs tbody tr")]);
  }

  window.warmerPoll({
    address: page.dataset.warmerOverview + window.location.search,
    what: "how the jobs are",
    note: page.querySelector("[data-warmer-note]"),
    fine: "Brought up to date every " + PAUSE / 1000 + " s.",
    pause: PAUSE,
    longest: 60000,
    show: async function (answer) {
      draw(await answer.text());
      return false;
    },
  });
})();
