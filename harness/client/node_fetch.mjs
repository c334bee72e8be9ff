// One request with Node's own fetch (undici), as coding clients written for Node make it.
// stdin: one JSON object {url, method, headers, body, lookup}; lookup maps names, which need not resolve, to addresses.
// stdout: the line ASKED as soon as the request is on its way, then one JSON object
// {status, headers, headers_s, chunks: [[seconds, bytes], ...], body, total_s, error}.
// The certificate is trusted through NODE_EXTRA_CA_CERTS; the host name is always checked.
// Times are seconds since fetch was called.

import dns from "node:dns";

const read = async (stream) => {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString("utf8");
};

const job = JSON.parse(await read(process.stdin));
const lookUp = dns.lookup;
dns.lookup = (name, options, callback) => {
  const address = job.lookup?.[name];
  if (address === undefined) return lookUp(name, options, callback);
  const family = address.includes(":") ? 6 : 4;
  process.nextTick(() => (options.all ? callback(null, [{ address, family }]) : callback(null, address, family)));
};
const started = performance.now();
const seconds = () => (performance.now() - started) / 1000;
const answer = { node: process.version, status: null, headers: {}, headers_s: null, chunks: [], body: "", error: null };

try {
  const asked = fetch(job.url, {
    method: job.method ?? "POST",
    headers: job.headers,
    body: job.body === undefined ? undefined : JSON.stringify(job.body),
    redirect: "manual",
  });
  process.stdout.write("ASKED\n");
  const response = await asked;
  answer.status = response.status;
  answer.headers_s = seconds();
  answer.headers = Object.fromEntries(response.headers);
  const parts = [];
  for await (const chunk of response.body ?? []) {
    answer.chunks.push([seconds(), chunk.length]);
    parts.push(Buffer.from(chunk));
  }
  answer.body = Buffer.concat(parts).toString("utf8");
} catch (error) {
  answer.error = { name: error.name, message: error.message, cause: String(error.cause?.code ?? error.cause ?? "") };
}
answer.total_s = seconds();
process.stdout.write(JSON.stringify(answer) + "\n");
