// A workload on grpc-js and Node's own TLS, which are not ours: what they refuse, Plastron's Workload API gave wrongly.
//
//     SPIFFE_ENDPOINT_SOCKET=unix:PATH node workload.js WORKLOAD_PROTO AUDIENCE
//
// It takes X.509- and JWT-SVIDs and validates them with the bundles of that moment, again and again, prints one line for each thing that
// it sees, and ends on SIGTERM: with status 0 where everything held.
'use strict';

const assert = require('node:assert');
const crypto = require('node:crypto');
const tls = require('node:tls');
const { setTimeout: sleep } = require('node:timers/promises');

const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

// Between two rounds, and until a stream is opened again, in milliseconds.
const PAUSE = 100;

const [proto, audience] = process.argv.slice(2);
const { SpiffeWorkloadAPI } = grpc.loadPackageDefinition(loader.loadSync(proto, { keepCase: true, defaults: true }));
const client = new SpiffeWorkloadAPI(process.env.SPIFFE_ENDPOINT_SOCKET, grpc.credentials.createInsecure());

function header() {
  const metadata = new grpc.Metadata();
  metadata.set('workload.spiffe.io', 'true');
  return metadata;
}

function call(method, request, metadata = header()) {
  return new Promise((resolve, reject) => {
    client[method](request, metadata, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

// The latest message of each stream, which is opened anew when it ends; there is nothing to see before the first.
const latest = {};
function follow(method) {
  const stream = client[method]({}, header());
  stream.on('data', (message) => { latest[method] = message; });
  stream.on('error', (error) => {
    // No entry has reached the agent yet, or the agent is not there.
    assert([grpc.status.PERMISSION_DENIED, grpc.status.UNAVAILABLE].includes(error.code), error);
    setTimeout(follow, PAUSE, method);
  });
}

// Which names there were, and what changed.
class Names {
  constructor(kind) {
    Object.assign(this, { kind, known: new Set(), seen: new Set() });
  }

  update(names) {
    const now = new Set(names);
    for (const name of now) if (!this.known.has(name)) console.log(this.kind, 'came', name);
    for (const name of this.known) if (!now.has(name)) console.log(this.kind, 'went', name);
    for (const name of now) this.seen.add(name);
    this.known = now;
  }
}

// Certificates that follow each other without anything between, as PEM.
function certificates(der) {
  const found = [];
  for (let rest = der; rest.length > 0; ) {
    const longForm = rest[1] & 0x80 ? rest[1] & 0x7f : 0;
    const length = longForm ? rest.readUIntBE(2, longForm) : rest[1];
    const end = 2 + longForm + length;
    found.push(new crypto.X509Certificate(rest.subarray(0, end)));
    rest = rest.subarray(end);
  }
  return found;
}

// A server and a client of this workload shake hands, and each finds the ID of the other.
async function handshake(svid) {
  const chain = certificates(svid.x509_svid);
  const identity = {
    cert: chain.map(String).join(''),
    key: crypto.createPrivateKey({ key: svid.x509_svid_key, format: 'der', type: 'pkcs8' }).export({ format: 'pem', type: 'pkcs8' }),
    ca: certificates(svid.bundle).map(String),
  };
  const name = `URI:${svid.spiffe_id}`;
  const server = tls.createServer({ ...identity, requestCert: true, rejectUnauthorized: true });
  server.on('secureConnection', (socket) => socket.end(socket.getPeerCertificate().subjectaltname));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const checkServerIdentity = (_, peer) => (peer.subjectaltname === name ? undefined : new Error(peer.subjectaltname));
    const socket = tls.connect({ ...identity, host: '127.0.0.1', port: server.address().port, checkServerIdentity });
    socket.setEncoding('utf8');
    let seen = '';
    for await (const text of socket) seen += text;
    assert.strictEqual(seen, name);
  } finally {
    server.close();
  }
  return chain[0];
}

const part = (token, index) => JSON.parse(Buffer.from(token.split('.')[index], 'base64url'));

// As RFC 7515 says, with Node's own cryptography.
function verify(token, keys) {
  const { alg, kid } = part(token, 0);
  const key = crypto.createPublicKey({ key: keys.find((one) => one.kid === kid), format: 'jwk' });
  const [signed, signature] = [token.slice(0, token.lastIndexOf('.')), Buffer.from(token.split('.')[2], 'base64url')];
  assert(['ES256', 'RS256'].includes(alg), alg);
  assert(crypto.verify('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }, signature), 'a signature is wrong');
  assert(part(token, 1).exp > Date.now() / 1000, 'a token has ended');
  return kid;
}

async function refused(code, promise) {
  await assert.rejects(promise, (error) => error.code === code);
}

async function main() {
  let stops = false;
  process.once('SIGTERM', () => { stops = true; });
  await refused(grpc.status.INVALID_ARGUMENT, call('ValidateJWTSVID', { audience, svid: 'x' }, new grpc.Metadata()));
  ['FetchX509SVID', 'FetchJWTBundles', 'FetchX509Bundles'].forEach(follow);

  const [authorities, signers, keys] = [new Names('x509 authority'), new Names('x509 signer'), new Names('jwt key')];
  const [domains, serials, jwtSigners, tokens] = [new Names('bundle of'), new Set(), new Names('jwt signer'), new Set()];
  let rounds = 0;
  for (; !stops; await sleep(PAUSE)) {
    const { FetchX509SVID: x509, FetchJWTBundles: jwks, FetchX509Bundles: all } = latest;
    if (!x509 || !jwks || !all) continue;
    const [svid] = x509.svids;
    const leaf = await handshake(svid);
    serials.add(leaf.serialNumber);
    const roots = certificates(svid.bundle);
    authorities.update(roots.map((root) => root.fingerprint256));
    signers.update(roots.filter((root) => leaf.verify(root.publicKey)).map((root) => root.fingerprint256));
    domains.update([...Object.keys(all.bundles), ...Object.keys(x509.federated_bundles)]);

    const { svids: [{ svid: token, spiffe_id: id }] } = await call('FetchJWTSVID', { audience: [audience, 'another-of-ours'] });
    const { keys: own } = JSON.parse(latest.FetchJWTBundles.bundles[id.split('/').slice(0, 3).join('/')]);
    keys.update(own.map((key) => key.kid));
    jwtSigners.update([verify(token, own)]);
    tokens.add(token);
    assert.strictEqual(part(token, 1).sub, id);
    assert.strictEqual((await call('ValidateJWTSVID', { audience, svid: token })).spiffe_id, id);
    await refused(grpc.status.INVALID_ARGUMENT, call('ValidateJWTSVID', { audience: 'nobody-asked-for-this', svid: token }));
    if (rounds++ === 0) console.log('identity', id);
  }
  console.log(`done: ${rounds} rounds, ${serials.size} svids, ${signers.seen.size} signers, ${authorities.seen.size} authorities, `
    + `${tokens.size} tokens, ${jwtSigners.seen.size} jwt signers, ${keys.seen.size} jwt keys`);
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
