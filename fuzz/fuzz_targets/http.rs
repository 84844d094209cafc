#![no_main]

#[path = "../targets/http.rs"]
mod http;

libfuzzer_sys::fuzz_target!(|input: &[u8]| http::run(input));
