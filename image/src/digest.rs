//! Content digests: parsed once, compared as bytes, verified while streaming.
