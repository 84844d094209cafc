#![no_main]

#[path = "../targets/server/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::run("clock", input));
