// Makes the golden certificates and charters of format 2, or compares them:
//
//     node tests/interop/golden-v2.mjs [--check] [--values]
//
// Written from docs/next/FORMAT.md alone, on node's own cryptography, and never from the crates
// that read the files. The same bytes come out each time: Ed25519 has no randomness.
//
// What is sealed in a charter is in sealed-v2.mjs.

import { createHash, createHmac, createPrivateKey, createPublicKey, hkdfSync, sign } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { members, message, owner, x25519Public, xwingPublic } from "./sealed-v2.mjs";

const DATA = join(dirname(fileURLToPath(import.meta.url)), "../../common/seal/tests/data");
const check = process.argv.includes("--check");

const cat = (...parts) => Buffer.concat(parts.map((part) =>
  typeof part === "string" ? Buffer.from(part, "utf8") : Buffer.from(part)));
const uint = (bytes) => (n) => {
  const all = Buffer.alloc(8);
  all.writeBigUInt64BE(BigInt(n));
  return all.subarray(8 - bytes);
};
const [u8, u16, u32, u64] = [1, 2, 4, 8].map(uint);
const zeros = (n) => Buffer.alloc(n);
const run = (from) => Buffer.from(Array.from({ length: 32 }, (_, i) => from + i));
const sha256 = (bytes) => createHash("sha256").update(bytes).digest();
const label = (text) => cat(text, u8(0));

// FORMAT 1: HKDF-SHA-512, empty salt, 32 bytes out
const hkdf = (ikm, info) => Buffer.from(hkdfSync("sha512", ikm, zeros(0), info, 32));

function signer(seed) {
  const pkcs8 = cat(Buffer.from("302e020100300506032b657004220420", "hex"), seed);
  const secret = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  const key = createPublicKey(secret).export({ format: "der", type: "spki" }).subarray(-32);
  return { key, sign: (bytes) => sign(null, bytes, secret) };
}

// FORMAT 10
const roots = [run(0x00), run(0x20), run(0x80)];
const rootOf = (secret) => ({
  ...signer(hkdf(secret, "zput/v2/root/sign")), secret,
  ownerKey: hkdf(secret, "zput/v2/owner"), wrapRoot: hkdf(secret, "zput/v2/wrap"),
});
const rootSigners = roots.map(rootOf);
const vaultOf = (key) => sha256(cat(label("zput/v2/vault"), u8(1), key));
const V = vaultOf(rootSigners[0].key);
const M = hkdf(roots[0], "zput/v2/member");
const nameKey = hkdf(M, "zput/v2/name");
const charterKey = hkdf(M, "zput/v2/charter");
// "E_k[32] = HKDF(root_j, "zput/v2/epoch" 00 || u32(k) || SHA-256(state of epoch k))"
const epochSecret = (root, k, state) =>
  hkdf(root.secret, cat(label("zput/v2/epoch"), u32(k), sha256(state)));
const wrapKey = (root, device) => hkdf(root.wrapRoot, cat(label("zput/v2/wrap/device"), device));
const recipient = (secret) => xwingPublic(hkdf(secret, "zput/v2/epoch/identity"));
const prefixTag = (prefix) =>
  createHmac("sha256", nameKey).update(cat(label("zput/v2/prefix"), prefix)).digest();
const deviceOf = (seed) => ({
  device: signer(hkdf(seed, "zput/v2/device/tls")).key,
  writer: signer(hkdf(seed, "zput/v2/device/writer")).key,
});
const [laptop, host, reader] = [0x40, 0x60, 0xa0].map((from) => deviceOf(run(from)));

const field = (type, value) => cat(u8(type), u16(value.length), value);

// FORMAT 12. Each field can be replaced, so that a refused certificate has one fault.
function certificate(fields) {
  const it = {
    version: 2, root: 0, vault: V, scopes: 31, notAfter: 0, prefix: zeros(32), device: laptop.device,
    algorithm: 1, writer: laptop.writer, extensions: zeros(0), label: "zput/v2/certificate", ...fields,
  };
  const bytes = cat(
    u8(it.version), u8(it.root), it.vault, u16(it.scopes), u64(it.notAfter), it.prefix, it.device,
    u8(it.algorithm), it.writer, u16(it.extensionsLength ?? it.extensions.length), it.extensions);
  const by = it.by ?? rootSigners[it.root];
  return cat(bytes, (it.change ?? ((s) => s))(by.sign(cat(label(it.label), bytes))));
}

// FORMAT 13
function state(fields) {
  const it = {
    flags: 0, vault: V, past: [], roots: [rootSigners[0].key], untils: [], revoked: [], kept: [],
    extensions: zeros(0), ...fields,
  };
  return cat(
    u8(it.flags), it.vault, u32(it.epoch ?? it.past.length), ...it.past, u8(it.rootCount ?? it.roots.length),
    ...it.roots.map((root, index) => index === 0 && root.length === 32 ? cat(u8(1), root) : root),
    ...it.untils.map(u32), u16(it.revoked.length), ...it.revoked.map(([device, until]) => cat(device, u32(until))),
    u16(it.kept.length), ...it.kept, u16(it.extensionsLength ?? it.extensions.length), it.extensions);
}

function succession(index, fields = {}) {
  const it = { by: rootSigners[index - 1], signedIndex: index, key: rootSigners[index]?.key, vault: V, ...fields };
  const body = cat(u8(1), it.key);
  const signature = it.by.sign(cat(label("zput/v2/root"), it.vault, u8(it.signedIndex), body));
  return cat(body, (it.change ?? ((s) => s))(signature));
}

// A list of certificates that were issued, in the order of the page.
const sorted = (list, by = (it) => it) => [...list].sort((a, b) => Buffer.compare(by(a), by(b)));
const issued = (...list) =>
  sorted(list.map(([certificate, root, role, label]) => ({
    device: certificate.subarray(76, 108), digest: sha256(certificate).subarray(0, 16), root, role, label,
  })), (it) => cat(it.device, it.digest));

// The message of `members`. `secrets` are those of all epochs, the last in force; `readers` are
// devices with the root that signed their certificates.
function sealedMembers(publicHash, fields) {
  const it = {
    publicHash, readers: [], further: [],
    extensions: zeros(0), key: charterKey, context: cat("members"), excess: zeros(0), ...fields,
  };
  const k = it.epoch ?? it.secrets.length - 1, secret = it.secret ?? it.secrets.at(-1);
  const historyKey = it.historyKey ?? hkdf(it.secrets.at(-1), "zput/v2/epoch/history");
  const context = it.envelopeContext ?? cat("envelope", u32(k));
  it.recipient ??= recipient(it.secrets.at(-1));
  it.history ??= k === 0 ? zeros(0)
    : message(historyKey, cat(it.historyContext ?? "history"), cat(...it.secrets.slice(0, -1)));
  it.envelopes ??= sorted(it.readers, ([device]) => device)
    .map(([device, root]) => message(wrapKey(root, device), context, secret));
  return message(it.key, it.context, cat(members(it), it.excess));
}

function sealedOwner(publicHash, root, fields) {
  const it = {
    publicHash, memberSecret: M, wrapRoots: [], issued: [], extensions: zeros(0),
    key: root.ownerKey, context: cat("owner"), excess: zeros(0), ...fields,
  };
  return message(it.key, it.context, cat(owner(it), it.excess));
}

function charter(fields) {
  const it = {
    magic: Buffer.from("8a7a707574636872", "hex"), version: 2, serial: 1, issued: 1_800_000_000,
    state: state({}), by: rootSigners[0], label: "zput/v2/charter", ...fields,
  };
  const open = cat(it.magic, u16(it.version), u64(it.serial), u64(it.issued), it.state);
  const members = sealedMembers(sha256(open), {
    secrets: [epochSecret(it.by, 0, it.state)], ...it.members,
  });
  const owner = it.ownerBytes === undefined
    ? sealedOwner(sha256(open), it.by, it.owner) : Buffer.alloc(it.ownerBytes, "o");
  const bytes = cat(
    open, u32(it.membersLength ?? members.length), members, u32(it.ownerLength ?? owner.length), owner);
  return cat(bytes, (it.change ?? ((s) => s))(it.by.sign(cat(label(it.label), bytes))));
}

// What is wrong with a signature or a key.
const flipped = (bytes) => { const copy = Buffer.from(bytes); copy[0] ^= 1; return copy; };
const shorter = (bytes) => bytes.subarray(0, -1);
const longer = (bytes) => cat(bytes, u8(0));
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
function aboveL(signature) {
  const little = (bytes) => BigInt("0x" + Buffer.from(bytes).reverse().toString("hex"));
  const s = little(signature.subarray(32)) + L;
  return cat(signature.subarray(0, 32), Buffer.from(s.toString(16).padStart(64, "0"), "hex").reverse());
}
const smallOrder = Buffer.from("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", "hex");
// y = 3 + p
const notCanonical = cat(u8(0xf0), Buffer.alloc(30, 0xff), u8(0x7f));
const noPoint = Buffer.alloc(32, 2);
const otherVault = vaultOf(rootSigners[2].key);

const files = new Map();
const put = (folder, name, bytes) => files.set(join(folder, name), bytes);

// Certificates.
const lists = {
  skipped: field(0x05, cat("later")),
  critical: field(0x85, zeros(0)),
  order: cat(field(6, zeros(0)), field(5, zeros(0))),
  twice: cat(field(5, zeros(0)), field(5, zeros(0))),
  cut: cat(u8(5), u16(2), u8(0)),
};
const certificates = {
  "all-scopes": certificate({}),
  "put-prefix": certificate({
    scopes: 1, notAfter: 1_900_000_000, prefix: prefixTag("Grüße/"), device: host.device, writer: host.writer,
  }),
  get: certificate({ scopes: 6, device: reader.device, algorithm: 0, writer: zeros(0) }),
  "later-scope": certificate({ scopes: 0x21 }),
  "skipped-extension": certificate({ extensions: lists.skipped }),
  "root-1": certificate({ root: 1 }),
  // A device of a later algorithm is a hash: these count, and enter nowhere.
  "device-small-order": certificate({ device: smallOrder }),
  "device-not-canonical": certificate({ device: notCanonical }),
  "device-no-point": certificate({ device: noPoint }),
};
const get = { scopes: 2, algorithm: 0, writer: zeros(0) };
const refusedCertificates = {
  "too-long": certificate({ extensions: field(5, zeros(8192 - 207 - 3 + 1)) }),
  "cut": certificate({}).subarray(0, 142),
  "version-1": certificate({ version: 1 }),
  "version-3": certificate({ version: 3 }),
  "not-after-2-33": certificate({ notAfter: 2n ** 33n }),
  "writer-small-order": certificate({ writer: smallOrder }),
  "writer-not-canonical": certificate({ writer: notCanonical }),
  "writer-algorithm-2": certificate({ algorithm: 2 }),
  "writer-algorithm-255": certificate({ algorithm: 255 }),
  "writer-without-put": certificate({ scopes: 30 }),
  "put-without-writer": certificate({ ...get, scopes: 3 }),
  "extension-critical": certificate({ extensions: lists.critical }),
  "extension-order": certificate({ extensions: lists.order }),
  "extension-twice": certificate({ extensions: lists.twice }),
  "extension-cut": certificate({ extensions: lists.cut }),
  "extensions-beyond-end": certificate({ extensionsLength: 65 }),
  "signature-4097": certificate({ change: (s) => cat(s, zeros(4097 - 64)) }),
  // These parse, and do not hold under charter 1.
  "other-vault": certificate({ vault: otherVault }),
  "root-of-no-charter": certificate({ root: 1 }),
  "signature-flipped": certificate({ change: flipped }),
  "signature-63": certificate({ change: shorter }),
  "signature-65": certificate({ change: longer }),
  "signature-none": certificate({ change: () => zeros(0) }),
  "signature-above-l": certificate({ change: aboveL }),
  "signature-other-root": certificate({ by: rootSigners[1] }),
  "signature-other-label": certificate({ label: "zput/v2/charter" }),
};

// Charters.
const tag = (state) => sha256(state).subarray(0, 16);
const kept = (certificate) => sha256(certificate).subarray(0, 16);
const first = state({});
const revoking = (device) => state({ past: [tag(first)], revoked: [[device, 1]] });
const [third, fork] = [revoking(host.device), revoking(reader.device)];
const past = [tag(first), tag(third)];
const twoRoots = [rootSigners[0].key, succession(1)];
const planned = state({
  past, roots: twoRoots, untils: [2], revoked: [[host.device, 1]], kept: [kept(certificates.get)],
});
const theft = state({
  past, roots: twoRoots, untils: [0], revoked: [[host.device, 1]],
  kept: sorted([kept(certificates["all-scopes"]), kept(certificates.get)]),
});
// Certificates that are noted and in no file: the host's as a member, the reader's of root 1.
const hostMember = certificate({ device: host.device, writer: host.writer });
const readerAgain = certificate({ root: 1, scopes: 6, device: reader.device, algorithm: 0, writer: zeros(0) });
const notes = [
  [certificates["all-scopes"], 0, 0, "laptop"], [certificates["put-prefix"], 0, 3, "host"],
  [hostMember, 0, 1, "host"], [certificates.get, 0, 2, "Grüße"],
];
const laptopAgain = [certificates["root-1"], 1, 0, "laptop"];
const secrets = [[0, first], [1, third]].map(([k, state]) => epochSecret(rootSigners[0], k, state));
const rootedSecrets = (state) => [...secrets, epochSecret(rootSigners[1], 2, state)];
const further = [[1, x25519Public(run(0xc0))]];
const [hostReads, readerReads] = [[host.device, rootSigners[0]], [reader.device, rootSigners[0]]];
const later = (state, reads) => ({
  state,
  members: { secrets: [secrets[0], epochSecret(rootSigners[0], 1, state)], further, readers: [reads] },
  owner: { issued: issued(...notes) },
});
const rooted = {
  state: planned, by: rootSigners[1], members: { secrets: rootedSecrets(planned), further, readers: [readerReads] },
  owner: { wrapRoots: [[0, rootSigners[0].wrapRoot]], issued: issued(...notes, laptopAgain) },
};
const charters = {
  "1": charter({ state: first, owner: { issued: issued(notes[0]) } }),
  "2": charter({
    state: first, serial: 2, members: { readers: [hostReads, readerReads] }, owner: { issued: issued(...notes) },
  }),
  "3": charter(later(third, readerReads)),
  "3-fork": charter(later(fork, hostReads)),
  "4-planned": charter(rooted),
  "4-theft": charter({
    ...rooted, state: theft,
    members: { secrets: rootedSecrets(theft), readers: [[reader.device, rootSigners[1]]] },
    owner: { issued: issued(...notes, laptopAgain, [readerAgain, 1, 2, "Grüße"]) },
  }),
};
const counted = (n, bytes) => Array.from({ length: n }, (_, i) => cat(zeros(bytes - 4), u32(i)));
const chain = (n) => {
  const signers = Array.from({ length: n }, (_, i) => i === 0 ? rootSigners[0] : rootOf(sha256(u32(i))));
  const roots = signers.map(({ key }, i) => i === 0 ? key : succession(i, { by: signers[i - 1], key }));
  return { signers, roots, by: signers.at(-1), untils: Array(n - 1).fill(0) };
};
const stated = (fields, others = {}) => charter({ state: state(fields), ...others });
const rootAlgorithm = (number, key = rootSigners[0].key) => [cat(u8(number), key)];
const sixteen = chain(16);
const wrapRoots = sixteen.signers.slice(0, 15).map(({ wrapRoot }, index) => [index, wrapRoot]);
charters["16-roots"] = stated(sixteen, {
  by: sixteen.by, owner: { wrapRoots },
});
const seventeen = chain(17);
const bad = (key) => ({ vault: vaultOf(key), roots: rootAlgorithm(1, key) });
const badSuccession = (fields) =>
  stated({ roots: [rootSigners[0].key, succession(1, fields)], untils: [0] }, { by: rootSigners[1] });
const refusedCharters = {
  "too-long": charter({ ownerBytes: 114_689 - charter({ ownerBytes: 0 }).length }),
  "cut": charters["1"].subarray(0, 100),
  "magic": charter({ magic: Buffer.from("8a7a70757463680a", "hex") }),
  "version-1": charter({ version: 1 }),
  "version-3": charter({ version: 3 }),
  "serial-0": charter({ serial: 0 }),
  "flags-2": stated({ flags: 2 }),
  "flags-80": stated({ flags: 0x80 }),
  "epoch-1024": stated({ past: counted(1024, 16) }),
  "root-count-0": stated({ roots: [] }),
  "root-count-17": stated(seventeen, { by: seventeen.by }),
  "root-algorithm-0": stated({ roots: rootAlgorithm(0) }),
  "root-algorithm-2": stated({ roots: rootAlgorithm(2) }),
  "root-small-order": stated(bad(smallOrder)),
  "root-not-canonical": stated(bad(notCanonical)),
  "root-no-point": stated(bad(noPoint)),
  "later-root-small-order": badSuccession({ key: smallOrder }),
  "vault-of-other-root": stated({ vault: otherVault }),
  "other-vault": charter({
    state: state({ vault: otherVault, roots: [rootSigners[2].key] }), by: rootSigners[2],
  }),
  "succession-flipped": badSuccession({ change: flipped }),
  "succession-of-other-index": badSuccession({ signedIndex: 2 }),
  "succession-of-other-vault": badSuccession({ vault: otherVault }),
  "succession-by-itself": badSuccession({ by: rootSigners[1] }),
  "succession-by-root-before-last": stated(
    { roots: [...twoRoots, succession(2, { by: rootSigners[0] })], untils: [0, 0] }, { by: rootSigners[2] }),
  "until-of-root-beyond-epoch": stated({ roots: twoRoots, untils: [1] }, { by: rootSigners[1] }),
  "until-of-device-beyond-epoch": stated({ revoked: [[host.device, 1]] }),
  "revoked-2049": stated({ revoked: counted(2049, 32).map((device) => [device, 0]) }),
  "revoked-order": stated({ revoked: sorted([[host.device, 0], [reader.device, 0]], ([device]) => device).reverse() }),
  "revoked-twice": stated({ revoked: [[host.device, 0], [host.device, 0]] }),
  "kept-4097": stated({ kept: counted(4097, 16) }),
  "kept-order": stated({ kept: sorted([kept(certificates.get), kept(certificates["all-scopes"])]).reverse() }),
  "kept-twice": stated({ kept: [kept(certificates.get), kept(certificates.get)] }),
  "extension-critical": stated({ extensions: lists.critical }),
  "extension-order": stated({ extensions: lists.order }),
  "extension-twice": stated({ extensions: lists.twice }),
  "extension-cut": stated({ extensions: lists.cut }),
  "extensions-beyond-end": stated({ extensionsLength: 0xffff }),
  "members-beyond-end": charter({ membersLength: 0xffffffff }),
  "owner-beyond-end": charter({ ownerLength: 0xffffffff }),
  "signature-flipped": charter({ change: flipped }),
  "signature-63": charter({ change: shorter }),
  "signature-65": charter({ change: longer }),
  "signature-none": charter({ change: () => zeros(0) }),
  "signature-above-l": charter({ change: aboveL }),
  "signature-other-label": charter({ label: "zput/v2/certificate" }),
  "signature-of-first-root": charter({ ...rooted, by: rootSigners[0] }),
};
charters["skipped-extension"] = stated({ extensions: lists.skipped });

// Charters that hold, each with one fault in what is sealed: they are charter 3, or charter 4 where
// it takes two roots.
const base = later(third, readerReads);
const membered = (members) => charter({ ...base, members: { ...base.members, ...members } });
const owned = (owner, others = base) => charter({ ...others, owner: { ...others.owner, ...owner } });
const noted = (fields) => owned({ issued: base.owner.issued.map((it, at) => at === 0 ? { ...it, ...fields } : it) });
const flippedEnd = (bytes) => { const copy = Buffer.from(bytes); copy[copy.length - 1] ^= 1; return copy; };
const own = (k, secret = secrets[1]) =>
  message(wrapKey(...readerReads.toReversed()), cat("envelope", u32(k)), secret);
const history = (key, secrets) => message(key, cat("history"), cat(...secrets));
const historyKey = hkdf(secrets[1], "zput/v2/epoch/history");
const lastPast = counted(1023, 16);
const lastState = state({
  past: lastPast, roots: twoRoots, untils: [2], kept: sorted([kept(hostMember), kept(certificates.get)]),
});
const lastSecrets = Array.from({ length: 1024 }, (_, k) => k < 3 ? rootedSecrets(planned)[k]
  : epochSecret(rootSigners[1], k, k < 1023 ? u32(k) : lastState));
// "strictly increasing by these bytes"
const byBytes = (recipients) => sorted(recipients, ([type, key]) => cat(u8(type), key));
const manyFurther = byBytes(Array.from({ length: 30 }, (_, i) =>
  i % 10 === 9 ? [2, xwingPublic(sha256(u32(i)))] : [1, x25519Public(sha256(u32(i)))]));
const sealedCharters = {
  "last-epoch": charter({
    ...rooted, state: lastState,
    members: { secrets: lastSecrets, further: manyFurther, readers: [hostReads, readerReads] },
  }),
  "skipped-extension": charter({
    ...base, members: { ...base.members, extensions: lists.skipped },
    owner: { ...base.owner, extensions: lists.skipped },
  }),
  // Each has the right envelope for the reader behind others.
  "envelopes-of-others": membered({
    envelopes: [
      own(0),
      message(wrapKey(rootSigners[0], laptop.device), cat("envelope", u32(1)), secrets[1]),
      own(1),
    ],
  }),
};
const lowOrder = zeros(32);
const aboveQ = (() => { const key = Buffer.from(recipient(secrets[1])); key.fill(0xff, 0, 3); return key; })();
const refusedMembers = {
  "other-key": membered({ key: hkdf(M, "zput/v2/name") }),
  "other-context": membered({ context: cat("owner") }),
  "public-hash": membered({ publicHash: sha256(cat("another charter")) }),
  "cut": membered({ extensionsLength: 1 }),
  "excess": membered({ excess: u8(0) }),
  "recipient-above-q": membered({ recipient: aboveQ }),
  "further-31": membered({ further: Array.from({ length: 31 }, () => further[0]) }),
  "further-type-0": membered({ further: [[0, further[0][1]]] }),
  "further-type-3": membered({ further: [[3, further[0][1]]] }),
  "further-low-order": membered({ further: [further[0], [1, lowOrder]] }),
  "further-hybrid-above-q": membered({ further: [[2, aboveQ]] }),
  "further-order": membered({ further: manyFurther.slice(0, 2).reverse() }),
  "further-order-of-types": membered({ further: [manyFurther[29], manyFurther[0]] }),
  "further-twice": membered({ further: [further[0], further[0]] }),
  "further-beyond-end": membered({ furtherCount: 30 }),
  "history-of-epoch-0": membered({ history: zeros(0) }),
  "history-of-epoch-2": membered({ history: history(historyKey, [secrets[0], secrets[0]]) }),
  "history-beyond-end": membered({ historyLength: 0xffffffff }),
  "envelopes-beyond-end": membered({ envelopeCount: 0xffff }),
  "extension-critical": membered({ extensions: lists.critical }),
  "extension-order": membered({ extensions: lists.order }),
};
// These open, and give the reader no secret of epoch 1, or none of epoch 0.
const refusedEpochs = {
  "no-envelope": membered({ readers: [] }),
  "envelope-of-other-epoch": membered({ envelopes: [own(0)] }),
  "envelope-without-epoch": membered({ envelopeContext: cat("envelope") }),
  "envelope-of-other-root": membered({ readers: [[reader.device, rootSigners[1]]] }),
  "envelope-flipped": membered({ envelopes: [flippedEnd(own(1)), own(1)] }),
  "secret-of-other-recipient": membered({ secret: secrets[0] }),
  "recipient-of-other-secret": membered({ recipient: recipient(secrets[0]) }),
  "history-other-key": membered({ historyKey: hkdf(secrets[0], "zput/v2/epoch/history") }),
  "history-other-context": membered({ historyContext: "members" }),
  "history-flipped": membered({ history: flippedEnd(history(historyKey, [secrets[0]])) }),
};
const wraps = (...indices) => owned({ wrapRoots: indices.map((index) => [index, rootSigners[0].wrapRoot]) }, rooted);
const refusedOwners = {
  "other-key": owned({ key: rootSigners[1].ownerKey }),
  "other-context": owned({ context: cat("members") }),
  "public-hash": owned({ publicHash: sha256(cat("another charter")) }),
  "cut": owned({ extensionsLength: 1 }),
  "excess": owned({ excess: u8(0) }),
  "wrap-root-of-last-root": wraps(0, 1),
  "wrap-root-twice": wraps(0, 0),
  "wrap-root-of-only-root": owned({ wrapRoots: [[0, rootSigners[0].wrapRoot]] }),
  "wrap-roots-beyond-end": owned({ wrapCount: 1, wrapRoots: [], issued: [] }, rooted),
  "issued-order": owned({ issued: base.owner.issued.toReversed() }),
  "issued-twice": owned({ issued: [base.owner.issued[0], base.owner.issued[0]] }),
  "issued-beyond-end": owned({ issuedCount: 0xffff }),
  "issued-root-1": noted({ root: 1 }),
  "role-5": noted({ role: 5 }),
  "label-65": noted({ label: "l".repeat(65) }),
  "label-control": noted({ label: "lap\u009btop" }),
  "label-not-utf8": noted({ label: Buffer.from("c328", "hex") }),
  "extension-critical": owned({ extensions: lists.critical }),
  "extension-twice": owned({ extensions: lists.twice }),
};

for (const [name, bytes] of Object.entries(certificates)) put("certificate-v2", `${name}.certificate`, bytes);
for (const [name, bytes] of Object.entries(refusedCertificates)) put("certificate-v2/refused", `${name}.certificate`, bytes);
for (const [name, bytes] of Object.entries(charters)) put("charter-v2", `${name}.charter`, bytes);
for (const [name, bytes] of Object.entries(refusedCharters)) put("charter-v2/refused", `${name}.charter`, bytes);
for (const [folder, charters] of Object.entries({
  "members-v2": sealedCharters, "members-v2/refused": refusedMembers, "members-v2/refused-epochs": refusedEpochs,
  "owner-v2/refused": refusedOwners,
})) {
  for (const [name, bytes] of Object.entries(charters)) put(folder, `${name}.charter`, bytes);
}

if (process.argv.includes("--values")) {
  const show = (name, bytes) => console.log(`${name} ${Buffer.from(bytes).toString("hex")}`);
  show("vault", V);
  show("other vault", otherVault);
  rootSigners.forEach(({ key }, j) => show(`root ${j}`, key));
  Object.entries({ laptop, host, reader }).forEach(([name, it]) => {
    show(`${name} device`, it.device);
    show(`${name} writer`, it.writer);
  });
  show("prefix tag", prefixTag("Grüße/"));
  Object.entries({ first, third, fork, planned, theft }).forEach(([name, it]) => show(`tag ${name}`, tag(it)));
  Object.entries({ hostMember, readerAgain }).forEach(([name, it]) => show(`digest ${name}`, kept(it)));
  show("further recipient", further[0][1]);
  for (const [name, bytes] of files) {
    if (name.endsWith(".certificate") && !name.includes("refused")) show(`digest ${name}`, kept(bytes));
    console.log(`length ${name} ${bytes.length}`);
  }
}

const folders = [
  "certificate-v2", "certificate-v2/refused", "charter-v2", "charter-v2/refused",
  "members-v2", "members-v2/refused", "members-v2/refused-epochs", "owner-v2/refused",
];
const wrong = [];
for (const folder of folders) {
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
