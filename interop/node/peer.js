// A workload on grpc-js and Node's own TLS and cryptography that another meets, of another trust domain perhaps.
//
//     SPIFFE_ENDPOINT_SOCKET=unix:PATH node peer.js WORKLOAD_PROTO peer FOLDER NAME OTHER ID
//
// Both write where they listen and a token for the other into one folder. Each round it connects to the other and validates the other's
// token, and prints the outcomes, until it is terminated. Trust is the bundle of the other's trust domain alone.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const tls = require('node:tls');
const { once } = require('node:events');
const { setTimeout: sleep } = require('node:timers/promises');

const grpc = require('@grpc/grpc-js');

const { PAUSE, WorkloadApi, certificates, part, refused, secureContext, trustDomain, verify } = require('./spiffe');

const PATIENCE = 30_000;
const GREETING = 'hello';

const [proto, , folder, name, other, id] = process.argv.slice(2);
const domain = trustDomain(id);
const api = new WorkloadApi(proto);
const { latest } = api;
const STREAMS = ['FetchX509SVID', 'FetchX509Bundles', 'FetchJWTBundles'];

const nothing = Buffer.alloc(0);
const roots = () => latest.FetchX509Bundles.bundles[domain] ?? nothing;
const keys = () => JSON.parse(latest.FetchJWTBundles.bundles[domain] ?? '{"keys": []}').keys;
const context = () => secureContext(latest.FetchX509SVID.svids[0], roots());

// Undefined where the certificate is the other's, else why not.
const authorize = (_, peer) => (peer.subjectaltname === `URI:${id}` ? undefined : new Error(`it is ${peer.subjectaltname}`));

function serve() {
  const listener = tls.createServer({ ...context(), requestCert: true, rejectUnauthorized: true });
  // Each connection with the SVID and the bundle of its moment.
  listener.prependListener('connection', () => listener.setSecureContext(context()));
  // What fails here fails at the other end too, which tells.
  listener.on('secureConnection', (socket) => {
    socket.setTimeout(PATIENCE, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    if (authorize(undefined, socket.getPeerCertificate())) socket.destroy();
    else socket.once('data', (greeting) => socket.end(greeting));
  });
  return new Promise((resolve) => listener.listen(0, '127.0.0.1', () => resolve(listener.address().port)));
}

// The serial number of the other's certificate, if each end accepts the other.
async function handshake() {
  const [host, port] = read('.address').split(':');
  const plain = net.connect({ host, port: Number(port) });
  await once(plain, 'connect');
  const socket = tls.connect({ ...context(), socket: plain, checkServerIdentity: authorize });
  socket.setTimeout(PATIENCE, () => socket.destroy(new Error('no answer in time')));
  try {
    await once(socket, 'secureConnect');
    const serial = socket.getPeerCertificate().serialNumber;
    socket.write(GREETING);
    socket.setEncoding('utf8');
    let answer = '';
    for await (const text of socket) answer += text;
    assert.strictEqual(answer, GREETING);
    return serial;
  } finally {
    socket.destroy();
  }
}

// The ID of the key that signed the other's token, if the bundle that was pushed has it.
function offline(audience) {
  const token = read('.jwt');
  const kid = verify(token, keys());
  assert.strictEqual(part(token, 1).sub, id);
  assert.deepStrictEqual([part(token, 1).aud].flat(), [audience]);
  return kid;
}

async function online(audience) {
  const token = read('.jwt');
  const { spiffe_id: subject } = await api.call('ValidateJWTSVID', { audience, svid: token }).catch((error) => {
    if (error.code !== grpc.status.INVALID_ARGUMENT) unexpected(error);
    throw error;
  });
  assert.strictEqual(subject, id);
  await refused(grpc.status.INVALID_ARGUMENT, api.call('ValidateJWTSVID', { audience: 'nobody-asked-for-this', svid: token }));
  return subject;
}

function unexpected(error) {
  console.error(error);
  process.exit(1);
}

const reasons = {};
async function outcome(what, judge) {
  try {
    return `${what}=${await judge()}`;
  } catch (error) {
    if (error.code === 'ENOENT') return `${what}=none`;
    if (error.code === 'ECONNREFUSED') throw error;
    const why = JSON.stringify(error.message);
    if (reasons[what] !== why) console.log('why', what, why);
    reasons[what] = why;
    return `${what}=refused`;
  }
}

// Replaces a file, so that nobody reads half of it.
function write(kind, text) {
  const file = path.join(folder, name + kind);
  fs.writeFileSync(`${file}.new`, text);
  fs.renameSync(`${file}.new`, file);
}

const read = (kind) => fs.readFileSync(path.join(folder, other + kind), 'utf8');

async function main() {
  STREAMS.forEach((method) => api.follow(method));
  while (!STREAMS.every((method) => latest[method])) await sleep(PAUSE);
  write('.address', `127.0.0.1:${await serve()}`);
  for (;; await sleep(PAUSE)) {
    const { svids: [own] } = await api.call('FetchJWTSVID', { audience: [id] });
    write('.jwt', own.svid);
    const outcomes = [
      await outcome('handshake', handshake),
      await outcome('offline', () => offline(own.spiffe_id)),
      await outcome('online', () => online(own.spiffe_id)),
    ];
    const federated = latest.FetchX509SVID.federated_bundles[domain] ?? nothing;
    console.log('round', ...outcomes, `roots=${certificates(federated).length} keys=${keys().length}`);
  }
}

main().catch(unexpected);
