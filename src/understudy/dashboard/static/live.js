"use strict";
// Puts the parts of the page that have changed in place of the old ones, every two seconds while somebody looks.
// The page is read as a document, in which no script runs, and its nodes are taken over: no text is made into markup here.
(function () {
  const EVERY = 2000;
  const link = document.getElementById("link");
  let failed = null;

  function opened(part) {
    return Array.from(part.querySelectorAll("details[id]"), (each) => [each.id, each.open]);
  }

  function take(fresh) {
    for (const now of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(now.id);
      if (!next) continue;
      const state = new Map(opened(now));
      for (const each of next.querySelectorAll("details[id]")) {
        if (state.has(each.id)) each.open = state.get(each.id);
      }
      if (now.isEqualNode(next)) continue;
      const held = now.contains(document.activeElement) ? document.activeElement : null;
      const place = held ? held.getAttribute("href") || held.id : null;
      const taken = document.importNode(next, true);
      now.replaceWith(taken);
      if (place) {
        const again = Array.from(taken.querySelectorAll("a, summary, button")).find(
          (each) => (each.getAttribute("href") || each.id) === place
        );
        if (again) again.focus({ preventScroll: true });
      }
    }
  }

  function look() {
    if (document.hidden || !document.querySelector("[data-live][id]:not(#asof)")) {
      setTimeout(look, EVERY);
      return;
    }
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.timeout = 10000;
    request.onloadend = function () {
      if (request.status === 200 && request.response && request.response.getElementById("asof")) {
        take(request.response);
        failed = null;
        if (link) link.textContent = "live";
      } else if (request.status === 200 && new URL(request.responseURL).pathname === "/sign-in") {
        if (link) link.textContent = "signed out: load the page again to sign in";
      } else {
        failed = failed || new Date();
        if (link) link.textContent = "not reached since " + failed.toISOString().slice(11, 19) + " UTC";
      }
      setTimeout(look, EVERY);
    };
    request.send();
  }

  setTimeout(look, EVERY);
})();
