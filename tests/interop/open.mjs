// Opens a sealed blob: node open.mjs IDENTITY_FILE VAULT_SECRET_FILE|- BLOB > PLAINTEXT
//
// Written from docs/FORMAT.md alone, on other people's cryptography: the age stanzas are unwrapped by
// age-encryption, the rest is noble's. It shows that the format page is enough and that the stanzas
// are age's own. Every rule it checks is quoted with its section. Exit 1 and one line on any breach.

import { readFileSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { gcm } from "@noble/ciphers/aes.js";
import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { ed25519, x25519 } from "@noble/curves/ed25519.js";
import { blake3 } from "@noble/hashes/blake3.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256, sha512 } from "@noble/hashes/sha2.js";
import { Stanza } from "age-encryption";

const ageDist = dirname(createRequire(import.meta.url).resolve("age-encryption"));
const { HybridIdentity, X25519Identity } = await import(
  pathToFileURL(join(ageDist, "recipients.js")).href
);

const CHUNK = 16384, TAG = 16, PREFIX = 56;
const SUITES = {
  1: { name: "AEAD_AES_256_GCM", aead: gcm },
  2: { name: "AEAD_CHACHA20_POLY1305", aead: chacha20poly1305 },
};
// FORMAT 4: bytes of the one argument, of which the last 32 are an X25519 share.
const SHARES = { X25519: 32, mlkem768x25519: 1120 };

const ascii = (s) => new TextEncoder().encode(s);
const concat = (...parts) => new Uint8Array(Buffer.concat(parts));
const hex = (b) => Buffer.from(b).toString("hex");
const same = (a, b) => hex(a) === hex(b);
const u64 = (n) => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(n)); return b; };

function need(held, rule) {
  if (!held) throw new Error(rule);
}

class Reader {
  constructor(bytes) { this.bytes = bytes; this.at = 0; }
  take(n) {
    need(this.at + n <= this.bytes.length, "a field lies beyond the end");
    return this.bytes.subarray(this.at, (this.at += n));
  }
  uint(n) { return Number(BigInt("0x" + hex(this.take(n)))); }
  get done() { return this.at === this.bytes.length; }
}

const sealedLength = (p) => PREFIX + p + TAG * (Math.floor(p / CHUNK) + 1);

// HKDF-Expand with SHA-512 (RFC 5869). The library's refuses an input key shorter than the hash, which is what
// the scheme's keys are.
function expand(key, info, length) {
  let block = new Uint8Array(), out = block;
  for (let number = 1; out.length < length; number++) {
    block = hmac(sha512, key, concat(block, info, Uint8Array.of(number)));
    out = concat(out, block);
  }
  return out.subarray(0, length);
}

// FORMAT 1: one message of c2sp.org/chunked-encryption
function openMessage(suite, key, context, message) {
  need(message.length >= PREFIX + TAG, "a message is shorter than its prefix and one tag");
  const info = concat(ascii("c2sp.org/chunked-encryption@v1+" + suite.name), Uint8Array.of(0), message.subarray(0, 24), context);
  const derived = expand(key, info, 32 + 12 + 32);
  need(same(derived.subarray(44), message.subarray(24, 56)), "the commitment does not match");
  const out = [];
  let last = CHUNK;
  for (let at = PREFIX, index = 0n; at < message.length; at += CHUNK + TAG, index++) {
    need(last === CHUNK, "a chunk follows a short one");
    const nonce = Uint8Array.from(derived.subarray(32, 44));
    const counter = u64(index);
    for (let i = 0; i < 8; i++) nonce[4 + i] ^= counter[i];
    const plain = suite.aead(derived.subarray(0, 32), nonce).decrypt(message.subarray(at, at + CHUNK + TAG));
    out.push(plain);
    last = plain.length;
  }
  need(last < CHUNK, "the last chunk is not short");
  return concat(...out);
}

function parseStanzas(bytes) {
  const lines = new TextDecoder("utf-8", { fatal: true }).decode(bytes).split("\n");
  need(lines.pop() === "", "a stanza does not end with a line feed");
  const stanzas = [];
  while (lines.length > 0) {
    const args = lines.shift().split(" ");
    need(args.shift() === "->", "a stanza does not begin with ->");
    // "Their arguments are visible ASCII and their bodies canonical base64 as well."
    need(args.length > 0 && args.every((arg) => /^[!-~]+$/.test(arg)), "an argument is not visible ASCII");
    let body = "";
    for (;;) {
      const line = lines.shift();
      need(line !== undefined && line.length <= 64, "a stanza does not end with a short line");
      body += line;
      if (line.length < 64) break;
    }
    stanzas.push(new Stanza(args, fromBase64(body)));
  }
  need(stanzas.length >= 1 && stanzas.length <= 32, "1 to 32 stanzas");
  // "All stanzas are held to this, whoever they are for and wherever they stand."
  stanzas.forEach(checkStanza);
  return stanzas;
}

function fromBase64(text) {
  const bytes = Buffer.from(text, "base64");
  need(bytes.toString("base64").replace(/=+$/, "") === text, "base64 that is not canonical");
  return new Uint8Array(bytes);
}

function checkStanza({ args: [type, ...rest], body }) {
  if (!Object.hasOwn(SHARES, type)) return;
  need(rest.length === 1, "a stanza of a known type with another number of arguments");
  const encapsulated = fromBase64(rest[0]);
  need(encapsulated.length === SHARES[type], "a share of the wrong length");
  need(body.length === 32, "a body that is not exactly 32 bytes");
  // RFC 7748, 6.1: such a point gives zeros with any scalar, which the library refuses.
  try {
    x25519.getSharedSecret(new Uint8Array(32).fill(7), encapsulated.subarray(-32));
  } catch {
    throw new Error("a share is a point of low order");
  }
}

// FORMAT 10
function checkName(bytes, name) {
  need(bytes.length >= 1 && bytes.length <= 1024, "a name of 1 to 1,024 bytes");
  need(!/\p{Cc}/u.test(name), "a control character in a name");
  need(name.split("/").every((part) => !["", ".", ".."].includes(part)), "a component of a name is empty, . or ..");
}

async function unwrap(identityFile, stanzas) {
  for (const line of readFileSync(identityFile, "utf8").split("\n")) {
    const text = line.trim();
    if (text === "" || text.startsWith("#")) continue;
    const identity = text.startsWith("AGE-SECRET-KEY-PQ-1") ? new HybridIdentity(text) : new X25519Identity(text);
    const fileKey = await identity.unwrapFileKey(stanzas);
    if (fileKey) return fileKey;
  }
  throw new Error("no identity opens this blob");
}

async function main(identityFile, vaultFile, blobFile) {
  const blob = new Uint8Array(readFileSync(blobFile));

  // FORMAT 3
  const fixed = new Reader(blob);
  const magic = fixed.take(8);
  need(hex(magic) === "8a7a7075740d0a1a", "not a sealed blob");
  const version = fixed.take(2);
  need(hex(version) === "0001", "not version 1");
  const headerLength = fixed.uint(4);
  need(headerLength <= 65536, "the header is over 65,536 bytes");
  const header = new Reader(blob.subarray(0, headerLength));
  header.at = fixed.at;
  const suiteByte = header.take(1), partLog = header.take(1);
  const suite = SUITES[suiteByte[0]];
  need(suite && partLog[0] >= 16 && partLog[0] <= 24, "unknown suite or part size");
  const partSize = 2 ** partLog[0];
  const headerSalt = header.take(32), generation = header.take(8);
  need(hex(generation) !== "f".repeat(16), "a generation that nothing can follow");
  const keyLength = header.take(2), key = header.take(new Reader(keyLength).uint(2));
  need(key.length <= 1024, "a key of over 1,024 bytes");
  const stanzas = parseStanzas(header.take(header.uint(2)));
  const metadataLength = header.take(2), metadata = header.take(new Reader(metadataLength).uint(2));
  need(metadata.length >= 91 && metadata.length <= 1114, "metadata of 91 to 1,114 bytes");
  const authenticated = header.bytes.subarray(0, header.at);
  const headerMac = header.take(32);
  need(header.done, "the header has bytes to spare");

  // FORMAT 2
  const fileKey = await unwrap(identityFile, stanzas);
  const derive = (purpose) => hkdf(sha512, fileKey, headerSalt, ascii(`zput/v1/${suite.name}/${purpose}`), 32);
  need(same(hmac(sha256, derive("header-mac"), authenticated), headerMac), "the header MAC does not match");

  // FORMAT 5
  const facts5 = new Reader(openMessage(suite, derive("metadata"), ascii("metadata"), metadata));
  const nameBytes = facts5.take(facts5.uint(2));
  const name = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(nameBytes);
  checkName(nameBytes, name);
  facts5.take(8);
  need(facts5.uint(4) < 1e9, "nanoseconds below 10⁹");
  facts5.take(4);
  need(facts5.done, "the metadata has bytes to spare");

  // FORMAT 7
  const end = new Reader(blob.subarray(blob.length - 12));
  const footerLength = end.uint(4);
  need(hex(end.take(8)) === "8a7a707574656e64", "the footer's magic is missing");
  const footer = new Reader(blob.subarray(blob.length - footerLength));
  const total = footer.take(8), length = new Reader(total).uint(8);
  const parts = Math.floor(length / partSize) + 1;
  const digests = footer.take(32 * parts);
  const factsLength = footer.take(2), facts = footer.take(new Reader(factsLength).uint(2));
  need(facts.length === 0 || (facts.length >= 74 && facts.length <= 1024), "no facts, or 74 to 1,024 bytes of them");
  const provenance = footer.take(1);
  const transcript = sha512(concat(
    ascii("zput/v1/transcript"), magic, version, suiteByte, partLog, headerSalt, generation, keyLength, key,
    metadataLength, metadata, total, digests, factsLength, facts, provenance));
  const vouched = (label) => concat(ascii(label), transcript);
  need(same(footer.take(32), hmac(sha256, derive("footer-mac"), vouched("zput/v1/file-mac"))), "the file MAC does not match");
  if (vaultFile === "-") {
    need(provenance[0] === 2, "this blob belongs to a vault");
  } else {
    need(provenance[0] === 1, "nobody vouches for this blob");
    const secret = Buffer.from(readFileSync(vaultFile, "utf8").trim(), "hex");
    const macKey = hkdf(sha512, secret, undefined, ascii("zput/v1/vault/mac"), 32);
    need(same(footer.take(32), hmac(sha256, macKey, vouched("zput/v1/vault-mac"))), "the vault MAC does not match");
    const writer = footer.take(32);
    need(ed25519.verify(footer.take(64), vouched("zput/v1/writer"), writer), "the signature does not hold");
    // FORMAT 10
    const nameKey = hkdf(sha512, secret, undefined, ascii("zput/v1/vault/name"), 32);
    need(Buffer.from(key).toString() === hex(hmac(sha256, nameKey, ascii(name))), "the key is not this name's");
  }
  need(footer.at === footerLength - 12, "the footer has bytes to spare");

  // FORMAT 8
  let sha256Fact;
  if (facts.length > 0) {
    const list = new Reader(openMessage(suite, derive("footer"), ascii("facts"), facts));
    for (let last = -1; !list.done; ) {
      const tag = list.uint(1), value = list.take(list.uint(1));
      need(tag > last, "tags are strictly increasing");
      last = tag;
      if (tag === 1) sha256Fact = value;
    }
    need(sha256Fact === undefined || sha256Fact.length === 32, "a SHA-256 has 32 bytes");
  }

  // FORMAT 6
  need(headerLength + (parts - 1) * sealedLength(partSize) + sealedLength(length % partSize) + footerLength === blob.length,
    "the lengths do not add up");
  const whole = sha256.create();
  for (let i = 0, at = headerLength; i < parts; i++) {
    const sealed = blob.subarray(at, (at += sealedLength(i === parts - 1 ? length % partSize : partSize)));
    need(same(blake3(sealed), digests.subarray(32 * i, 32 * i + 32)), `the digest of part ${i} does not match`);
    const plain = openMessage(suite, derive("payload"), concat(ascii("part"), u64(i)), sealed);
    whole.update(plain);
    for (let sent = 0; sent < plain.length; ) sent += writeSync(1, plain, sent);
  }
  // "The SHA-256 is told and not compared": this reader does, to see that writers tell the right one.
  if (sha256Fact) need(same(whole.digest(), sha256Fact), "the SHA-256 fact does not match");
}

if (process.argv.length !== 5) {
  console.error("usage: node open.mjs IDENTITY_FILE VAULT_SECRET_FILE|- BLOB");
  process.exit(2);
}
try {
  await main(...process.argv.slice(2));
} catch (error) {
  console.error(`open.mjs: ${error.message}`);
  process.exit(1);
}
