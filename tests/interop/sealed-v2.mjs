// What format 2 seals in a charter, for golden-v2.mjs: messages, the public key of an epoch's
// identity, and the plaintexts of `members` and `owner`.
//
// Written from docs/next/FORMAT.md and from the pages that it names, on node's own cryptography. It
// has no randomness: a salt is the hash of what is sealed, so the same bytes come out each time.

import { createCipheriv, createHash, createHmac, createPrivateKey, createPublicKey } from "node:crypto";

const cat = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));
const uint = (bytes) => (n) => {
  const all = Buffer.alloc(8);
  all.writeBigUInt64BE(BigInt(n));
  return all.subarray(8 - bytes);
};
const [u8, u16, u32, u64] = [1, 2, 4, 8].map(uint);
const hash = (name, bytes, outputLength) =>
  createHash(name, outputLength && { outputLength }).update(bytes).digest();

const CHUNK = 16384;

/** FORMAT 1: a message of suite 2. The context is what HKDF-Expand gets behind the salt. */
export function message(key, context, plaintext) {
  const salt = hash("sha256", cat(key, context, plaintext)).subarray(0, 24);
  const info = cat(Buffer.from("c2sp.org/chunked-encryption@v1+AEAD_CHACHA20_POLY1305\0"), salt, context);
  const block = (before, number) => createHmac("sha512", key).update(cat(before, info, u8(number))).digest();
  const first = block(Buffer.alloc(0), 1);
  const derived = cat(first, block(first, 2));
  const [cipherKey, baseNonce, commitment] =
    [derived.subarray(0, 32), derived.subarray(32, 44), derived.subarray(44, 76)];
  const sealed = [salt, commitment];
  // "the last one always shorter (it may be empty)"
  for (let chunk = 0; chunk <= Math.floor(plaintext.length / CHUNK); chunk++) {
    // "nonce = base nonce XOR chunk number"
    const nonce = Buffer.from(baseNonce);
    u64(chunk).forEach((byte, at) => { nonce[4 + at] ^= byte; });
    const cipher = createCipheriv("chacha20-poly1305", cipherKey, nonce, { authTagLength: 16 });
    const piece = plaintext.subarray(chunk * CHUNK, (chunk + 1) * CHUNK);
    sealed.push(cipher.update(piece), cipher.final(), cipher.getAuthTag());
  }
  return cat(...sealed);
}

// ML-KEM-768 as far as its encapsulation key: FIPS 203, algorithms 7 to 9, 11 to 13.
const Q = 3329, K = 3;
const reversed7 = (i) => parseInt(i.toString(2).padStart(7, "0").split("").reverse().join(""), 2);
const power17 = (n) => { let x = 1; for (let i = 0; i < n; i++) x = (x * 17) % Q; return x; };
const ZETAS = Array.from({ length: 128 }, (_, i) => power17(reversed7(i)));
const GAMMAS = Array.from({ length: 128 }, (_, i) => power17(2 * reversed7(i) + 1));

function sampleNtt(seed) {
  // 500 times 3 bytes are more than are ever looked at: 256 of about 810 candidates are needed.
  const bytes = hash("shake128", seed, 1500), out = [];
  for (let at = 0; out.length < 256; at += 3) {
    const [a, b, c] = bytes.subarray(at, at + 3);
    for (const d of [a + 256 * (b % 16), (b >> 4) + 16 * c]) if (d < Q && out.length < 256) out.push(d);
  }
  return out;
}

function sampleCbd2(sigma, n) {
  const bytes = hash("shake256", cat(sigma, u8(n)), 128);
  const bit = (i) => (bytes[i >> 3] >> (i & 7)) & 1;
  return Array.from({ length: 256 }, (_, i) =>
    (bit(4 * i) + bit(4 * i + 1) - bit(4 * i + 2) - bit(4 * i + 3) + Q) % Q);
}

function ntt(polynomial) {
  const f = [...polynomial];
  for (let length = 128, i = 1; length >= 2; length /= 2) {
    for (let start = 0; start < 256; start += 2 * length, i++) {
      for (let j = start; j < start + length; j++) {
        const t = (ZETAS[i] * f[j + length]) % Q;
        f[j + length] = (f[j] - t + Q) % Q;
        f[j] = (f[j] + t) % Q;
      }
    }
  }
  return f;
}

const product = (f, g) => f.map((_, at) => {
  const i = at - (at % 2);
  return at % 2 === 0
    ? (f[i] * g[i] + ((f[i + 1] * g[i + 1]) % Q) * GAMMAS[i / 2]) % Q
    : (f[i] * g[i + 1] + f[i + 1] * g[i]) % Q;
});

function encode12(f) {
  const out = [];
  for (let i = 0; i < 256; i += 2) out.push(f[i] & 255, (f[i] >> 8) | ((f[i + 1] & 15) << 4), f[i + 1] >> 4);
  return Buffer.from(out);
}

function mlKem768(d) {
  const seeds = hash("sha3-512", cat(d, u8(K)));
  const [rho, sigma] = [seeds.subarray(0, 32), seeds.subarray(32)];
  const rows = [0, 1, 2];
  const s = rows.map((i) => ntt(sampleCbd2(sigma, i)));
  const t = rows.map((i) => rows.reduce(
    (sum, j) => product(sampleNtt(cat(rho, u8(j), u8(i))), s[j]).map((x, at) => (x + sum[at]) % Q),
    ntt(sampleCbd2(sigma, K + i))));
  return cat(...t.map(encode12), rho);
}

export function x25519Public(seed) {
  const der = cat(Buffer.from("302e020100300506032b656e04220420", "hex"), seed);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  return createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);
}

/** FORMAT 4: the public key of X-Wing, pk_M || pk_X, of the seed that an identity is. */
export function xwingPublic(seed) {
  const expanded = hash("shake256", seed, 96);
  return cat(mlKem768(expanded.subarray(0, 32)), x25519Public(expanded.subarray(64)));
}

/** FORMAT 13: the plaintext of `members`. Each field can be replaced. */
export const members = (it) => cat(
  it.publicHash, it.recipient, u8(it.furtherCount ?? it.further.length),
  ...it.further.map(([type, key]) => cat(u8(type), key)),
  u32(it.historyLength ?? it.history.length), it.history,
  u16(it.envelopeCount ?? it.envelopes.length), ...it.envelopes,
  u16(it.extensionsLength ?? it.extensions.length), it.extensions);

/** FORMAT 13: the plaintext of `owner`. */
export const owner = (it) => cat(
  it.publicHash, it.memberSecret, u8(it.wrapCount ?? it.wrapRoots.length),
  ...it.wrapRoots.map(([index, wrapRoot]) => cat(u8(index), wrapRoot)),
  u16(it.issuedCount ?? it.issued.length),
  ...it.issued.map(({ device, digest, root, role, label }) =>
    cat(device, digest, u8(root), u8(role), u8(Buffer.from(label).length), Buffer.from(label))),
  u16(it.extensionsLength ?? it.extensions.length), it.extensions);
