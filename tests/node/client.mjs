// A client of Rota that has nothing of Rota's: it makes a kind of job known, works, schedules and watches.
// Prints what it has seen as one JSON object. Usage: node client.mjs <NATS URL>

import assert from "node:assert/strict";
import { decode, encode } from "@msgpack/msgpack";
import { AckPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Svcm } from "@nats-io/services";
import { connect, headers, nanos } from "@nats-io/transport-node";

const QUEUE = "node";
const SPEC = "shout";
const CONSUMER = `${QUEUE}:${SPEC}`;
const SCHEMA = { type: "object", properties: { text: { type: "string" } }, required: ["text"] };

const connection = await connect({ servers: process.argv[2], name: "a client in another language" });
const json = { read: (data) => JSON.parse(new TextDecoder().decode(data)), write: JSON.stringify, type: "application/json" };
const msgpack = { read: decode, write: encode, type: "application/msgpack" };

/** Ask the service; throw its problem document if it refuses. */
async function ask(name, body, { encoding = json, ...named } = {}) {
  const sent = headers();
  sent.set("Content-Type", encoding.type);
  sent.set("Rota-Caller", "node");
  for (const [key, value] of Object.entries(named)) sent.set(key, value);
  const reply = await connection.request(`rota.api.${name}`, encoding.write(body), { headers: sent, timeout: 65_000 });
  if (reply.headers?.get("Nats-Service-Error-Code")) throw encoding.read(reply.data);
  return encoding.read(reply.data);
}

async function refusal(promise) {
  return promise.then(() => assert.fail("it was not refused"), (problem) => problem);
}

// Discover.

async function discover() {
  const found = new Svcm(connection).client({ maxWait: 500, strategy: "timer" });
  const names = [];
  for await (const { name, id } of await found.ping("rota")) names.push([name, id]);
  assert.equal(names.length, 1);
  const endpoints = [];
  for await (const info of await found.info("rota")) endpoints.push(...info.endpoints.map((one) => one.subject));
  let requests = 0;
  for await (const stats of await found.stats("rota")) {
    for (const one of stats.endpoints) requests += one.num_requests;
  }
  return { service: names[0][0], endpoints: endpoints.sort(), requests };
}

// Watch.

const events = [];
const status = connection.subscribe("rota.status.>");
const watching = (async () => {
  for await (const message of status) {
    events.push({
      subject: message.subject,
      type: message.headers.get("ce-type"),
      id: message.headers.get("ce-id"),
      sequence: Number(message.headers.get("Nats-Sequence")),
      event: decode(message.data),
    });
  }
})();
await connection.flush();

// Work.

async function report(work, fields) {
  const sent = headers();
  sent.set("Content-Type", "application/json");
  const cause = { causation_id: `${work.id}.${work.version}` };
  const body = { id: work.id, attempt: work.attempt, worker: "node-1", ...cause, ...fields };
  const group = work.id.split("-")[0];
  // It resolves when the report is stored.
  await jetstream(connection).publish(`rota.command.job.${group}.report`, JSON.stringify(body), { headers: sent });
}

async function run(message) {
  const started_at = new Date().toISOString();
  const work = decode(message.data);
  const text = work.details.params.text;
  if (text === "again" && message.info.deliveryCount === 1) {
    message.nak();
    return;
  }
  message.working(); // it would be sent every ten seconds or so
  if (text === "boom") {
    const fault = { type: "Boom", message: "no voice" };
    await report(work, { type: "job.fail", started_at, fault, final: true, delivery: message.info.deliveryCount });
  } else {
    const result = { value: { text: text.toUpperCase(), delivery: message.info.deliveryCount } };
    await report(work, { type: "job.succeed", started_at, result, delivery: message.info.deliveryCount });
  }
  message.ack();
}

const registered = await ask("spec.register", { id: SPEC, queue: QUEUE, params_schema: SCHEMA });
const manager = await jetstreamManager(connection);
await manager.consumers.add("ROTA_WORK", {
  durable_name: CONSUMER,
  filter_subject: `rota.work.${QUEUE}.*.${SPEC}.*`,
  ack_policy: AckPolicy.Explicit,
  ack_wait: nanos(30_000),
  max_ack_pending: -1,
});
const consumer = await jetstream(connection).consumers.get("ROTA_WORK", CONSUMER);
const messages = await consumer.consume({ max_messages: 10 });
const working = (async () => {
  for await (const message of messages) await run(message);
})();

// Schedule.

const { ids: [one] } = await ask("job.schedule", { spec: SPEC, params: { text: "one" } });
const { ids: two } = await ask(
  "job.schedule",
  { jobs: [{ spec: SPEC, params: { text: "again" } }, { spec: SPEC, params: { text: "boom" } }] },
  { encoding: msgpack, "Idempotency-Key": "node-two" },
);
const results = {};
for (const id of [one, ...two]) results[id] = await ask("job.result", { id, wait: 30 }, { encoding: msgpack });

const seen = {
  registered,
  one,
  two,
  results,
  wrong: await refusal(ask("job.schedule", { spec: SPEC, params: { text: 5 } })),
  late: await refusal(ask("job.cancel", { id: one })),
  ...(await discover()),
};

await messages.close();
await working;
status.unsubscribe();
await connection.drain();
await watching;
seen.events = events.filter(({ event }) => seen.results[event.id]);
console.log(JSON.stringify(seen, (_, value) => (typeof value === "bigint" ? Number(value) : value)));
