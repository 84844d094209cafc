// Makes the golden frames and hellos of protocol 2, or compares them:
//
//     node tests/interop/messages-v2.mjs [--check]
//
// Written from docs/next/PROTOCOL.md 1 and 3 to 10 and postcard's wire format alone, and never from
// the crates that read the file. Of others' work it uses BLAKE3, for the digest of a head.
//
// A line of messages-v2.txt is `what name: bytes`. Bytes are hex digits; `(aabb)*3` stands for
// aabbaabbaabb. `request` and `answer` are whole frames, which mean what the tests say and are
// written again as the same bytes; `read-request` and `read-answer` are taken, and written
// otherwise; what begins with `no-` is refused. Each of these has one fault, which its name says;
// a number in a name is the length or the count that is one too many.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { blake3 } from "@noble/hashes/blake3.js";

const FILE = join(dirname(fileURLToPath(import.meta.url)),
  "../../common/seal/tests/data/messages-v2.txt");

const cat = (...parts) => Buffer.concat(parts.map((part) =>
  typeof part === "string" ? Buffer.from(part, "utf8") : Buffer.from(part)));
const big = (bytes) => (n) => {
  const all = Buffer.alloc(8);
  all.writeBigUInt64BE(BigInt(n));
  return all.subarray(8 - bytes);
};
const [be16, be32] = [2, 4].map(big);
const run = (from, n = 32) => Buffer.from(Array.from({ length: n }, (_, i) => (from + i) & 0xff));
const many = (byte, n) => Buffer.alloc(n, byte);

// postcard: u8 and bool are one byte; u16, u32, u64, lengths and variant numbers are varints,
// seven bits a byte, the lowest first; an option is 0, or 1 and the value.
const u8 = (n) => Buffer.of(n);
const v = (n) => {
  const bytes = [];
  for (let rest = BigInt(n); ; rest >>= 7n) {
    if (rest < 128n) return Buffer.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
};
const bool = (it) => u8(it ? 1 : 0);
const none = u8(0);
const some = (...value) => cat(u8(1), ...value);
const bytes = (value) => cat(v(cat(value).length), value);
const list = (items) => cat(v(items.length), ...items);
const frame = (body) => cat(be32(body.length), body);

const lines = [];
/** Hex digits, with runs of one byte longer than 40 written as one. */
const text = (value) => {
  const words = [];
  let hex = "";
  for (let at = 0; at < value.length; ) {
    let to = at;
    while (value[to] === value[at]) to++;
    const byte = value.subarray(at, at + 1).toString("hex");
    if (to - at > 40) {
      words.push(hex, `(${byte})*${to - at}`);
      hex = "";
    } else {
      hex += byte.repeat(to - at);
    }
    at = to;
  }
  return [...words, hex].filter((word) => word !== "").join(" ");
};
const line = (what, name, value) => lines.push(`${what} ${name}: ${text(value)}\n`);
/** A frame around `count` times `unit`, written as such. */
const repeated = (what, name, before, unit, count, behind = cat()) => {
  const length = before.length + unit.length * count + behind.length;
  lines.push(`${what} ${name}: ${text(be32(length))} ${text(before)} (${unit.toString("hex")})*` +
    `${count} ${text(behind)}`.trimEnd() + "\n");
};
const request = (name, ...body) => line("request", name, frame(cat(...body)));
const answer = (name, ...body) => line("answer", name, frame(cat(...body)));
const noRequest = (name, ...body) => line("no-request", name, frame(cat(...body)));
const noAnswer = (name, ...body) => line("no-answer", name, frame(cat(...body)));

// ---- Section 1, the hellos

const field = (type, value) => cat(u8(type), be16(value.length), value);
const hello = (magic, body) => cat(magic, be16(body.length), body);
const clientHello = (it = {}) => {
  const { min = 2, max = 2, modes = 2, features = 0, extensions = cat(), behind = cat() } = it;
  return hello("zput/c2\n", cat(u8(min), u8(max), u8(modes), be32(features),
    be16(it.extensionsLength ?? extensions.length), extensions, behind));
};
const serverHello = (it = {}) => {
  const { status = 0, version = 2, mode = 2, features = 0, frame = 131_072, slice = 16_842_752 } = it;
  const { pipeline = 64, idle = 120, reason = cat(), extensions = cat(), behind = cat() } = it;
  return hello("zput/s2\n", cat(u8(status), u8(version), u8(mode), be32(features), be32(frame),
    be32(slice), be16(pipeline), be32(idle), u8(it.reasonLength ?? reason.length), reason,
    be16(it.extensionsLength ?? extensions.length), extensions, behind));
};
const refusal = (status, reason, more = {}) => serverHello({
  status, version: 0, mode: 0, frame: 0, slice: 0, pipeline: 0, idle: 0, reason: cat(reason), ...more,
});

line("client", "tls", clientHello());
line("client", "both-modes-all-features", clientHello({ modes: 0xff, features: 0xffff_ffff }));
line("client", "later-versions", clientHello({ min: 2, max: 9, modes: 1 }));
line("client", "extension-skipped", clientHello({ extensions: field(0x7f, cat("new")) }));
line("client", "longest", clientHello({ extensions: field(5, many(0xee, 1024 - 9 - 3)) }));
const noClient = (name, value) => line("no-client", name, value);
noClient("longer", clientHello({ extensions: field(5, many(0xee, 1024 - 9 - 3 + 1)) }));
noClient("magic-of-version-1", cat("zput/c1\n", clientHello().subarray(8)));
noClient("cut", clientHello().subarray(0, 18));
noClient("without-extensions-length", hello("zput/c2\n", clientHello().subarray(10, 17)));
noClient("byte-behind", cat(clientHello(), u8(0)));
noClient("byte-behind-extensions", clientHello({ behind: u8(0) }));
noClient("extensions-beyond-end", clientHello({ extensions: field(5, cat("x")), extensionsLength: 5 }));
noClient("extension-critical", clientHello({ extensions: field(0x85, cat("x")) }));
noClient("extension-critical-behind-others",
  clientHello({ extensions: cat(field(0, cat()), field(0x7f, cat()), field(0x80, cat())) }));
noClient("extension-cut", clientHello({ extensions: field(5, cat("xy")).subarray(0, 4) }));
noClient("extension-order", clientHello({ extensions: cat(field(5, cat()), field(4, cat())) }));
noClient("extension-twice", clientHello({ extensions: cat(field(5, cat()), field(5, cat())) }));

line("server", "tls", serverHello());
line("server", "plaintext-least-limits",
  serverHello({ mode: 1, slice: 16_793_672, pipeline: 64, idle: 1 }));
line("server", "greatest-limits", serverHello({
  version: 255, features: 0xffff_ffff, frame: 0xffff_ffff, slice: 0xffff_ffff, pipeline: 0xffff,
  idle: 0xffff_ffff,
}));
line("server", "refusal", refusal(13, "no tls here"));
line("server", "refusal-without-reason", refusal(6, ""));
line("server", "refusal-unknown-code-reason-255", refusal(255, many("r", 255)));
line("server", "extension-skipped", serverHello({ extensions: field(1, cat("edge")) }));
line("server", "refusal-with-extension", refusal(6, "full", { extensions: field(2, cat()) }));
line("server", "longest", serverHello({ extensions: field(5, many(0xee, 2048 - 24 - 3)) }));
const noServer = (name, value) => line("no-server", name, value);
noServer("longer", serverHello({ extensions: field(5, many(0xee, 2048 - 24 - 3 + 1)) }));
noServer("magic-of-version-1", cat("zput/s1\n", serverHello().subarray(8)));
noServer("cut", serverHello().subarray(0, 33));
noServer("without-extensions-length", hello("zput/s2\n", serverHello().subarray(10, 32)));
noServer("byte-behind-extensions", serverHello({ behind: u8(0) }));
noServer("frame-131071", serverHello({ frame: 131_071 }));
noServer("slice-16793671", serverHello({ slice: 16_793_671 }));
noServer("pipeline-63", serverHello({ pipeline: 63 }));
noServer("idle-0", serverHello({ idle: 0 }));
noServer("mode-0", serverHello({ mode: 0 }));
noServer("mode-3", serverHello({ mode: 3 }));
noServer("reason-of-accepted", serverHello({ reason: cat("x") }));
noServer("reason-not-utf8", refusal(6, [0xff]));
noServer("reason-beyond-end", refusal(6, "x", { reasonLength: 4 }));
noServer("extension-critical", serverHello({ extensions: field(0x81, cat("edge")) }));
noServer("extension-cut", serverHello({ extensions: field(5, cat("xy")).subarray(0, 4) }));
noServer("extension-order", serverHello({ extensions: cat(field(5, cat()), field(4, cat())) }));
noServer("extensions-beyond-end", serverHello({ extensions: field(5, cat("x")), extensionsLength: 5 }));

// ---- Section 4, types

const vault = run(0x00), otherVault = run(0x20), noVault = many(0, 32), device = run(0x60);
const upload = run(0xa0, 16);
const digest = (...parts) => Buffer.from(blake3(cat(...parts)));
const key = (value) => cat(v(0), bytes(value));
const address = (value, of = vault) => cat(of, key(value));
const k = address("k");
const which = { current: v(0), version: (n) => cat(v(1), v(n)) };
const order = (epoch, generation) => cat(v(epoch), v(generation));
const [sealed, plain] = [v(0), v(1)];
const condition = { any: v(0), absent: v(1), version: (n) => cat(v(2), v(n)) };
const range = (offset, length) => cat(v(0), v(offset), v(length));
const [body, front] = [v(1), v(2)];
const head = (header, tail) => cat(bytes(header), bytes(tail));
/** `digest` is over the tail and the header that is committed, also where it came earlier. */
const newHead = (header, tail, earlier) => cat(
  header === null ? none : some(bytes(header)), bytes(tail), digest(tail, header ?? earlier));
const member = (of, certificate, epoch, serial, label) =>
  cat(of, bytes(certificate), v(epoch), v(serial), bytes(label));
const info = (version, kind, bodyLength, frontLength = 0, headerLength = 0, tailLength = 0) =>
  cat(v(version), kind, v(bodyLength), v(frontLength), v(headerLength), v(tailLength));
const end = (at, how) => some(v(at), v(how));
const U32 = 0xffff_ffff, U64 = 0xffff_ffff_ffff_ffffn, GENERATION = 2n ** 63n - 1n;

// ---- Section 5, requests, in the order of their numbers

const echo = (client, server) => cat(v(0), bytes(client), bytes(server));
request("echo", echo(clientHello(), serverHello()));
request("echo-longest", echo(many("c", 1034), many("s", 2058)));
noRequest("echo-client-1035", echo(many("c", 1035), many("s", 2058)));
noRequest("echo-server-2059", echo(many("c", 1034), many("s", 2059)));

request("ping", v(1));
noRequest("left-over", v(1), u8(0));
noRequest("empty");

const joinBy = (label) => cat(v(2), run(0x40), bytes(label));
request("join", joinBy("laptop"));
request("join-label-64", joinBy(many("l", 64)));
noRequest("join-label-65", joinBy(many("l", 65)));
noRequest("join-label-control", joinBy("a\nb"));
noRequest("join-label-not-utf8", joinBy([0xc3]));
noRequest("join-cut", v(2), run(0x40, 31));

const enter = (mount, with_ = none) => cat(v(3), bytes(mount), with_);
request("enter-root", enter(""));
request("enter-vault", enter("images/2026", some(member(vault, many("c", 207), 7, 300, "host"))));
request("enter-without-key", enter("a", some(member(otherVault, "", 0, 0, ""))));
request("enter-most", enter(many("m", 255),
  some(member(vault, many("c", 8192), U32, U64, many("l", 64)))));
noRequest("enter-mount-256", enter(many("m", 256)));
noRequest("enter-mount-empty-component", enter("a//b"));
noRequest("enter-mount-dots", enter("a/.."));
noRequest("enter-mount-control", enter("a\u0085"));
noRequest("enter-certificate-8193", enter("", some(member(vault, many("c", 8193), 0, 0, ""))));
noRequest("enter-label-65", enter("", some(member(vault, "", 0, 0, many("l", 65)))));
noRequest("enter-label-control", enter("", some(member(vault, "", 0, 0, "\u001b"))));
noRequest("enter-option-2", enter("", u8(2)));

for (const [number, name] of [[4, "found"], [5, "charter"]]) {
  request(name, v(number), bytes("a"), bytes("charter"));
  request(`${name}-most`, v(number), bytes(""), bytes(many("x", 114_688)));
  noRequest(`${name}-114689`, v(number), bytes(""), bytes(many("x", 114_689)));
  noRequest(`${name}-mount-256`, v(number), bytes(many("m", 256)), bytes(""));
}

const get = (sections, it = {}) => cat(v(6), it.address ?? k, it.which ?? which.current,
  it.head ?? bool(true), sections, it.kind ?? sealed, it.atLeast ?? none);
request("get", get(list([range(1, 300), body, front]), { atLeast: some(order(1, GENERATION)) }));
request("get-version-plain", get(list([]), {
  address: address("dir/file", noVault), which: which.version(U64), head: bool(false), kind: plain,
}));
request("get-most-order", get(list([range(U64, U64)]), { atLeast: some(order(U32, GENERATION)) }));
request("get-sections-64", get(list(Array(64).fill(front))));
noRequest("get-sections-65", get(list(Array(65).fill(front))));
noRequest("get-sections-without-end", get(cat(v(U64), body)));
noRequest("get-object-pack", get(list([]), { address: cat(vault, v(1), run(0, 16)) }));
noRequest("get-object-2", get(list([]), { address: cat(vault, v(2), bytes("k")) }));
noRequest("get-which-at", get(list([]), { which: cat(v(2), v(7)) }));
noRequest("get-which-3", get(list([]), { which: cat(v(3), v(7)) }));
noRequest("get-section-parts", get(list([cat(v(3), v(0), v(1))])));
noRequest("get-section-4", get(list([v(4)])));
noRequest("get-kind-2", get(list([]), { kind: v(2) }));
noRequest("get-head-2", get(list([]), { head: u8(2) }));
noRequest("get-generation-2-63", get(list([]), { atLeast: some(order(0, GENERATION + 1n)) }));

const stat = (of, which_, atLeast = none) => cat(v(7), of, which_, atLeast);
request("stat", stat(k, which.current));
request("stat-version", stat(address(many("k", 1024)), which.version(300), some(order(0, 0))));
noRequest("stat-key-0", stat(address(""), which.current));
noRequest("stat-key-1025", stat(address(many("k", 1025)), which.current));
noRequest("stat-key-beyond-end", v(7), vault, v(0), v(U32), "k");
noRequest("stat-which-at", stat(k, cat(v(2), v(7))));
noRequest("stat-vault-cut", v(7), run(0, 31));

const pageOf = (of, after, limit, heads) => cat(v(8), of, after, v(limit), bool(heads));
request("list", pageOf(noVault, none, 1, false));
request("list-after", pageOf(vault, some(bytes(many(0xcc, 1024))), U32, true));
noRequest("list-cursor-1025", pageOf(vault, some(bytes(many(0xcc, 1025))), 1, true));
noRequest("list-limit-0", pageOf(vault, none, 0, true));
noRequest("list-limit-2-32", pageOf(vault, none, 2n ** 32n, true));

const versionsOf = (after, limit, heads) => cat(v(9), k, after, v(limit), bool(heads));
request("versions", versionsOf(none, 1000, true));
request("versions-after", versionsOf(some(v(U64)), 1, false));
noRequest("versions-limit-0", versionsOf(none, 0, false));

const begin = (kind, header, condition_ = condition.any, size = none) =>
  cat(v(10), k, upload, kind, condition_, size, header);
request("begin", begin(sealed, some(bytes("header")), condition.any, some(v(300))));
request("begin-plain", begin(plain, none, condition.absent));
request("begin-most",
  begin(sealed, some(bytes(many("h", 65_536))), condition.version(7), some(v(U64))));
noRequest("begin-header-65537", begin(sealed, some(bytes(many("h", 65_537)))));
noRequest("begin-sealed-without-header", begin(sealed, none));
noRequest("begin-plain-with-header", begin(plain, some(bytes("header"))));
noRequest("begin-condition-3", begin(plain, none, v(3)));
noRequest("begin-upload-15", v(10), k, run(0, 15));

const resume = (header, condition_ = condition.any) =>
  cat(v(11), k, upload, condition_, bytes(header));
request("resume", resume("header", condition.absent));
request("resume-plain", resume(""));
request("resume-most", resume(many("h", 65_536), condition.version(U64)));
noRequest("resume-header-65537", resume(many("h", 65_537)));

const SLICE = 16_842_752;
const claimed = (length) => cat(v(length), digest("slice"));
request("claim", v(12), list([claimed(300), claimed(1)]));
repeated("request", "claim-64", cat(v(12), v(64)), claimed(SLICE), 64);
noRequest("claim-0", v(12), list([]));
repeated("no-request", "claim-65", cat(v(12), v(65)), claimed(1), 65);
noRequest("claim-slice-0", v(12), list([claimed(1), claimed(0)]));
noRequest("claim-slice-16842753", v(12), list([claimed(1), claimed(SLICE + 1)]));

request("slice", v(13), claimed(1));
request("slice-most", v(13), claimed(SLICE));
noRequest("slice-0", v(13), claimed(0));
noRequest("slice-16842753", v(13), claimed(SLICE + 1));

request("commit-plain", v(14), none);
request("commit", v(14), some(newHead("header", "tail")));
request("commit-earlier-header", v(14), some(newHead(null, "tail", "header")));
request("commit-most", v(14), some(newHead(many("h", 65_536), many("t", 16_384))));
noRequest("commit-header-65537", v(14), some(newHead(many("h", 65_537), "t")));
noRequest("commit-tail-16385", v(14), some(newHead("h", many("t", 16_385))));

request("abort", v(15));
request("delete", v(16), address("k", noVault), condition.version(300));

const reseal = (head_) =>
  cat(v(17), k, v(300), address("new", otherVault), upload, condition.absent, head_);
request("reseal", reseal(some(newHead("header", "tail"))));
request("reseal-plain", reseal(none));
noRequest("reseal-tail-16385", reseal(some(newHead("h", many("t", 16_385)))));
noRequest("reseal-base-pack", v(17), vault, v(1), run(0, 16), v(300), k, upload, condition.any, none);

// Section 8: what the reserved requests hold is not known; Usage might be this.
for (let number = 18; number <= 26; number++) noRequest(`number-${number}`, v(number));
noRequest("number-19-with-address", v(19), k);
noRequest("number-2-32", v(2n ** 32n));

// Section 3: "A varint may be longer than it has to be, within the bytes that its type can take."
line("read-request", "ping-long-varint", frame(Buffer.of(0x81, 0x80, 0x80, 0x80, 0x00)));
noRequest("ping-varint-of-6-bytes", [0x81, 0x80, 0x80, 0x80, 0x80, 0x00]);

// ---- Section 6, answers, in the order of their numbers

answer("echo", echo(clientHello(), serverHello()));
noAnswer("echo-client-1035", echo(many("c", 1035), ""));
noAnswer("echo-server-2059", echo("", many("s", 2059)));
answer("pong", v(1));
noAnswer("left-over", v(1), u8(0));

answer("joined", v(2), bytes("images"), v(3), v(2));
answer("joined-most", v(2), bytes(many("m", 255)), v(31), v(U32));
noAnswer("joined-mount-256", v(2), bytes(many("m", 256)), v(3), v(2));
// FORMAT 12: other bits grant nothing.
line("read-answer", "joined-later-scopes", frame(cat(v(2), bytes(""), v(0xffe1), v(0))));
noAnswer("joined-scopes-2-16", v(2), bytes(""), v(65_536), v(0));

answer("entered", v(3), v(16), none);
answer("entered-charter", v(3), v(0), some(bytes("charter")));
answer("entered-charter-most", v(3), v(31), some(bytes(many("x", 114_688))));
noAnswer("entered-charter-114689", v(3), v(31), some(bytes(many("x", 114_689))));
answer("founded", v(4));
answer("chartered", v(5));

const object = (info_, head_, payload) => cat(v(6), info_, head_, v(payload));
answer("object", object(info(300, sealed, 5000, 70, 6, 4), some(head("header", "tail")), 5000));
answer("object-plain", object(info(1, plain, 0), none, 0));
answer("object-most", object(info(U64, sealed, U64, 25_150_470, 65_536, 16_384),
  some(head(many("h", 65_536), many("t", 16_384))), U64));
noAnswer("object-head-header-65537",
  object(info(1, sealed, 1), some(head(many("h", 65_537), "")), 0));
noAnswer("object-head-tail-16385",
  object(info(1, sealed, 1), some(head("", many("t", 16_385))), 0));
noAnswer("object-front-25150471", object(info(1, sealed, 1, 25_150_471), none, 0));
noAnswer("object-header-65537", object(info(1, sealed, 1, 0, 65_537), none, 0));
noAnswer("object-tail-16385", object(info(1, sealed, 1, 0, 0, 16_385), none, 0));
noAnswer("object-kind-2", object(info(1, v(2), 1), none, 0));

const statOf = (info_, head_ = none) => cat(v(7), info_, head_);
answer("stat", statOf(info(300, sealed, 5000, 70, 6, 4), some(head("header", "tail"))));
answer("stat-plain", statOf(info(300, plain, 5000)));
noAnswer("stat-plain-with-front", statOf(info(1, plain, 1, 1)));
noAnswer("stat-plain-with-header", statOf(info(1, plain, 1, 0, 1)));
noAnswer("stat-plain-with-tail", statOf(info(1, plain, 1, 0, 0, 1)));
noAnswer("stat-plain-with-head", statOf(info(1, plain, 1), some(head("h", "t"))));

const entry = (name, info_, head_ = none) => cat(bytes(name), info_, head_);
const page = (entries, next = none, unreadable = 0) => cat(v(8), list(entries), next, v(unreadable));
answer("page", page([
  entry("a", info(300, sealed, 5000, 70, 6, 4), some(head("header", "tail"))),
  entry(many("k", 1024), info(1, plain, 0)),
], some(bytes("cursor")), 2));
answer("page-empty", page([], some(bytes(many(0xcc, 1024))), U32));
repeated("answer", "page-entries-1000", cat(v(8), v(1000)), entry("k", info(1, plain, 1)), 1000,
  cat(none, v(0)));
repeated("no-answer", "page-entries-1001", cat(v(8), v(1001)), entry("k", info(1, plain, 1)), 1001,
  cat(none, v(0)));
noAnswer("page-entries-without-end", v(8), v(U64), entry("k", info(1, plain, 1)));
noAnswer("page-cursor-1025", page([], some(bytes(many(0xcc, 1025)))));
noAnswer("page-key-1025", page([entry(many("k", 1025), info(1, plain, 0))]));
noAnswer("page-plain-with-head", page([entry("k", info(1, plain, 1), some(head("h", "t")))]));
// Section 3: a body of 131,072 bytes, and one more.
const full = (tail) => page([
  entry("a", info(1, sealed, 1), some(head(many("h", 65_536), many("t", 16_384)))),
  entry("b", info(1, sealed, 1), some(head(many("h", 49_120 - tail), many("t", tail)))),
]);
if (full(1).length !== 131_072) throw new Error(`the full page has ${full(1).length} bytes`);
answer("frame-131072", full(1));
noAnswer("frame-131073", full(1).subarray(0, 2), full(1).subarray(2), u8(0));

const versionInfo = (info_, end_, device_, head_ = none) => cat(info_, end_, device_, head_);
const versions = (items, next = none, unreadable = 0) => cat(v(9), list(items), next, v(unreadable));
answer("versions", versions([
  versionInfo(info(400, sealed, 5000, 70, 6, 4), none, device, some(head("header", "tail"))),
  versionInfo(info(300, sealed, 5000, 70, 6, 4), end(400, 0), device),
  versionInfo(info(200, plain, 5000), end(250, 1), many(0, 32)),
  versionInfo(info(100, sealed, 0), end(U64, 2), device),
], some(v(100)), 1));
const small = versionInfo(info(1, plain, 1), none, device);
repeated("answer", "versions-1000", cat(v(9), v(1000)), small, 1000, cat(none, v(0)));
repeated("no-answer", "versions-1001", cat(v(9), v(1001)), small, 1001, cat(none, v(0)));
const ended = (info_, how, head_) => versions([versionInfo(info_, end(2, how), device, head_)]);
noAnswer("versions-end-moved", ended(info(1, plain, 1), 3));
noAnswer("versions-end-expunged", ended(info(1, plain, 1), 4));
noAnswer("versions-end-5", ended(info(1, plain, 1), 5));
noAnswer("versions-plain-with-head", ended(info(1, plain, 1), 1, some(head("h", "t"))));
noAnswer("versions-corrupt-with-body", ended(info(1, plain, 1), 2));
noAnswer("versions-corrupt-with-header", ended(info(1, sealed, 0, 0, 1), 2));
noAnswer("versions-corrupt-with-head", ended(info(1, sealed, 0), 2, some(head("h", "t"))));
noAnswer("versions-tail-16385", ended(info(1, sealed, 0, 0, 0, 16_385), 0));

answer("begun", v(10));
answer("held", v(11), v(64));
answer("slice-held", v(12));
answer("committed", v(13), v(U64));
answer("aborted", v(14));
answer("deleted", v(15), v(300), v(400));

// Section 7, the codes with what each is about
const about = {
  nothing: v(0), version: (it) => cat(v(1), it), head: (...it) => cat(v(2), head(...it)),
  order: (...it) => cat(v(3), order(...it)), time: (ns) => cat(v(4), v(ns)),
  charter: (it) => cat(v(5), bytes(it)),
};
const error = (code, about_ = about.nothing, say = "") => cat(v(16), u8(code), bytes(say), about_);
const abouts = new Map([
  [4, about.version(some(v(300)))], [15, about.head("header", "tail")], [18, about.time(U64)],
  [19, about.charter("charter")],
]);
for (let code = 1; code <= 21; code++) answer(`error-${code}`, error(code, abouts.get(code)));
answer("error-4-of-nothing", error(4, about.version(none), "there is none"));
answer("error-15-order", error(15, about.order(3, GENERATION)));
answer("error-15-most", error(15, about.head(many("h", 65_536), many("t", 16_384))));
answer("error-19-most", error(19, about.charter(many("x", 114_688))));
answer("error-text-256", error(11, about.nothing, many("t", 256)));
answer("error-22-unknown", error(22, about.time(7), "later"));
answer("error-255-unknown", error(255));
noAnswer("error-text-257", error(11, about.nothing, many("t", 257)));
noAnswer("error-text-not-utf8", error(11, about.nothing, [0xff]));
noAnswer("error-charter-114689", error(19, about.charter(many("x", 114_689))));
noAnswer("error-header-65537", error(15, about.head(many("h", 65_537), "")));
noAnswer("error-tail-16385", error(15, about.head("", many("t", 16_385))));
noAnswer("error-generation-2-63", error(15, about.order(0, GENERATION + 1n)));
noAnswer("error-3-about-version", error(3, about.version(none)));
noAnswer("error-4-about-nothing", error(4));
noAnswer("error-15-about-nothing", error(15));
noAnswer("error-15-about-time", error(15, about.time(7)));
noAnswer("error-18-about-order", error(18, about.order(0, 7)));
noAnswer("error-19-about-nothing", error(19));
noAnswer("error-20-about-head", error(20, about.head("h", "t")));
// Section 8; an unknown code, so that the reserved variant is the one fault.
noAnswer("about-around", error(24, cat(v(6), some(v(1)), none)));
noAnswer("about-until", error(25, cat(v(7), v(1))));
noAnswer("about-usage", error(23, cat(v(8), u8(0), v(1), v(2))));
noAnswer("about-parts", error(22, cat(v(9), list([cat(run(0, 16), v(1))]))));
noAnswer("about-10", error(22, v(10)));
noAnswer("number-17", v(17));
noAnswer("number-18", v(18));

const made = lines.join("");
if (process.argv.includes("--check")) {
  if (!existsSync(FILE) || readFileSync(FILE, "utf8") !== made) {
    console.error("messages-v2.txt is not what the page says");
    process.exit(1);
  }
} else {
  writeFileSync(FILE, made);
}
