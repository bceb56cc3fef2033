// The program of platform_client.py for openai-node. Run by platform_node.sh.
import assert from "node:assert";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ maxRetries: 4 });
const model = process.env.MODEL;
const busy = ["validating_files", "queued", "running", "in_progress"];

async function uploaded(name, rows, purpose = "fine-tune") {
  const file = await toFile(Buffer.from(rows.map((row) => JSON.stringify(row) + "\n").join("")), name);
  return (await client.files.create({ file, purpose })).id;
}

async function ended(look) {
  for (;;) {
    const found = await look();
    if (!busy.includes(found.status)) return found;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

const chat = (n, answer) => [
  { role: "user", content: `Please send ${n} boxes.` },
  ...(answer ? [{ role: "assistant", content: answer }] : []),
];
const numbers = Array.from({ length: 20 }, (_, n) => n + 2);

const training = await uploaded("train.jsonl", numbers.map((n) => ({ messages: chat(n, `${n} boxes`) })));
const validation = await uploaded("valid.jsonl", [30, 31, 32].map((n) => ({ messages: chat(n, `${n} boxes`) })));
const pairs = await uploaded("pairs.jsonl", numbers.map((n) => ({
  input: { messages: chat(n) },
  preferred_output: [{ role: "assistant", content: `${n} boxes` }],
  non_preferred_output: [{ role: "assistant", content: `${n}` }],
})));

let job = await client.fineTuning.jobs.create({
  model, training_file: training, validation_file: validation, suffix: "boxes", seed: 7,
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2, batch_size: 4 } } },
});
job = await ended(() => client.fineTuning.jobs.retrieve(job.id));
assert.equal(job.status, "succeeded", JSON.stringify(job.error));
const events = await all(client.fineTuning.jobs.listEvents(job.id));
assert(events.some((event) => event.type === "metrics"));
assert.equal((await all(client.fineTuning.jobs.checkpoints.list(job.id))).length, 2);
assert((await (await client.files.content(job.result_files[0])).text()).startsWith("step,"));

let tuned = await client.fineTuning.jobs.create({
  model: job.fine_tuned_model, training_file: pairs, seed: 7,
  method: { type: "dpo", dpo: { hyperparameters: { n_epochs: 1, batch_size: 4 } } },
});
tuned = await ended(() => client.fineTuning.jobs.retrieve(tuned.id));
assert.equal(tuned.status, "succeeded", JSON.stringify(tuned.error));
assert((await all(client.fineTuning.jobs.list())).some((one) => one.id === tuned.id));

const items = await uploaded("items.jsonl", [40, 41].map((n) => ({ item: { number: `${n}`, answer: `${n} boxes` } })), "evals");
const definition = await client.evals.create({
  name: "boxes",
  data_source_config: {
    type: "custom", include_sample_schema: true,
    item_schema: { type: "object", properties: { number: { type: "string" }, answer: { type: "string" } } },
  },
  testing_criteria: [{
    type: "string_check", name: "same", operation: "eq",
    input: "{{ sample.output_text }}", reference: "{{ item.answer }}",
  }],
});
let run = await client.evals.runs.create(definition.id, {
  name: "tuned",
  data_source: {
    type: "completions", model: tuned.fine_tuned_model, source: { type: "file_id", id: items },
    input_messages: { type: "template", template: [{ role: "user", content: "Please send {{ item.number }} boxes." }] },
    sampling_params: { temperature: 0, max_completion_tokens: 8 },
  },
});
run = await ended(() => client.evals.runs.retrieve(run.id, { eval_id: definition.id }));
assert.equal(run.result_counts.total, 2);
assert.equal((await all(client.evals.runs.outputItems.list(run.id, { eval_id: definition.id }))).length, 2);

const reply = await client.chat.completions.create({
  model: tuned.fine_tuned_model, messages: chat(12), temperature: 0, store: true, metadata: { from: job.id },
  response_format: {
    type: "json_schema",
    json_schema: {
      name: "order", strict: true,
      schema: {
        type: "object", properties: { boxes: { type: "integer" } }, required: ["boxes"], additionalProperties: false,
      },
    },
  },
  max_tokens: 60,
});
const kept = await all(client.chat.completions.list({ metadata: { from: job.id } }));
assert.deepEqual(kept.map((one) => one.id), [reply.id]);
const weights = await client.get(`/fine_tuning/jobs/${tuned.id}/weights`, { __binaryResponse: true });
assert((await weights.arrayBuffer()).byteLength > 1000);
console.log(`openai-node: files, two jobs, an eval run, a schema, stored completions, weights: ${tuned.fine_tuned_model}`);
