//! The list of targets. A parser of foreign bytes that is not here is not fuzzed: add it with the parser.

/// An entry point, what to begin with, and words it reacts to.
#[derive(Debug)]
pub struct Target {
    /// How the command line calls it.
    pub name: &'static str,
    /// Must return, whatever the bytes are.
    pub run: fn(&[u8]),
    /// Good inputs, and bad ones that once hurt.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Inserted as they are.
    pub words: &'static [&'static str],
}

/// All of them.
pub const TARGETS: [Target; 1] = [Target {
    name: "monitor-protocol",
    run: runtime::monitor::protocol::fuzz,
    seeds: monitor_packets,
    words: &[],
}];

fn monitor_packets() -> Vec<Vec<u8>> {
    use runtime::monitor::protocol::{Request, encode_request};
    let requests =
        [Request::Status, Request::Signal { number: 15 }, Request::Resize { rows: 24, columns: 80 }];
    requests.iter().map(|request| encode_request(request, 1).as_bytes().to_vec()).collect()
}
