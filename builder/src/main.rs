//! `rbuild`: a Dockerfile becomes an OCI image.

fn main() {}
