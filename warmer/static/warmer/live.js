/*
 * Keep a page up to date: fetch its content again, and replace the parts that changed.
 *
 * data-warmer-live: seconds between two fetches, on the root. data-warmer-part: a part to replace. Rows of jobs are
 * replaced cell by cell. Elements that the user has selected, opened or focused are left unchanged.
 */
"use strict";

(function () {
  const page = document.querySelector("[data-warmer-live]");
  if (!page) {
    return;
  }
  const PAUSE = page.dataset.warmerLive * 1000, LONGEST_PAUSE = 60000;
  const SLOW = 3000, TIMEOUT = 10000;
  const body = page.querySelector("#warmer-jobs tbody");
  const note = page.querySelector("[data-warmer-note]");
  const fine = PAUSE > 1000 ? "Updates every " + PAUSE / 1000 + " seconds." : "";
  const address = new URL(window.location);
  address.searchParams.set("live", "1");
  let failures = 0, updated = new Date(), shown = null;

  // A screen reader reads the note each time it is written, so write it only if it changes.
  function say(text, isGood, ...more) {
    if (text !== shown) {
      shown = text;
      note.className = isGood ? "warmer-quiet" : "warmer-warning";
      note.replaceChildren(text, ...more);
    }
  }

  function age() {
    return "this page is from " + updated.toLocaleTimeString([], { timeZoneName: "short" }) + ".";
  }

  function sayLoggedOut() {
    const link = document.createElement("a");
    link.href = window.location.pathname + window.location.search; // Django redirects from there to the log-in and back
    link.textContent = "log in again";
    say("You are logged out: ", false, link, "; " + age());
  }

  function inUse(place) {
    const selection = document.getSelection();
    return place.contains(document.activeElement) || place.querySelector("details[open]")
      || (!selection.isCollapsed && selection.containsNode(place, true));
  }

  function renew(place, fresh) {
    if (fresh && place.innerHTML !== fresh.innerHTML && !inUse(place)) {
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

  // Do not remove and re-insert a row that stays: it may have the focus.
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
    const template = document.createElement("template");
    template.innerHTML = html;
    const fresh = template.content.querySelector("[data-warmer-live]");
    if (!fresh) { // a run has ended
      window.location.reload();
      return;
    }
    for (const part of page.querySelectorAll("[data-warmer-part]")) {
      renew(part, fresh.querySelector('[data-warmer-part="' + part.dataset.warmerPart + '"]'));
    }
    if (body) {
      const jobs = [...fresh.querySelectorAll("tr[data-warmer-job]")];
      arrange(jobs.length ? jobs.map(rowOf) : [...fresh.querySelectorAll("#warmer-jobs tbody tr")]);
    }
  }

  async function update() {
    const late = window.setTimeout(function () {
      if (!failures) {
        say("The server has not answered yet: " + age(), false);
      }
    }, SLOW);
    try {
      const answer = await fetch(address, {
        credentials: "same-origin", redirect: "manual", signal: AbortSignal.timeout(TIMEOUT),
      });
      if (answer.type === "opaqueredirect") { // to the log-in: there is no other redirect
        failures += 1;
        sayLoggedOut();
        return;
      }
      if (!answer.ok) {
        throw new Error("status " + answer.status);
      }
      draw(await answer.text());
      failures = 0;
      updated = new Date();
      say(fine, true);
    } catch (error) {
      failures += 1;
      const why = error.name === "TimeoutError" ? "no answer within " + TIMEOUT / 1000 + " s" : error.message;
      say("The server does not answer (" + why + "): " + age() + " Trying again.", false);
    } finally {
      window.clearTimeout(late);
    }
  }

  async function loop() {
    if (!document.hidden) {
      await update();
    }
    window.setTimeout(loop, Math.min(PAUSE * 2 ** failures, LONGEST_PAUSE));
  }

  say(fine, true);
  window.setTimeout(loop, PAUSE);
})();
