// Makes the golden blobs of format 2, or compares them:
//
//     node tests/interop/blob-v2.mjs [--check]
//
// Written from docs/next/FORMAT.md alone, on other people's cryptography (seal-v2.mjs), and never
// from the crates that read the files. Blobs are in common/seal/tests/data/blob-v2, and every value
// on the way to their MACs and signatures in transcript-v2.txt; in blob-v2/refused are headers,
// tails and fronts with one fault each, which the name says. The vault is that of the golden
// charters, and the certificate the one of the laptop there. The vault of clear names is made here.
// Each stanza is opened again by age-encryption, each signature verified by noble.

import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ed25519 } from "@noble/curves/ed25519.js";
import { bech32 } from "@scure/base";
import { Stanza } from "age-encryption";
import {
  base64, blob, cat, field, front, header, hkdf, hmac, hybridRecipient, label, metadata, random,
  references, run, sha256, signer, stanza, tail, u16, u32, u64, u8, wrapHybrid, wrapX25519,
  x25519Recipient, zeros,
} from "./seal-v2.mjs";

const ageDist = dirname(createRequire(import.meta.url).resolve("age-encryption"));
const { HybridIdentity, X25519Identity } = await import(pathToFileURL(join(ageDist, "recipients.js")).href);

const DATA = join(dirname(fileURLToPath(import.meta.url)), "../../common/seal/tests/data");
const golden = (name) => readFileSync(join(DATA, name));
const check = process.argv.includes("--check");

/** The state of a golden charter, and its tag (FORMAT 13). */
function state(charter) {
  const start = 26;
  let at = start + 1 + 32;
  const count = (bytes) => charter.readUIntBE((at += bytes) - bytes, bytes);
  const epoch = count(4);
  at += 16 * epoch;
  const roots = count(1);
  at += 33 + 97 * (roots - 1) + 4 * (roots - 1);
  const revoked = count(2);
  at += 36 * revoked;
  const kept = count(2);
  at += 16 * kept;
  const extensions = count(2);
  at += extensions;
  const bytes = charter.subarray(start, at);
  const stateHash = sha256(bytes);
  return { vault: bytes.subarray(1, 33), epoch, stateHash, charterTag: stateHash.subarray(0, 16) };
}

// FORMAT 10
const roots = [run(0x00), run(0x20)], clearRoot = run(0xc0);
const epochIdentity = (root, { epoch, stateHash }) =>
  hkdf(hkdf(root, cat(label("zput/v2/epoch"), u32(epoch), stateHash)), "zput/v2/epoch/identity");
const memberSecret = (root0) => hkdf(root0, "zput/v2/member");
const nameKey = hkdf(memberSecret(roots[0]), "zput/v2/name");
const macKey = (root0) => hkdf(memberSecret(root0), "zput/v2/mac");
const sealedKey = (name) => cat(hmac("sha256", nameKey, label("zput/v2/object"), cat(name)).toString("hex"));
const seed = run(0x40);
const writer = signer(hkdf(seed, "zput/v2/device/writer"));
const device = signer(hkdf(seed, "zput/v2/device/tls")).key;
const certificate = golden("certificate-v2/all-scopes.certificate");

// A vault of clear names: its first charter (FORMAT 13), and the laptop's certificate there (12).
// `members` and `owner` are bytes of one value, as in the other golden charters.
const clearSigner = signer(hkdf(clearRoot, "zput/v2/root/sign"));
const clearVault = sha256(cat(label("zput/v2/vault"), u8(1), clearSigner.key));
const clearState = cat(u8(1), clearVault, u32(0), u8(1), u8(1), clearSigner.key, u16(0), u16(0), u16(0));
const signed = (name, bytes) => cat(bytes, clearSigner.sign(cat(label(name), bytes)));
const clearCharter = signed("zput/v2/charter", cat(
  Buffer.from("8a7a707574636872", "hex"), u16(2), u64(1), u64(1_800_000_000), clearState,
  u32(1433), Buffer.alloc(1433, "m"), u32(198), Buffer.alloc(198, "o")));
const clearCertificate = signed("zput/v2/certificate", cat(
  u8(2), u8(0), clearVault, u16(31), u64(0), zeros(32), device, u8(1), writer.key, u16(0)));

// Whole blobs.
const hybrid = (identity) => ({ wrap: wrapHybrid, recipient: hybridRecipient(identity), identity });
const x25519 = (identity) => ({ wrap: wrapX25519, recipient: x25519Recipient(identity), identity });
const inVault = (charter, root) => {
  const it = state(charter);
  return {
    ...it, stanzaEpoch: it.epoch, macKey: macKey(roots[0]), certificate, writer,
    recipients: [hybrid(epochIdentity(root, it))],
  };
};
const first = inVault(golden("charter-v2/1.charter"), roots[0]);
const kept = inVault(golden("charter-v2/4-theft.charter"), roots[1]);
const NAME = "Grüße/secret.bin";
const plaintext = cat("The plaintext of one part.\n");
const packId = run(0x30, 16), otherPack = run(0x70, 16);
const folder = (packs) => ({
  ...first, content: 2, partSizeLog2: 16, generation: 1_800_000_000_000_000_002n, key: sealedKey("folder"),
  metadata: metadata("folder", { mode: 0o755 }), references: references(packs), plaintext: zeros(0),
});
const made = {
  file: blob("file", {
    ...first, generation: 1_800_000_000_123_456_789n, key: sealedKey(NAME), metadata: metadata(NAME),
    facts: cat(u8(1), u8(32), sha256(plaintext)), plaintext,
  }),
  clear: blob("clear", {
    ...state(clearCharter), stanzaEpoch: 0, macKey: macKey(clearRoot), certificate: clearCertificate, writer,
    recipients: [hybrid(epochIdentity(clearRoot, state(clearCharter))), x25519(random("further identity", 32))],
    suite: 2, partSizeLog2: 16, generation: 1_800_000_000_000_000_001n, key: cat("data/three parts"),
    metadata: metadata("data/three parts", { mode: 0o600 }), plaintext: random("three parts", 2 * 65536 + 1000),
  }),
  bare: blob("bare", {
    recipients: [x25519(random("bare identity", 32))], generation: 1_800_000_000_000_000_000n,
    metadata: metadata("bare.bin"), plaintext: zeros(0),
  }),
  // A name of 9 bytes, a sealed key, one hybrid stanza: the lengths that DECISIONS gives.
  "root-1": blob("root-1", {
    ...kept, generation: 1_800_000_000_000_000_003n, key: sealedKey("notes.txt"),
    metadata: metadata("notes.txt"), plaintext,
  }),
  pack: blob("pack", {
    ...first, content: 1, partSizeLog2: 16, key: packId, plaintext: random("pack", 65536 + 500),
  }),
  "folder-whole": blob("folder-whole", folder([{ id: packId, parts: 2, needed: "all" }])),
  "folder-partial": blob("folder-partial", folder([
    { id: packId, parts: 2, needed: [1] },
    { id: otherPack, parts: 9, needed: [0, 7, 8] },
    { id: run(0x90, 16), parts: 16, needed: "all" },
  ])),
};

// What others make of it.
const bech = (prefix, bytes) => bech32.encodeFromBytes(prefix, bytes).toUpperCase();
const recipients = {
  file: first.recipients, "root-1": kept.recipients, pack: first.recipients,
  "folder-whole": first.recipients, "folder-partial": first.recipients,
  clear: [hybrid(epochIdentity(clearRoot, state(clearCharter))), x25519(random("further identity", 32))],
  bare: [x25519(random("bare identity", 32))],
};
for (const [name, it] of Object.entries(made)) {
  const stanzas = it.stanzas.toString("latin1").split(/^-> /m).slice(1).map((text) => {
    const [args, ...body] = text.split("\n");
    return new Stanza(args.split(" "), new Uint8Array(Buffer.from(body.join(""), "base64")));
  });
  for (const { wrap, identity } of recipients[name]) {
    const opener = wrap === wrapHybrid
      ? new HybridIdentity(bech("AGE-SECRET-KEY-PQ-", identity)) : new X25519Identity(bech("AGE-SECRET-KEY-", identity));
    const key = await opener.unwrapFileKey(stanzas);
    if (!key || !it.fileKey.equals(Buffer.from(key))) throw new Error(`${name}: no stanza opens`);
  }
  const { signature, transcript } = it.values;
  if (signature && !ed25519.verify(signature, cat(label("zput/v2/writer"), transcript), writer.key)) {
    throw new Error(`${name}: the signature does not hold`);
  }
}

// Refused headers. Those without another word are of the blob `file` with a short stanza.
const share = x25519Recipient(random("share", 32));
const body43 = base64(random("body", 32));
const shortStanza = stanza(["X25519", base64(share)], random("body", 32));
const based = (base, fields) => header({ ...made[base].headerFields, ...fields }).bytes;
const bad = (fields) => based("file", { stanzas: shortStanza, ...fields });
const bareOne = (fields) => based("bare", fields);
const packOne = (fields) => based("pack", { stanzas: shortStanza, ...fields });
const text = (...lines) => bad({ stanzas: cat(lines.map((line) => `${line}\n`).join("")) });
const lists = {
  critical: field(0x85, zeros(0)),
  order: cat(field(6, zeros(0)), field(5, zeros(0))),
  twice: cat(field(5, zeros(0)), field(5, zeros(0))),
  cut: cat(u8(5), u16(2), u8(0)),
};
const whole = bad({}).length;
const refusedHeaders = {
  "cut": bad({}).subarray(0, 13),
  "magic": bad({ magic: Buffer.from("8a7a7075740a0d1a", "hex") }),
  "version-1": bad({ version: 1 }),
  "version-3": bad({ version: 3 }),
  "length-256": bad({ headerLength: 256 }),
  "length-65537": bad({ extensions: field(5, zeros(65_537 - whole - 3)) }),
  "length-one-more": bad({ headerLength: whole + 1 }),
  "byte-behind": bad({ behind: zeros(1) }),
  "key-beyond-end": bad({ keyLength: 0xffff }),
  "metadata-beyond-end": bad({ metadataLength: 0xffff }),
  "extensions-beyond-end": bad({ extensionsLength: 0xffff }),
  "stanzas-beyond-end": bad({ stanzasLength: 0xffff }),
  "suite-0": bad({ suite: 0 }),
  "suite-3": bad({ suite: 3 }),
  "part-size-15": bad({ partSizeLog2: 15 }),
  "part-size-25": bad({ partSizeLog2: 25 }),
  "content-3": bad({ content: 3 }),
  "bare-epoch": bareOne({ epoch: 1, stanzaEpoch: 1 }),
  "bare-charter-tag": bareOne({ charterTag: run(1, 16) }),
  "bare-content": bareOne({ content: 2 }),
  "bare-stanza-epoch": bareOne({ stanzaEpoch: 1 }),
  "generation-2-63": bad({ generation: 2n ** 63n }),
  "pack-generation": packOne({ generation: 1 }),
  "pack-id-none": packOne({ key: zeros(0) }),
  "pack-id-15": packOne({ key: zeros(15) }),
  "pack-id-17": packOne({ key: zeros(17) }),
  "pack-metadata": packOne({ metadata: made.file.headerFields.metadata }),
  "key-1025": bad({ key: Buffer.alloc(1025, "k") }),
  "metadata-none": bad({ metadata: zeros(0) }),
  "metadata-75": bad({ metadata: zeros(75) }),
  "metadata-49273": bad({ metadata: zeros(49_273) }),
  // 56 bytes, one full chunk with its tag, and 15 bytes where another tag has to be.
  "metadata-no-message": bad({ metadata: zeros(56 + 16_400 + 15) }),
  "extension-critical": bad({ extensions: lists.critical }),
  "extension-order": bad({ extensions: lists.order }),
  "extension-twice": bad({ extensions: lists.twice }),
  "extension-cut": bad({ extensions: lists.cut }),
  "stanza-epoch-below": bad({ epoch: 1, stanzaEpoch: 0 }),
  "stanzas-none": bad({ stanzas: zeros(0) }),
  "stanzas-33": bad({ stanzas: cat(...Array(33).fill("-> new\n\n")) }),
  "stanza-mark": text("-- new", ""),
  "stanza-cut": bad({ stanzas: shortStanza.subarray(0, -1) }),
  "stanza-argument-empty": text("-> new  x", ""),
  "stanza-argument-not-visible": text("-> new \x7f", ""),
  "stanza-long-line": text("-> new", "A".repeat(65)),
  "stanza-padded": text("-> new", `${body43}=`),
  "stanza-not-canonical": text("-> new", `${"A".repeat(42)}B`),
  "stanza-two-shares": text(`-> X25519 ${base64(share)} ${base64(share)}`, body43),
  "stanza-no-share": text("-> X25519", body43),
  "stanza-share-31": text(`-> X25519 ${base64(share.subarray(1))}`, body43),
  "stanza-share-not-canonical": text(`-> X25519 ${"A".repeat(42)}B`, body43),
  "stanza-body-31": text(`-> X25519 ${base64(share)}`, "A".repeat(42)),
  "stanza-low-order": text(`-> X25519 ${base64(cat(u8(1), zeros(31)))}`, body43),
  "stanza-low-order-masked": text(`-> X25519 ${base64(cat(zeros(31), u8(0x80)))}`, body43),
  "stanza-low-order-behind-ours": bad({
    stanzas: cat(shortStanza, stanza(["X25519", base64(zeros(32))], random("body", 32))),
  }),
  "stanza-hybrid-1119": text(`-> mlkem768x25519 ${base64(cat(zeros(1087), share))}`, body43),
  "stanza-hybrid-low-order": text(`-> mlkem768x25519 ${base64(zeros(1120))}`, body43),
};

// Refused tails.
const badTail = (fields, base = "file") => tail({ ...made[base].tailFields, ...fields });
const bareTail = (fields) => badTail(fields, "bare");
const seals = { vaultMac: made.file.tailFields.vaultMac, signature: made.file.tailFields.signature };
const refusedTails = {
  "cut": badTail({}).subarray(-13),
  "magic": badTail({ magic: Buffer.from("8a7a707574656e44", "hex") }),
  "byte-behind": cat(badTail({}), u8(0)),
  "tail-length-87": bareTail({ tailLength: 87 }),
  "tail-length-12409": badTail({ tailLength: 12_409 }),
  "tail-length-one-less": badTail({ tailLength: 390 }),
  "tail-length-one-more": badTail({ tailLength: 392 }),
  "footer-length-of-tail": badTail({ front: 0 }),
  "footer-length-front-37": badTail({ front: 37 }),
  "footer-length-front-25150471": badTail({ front: 25_150_471 }),
  "total-length-2-42": badTail({ totalLength: 2n ** 42n }),
  "certificate-by-digest": badTail({ certificateLength: 0x8020, certificate: sha256(certificate) }),
  "certificate-reserved-bit": badTail({ certificateLength: 0x8000 | certificate.length }),
  "certificate-beyond-end": badTail({ certificateLength: 0x7fff }),
  "certificate-8193": badTail({ certificate: golden("certificate-v2/refused/too-long.certificate") }),
  "certificate-refused": badTail({ certificate: golden("certificate-v2/refused/version-3.certificate") }),
  "certificate-without-writer": badTail({ certificate: golden("certificate-v2/get.certificate") }),
  "certificate-none": badTail({ certificate: zeros(0) }),
  "seal-none": badTail({ vaultMac: zeros(0), signature: zeros(0) }),
  "signature-63": badTail({ signature: seals.signature.subarray(1) }),
  "signature-65": badTail({ signature: cat(seals.signature, u8(0)) }),
  "bare-with-seal": bareTail(seals),
};

// Refused fronts: those of a blob of one part, of a file or of a folder.
const one = { digests: made.file.digests, facts: zeros(0), references: zeros(0) };
const badFront = (fields) => front({ ...one, ...fields });
const badReferences = (bytes, fields) => badFront({ references: bytes, ...fields });
const packed = (packs, behind = zeros(0)) => badReferences(cat(references(packs), behind));
const spelled = (parts, whole, bits) => badReferences(cat(u32(1), packId, u32(parts), u8(whole), Buffer.from(bits)));
const none = references([]);
const all = (id) => ({ id, parts: 2, needed: "all" });
const refusedFronts = {
  "file-digests-cut": badFront({}).subarray(0, 31),
  "file-facts-1": badFront({ facts: zeros(1) }),
  "file-facts-73": badFront({ facts: zeros(73) }),
  "file-facts-1025": badFront({ facts: zeros(1025) }),
  "file-facts-beyond-end": badFront({ factsLength: 1024 }),
  "file-references": badReferences(none),
  "file-references-length-cut": badFront({}).subarray(0, -1),
  "file-byte-behind": badFront({ behind: zeros(1) }),
  "file-digest-more": badFront({ digests: [...one.digests, ...one.digests] }),
  "folder-references-none": badFront({}),
  "folder-references-3": badReferences(zeros(3)),
  "folder-references-16760833": badReferences(none, { referencesLength: 16_760_833 }),
  "folder-references-beyond-end": badReferences(none, { referencesLength: 5 }),
  "folder-byte-behind": badReferences(none, { behind: zeros(1) }),
  "folder-byte-behind-packs": packed([all(packId)], zeros(1)),
  "folder-packs-65537": badReferences(u32(65_537)),
  "folder-packs-cut": badReferences(cat(u32(2), references([all(packId)]).subarray(4))),
  "folder-packs-order": packed([all(otherPack), all(packId)]),
  "folder-packs-twice": packed([all(packId), all(packId)]),
  "folder-parts-0": spelled(0, 1, []),
  "folder-parts-262145": spelled(262_145, 1, []),
  "folder-whole-2": spelled(2, 2, []),
  "folder-bits-all": spelled(9, 0, [0xff, 0x01]),
  "folder-bits-none": spelled(9, 0, [0x00, 0x00]),
  "folder-bits-spare": spelled(9, 0, [0x01, 0x02]),
  "folder-bits-spare-alone": spelled(9, 0, [0x00, 0x80]),
  "folder-bits-cut": spelled(9, 0, [0x01]),
};

// Files.
const files = new Map();
const put = (folder, ending, pieces) => Object.entries(pieces).forEach(([name, bytes]) =>
  files.set(join(folder, `${name}.${ending}`), bytes));
put("blob-v2", "zput", Object.fromEntries(Object.entries(made).map(([name, { bytes }]) => [name, bytes])));
put("blob-v2", "charter", { clear: clearCharter });
put("blob-v2", "certificate", { clear: clearCertificate });
put("blob-v2/refused", "header", refusedHeaders);
put("blob-v2/refused", "tail", refusedTails);
put("blob-v2/refused", "front", refusedFronts);
let values = "# Made by tests/interop/blob-v2.mjs from docs/next/FORMAT.md.\n";
for (const [name, it] of Object.entries(made)) {
  recipients[name].forEach(({ identity }, i) => { it.values[`identity_${i}`] = identity; });
  for (const [key, value] of Object.entries(it.values)) values += `${name}.${key}: ${value.toString("hex")}\n`;
}
files.set("transcript-v2.txt", Buffer.from(values));

const wrong = [];
for (const folder of ["blob-v2", "blob-v2/refused"]) {
  const path = join(DATA, folder);
  if (!check) mkdirSync(path, { recursive: true });
  for (const entry of existsSync(path) ? readdirSync(path, { withFileTypes: true }) : []) {
    if (entry.isFile() && !files.has(join(folder, entry.name))) {
      if (check) wrong.push(`${join(folder, entry.name)} is not made here`);
      else rmSync(join(path, entry.name));
    }
  }
}
for (const [name, bytes] of files) {
  const path = join(DATA, name);
  if (!check) writeFileSync(path, bytes);
  else if (!existsSync(path) || !readFileSync(path).equals(bytes)) wrong.push(`${name} differs`);
}
if (wrong.length > 0) {
  console.error(wrong.join("\n"));
  process.exit(1);
}
