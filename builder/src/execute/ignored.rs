//! The ignore file as the filter of a walk.

use crate::cache::tree::Filter;
use crate::dockerfile::Matcher;

/// Leaves out what the ignore file excludes. A directory is looked into if something in it may not be excluded.
#[derive(Debug, Clone)]
pub struct Ignored(pub Matcher);

impl Filter for Ignored {
    fn leaves_out(&self, path: &[u8], directory: bool) -> bool {
        self.0.excludes(path) && !(directory && self.0.may_contain_exceptions(path))
    }

    fn keeps_all(&self) -> bool {
        self.0.is_empty()
    }
}
