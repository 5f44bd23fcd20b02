// A listener in Node.js that does remote tasks. It needs no package: it speaks to Redis by itself.
//
//   REDIS_URL=redis://127.0.0.1:6379/0 node listener.mjs
//
// It does the tasks whose names begin with `text:`. Several of them, with the same GROUP, share the work.

import { createConnection } from 'node:net';
import { randomUUID } from 'node:crypto';

const REDIS_URL = new URL(process.env.REDIS_URL ?? 'redis://127.0.0.1:6379/0');
const STREAM = process.env.STREAM ?? 'workflows:run';
const GROUP = process.env.GROUP ?? 'text';
const IDLE_MS = Number(process.env.IDLE_MS ?? 60000); // a task that a member was given so long ago and has not taken is free
const HEARTBEAT_MS = Number(process.env.HEARTBEAT_MS ?? 20000);
const CONSUMER = `${GROUP}:${randomUUID()}`;

// What it does: a function for each name. It receives the task's parameters and its input, and returns its output.

const tasks = {
  'text:upper': async ({ input }) => ({ text: String(input.text ?? '').toUpperCase() }),
  'text:repeat': async ({ input, parameters }) => ({ text: String(input.text ?? '').repeat(parameters.times ?? 2) }),
  'text:wait': async ({ input, parameters }) => {
    await sleep(1000 * (parameters.seconds ?? 1));
    return input;
  },
};

// Events: each field of an entry is JSON.

const decode = (fields) => {
  const event = {};
  for (let at = 0; at < fields.length; at += 2) event[fields[at]] = JSON.parse(fields[at + 1]);
  return event;
};
const encode = (kind, data) => {
  const event = { ...data, kind, apiVersion: 'v1', at: new Date().toISOString() };
  return Object.entries(event).flatMap(([name, value]) => [name, JSON.stringify(value)]);
};
const send = (redis, kind, data) => redis.call('XADD', STREAM, '*', ...encode(kind, data));

async function handle(redis, id, fields) {
  let start;
  try {
    start = decode(fields);
  } catch {
    return redis.call('XACK', STREAM, GROUP, id); // not an event
  }
  const task = tasks[start.name] ?? tasks[start.base];
  if (start.kind !== 'start-task' || task === undefined) return redis.call('XACK', STREAM, GROUP, id);

  const { name, base, index, workflow, attempt, parameters = {}, input = {} } = start;
  const answer = { name, base, index, workflow, attempt, worker: CONSUMER };
  await send(redis, 'receipt', { for: id, action: 'processed', worker: CONSUMER }); // it is ours: the task runs
  await redis.call('XACK', STREAM, GROUP, id);
  const beats = setInterval(() => send(redis, 'heartbeat-task', answer).catch(() => {}), HEARTBEAT_MS);
  try {
    const output = await task({ parameters, input });
    await redis.call('SET', `${workflow}:output:${index}`, JSON.stringify(output ?? {}), 'EX', 604800);
    await send(redis, 'end-task', { ...answer, status: 'SUCCESS' });
  } catch (error) {
    await send(redis, 'end-task', { ...answer, status: 'FAILURE', reason: String(error) });
  } finally {
    clearInterval(beats);
  }
}

async function listen() {
  const redis = await connect();
  const reading = await connect(); // its reads wait, so it has a connection of its own
  for (;;) {
    const [, abandoned] = await reading.call('XAUTOCLAIM', STREAM, GROUP, CONSUMER, IDLE_MS, '0-0', 'COUNT', 1);
    const pages = await reading.call(
      ...['XREADGROUP', 'GROUP', GROUP, CONSUMER, 'COUNT', 1, 'BLOCK', 200, 'STREAMS', STREAM, '>'],
    );
    for (const entry of [...abandoned, ...(pages?.[0]?.[1] ?? [])]) {
      if (entry?.[1]) await handle(redis, entry[0], entry[1]);
    }
  }
}

async function connect() {
  const redis = new Redis();
  await redis.open();
  const password = decodeURIComponent(REDIS_URL.password);
  const user = decodeURIComponent(REDIS_URL.username);
  if (password) await redis.call('AUTH', ...(user ? [user] : []), password);
  await redis.call('SELECT', REDIS_URL.pathname.slice(1) || 0);
  await redis.call('XGROUP', 'CREATE', STREAM, GROUP, 0, 'MKSTREAM').catch((error) => {
    if (!String(error).includes('BUSYGROUP')) throw error;
  });
  return redis;
}

// As much of Redis's protocol as is needed: commands in order, and an answer for each.

const sockets = [];

class Redis {
  #socket;
  #buffer = Buffer.alloc(0);
  #waiting = [];

  open() {
    return new Promise((resolve, reject) => {
      this.#socket = createConnection(Number(REDIS_URL.port || 6379), REDIS_URL.hostname, resolve);
      sockets.push(this.#socket);
      this.#socket.on('data', (data) => this.#receive(data));
      this.#socket.on('close', () => this.#fail(new Error('Redis closed the connection')));
      this.#socket.on('error', (error) => (this.#fail(error), reject(error)));
    });
  }

  call(...words) {
    const parts = words.map((word) => Buffer.from(String(word)));
    const lengths = parts.flatMap((part) => [Buffer.from(`$${part.length}\r\n`), part, Buffer.from('\r\n')]);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#socket.write(Buffer.concat([Buffer.from(`*${parts.length}\r\n`), ...lengths]));
    });
  }

  #fail(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }

  #receive(data) {
    this.#buffer = Buffer.concat([this.#buffer, data]);
    for (let answer; (answer = this.#parse(0)); ) {
      this.#buffer = this.#buffer.subarray(answer.end);
      const { resolve, reject } = this.#waiting.shift();
      if (answer.value instanceof Error) reject(answer.value);
      else resolve(answer.value);
    }
  }

  // The value that begins at a place of the buffer, and where it ends; undefined as long as some of it is missing.
  #parse(at) {
    const line = this.#buffer.indexOf('\r\n', at);
    if (line < 0) return undefined;
    const [type, text, end] = [this.#buffer[at], this.#buffer.toString('utf8', at + 1, line), line + 2];
    if (type === 43) return { value: text, end }; // +
    if (type === 45) return { value: new Error(text), end }; // -
    if (type === 58) return { value: Number(text), end }; // :
    const length = Number(text);
    if (length < 0) return { value: null, end };
    if (type === 36) {
      const last = end + length; // $
      return this.#buffer.length < last + 2 ? undefined : { value: this.#buffer.toString('utf8', end, last), end: last + 2 };
    }
    const values = [];
    let next = end;
    for (let number = 0; number < length; number += 1) {
      const item = this.#parse(next);
      if (item === undefined) return undefined;
      values.push(item.value);
      next = item.end;
    }
    return { value: values, end: next };
  }
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// While Redis is unreachable, or was emptied, it begins anew every second.

for (;;) {
  await listen().catch(async (error) => {
    console.error(`Redis: ${error.message}; again in a second`);
    for (const socket of sockets.splice(0)) socket.destroy();
    await sleep(1000);
  });
}
