//! Image names as Docker writes them, parsed once.
