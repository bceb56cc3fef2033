// A file goes to /v1/files piece by piece, with how much has been sent; then the page of the file opens.
"use strict";
(function () {
  const form = document.getElementById("upload");
  if (!form) return;
  // The browser's own button speaks the browser's language, not the page's.
  form.file.addEventListener("change", () => {
    if (form.file.files.length) document.getElementById("chosen").textContent = form.file.files[0].name;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const sent = document.getElementById("sent");
    const problem = document.getElementById("problem");
    const button = form.querySelector("button");
    const body = new FormData();
    body.append("purpose", "fine-tune");
    body.append("file", form.file.files[0]);
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/files");
    request.setRequestHeader("x-csrf-token", form.dataset.csrf);
    request.upload.addEventListener("progress", (now) => {
      if (now.lengthComputable) sent.value = now.loaded / now.total;
    });
    request.addEventListener("loadend", () => {
      button.disabled = false;
      let answer = {};
      try {
        answer = JSON.parse(request.responseText);
      } catch {
        answer = {};
      }
      if (request.status === 200) location.assign(`/data/${encodeURIComponent(answer.id)}`);
      else {
        sent.hidden = true;
        problem.hidden = false;
        problem.textContent = answer.error ? answer.error.message : `HTTP ${request.status}`;
      }
    });
    problem.hidden = true;
    sent.hidden = false;
    button.disabled = true;
    request.send(body);
  });
})();
