//! The build cache: what identifies a step, and what it produced.
