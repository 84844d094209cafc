//! The functions under fuzz: bytes in, a panic when a promise does not hold.

mod certificate;
mod charter;
mod client_session;
mod footer;
mod frames;
mod front;
mod golden;
mod golden_v2;
mod head2;
mod header;
mod header2;
mod hello;
mod hello2;
mod kit;
mod members;
mod message;
mod owner;
mod request2;
mod response2;
mod sealed_v2;
mod server_session;
mod tail2;

/// A function under fuzz.
pub(crate) type Target = fn(&[u8]);

/// All of them, by the names of their corpora.
pub(crate) const TARGETS: &[(&str, Target)] = &[
    ("header", header::run),
    ("footer", footer::run),
    ("header2", header2::run),
    ("front", front::run),
    ("tail2", tail2::run),
    ("certificate", certificate::run),
    ("charter", charter::run),
    ("hello", hello::run),
    ("kit", kit::run),
    ("members", members::run),
    ("message", message::run),
    ("owner", owner::run),
    ("hello2", hello2::run),
    ("request2", request2::run),
    ("response2", response2::run),
    ("head2", head2::run),
    ("server_session", server_session::run),
    ("client_session", client_session::run),
];

/// Runs the target of this name.
pub(crate) fn run(name: &str, input: &[u8]) {
    for (_, target) in TARGETS.iter().filter(|(known, _)| *known == name) {
        target(input);
    }
}
