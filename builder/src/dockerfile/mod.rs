//! The Dockerfile language: text in, typed instructions with positions out. No I/O here.
