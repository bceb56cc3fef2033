// What users of openai-node do: chat, a stream, log-probabilities, a forced tool, responses, embeddings. Run by node.sh.
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const model = process.env.MODEL;
const asked = { model, temperature: 0, max_tokens: 30, messages: [{ role: "user", content: "Name a fruit." }] };

const whole = await client.chat.completions.create({ ...asked, logprobs: true, top_logprobs: 2 });
assert(whole.choices[0].message.content && whole.choices[0].logprobs.content[0].bytes.length);
let streamed = "";
for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
assert.equal(streamed, whole.choices[0].message.content);

const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const called = await client.chat.completions.create({ ...asked, max_tokens: 60, tools, tool_choice: "required" });
assert(JSON.parse(called.choices[0].message.tool_calls[0].function.arguments).city);

const response = await client.responses.create({ model, input: "Name a fruit.", temperature: 0, max_output_tokens: 30 });
assert.equal(response.output_text, whole.choices[0].message.content);
assert.equal((await client.responses.retrieve(response.id)).id, response.id);

const vectors = await client.embeddings.create({ model, input: ["apple", "pear"] });
assert.equal(vectors.data[0].embedding.length, vectors.data[1].embedding.length);
const first = (await client.models.list()).data[0];
assert.equal((await client.models.retrieve(first.id)).id, first.id);
await assert.rejects(client.models.retrieve("no/such:model"), (error) => error.status === 404 && error.code === "model_not_found");
console.log("openai-node: chat, stream, log-probabilities, tool, responses, embeddings, models");
