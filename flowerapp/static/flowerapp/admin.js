"use strict";
(() => {
  const EVERY = 3000, LATEST = 30000; // milliseconds between two reads of an open flow: at first, and at most
  const IDLE = 20; // it waits so many times as long as the last answer took
  let version = ""; // of what the page shows

  function describe(program) {
    const parts = program.parameters.map((parameter) => {
      const value = parameter.required ? "required" : `${parameter.default} by default`;
      const description = parameter.description ? ": " + parameter.description.replace(/\.$/, "") : "";
      return `${parameter.name} (${parameter.type}, ${value})${description}`;
    });
    if (program.open) parts.push("any others");
    const parameters = parts.length ? `Parameters: ${parts.join("; ")}.` : "Takes no parameters.";
    return program.description ? `${program.description} ${parameters}` : parameters;
  }

  function helpOf(select) {
    const row = select.closest(".form-row");
    let help = row.querySelector(".flower-program-help");
    if (!help) {
      help = document.createElement("div");
      help.className = "flower-program-help";
      help.id = `${select.id}_parameters`;
      help.setAttribute("aria-live", "polite");
      row.append(help);
    }
    return help;
  }

  function watchPrograms() {
    const source = document.getElementById("flower-programs");
    if (!source) return;
    const programs = new Map(JSON.parse(source.textContent).map((program) => [program.name, program]));
    const update = (select) => {
      const program = programs.get(select.value);
      helpOf(select).textContent = program ? describe(program) : "";
    };
    const all = () => document.querySelectorAll("select.flower-program").forEach((select) => {
      if (!select.name.includes("__prefix__")) update(select);
    });
    document.addEventListener("change", (event) => {
      if (event.target.matches("select.flower-program")) update(event.target);
    });
    const number = (row) => {
      const seqs = [...document.querySelectorAll('input[name^="steps-"][name$="-task_seq"]')].map((input) => Number(input.value) || 0);
      const own = row.querySelector('input[name$="-task_seq"]');
      if (own && !own.value) own.value = Math.max(0, ...seqs) + 1;
    };
    document.addEventListener("formset:added", (event) => {
      event.target.querySelectorAll(".flower-program-help").forEach((help) => help.remove());
      number(event.target);
      all();
    });
    const first = document.getElementById("steps-0");
    if (first && !document.querySelector(".errornote")) number(first);
    all();
  }

  async function fetchLive() {
    const address = new URL(location.href);
    address.searchParams.set("part", "live");
    const headers = { Accept: "text/html", ...(version ? { "If-None-Match": version } : {}) };
    return fetch(address, { headers, cache: "no-store" });
  }

  // "same", "changed", or "ended", after which nothing is read any more.
  async function refresh() {
    const live = document.getElementById("flower-live");
    if (document.hidden) return "same";
    const answer = await fetchLive();
    if (answer.status === 304) return "same";
    if (!answer.ok || answer.redirected) return "ended";
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("flower-live");
    if (!fresh) return "ended";
    version = answer.headers.get("ETag") || "";
    for (const part of [".flower-head", ".flower-notes"]) {
      const shown = document.querySelector(part), newer = page.querySelector(part);
      if (shown && newer && !shown.contains(document.activeElement)) shown.replaceWith(newer);
    }
    if (!("live" in fresh.dataset)) {
      const typing = document.activeElement && document.activeElement.matches("input, textarea, select");
      if (!typing) location.reload();
      return "ended";
    }
    if (!live.contains(document.activeElement)) live.replaceWith(fresh);
    return "changed";
  }

  function watchFlow() {
    if (!document.querySelector("#flower-live[data-live]")) return;
    let pause = EVERY;
    const next = () => setTimeout(async () => {
      const began = performance.now();
      let outcome = "same";
      try { outcome = await refresh(); } catch { version = ""; }
      if (outcome === "ended") return;
      const longer = outcome === "same" ? 1.5 * pause : IDLE * (performance.now() - began);
      pause = Math.min(LATEST, Math.max(EVERY, longer));
      next();
    }, pause);
    next();
  }

  document.addEventListener("DOMContentLoaded", () => {
    watchPrograms();
    watchFlow();
  });
})();
