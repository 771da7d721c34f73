/* The overview: a checkbox that selects every job of the page. Without scripts, each job has its own. */
"use strict";

(function () {
  const place = document.querySelector("#warmer-jobs th.warmer-choose");
  function boxes() {
    return document.querySelectorAll('#warmer-jobs input[name="job"]');
  }
  if (!place || !boxes().length) {
    return;
  }
  const all = document.createElement("input");
  all.type = "checkbox";
  all.setAttribute("aria-label", "Select every job of this page");
  all.addEventListener("change", function () {
    boxes().forEach(function (box) {
      box.checked = all.checked;
    });
  });
  place.append(all);
})();
