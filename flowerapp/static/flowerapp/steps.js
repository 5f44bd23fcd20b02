"use strict";
(() => {
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

  function helpOf(input) {
    const row = input.closest(".form-row");
    let help = row.querySelector(".flower-program-help");
    if (!help) {
      help = document.createElement("div");
      help.className = "flower-program-help";
      help.id = `${input.id}_parameters`;
      help.setAttribute("aria-live", "polite");
      row.append(help);
    }
    return help;
  }

  function watchPrograms() {
    const source = document.getElementById("flower-programs");
    if (!source) return;
    const programs = new Map(JSON.parse(source.textContent).map((program) => [program.name, program]));
    const update = (input) => {
      const program = programs.get(input.value);
      helpOf(input).textContent = program ? describe(program) : "";
    };
    const all = () => document.querySelectorAll("input.flower-program").forEach((input) => {
      if (!input.name.includes("__prefix__")) update(input);
    });
    document.addEventListener("input", (event) => {
      if (event.target.matches("input.flower-program")) update(event.target);
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

  document.addEventListener("DOMContentLoaded", watchPrograms);
})();
