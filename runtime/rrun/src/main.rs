//! `rrun`: standalone containers and images.

fn main() {}
