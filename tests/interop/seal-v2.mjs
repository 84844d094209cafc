// Seals blobs of format 2, for the golden files that blob-v2.mjs makes.
//
// Written from docs/next/FORMAT.md alone; each rule is quoted with its section. HKDF, HMAC, the
// AEADs and Ed25519 are node's; BLAKE3, X25519 with a chosen ephemeral key and X-Wing are noble's.
// What a writer draws at random comes from a label here, so the same bytes come out each time. No
// writer may do that.

import {
  createCipheriv, createHash, createHmac, createPrivateKey, createPublicKey, hkdfSync, sign,
} from "node:crypto";
import { x25519 } from "@noble/curves/ed25519.js";
import { blake3 } from "@noble/hashes/blake3.js";
import { XWing } from "@noble/post-quantum/hybrid.js";

export const cat = (...parts) => Buffer.concat(parts.map((part) =>
  typeof part === "string" ? Buffer.from(part, "utf8") : Buffer.from(part)));
const uint = (bytes) => (n) => {
  const all = Buffer.alloc(8);
  all.writeBigUInt64BE(BigInt(n));
  return all.subarray(8 - bytes);
};
export const [u8, u16, u32, u64] = [1, 2, 4, 8].map(uint);
export const zeros = (n) => Buffer.alloc(n);
export const run = (from, length = 32) => Buffer.from(Array.from({ length }, (_, i) => from + i));
export const sha256 = (bytes) => createHash("sha256").update(bytes).digest();
export const label = (text) => cat(text, u8(0));
export const field = (type, value) => cat(u8(type), u16(value.length), value);
export const hmac = (hash, key, ...pieces) => createHmac(hash, key).update(cat(...pieces)).digest();
/** What a writer would draw at random. */
export const random = (text, length) =>
  createHash("shake256", { outputLength: length }).update(`zput golden ${text}`).digest();

// FORMAT 1: "HKDF-SHA-512 (RFC 5869), empty salt, 32 bytes out; a salt is named where there is one"
export const hkdf = (ikm, info, salt = zeros(0)) =>
  Buffer.from(hkdfSync("sha512", ikm, salt, info, 32));

export function signer(seed) {
  const pkcs8 = cat(Buffer.from("302e020100300506032b657004220420", "hex"), seed);
  const secret = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  const key = createPublicKey(secret).export({ format: "der", type: "spki" }).subarray(-32);
  return { key, sign: (bytes) => sign(null, bytes, secret) };
}

// FORMAT 1
const SUITES = {
  1: { name: "AEAD_AES_256_GCM", cipher: "aes-256-gcm" },
  2: { name: "AEAD_CHACHA20_POLY1305", cipher: "chacha20-poly1305" },
};

function encrypt(cipherName, key, nonce, plaintext) {
  const cipher = createCipheriv(cipherName, key, nonce, { authTagLength: 16 });
  return cat(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
}

/** HKDF-Expand (RFC 5869, 2.3): `key` is the pseudorandom key. */
function expand(hash, key, info, length) {
  let block = zeros(0), out = zeros(0);
  for (let number = 1; out.length < length; number++) {
    block = hmac(hash, key, block, info, u8(number));
    out = cat(out, block);
  }
  return out.subarray(0, length);
}

/** FORMAT 1: one message of c2sp.org/chunked-encryption. `what` names its salt. */
function message(suite, key, context, plaintext, what) {
  const { name, cipher } = SUITES[suite];
  const salt = random(`${what} salt`, 24);
  const info = cat(label(`c2sp.org/chunked-encryption@v1+${name}`), salt, context);
  const derived = expand("sha512", key, info, 32 + 12 + 32);
  const out = [salt, derived.subarray(44)];
  // "chunks of 16,384 bytes with the last one always shorter (it may be empty)"
  for (let at = 0, index = 0n; at <= plaintext.length; at += 16384, index++) {
    const nonce = Buffer.from(derived.subarray(32, 44));
    nonce.writeBigUInt64BE(nonce.readBigUInt64BE(4) ^ index, 4);
    out.push(encrypt(cipher, derived.subarray(0, 32), nonce, plaintext.subarray(at, at + 16384)));
  }
  return cat(...out);
}

// FORMAT 4
export const base64 = (bytes) => Buffer.from(bytes).toString("base64").replace(/=+$/, "");

/** A stanza as c2sp.org/age has it: the body wrapped at 64 columns, a shorter line at its end. */
export function stanza(args, body) {
  const lines = base64(body).match(/.{1,64}/g) ?? [];
  if (lines.at(-1)?.length === 64 || lines.length === 0) lines.push("");
  return cat(`-> ${args.join(" ")}\n${lines.join("\n")}\n`);
}

/** c2sp.org/age, "The X25519 recipient type". */
export function wrapX25519(recipient, fileKey, what) {
  const ephemeral = random(`${what} X25519`, 32);
  const share = x25519.getPublicKey(ephemeral);
  const shared = x25519.getSharedSecret(ephemeral, recipient);
  const info = "age-encryption.org/v1/X25519";
  const key = Buffer.from(hkdfSync("sha256", shared, cat(share, recipient), info, 32));
  return stanza(["X25519", base64(share)], encrypt(SUITES[2].cipher, key, zeros(12), fileKey));
}

/** FORMAT 4: "HPKE (RFC 9180) in mode Base with the KEM X-Wing … HKDF-SHA-256 … ChaCha20-Poly1305" */
export function wrapHybrid(recipient, fileKey, what) {
  const randomness = random(`${what} X-Wing`, 64);
  const { cipherText, sharedSecret } = XWing.encapsulate(recipient, randomness);
  const suite = cat("HPKE", u16(0x647a), u16(1), u16(3));
  const extract = (salt, name, ikm) => hmac("sha256", salt, "HPKE-v1", suite, name, ikm);
  const context = cat(u8(0), extract(zeros(0), "psk_id_hash", zeros(0)),
    extract(zeros(0), "info_hash", cat("age-encryption.org/mlkem768x25519")));
  const secret = extract(sharedSecret, "secret", zeros(0));
  const derive = (name, length) =>
    expand("sha256", secret, cat(u16(length), "HPKE-v1", suite, name, context), length);
  const sealed = encrypt(SUITES[2].cipher, derive("key", 32), derive("base_nonce", 12), fileKey);
  return stanza(["mlkem768x25519", base64(cipherText)], sealed);
}

export const hybridRecipient = (identity) => Buffer.from(XWing.getPublicKey(identity));
export const x25519Recipient = (identity) => Buffer.from(x25519.getPublicKey(identity));

// FORMAT 5
export const metadata = (name, { seconds = 1_800_000_000, nanoseconds = 123_456_789, mode = 0o644 } = {}) =>
  cat(field(1, cat(name)), field(2, cat(u64(seconds), u32(nanoseconds))), field(3, u32(mode)));

// FORMAT 7, "References". `needed` is the indices of the parts that are needed, or "all".
export const references = (packs) => cat(u32(packs.length), ...packs.map(({ id, parts, needed }) => {
  if (needed === "all") return cat(id, u32(parts), u8(1));
  const bits = zeros(Math.ceil(parts / 8));
  for (const part of needed) bits[Math.floor(part / 8)] |= 1 << (part % 8);
  return cat(id, u32(parts), u8(0), bits);
}));

/** FORMAT 3. Each field can be replaced, so that a refused header has one fault. */
export function header(fields) {
  const it = {
    magic: Buffer.from("8a7a7075740d0a1a", "hex"), version: 2, suite: 1, partSizeLog2: 24, content: 0,
    vault: zeros(32), epoch: 0, charterTag: zeros(16), generation: 0, key: zeros(0),
    extensions: zeros(0), stanzaEpoch: 0, macKey: zeros(32), behind: zeros(0), ...fields,
  };
  const core = cat(
    u8(it.suite), u8(it.partSizeLog2), u8(it.content), it.vault, u32(it.epoch), it.charterTag,
    u64(it.generation), it.headerSalt, u16(it.keyLength ?? it.key.length), it.key, it.contentKey,
    u16(it.metadataLength ?? it.metadata.length), it.metadata,
    u16(it.extensionsLength ?? it.extensions.length), it.extensions);
  const rest = cat(u32(it.stanzaEpoch), u16(it.stanzasLength ?? it.stanzas.length), it.stanzas);
  const length = it.headerLength ?? 14 + core.length + rest.length + 32 + it.behind.length;
  const before = cat(it.magic, u16(it.version), u32(length), core, rest);
  const mac = hmac("sha256", it.macKey, before);
  return { bytes: cat(before, mac, it.behind), start: cat(it.magic, u16(it.version)), core, mac };
}

/** FORMAT 7, the tail. `front` is how many bytes of the footer are before it. */
export function tail(fields) {
  const it = {
    certificate: zeros(0), vaultMac: zeros(0), signature: zeros(0),
    magic: Buffer.from("8a7a707574656e64", "hex"), ...fields,
  };
  const bytes = cat(
    u64(it.totalLength), it.bodyDigest,
    u16(it.certificateLength ?? it.certificate.length), it.certificate,
    it.fileMac, it.vaultMac, it.signature);
  const length = it.tailLength ?? bytes.length + 14;
  return cat(bytes, u16(length), u32(it.footerLength ?? it.front + length), it.magic);
}

/** FORMAT 7, the front. */
export const front = ({ digests, facts, references, factsLength, referencesLength, behind = zeros(0) }) =>
  cat(...digests, u16(factsLength ?? facts.length), facts,
    u32(referencesLength ?? references.length), references, behind);

/** A whole blob, its pieces and every value on the way. `what` names what is drawn at random. */
export function blob(what, fields) {
  const it = { suite: 1, partSizeLog2: 24, content: 0, facts: null, references: zeros(0), ...fields };
  const { name } = SUITES[it.suite];
  const fileKey = random(`${what} file key`, 16), contentSecret = random(`${what} content secret`, 32);
  const headerSalt = random(`${what} header salt`, 32);
  // FORMAT 2
  const headerKey = (purpose) => hkdf(fileKey, `zput/v2/${name}/${purpose}`, headerSalt);
  const bodyKey = (purpose) => hkdf(contentSecret, `zput/v2/${name}/${purpose}`);
  const seal = (key, context, plaintext) =>
    message(it.suite, key, context, plaintext, `${what} ${context.toString("latin1")}`);
  const keys = {
    "header-mac": headerKey("header-mac"), metadata: headerKey("metadata"),
    content: headerKey("content"), "file-mac": headerKey("file-mac"),
    payload: bodyKey("payload"), footer: bodyKey("footer"),
  };

  // FORMAT 6: "n = ⌊L / part_size⌋ + 1"
  const partSize = 2 ** it.partSizeLog2, total = it.plaintext.length;
  const parts = Array.from({ length: Math.floor(total / partSize) + 1 }, (_, i) =>
    seal(keys.payload, cat("part", u64(i)), it.plaintext.subarray(i * partSize, (i + 1) * partSize)));
  const digests = parts.map((part) => Buffer.from(blake3(part)));
  const facts = it.facts === null ? zeros(0) : seal(keys.footer, cat("facts"), it.facts);
  const theFront = front({ digests, facts, references: it.references });
  const bodyInput = cat(
    label("zput/v2/body"), u8(it.suite), u8(it.partSizeLog2), u8(it.content), u64(total), theFront);
  const bodyDigest = Buffer.from(blake3(bodyInput));

  const stanzas = cat(...it.recipients.map(({ wrap, recipient }, i) => wrap(recipient, fileKey, `${what} ${i}`)));
  const headerFields = {
    ...it, headerSalt, stanzas, macKey: keys["header-mac"],
    contentKey: seal(keys.content, cat("content"), contentSecret),
    metadata: it.content === 1 ? zeros(0) : seal(keys.metadata, cat("metadata"), it.metadata),
  };
  const theHeader = header(headerFields);

  const certificate = it.certificate ?? zeros(0);
  const transcriptInput = cat(
    label("zput/v2/transcript"), theHeader.start, theHeader.core,
    u64(total), bodyDigest, u16(certificate.length), certificate);
  const transcript = createHash("sha512").update(transcriptInput).digest();
  const fileMac = hmac("sha256", keys["file-mac"], label("zput/v2/file-mac"), transcript);
  const tailFields = { totalLength: total, bodyDigest, certificate, fileMac, front: theFront.length };
  const values = {
    file_key: fileKey, content_secret: contentSecret, header_salt: headerSalt,
    ...Object.fromEntries(Object.entries(keys).map(([key, value]) => [`${key.replace("-", "_")}_key`, value])),
    ...(it.content === 1 ? {} : { metadata_plain: it.metadata }),
    ...(it.facts === null ? {} : { facts_plain: it.facts }),
    plaintext_sha256: sha256(it.plaintext),
    body_input: bodyInput, body_digest: bodyDigest, header_mac: theHeader.mac,
    transcript_input: transcriptInput, transcript, file_mac: fileMac,
  };
  if (it.writer) {
    tailFields.vaultMac = hmac("sha256", it.macKey, label("zput/v2/vault-mac"), transcript);
    tailFields.signature = it.writer.sign(cat(label("zput/v2/writer"), transcript));
    Object.assign(values, { vault_mac: tailFields.vaultMac, signature: tailFields.signature });
  }
  const theTail = tail(tailFields);
  return {
    bytes: cat(theHeader.bytes, ...parts, theFront, theTail), headerFields, tailFields,
    digests, facts, fileKey, stanzas, values,
  };
}
