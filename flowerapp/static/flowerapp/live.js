"use strict";
// Keeps the page of a flow that has not ended as it is now: it reads what has changed, morphs it into the page, so that
// scroll, selection, focus, typed text and opened details stay, and says how old it is.
(() => {
  const EVERY = 1000, IDLE = 2000, LATEST = 30000; // milliseconds between two reads: after a change, without, at most
  const COST = 4; // it waits at least so many times as long as the last answer took
  const PATIENCE = 10000; // milliseconds without an answer after which the connection is lost
  const HELD = 3000; // milliseconds that a pressed pointer may keep a change back, so that a click hits what was aimed at

  let version, takenAt, answeredAt, pause = EVERY, retry = 0, nextAt = 0;
  let timer = 0, reading = false, paused = false, over = "", pressedAt = 0;

  const root = () => document.getElementById("flower-live");
  const line = () => document.getElementById("flower-live-line");
  const seconds = (milliseconds) => Math.max(0, Math.round(milliseconds / 1000));

  function words() {
    if (over) return over;
    if (paused || document.hidden) return "Paused";
    if (!retry) return `Live, ${seconds(Date.now() - answeredAt)} s ago`;
    return reading ? "Connection lost, retrying now" : `Connection lost, retrying in ${seconds(nextAt - Date.now())} s`;
  }

  function spelled(elapsed) { // as selectors/durations.py writes it
    if (elapsed < 60) return `${elapsed.toFixed(1)} s`;
    const minutes = Math.floor(elapsed / 60), two = (number) => String(number).padStart(2, "0");
    if (minutes < 60) return `${minutes} min ${two(Math.floor(elapsed % 60))} s`;
    return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  }

  function write(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function show() {
    const text = words(), state = text.split(",")[0], isLive = state === "Live";
    write(line().querySelector(".flower-live-words"), text);
    write(line().querySelector(".flower-live-state"), state); // read aloud when it changes, not each second
    const isNow = isLive || state === "Ended";
    write(line().querySelector(".flower-live-since"), isNow ? "" : `What you see is from ${new Date(answeredAt).toLocaleTimeString()}.`);
    line().querySelector("button").hidden = Boolean(over);
    line().dataset.state = isLive ? "live" : retry && !over ? "lost" : "still";
    root().classList.toggle("flower-stale", state === "Connection lost");
    if (!isLive) return;
    for (const element of root().querySelectorAll("[data-elapsed]")) {
      write(element, spelled(Number(element.dataset.elapsed) + (Date.now() - takenAt) / 1000));
    }
  }

  // What the reader has typed or opened stays as it is.
  function keep(name, element) {
    const isTyped = name === "value" && element.matches("input:not([type=hidden]), textarea, select");
    return !isTyped && !(name === "open" && element.matches("details"));
  }

  // Spaces between blocks would be matched with each other, and what is between them moved, which loses the selection.
  function tidy(tree) {
    for (const parent of [tree, ...tree.querySelectorAll("section, article, form, tbody, .flower-columns, .flower-notes")]) {
      for (const child of [...parent.childNodes]) if (child.nodeType === Node.TEXT_NODE && !child.data.trim()) child.remove();
    }
  }

  const released = () => new Promise((resolve) => {
    const check = () => (pressedAt && Date.now() - pressedAt < HELD ? setTimeout(check, 50) : resolve());
    check();
  });

  async function take(answer) {
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("flower-live");
    if (!fresh) throw new Error("the answer is not the page of a flow");
    const at = Date.now();
    await released();
    tidy(fresh);
    Idiomorph.morph(root(), [...fresh.childNodes], { morphStyle: "innerHTML", callbacks: { beforeAttributeUpdated: keep } });
    version = answer.headers.get("ETag") || "";
    takenAt = at;
    if (!("live" in fresh.dataset)) over = "Ended, no longer refreshed";
  }

  async function read() {
    const address = new URL(location.href);
    address.searchParams.set("part", "live");
    const headers = { Accept: "text/html", ...(version ? { "If-None-Match": version } : {}) };
    const signal = AbortSignal.timeout(PATIENCE);
    const answer = await fetch(address, { headers, cache: "no-store", redirect: "manual", signal });
    if (answer.type === "opaqueredirect") over = "Signed out, no longer refreshed";
    else if (answer.status === 304) pause = Math.min(IDLE, 1.5 * pause);
    else if (answer.ok) {
      await take(answer);
      pause = EVERY;
    } else if (answer.status < 500 && answer.status !== 429) over = `Refused with ${answer.status}, no longer refreshed`;
    else throw new Error(`the server answers ${answer.status}`);
  }

  async function poll() {
    if (reading || over || paused || document.hidden) return;
    clearTimeout(timer);
    const began = Date.now();
    reading = true;
    try {
      await read();
      if (!over) answeredAt = Date.now();
      retry = 0;
    } catch (error) {
      console.warn(error);
      retry = Math.min(LATEST, retry ? 2 * retry : EVERY);
    }
    reading = false;
    const wait = retry || Math.min(LATEST, Math.max(pause, COST * (Date.now() - began)));
    nextAt = Date.now() + wait;
    timer = setTimeout(poll, wait);
    show();
  }

  function pauseOrContinue() {
    paused = !paused;
    write(line().querySelector("button"), paused ? "Continue" : "Pause");
    show();
    poll();
  }

  function watch() {
    if (!root() || !("live" in root().dataset)) return;
    tidy(root());
    version = root().dataset.version;
    takenAt = answeredAt = Date.now();
    document.addEventListener("pointerdown", () => { pressedAt = Date.now(); }, true);
    for (const end of ["pointerup", "pointercancel", "dragend"]) document.addEventListener(end, () => { pressedAt = 0; }, true);
    document.addEventListener("visibilitychange", () => { show(); poll(); });
    window.addEventListener("online", poll);
    window.addEventListener("pageshow", poll);
    line().querySelector("button").addEventListener("click", pauseOrContinue);
    line().hidden = false;
    setInterval(show, 500);
    show();
    timer = setTimeout(poll, EVERY);
  }

  document.addEventListener("DOMContentLoaded", watch);
})();
