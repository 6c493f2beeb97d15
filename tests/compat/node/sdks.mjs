// The official Node SDKs through the router: plain, streamed, and an error each.
import assert from "node:assert/strict";
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";

const baseURL = process.env.TOLLGATE_BASE_URL;
const apiKey = process.env.TOLLGATE_API_KEY;
const defaultHeaders = { "X-Task-Type": "chat" };
const openai = new OpenAI({ baseURL: `${baseURL}/v1`, apiKey, defaultHeaders, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL, apiKey, defaultHeaders, maxRetries: 0 });
const messages = [{ role: "user", content: "Say hello." }];
let passed = 0;

for (const model of ["auto", "openai-gpt4o-mini"]) {
  const plain = await openai.chat.completions.create({ model, messages, max_tokens: 12 });
  assert.ok(plain.choices[0].message.content);
  passed++;
  let text = "";
  const stream = await openai.chat.completions.create({ model, messages, max_tokens: 12, stream: true });
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? "";
  assert.ok(text);
  passed++;
}
await assert.rejects(openai.chat.completions.create({ model: "gpt-17", messages }), OpenAI.NotFoundError);
passed++;

for (const model of ["auto", "openai-gpt4o-mini"]) {
  const plain = await anthropic.messages.create({ model, messages, max_tokens: 12 });
  assert.ok(plain.content[0].text);
  passed++;
  const final = await anthropic.messages.stream({ model, messages, max_tokens: 12 }).finalMessage();
  assert.ok(final.content[0].text && final.usage.output_tokens > 0);
  passed++;
}
await assert.rejects(anthropic.messages.create({ model: "claude-99", messages, max_tokens: 5 }), Anthropic.NotFoundError);
passed++;
console.log(JSON.stringify({ passed }));
