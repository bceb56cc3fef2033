// What pages do beyond links and forms: times in the reader's zone, forms that say they are at work, keys, live progress.
"use strict";
(function () {
  const language = document.documentElement.lang;

  function localTimes(root) {
    // As the server writes them: 1 Dec 2026, 04:12 and 2026年12月1日 04:12.
    const form = new Intl.DateTimeFormat(language === "ja" ? "ja" : "en-GB", { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
    for (const one of root.querySelectorAll("time[datetime]")) {
      const when = new Date(one.getAttribute("datetime"));
      if (!isNaN(when)) {
        one.title = one.title || one.textContent;
        one.textContent = form.format(when);
      }
    }
  }

  // A form is sent once; while its answer is made it says what is waited for. Nothing is shown as done before it is.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    if (form.method !== "post" || form.hasAttribute("hx-post") || event.defaultPrevented) return;
    form.dataset.sent = "yes";
    const button = event.submitter || form.querySelector("button");
    if (!button) return;
    setTimeout(() => {
      button.disabled = true;
      if (form.dataset.busy) button.textContent = form.dataset.busy;
    });
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload(); // a page from the browser's memory may be older than what has happened
  });

  // What a page watches is told as it changes, while somebody can see it: a page in the background asks for nothing.
  function live(box) {
    let source = null;
    const close = () => {
      if (source) source.close();
      source = null;
    };
    const open = () => {
      if (source || document.hidden || !box.isConnected) return;
      source = new EventSource(box.dataset.live);
      source.addEventListener("state", (event) => {
        const now = JSON.parse(event.data);
        if (!box.isConnected) close();
        else if (now.gone) {
          close();
          box.textContent = box.dataset.gone;
        } else if (now.seen) house(box, now);
        else run(box, now, close);
      });
      source.addEventListener("error", () => {
        if (source && source.readyState === EventSource.CLOSED) again(close, open); // refused; else the browser asks again
      });
    };
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
    open();
  }

  // A stream that was refused: whoever is not logged in any more is told so, all others try once more after a while.
  function again(close, open) {
    close();
    setTimeout(async () => {
      const page = await fetch(location.href, { redirect: "manual" }).catch(() => null);
      if (page && page.type === "opaqueredirect") location.reload();
      else open();
    }, 10_000);
  }

  // A page of several things: how far those are that run; where anything else has changed, its part comes anew.
  function house(box, now) {
    if (now.seen !== box.dataset.seen && box.dataset.asked !== now.seen) {
      box.dataset.asked = now.seen;
      htmx.ajax("GET", location.href, { source: box, target: box, select: `#${box.id}`, swap: "outerHTML" });
      return;
    }
    for (const one of now.running || []) {
      const card = box.querySelector(`[data-run="${CSS.escape(one.run)}"]`);
      if (card && one.steps !== undefined) progress(card, one);
    }
  }

  function progress(box, now) {
    const bar = box.querySelector("progress");
    if (!bar) return;
    bar.value = now.step;
    bar.max = now.steps;
    box.querySelector(".done").textContent = now.step.toLocaleString(language);
    box.querySelector(".left").textContent = left(now);
  }

  // The run that a page is about: curves.js is told, too.
  function run(box, now, close) {
    if (now.progress && box.dataset.first) {
      close();
      location.reload(); // the first step: from now on there is something to show
      return;
    }
    if (now.progress) progress(box, now.progress);
    for (const [key, value] of Object.entries(now.last || {})) {
      const place = document.querySelector(`#figures [data-key="${CSS.escape(key)}"]`);
      if (place && typeof value === "number") place.textContent = Number.isInteger(value) ? value.toLocaleString(language) : value.toPrecision(4);
    }
    document.dispatchEvent(new CustomEvent("sodate:step", { detail: now.progress ? now.progress.step : 0 }));
    if (now.status !== "running") {
      close();
      location.reload(); // the page was made while it ran
    }
  }

  // In the words of `left` and `seconds` in words.py, so that a line reads the same before and after it is told anew.
  function left(now) {
    const ja = language === "ja";
    if (now.seconds_left === null) return "";
    if (now.step >= now.steps) return ja ? "全ステップ完了、仕上げ中" : "all steps done, finishing";
    const seconds = Math.round(now.seconds_left);
    const minutes = Math.round(seconds / 60);
    const hours = Math.floor(minutes / 60);
    const text = seconds < 60 ? `${seconds} ${ja ? "秒" : "s"}` : seconds < 3600 ? `${minutes} ${ja ? "分" : "min"}` : `${hours} ${ja ? "時間" : "h"} ${minutes % 60} ${ja ? "分" : "min"}`;
    return ja ? `残り約 ${text}` : `about ${text} left`;
  }

  // On a narrow screen a row stands as a list: each cell says the head of its column.
  function named(root) {
    for (const table of root.querySelectorAll("table.fold")) {
      const heads = [...table.querySelectorAll("thead th")].map((one) => (one.querySelector(".unseen") ? "" : one.textContent.trim()));
      for (const row of table.tBodies[0] ? table.tBodies[0].rows : []) {
        // Its name stands for itself, unless that is a number.
        const name = [...row.cells].find((cell) => !cell.querySelector(":scope > input"));
        [...row.cells].forEach((cell, n) => {
          const itself = cell === name && cell.tagName === "TH" && !cell.classList.contains("number");
          if (heads[n] && !itself && !cell.querySelector(":scope > input") && cell.textContent.trim()) cell.dataset.head = heads[n];
        });
      }
    }
  }

  function prepare(root) {
    localTimes(root);
    named(root);
    for (const box of root.querySelectorAll("[data-live]")) if (box.dataset.live) live(box);
  }
  prepare(document);
  const here = document.querySelector(".bar [aria-current]");
  if (here) here.closest("ul").scrollLeft = here.offsetLeft - here.closest("ul").offsetLeft - 40; // where the bar is narrow
  // What went wrong with a part of a page stands where the part would have come.
  document.addEventListener("htmx:responseError", (event) => {
    const { xhr, target } = event.detail;
    const said = new DOMParser().parseFromString(xhr.responseText, "text/html").querySelector("[role=alert]");
    const notice = document.createElement("p");
    notice.className = "notice worse";
    notice.setAttribute("role", "alert");
    notice.textContent = said ? said.textContent : `HTTP ${xhr.status}`;
    target.replaceChildren(notice);
  });
  document.addEventListener("htmx:load", (event) => {
    if (event.target === document.body) return;
    localTimes(event.target);
    named(event.target.parentElement || event.target);
    if (event.target.dataset.live) live(event.target);
  });
})();
