//! Error kinds and exit codes of everything that runs containers.
