// A question to one or two versions: their replies as they come, each token with how likely it was.
"use strict";
(function () {
  const form = document.getElementById("play");
  const page = document.getElementById("replies");
  const language = document.documentElement.lang;
  const token = form.dataset.csrf;
  let stops = [];

  function body(model, select) {
    const messages = [];
    if (form.system.value.trim()) messages.push({ role: "system", content: form.system.value });
    messages.push({ role: "user", content: form.prompt.value });
    const asked = { model, messages, stream: true, stream_options: { include_usage: true }, temperature: Number(form.temperature.value), max_tokens: Number(form.longest.value), seed: Number(form.seed.value) };
    if (select.selectedOptions[0].dataset.tokens === "1") Object.assign(asked, { logprobs: true, top_logprobs: 5 });
    if (form.schema.value.trim()) asked.response_format = { type: "json_schema", json_schema: { name: "reply", schema: JSON.parse(form.schema.value) } };
    return asked;
  }

  function put(box, text, scored) {
    const one = document.createElement("span");
    one.textContent = text;
    if (scored) {
      one.className = "token";
      const p = Math.exp(scored.logprob);
      one.dataset.facts = JSON.stringify([[scored.token, p], ...(scored.top_logprobs || []).map((other) => [other.token, Math.exp(other.logprob)])]);
      if (p < 0.9) one.classList.add(p < 0.3 ? "unsure3" : p < 0.6 ? "unsure2" : "unsure1");
    }
    box.append(one);
  }

  function facts(section, one) {
    const [own, ...others] = JSON.parse(one.dataset.facts);
    const said = ([text, p]) => `${JSON.stringify(text)} ${new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format(p)}`;
    section.querySelector(".token-facts").textContent = `${said(own)}  ·  ${others.map(said).join("  ")}`;
    for (const other of section.querySelectorAll(".token.chosen")) other.classList.remove("chosen");
    one.classList.add("chosen");
  }

  for (const section of page.querySelectorAll(".reply")) {
    const box = section.querySelector(".answer");
    box.addEventListener("mouseover", (event) => {
      if (event.target.dataset.facts) facts(section, event.target);
    });
    box.addEventListener("keydown", (event) => {
      const tokens = [...box.querySelectorAll(".token")];
      const at = tokens.findIndex((one) => one.classList.contains("chosen"));
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tokens.length - 1 }[event.key];
      if (to === undefined || !tokens[to]) return;
      event.preventDefault();
      facts(section, tokens[to]);
    });
  }

  async function answer(side) {
    const select = form[`model-${side}`];
    const section = document.getElementById(`reply-${side}`);
    section.hidden = !select.value;
    if (!select.value) return;
    const box = section.querySelector(".answer");
    const told = section.querySelector(".facts");
    const why = section.querySelector("form.why");
    section.querySelector("h2").textContent = `${side} · ${select.value}`;
    for (const place of [box, told, section.querySelector(".token-facts"), section.querySelector(".passages"), section.querySelector(".why-rows")]) place.textContent = "";
    why.hidden = true;
    section.setAttribute("aria-busy", "true");
    const stop = new AbortController();
    stops.push(stop);
    const began = performance.now();
    let text = "";
    let version = "";
    try {
      const response = await fetch("/v1/chat/completions", { method: "POST", signal: stop.signal, headers: { "content-type": "application/json", "x-csrf-token": token }, body: JSON.stringify(body(select.value, select)) });
      if (!response.ok) throw new Error((await response.json()).error.message);
      version = response.headers.get("x-sodate-version");
      const passages = response.headers.get("x-sodate-passages");
      if (passages) showPassages(section, JSON.parse(passages));
      let rest = "";
      for await (const piece of pieces(response.body)) {
        rest += piece;
        let end;
        while ((end = rest.indexOf("\n\n")) >= 0) {
          const line = rest.slice(0, end).replace(/^data: /, "");
          rest = rest.slice(end + 2);
          if (line === "[DONE]") continue;
          const event = JSON.parse(line);
          if (event.error) throw new Error(event.error.message);
          if (event.usage) told.textContent = `${event.usage.completion_tokens} ${page.dataset.tokens} · ${((performance.now() - began) / 1000).toFixed(1)} ${language === "ja" ? "秒" : "s"} · ${version}`;
          for (const choice of event.choices || []) {
            const content = (choice.delta && choice.delta.content) || "";
            const scored = choice.logprobs && choice.logprobs.content;
            text += content;
            if (scored && scored.length === 1) put(box, content, scored[0]);
            else if (scored && scored.map((one) => one.token).join("") === content) scored.forEach((one) => put(box, one.token, one));
            else if (content) put(box, content, scored && scored[0]);
            if (choice.finish_reason === "length") put(box, ` [${page.dataset.cut}]`, null);
          }
        }
      }
      why.version.value = version;
      why.prompt.value = form.prompt.value;
      why.reply.value = text;
      why.system.value = form.system.value;
      why.hidden = false;
    } catch (error) {
      if (error.name !== "AbortError") told.textContent = `${page.dataset.error} ${error.message}`;
    } finally {
      section.removeAttribute("aria-busy");
    }
  }

  async function* pieces(stream) {
    const reader = stream.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  }

  function showPassages(section, passages) {
    const place = section.querySelector(".passages");
    const title = document.createElement("h3");
    title.textContent = page.dataset.passages;
    const list = document.createElement("ol");
    for (const one of passages) {
      const line = document.createElement("li");
      line.textContent = Object.values(one).join(" · ");
      list.append(line);
    }
    place.append(title, list);
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const ask = document.getElementById("ask");
    const stop = document.getElementById("stop");
    ask.disabled = true;
    stop.hidden = false;
    stops = [];
    document.getElementById("hint").hidden = false;
    await Promise.all(["A", "B"].map(answer));
    ask.disabled = false;
    stop.hidden = true;
  });
  document.getElementById("stop").addEventListener("click", () => stops.forEach((one) => one.abort()));
  form.prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
})();
