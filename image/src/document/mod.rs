//! Typed OCI documents (manifest, index, config), with their exact bytes kept for the digest.
