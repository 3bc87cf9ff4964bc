// A workload on grpc-js and Node's own TLS, which are not ours: what they refuse, Plastron's Workload API gave wrongly.
//
//     SPIFFE_ENDPOINT_SOCKET=unix:PATH node workload.js WORKLOAD_PROTO AUDIENCE
//
// It takes X.509- and JWT-SVIDs and validates them with the bundles of that moment, again and again, prints one line for each thing that
// it sees, and ends on SIGTERM: with status 0 where everything held.
'use strict';

const assert = require('node:assert');
const tls = require('node:tls');
const { setTimeout: sleep } = require('node:timers/promises');

const grpc = require('@grpc/grpc-js');

const { PAUSE, WorkloadApi, certificates, demandsTheHeader, part, refused, secureContext, trustDomain, verify } = require('./spiffe');

const [proto, audience] = process.argv.slice(2);
const api = new WorkloadApi(proto);
const { latest } = api;
const call = api.call.bind(api);

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

// A server and a client of this workload shake hands, and each finds the ID of the other.
async function handshake(svid) {
  const identity = secureContext(svid, svid.bundle);
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
  return certificates(svid.x509_svid)[0];
}

async function main() {
  let stops = false;
  process.once('SIGTERM', () => { stops = true; });
  await demandsTheHeader(api);
  ['FetchX509SVID', 'FetchJWTBundles', 'FetchX509Bundles'].forEach((method) => api.follow(method));

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
    // The call for bundles is another stream.
    authorities.update(certificates(all.bundles[trustDomain(svid.spiffe_id)]).map((root) => root.fingerprint256));
    signers.update(roots.filter((root) => leaf.verify(root.publicKey)).map((root) => root.fingerprint256));
    domains.update([...Object.keys(all.bundles), ...Object.keys(x509.federated_bundles)]);

    const { svids: [{ svid: token, spiffe_id: id }] } = await call('FetchJWTSVID', { audience: [audience, 'another-of-ours'] });
    const { keys: own } = JSON.parse(latest.FetchJWTBundles.bundles[trustDomain(id)]);
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
