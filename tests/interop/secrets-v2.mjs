// Makes the golden files of format 2's secrets, and prints one of them:
//
//   node secrets-v2.mjs derive > ../../common/seal/tests/data/derive-v2.txt
//   node secrets-v2.mjs kit    > ../../common/seal/tests/data/kit-v2.txt
//
// Written from docs/next/FORMAT.md 1, 10 and 16 alone, on the platform's cryptography: it needs no
// package, but the golden charters of golden-v2.mjs, whose epochs' secrets it derives. Each rule that it follows is quoted with its section. A line of a file is `name: value`;
// values are hex digits unless the name ends with `.text`.

import {
  createCipheriv, createHash, createHmac, createPrivateKey, createPublicKey, hkdfSync,
} from "node:crypto";
import { readFileSync } from "node:fs";

const ascii = (text) => Buffer.from(text, "latin1");
const utf8 = (text) => Buffer.from(text, "utf8");
const hex = (bytes) => Buffer.from(bytes).toString("hex");
const u32 = (n) => { const b = Buffer.alloc(4); b.writeUInt32BE(n); return b; };
const labelled = (label, ...pieces) => Buffer.concat([ascii(label), Buffer.of(0), ...pieces]);
/** `length` bytes that count up from `first`. */
const counting = (first, length = 32) => Buffer.from(Array.from({ length }, (_, i) => first + i));

const sha256 = (bytes) => createHash("sha256").update(bytes).digest();
const hmac = (hash, key, ...pieces) => {
  const mac = createHmac(hash, key);
  for (const piece of pieces) mac.update(piece);
  return mac.digest();
};
// FORMAT 1: "HKDF-SHA-512 (RFC 5869), empty salt, 32 bytes out"
const hkdf = (ikm, info) => Buffer.from(hkdfSync("sha512", ikm, Buffer.alloc(0), info, 32));

/** The public key of an Ed25519 seed, which stands behind 16 fixed bytes in PKCS #8 (RFC 8410). */
function ed25519Public(seed) {
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  return createPublicKey(key).export({ format: "der", type: "spki" }).subarray(-32);
}

// FORMAT 10, the block of derivations.
const rootSign = (root) => hkdf(root, ascii("zput/v2/root/sign"));
const vaultId = (root0) =>
  sha256(labelled("zput/v2/vault", Buffer.of(1), ed25519Public(rootSign(root0))));
const memberSecret = (root0) => hkdf(root0, ascii("zput/v2/member"));
// "E_k[32] = HKDF(root_j, "zput/v2/epoch" 00 || u32(k) || SHA-256(state of epoch k))"
const epochSecret = (root, k, stateHash) => hkdf(root, labelled("zput/v2/epoch", u32(k), stateHash));

/** The epoch of a golden charter (golden-v2.mjs makes them), and the SHA-256 of its state. */
function state(name) {
  const charter = readFileSync(new URL(`../../common/seal/tests/data/${name}.charter`, import.meta.url));
  // FORMAT 13: magic, version, serial and issued are before the state.
  const start = 8 + 2 + 8 + 8;
  let at = start + 1 + 32;
  const count = (bytes) => charter.readUIntBE((at += bytes) - bytes, bytes);
  const epoch = count(4);
  at += 16 * epoch;
  const roots = count(1);
  at += 33 + (97 + 4) * (roots - 1);
  const revoked = count(2);
  at += 36 * revoked;
  const kept = count(2);
  at += 16 * kept;
  const extensions = count(2);
  return { epoch, hash: sha256(charter.subarray(start, at + extensions)) };
}
const wrapKey = (wrapRoot, device) => hkdf(wrapRoot, labelled("zput/v2/wrap/device", device));

const ROOT_0 = counting(0x00), ROOT_1 = counting(0x20), DEVICE_SEED = counting(0x40);

function* derive() {
  yield ["root_0", ROOT_0];
  yield ["root_1", ROOT_1];
  for (const [j, root] of [ROOT_0, ROOT_1].entries()) {
    yield [`root_sign_${j}`, rootSign(root)];
    yield [`root_sign_${j}.public`, ed25519Public(rootSign(root))];
    yield [`owner_key_${j}`, hkdf(root, ascii("zput/v2/owner"))];
    yield [`kit_key_${j}`, hkdf(root, ascii("zput/v2/kit"))];
    yield [`wrap_root_${j}`, hkdf(root, ascii("zput/v2/wrap"))];
  }
  yield ["V", vaultId(ROOT_0)];

  const tlsSeed = hkdf(DEVICE_SEED, ascii("zput/v2/device/tls"));
  const writerSeed = hkdf(DEVICE_SEED, ascii("zput/v2/device/writer"));
  const device = ed25519Public(tlsSeed);
  yield ["device_seed", DEVICE_SEED];
  yield ["tls_seed", tlsSeed];
  yield ["device", device];
  yield ["writer_seed", writerSeed];
  yield ["writer", ed25519Public(writerSeed)];
  for (const [j, root] of [ROOT_0, ROOT_1].entries()) {
    yield [`wrap_key_${j}`, wrapKey(hkdf(root, ascii("zput/v2/wrap")), device)];
  }

  // Epochs 0 and 1 begin under root 0; epoch 2, and the last that there can be, under root 1.
  const states = [
    ["0", ROOT_0, "charter-v2/1"], ["0_extension", ROOT_0, "charter-v2/skipped-extension"],
    ["1", ROOT_0, "charter-v2/3"], ["1_fork", ROOT_0, "charter-v2/3-fork"],
    ["2", ROOT_1, "charter-v2/4-planned"], ["2_theft", ROOT_1, "charter-v2/4-theft"],
    ["1023", ROOT_1, "members-v2/last-epoch"],
  ];
  for (const [name, root, charter] of states) {
    const { epoch, hash } = state(charter), secret = epochSecret(root, epoch, hash);
    yield [`state_hash_${name}`, hash];
    yield [`E_${name}`, secret];
    yield [`identity_${name}`, hkdf(secret, ascii("zput/v2/epoch/identity"))];
    yield [`history_key_${name}`, hkdf(secret, ascii("zput/v2/epoch/history"))];
  }

  const member = memberSecret(ROOT_0);
  const nameKey = hkdf(member, ascii("zput/v2/name"));
  const macKey = hkdf(member, ascii("zput/v2/mac"));
  yield ["M", member];
  yield ["name_key", nameKey];
  yield ["mac_key", macKey];
  yield ["charter_key", hkdf(member, ascii("zput/v2/charter"))];

  // A name in UTF-8, and one that is not.
  const utf8Name = utf8("Grüße/secret.bin"), rawName = Buffer.from("ff61feb12f80", "hex");
  for (const [what, name] of [["utf8", utf8Name], ["raw", rawName]]) {
    // "A prefix of a name is what stands before one of its `/`, with that `/`"
    const prefix = name.subarray(0, name.indexOf("/") + 1);
    // "lower-case hex of HMAC(name_key, "zput/v2/object" 00 || name), 64 bytes"
    const key = hex(hmac("sha256", nameKey, labelled("zput/v2/object"), name));
    yield [`${what}.name`, name];
    yield [`${what}.object_key.text`, key];
    yield [`${what}.prefix`, prefix];
    yield [`${what}.prefix_tag`, hmac("sha256", nameKey, labelled("zput/v2/prefix"), prefix)];
  }
  // FORMAT 7: "vault_mac: HMAC(mac_key, "zput/v2/vault-mac" 00 || transcript)"
  const transcript = counting(0x60, 64);
  yield ["transcript", transcript];
  yield ["vault_mac", hmac("sha256", macKey, labelled("zput/v2/vault-mac"), transcript)];
}

// FORMAT 16, "Words".
function words(root) {
  const file = readFileSync(new URL("../../common/seal/src/kit/english.txt", import.meta.url));
  if (hex(sha256(file)) !== "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda") {
    throw new Error("english.txt is not the list of BIP-39");
  }
  const list = file.toString("latin1").split("\n");
  // "the 256 bits of the root, then the first 8 bits of SHA-256 of the root, cut into 24 numbers of
  // 11 bits, the highest bit first"
  const bits = [...root, sha256(root)[0]].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  return bits.match(/.{11}/g).map((number) => list[parseInt(number, 2)]).join(" ");
}

// Bech32 (BIP 173), without its limit on the length.
function bech32(prefix, data) {
  const polymod = (values) => values.reduce((sum, value) => {
    const top = sum >>> 25;
    const generators = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3];
    return generators.reduce(
      (next, generator, i) => ((top >> i) & 1 ? next ^ generator : next),
      ((sum & 0x1ffffff) << 5) ^ value,
    );
  }, 1);
  const bits = [...data].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  const groups = (bits.match(/.{1,5}/g) ?? []).map((group) => parseInt(group.padEnd(5, "0"), 2));
  const letters = [...ascii(prefix)];
  const expanded = [...letters.map((c) => c >> 5), 0, ...letters.map((c) => c & 31)];
  const sum = polymod([...expanded, ...groups, 0, 0, 0, 0, 0, 0]) ^ 1;
  const checksum = [25, 20, 15, 10, 5, 0].map((shift) => (sum >>> shift) & 31);
  const alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
  return `${prefix}1${[...groups, ...checksum].map((group) => alphabet[group]).join("")}`;
}

// FORMAT 16, "Line".
const line = (root, vault, serverKey, remote) =>
  bech32("zputkit", Buffer.concat([Buffer.of(2, root), vault, serverKey, utf8(remote)]));

/** FORMAT 1: a message of the C2SP chunked encryption scheme, of suite 2 and one chunk. */
function message(key, context, plaintext, salt) {
  const aead = "AEAD_CHACHA20_POLY1305";
  const label = ascii(`c2sp.org/chunked-encryption@v1+${aead}`);
  const info = Buffer.concat([label, Buffer.of(0), salt, ascii(context)]);
  // HKDF-Expand-SHA-512: 32 bytes of key, 12 of base nonce, 32 of commitment.
  const first = hmac("sha512", key, info, Buffer.of(1));
  const derived = Buffer.concat([first, hmac("sha512", key, first, info, Buffer.of(2))]);
  const [cipherKey, nonce, commitment] =
    [derived.subarray(0, 32), derived.subarray(32, 44), derived.subarray(44, 76)];
  // "nonce = base nonce XOR chunk number": of chunk 0, the base nonce.
  const cipher = createCipheriv("chacha20-poly1305", cipherKey, nonce, { authTagLength: 16 });
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  return Buffer.concat([salt, commitment, sealed]);
}

function* kit() {
  const none = Buffer.alloc(32), vault = vaultId(ROOT_0);
  const serverKey = ed25519Public(counting(0x80));
  yield ["words_counting.text", words(ROOT_0)];
  yield ["words_zeros.text", words(Buffer.alloc(32))];
  yield ["words_ff.text", words(Buffer.alloc(32, 0xff))];
  yield ["vault", vault];
  yield ["server_key", serverKey];
  yield ["line_server.text", line(0, vault, serverKey, "zput://vault.example.org:7447/home")];
  yield ["line_store.text", line(0, vault, none, "file:///srv/Grüße")];
  yield ["line_root_15_alone.text", line(15, vault, none, "")];
  // What each refused line breaks is its name.
  yield ["refused_version_3.text", bech32("zputkit", Buffer.concat([Buffer.of(3, 0), vault, none]))];
  yield ["refused_root_16.text", line(16, vault, none, "")];
  yield ["refused_65_bytes.text",
    bech32("zputkit", Buffer.concat([Buffer.of(2, 0), vault, none]).subarray(0, 65))];
  yield ["refused_remote.text", line(0, vault, none, "http://example.org/")];
  yield ["refused_not_utf8.text",
    bech32("zputkit", Buffer.concat([Buffer.of(2, 0), vault, none, Buffer.of(0xff)]))];
  yield ["refused_prefix.text", bech32("zput", Buffer.concat([Buffer.of(2, 0), vault, none]))];

  // FORMAT 16: "message(kit_key_j, "keys", text of an unlocked key file)"
  const keyFile = utf8('format = 2\n\n[[vault]]\nrole = "owner"\nprefix = "Grüße/"\n');
  const salt = counting(0xa0, 24);
  yield ["key_file", keyFile];
  yield ["salt", salt];
  for (const [j, root] of [ROOT_0, ROOT_1].entries()) {
    yield [`keys_${j}`, message(hkdf(root, ascii("zput/v2/kit")), "keys", keyFile, salt)];
  }
  const another = message(hkdf(ROOT_0, ascii("zput/v2/kit")), "key", keyFile, salt);
  yield ["refused_keys_of_another_context", another];
  const notText = message(hkdf(ROOT_0, ascii("zput/v2/kit")), "keys", Buffer.of(0xff), salt);
  yield ["refused_keys_not_text", notText];
}

const made = { derive, kit }[process.argv[2]];
if (made === undefined) {
  process.stderr.write("usage: node secrets-v2.mjs derive|kit\n");
  process.exit(2);
}
let text = "# Made by tests/interop/secrets-v2.mjs from docs/next/FORMAT.md.\n";
for (const [name, value] of made()) {
  text += `${name}: ${typeof value === "string" ? value : hex(value)}\n`;
}
process.stdout.write(text);
