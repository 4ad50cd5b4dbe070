//! The life cycle: one file per verb, the states and their rules, and the record on disk.
