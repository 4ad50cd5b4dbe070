//! Processes by descriptor: pidfd, start time, waiting, signals.
