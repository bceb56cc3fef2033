// Judging by keys: 1 A, 2 the same, 3 B, 4 both bad, for the first viewpoint without a vote; Enter keeps, S skips.
"use strict";
(function () {
  const decide = document.getElementById("decide"); // a review: each decision has a key
  if (decide) {
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "TEXTAREA") return;
      const button = decide.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
      if (button) decide.requestSubmit(button);
    });
    return;
  }
  const form = document.getElementById("ballot");
  if (!form) return;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const sets = [...form.querySelectorAll("fieldset")];
    const open = sets.find((one) => !one.querySelector(":checked")) || sets[sets.length - 1];
    const place = { 1: 0, 2: 1, 3: 2, 4: 3, a: 0, b: 2 }[event.key.toLowerCase()];
    if (place !== undefined) {
      const choice = open.querySelectorAll("input[type=radio]")[place];
      choice.checked = true;
      choice.focus();
      event.preventDefault();
    } else if (event.key === "Enter" && event.target.tagName !== "BUTTON" && event.target.tagName !== "A") {
      event.preventDefault();
      form.requestSubmit(form.querySelector("button.main"));
    } else if (event.key.toLowerCase() === "s") {
      form.requestSubmit(form.querySelector("button[name=skip]"));
    }
  });
})();
