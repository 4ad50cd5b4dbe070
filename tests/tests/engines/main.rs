//! Unmodified engines of other projects over `roci`: what they ask of a runtime, and what their users see of it.
//!
//! - `engine`: an engine with folders, cgroups and, where it needs one, a daemon of its own.
//! - `subjects`: what docker and podman promise alike, one function each; their files say which of them they pass.
//! - `docker`, `podman`, `podman_rootless`, `containerd`: how each is started, and what only it does.
//!
//! `HULL_ENGINES_RUNTIME` names another runtime: a test that fails with runc too is wrong, or needs more than root may.

/// One test for each subject, over an engine of the calling file.
macro_rules! subjects {
    ($($subject:ident),+ $(,)?) => {
        $(#[test]
        fn $subject() {
            if let Some(missing) = tests::missing_need(NEEDS) {
                tests::report_skipped(missing);
                return;
            }
            crate::subjects::$subject(&start());
        })+
    };
}

mod containerd;
mod docker;
mod engine;
mod podman;
mod podman_rootless;
mod subjects;
