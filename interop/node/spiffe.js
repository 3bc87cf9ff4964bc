// What the workloads on grpc-js share: the client, and what Node's own TLS and cryptography make of the messages.
'use strict';

const assert = require('node:assert');
const crypto = require('node:crypto');

const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

// Between two rounds, and until a stream is opened again, in milliseconds.
const PAUSE = 100;

function header() {
  const metadata = new grpc.Metadata();
  metadata.set('workload.spiffe.io', 'true');
  return metadata;
}

// The Workload API at SPIFFE_ENDPOINT_SOCKET, in whichever form grpc-js knows.
class WorkloadApi {
  constructor(proto) {
    const { SpiffeWorkloadAPI } = grpc.loadPackageDefinition(loader.loadSync(proto, { keepCase: true, defaults: true }));
    this.client = new SpiffeWorkloadAPI(process.env.SPIFFE_ENDPOINT_SOCKET, grpc.credentials.createInsecure());
    // The latest message of each stream, which is opened anew when it ends; there is nothing to see before the first.
    this.latest = {};
  }

  call(method, request, metadata = header()) {
    return new Promise((resolve, reject) => {
      this.client[method](request, metadata, (error, response) => (error ? reject(error) : resolve(response)));
    });
  }

  follow(method) {
    const stream = this.client[method]({}, header());
    stream.on('data', (message) => { this.latest[method] = message; });
    stream.on('error', (error) => {
      // No entry has reached the agent yet, or the agent is not there.
      assert([grpc.status.PERMISSION_DENIED, grpc.status.UNAVAILABLE].includes(error.code), error);
      setTimeout(() => this.follow(method), PAUSE);
    });
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

// What a TLS context takes: an SVID, and whom it trusts.
function secureContext(svid, bundle) {
  return {
    cert: certificates(svid.x509_svid).map(String).join(''),
    key: crypto.createPrivateKey({ key: svid.x509_svid_key, format: 'der', type: 'pkcs8' }).export({ format: 'pem', type: 'pkcs8' }),
    ca: certificates(bundle).map(String),
  };
}

const trustDomain = (id) => id.split('/').slice(0, 3).join('/');
const part = (token, index) => JSON.parse(Buffer.from(token.split('.')[index], 'base64url'));

// As RFC 7515 says, with Node's own cryptography; which key signed it.
function verify(token, keys) {
  const { alg, kid } = part(token, 0);
  const jwk = keys.find((one) => one.kid === kid);
  assert(jwk, `no key ${kid}`);
  const key = crypto.createPublicKey({ key: jwk, format: 'jwk' });
  const [signed, signature] = [token.slice(0, token.lastIndexOf('.')), Buffer.from(token.split('.')[2], 'base64url')];
  assert(['ES256', 'RS256'].includes(alg), alg);
  assert(crypto.verify('sha256', Buffer.from(signed), { key, dsaEncoding: 'ieee-p1363' }, signature), 'a signature is wrong');
  assert(part(token, 1).exp > Date.now() / 1000, 'a token has ended');
  return kid;
}

async function refused(code, promise) {
  await assert.rejects(promise, (error) => error.code === code);
}

// Every call without the header is refused, whoever calls; by its words, since there are other reasons for that code.
async function demandsTheHeader({ client }) {
  const isRefusal = (error) => error.code === grpc.status.INVALID_ARGUMENT && error.details === 'security header missing from request';
  for (const method of ['FetchX509SVID', 'FetchX509Bundles', 'FetchJWTBundles']) {
    const ended = new Promise((resolve, reject) => {
      client[method]({}, new grpc.Metadata()).on('data', resolve).on('end', resolve).on('error', reject);
    });
    await assert.rejects(ended, isRefusal, method);
  }
  for (const [method, request] of [['FetchJWTSVID', { audience: ['x'] }], ['ValidateJWTSVID', { audience: 'x', svid: 'x' }]]) {
    const answered = new Promise((resolve, reject) => {
      client[method](request, new grpc.Metadata(), (error, response) => (error ? reject(error) : resolve(response)));
    });
    await assert.rejects(answered, isRefusal, method);
  }
}

module.exports = { PAUSE, WorkloadApi, certificates, demandsTheHeader, part, refused, secureContext, trustDomain, verify };
