//! Every numbered fault point of the runtime, killing there and failing there: what is left is freed, the next one works.

use std::path::Path;

use runtime::fault;
use tests::{Sandbox, eventually, fault_roci, leaks, needs};

/// `HULL_FAULT` for a kill and for an error at each point.
fn faults() -> impl Iterator<Item = String> {
    fault::ALL.iter().flat_map(|point| [point.to_string(), format!("{point}:error")])
}

#[test]
fn the_engine_recovers_from_each() {
    needs!("root", "fault_injection");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let mut ids = Vec::new();
    for fault in faults() {
        let run = sandbox.rrun(["run", "--rm", "busybox", "true"]).env("HULL_ROCI", fault_roci());
        let outcome = run.env("HULL_FAULT", &fault).run();
        ids.extend(leaks::names_in(&sandbox.root().join("containers")));
        // Points of other verbs are not reached; where one is, the failure is ours, or the kill is seen as one.
        let code = outcome.code();
        assert!(matches!(code, 0 | 1 | 125 | 137), "fault {fault}: {outcome:?}");
        if fault.ends_with(":error") && code != 0 {
            outcome.stderr_has("fault point");
        }
        eventually(&format!("all ended after fault {fault}"), || sandbox.leaks().is_empty());
    }
    sandbox.rrun(["run", "--rm", "busybox", "echo", "ok"]).run().succeeds().stdout_is("ok\n");
    sandbox.nothing_remains(&ids);
}

#[test]
fn the_runtime_recovers_from_each() {
    needs!("root", "fault_injection");
    let sandbox = Sandbox::new();
    let bundle = sandbox.bundle("bundle", &["true"]);
    let roci = |arguments: &[&str], fault: &str| {
        let mut command = sandbox.command(fault_roci()).args(arguments);
        if !fault.is_empty() {
            command = command.env("HULL_FAULT", fault);
        }
        if arguments[0] == "create" { command.sharing_output().run() } else { command.run() }
    };
    for fault in faults() {
        let id = sandbox.name(&fault.replace(':', "-"));
        let bundle = bundle.to_string_lossy();
        for verb in [&["create", "--bundle", &bundle, &id][..], &["start", &id], &["delete", &id]] {
            roci(verb, &fault);
        }
        // Deleting what is half there, or not there, is what a caller does after a failure.
        let deleted = roci(&["delete", "--force", &id], "");
        assert!(matches!(deleted.code(), 0 | 1), "fault {fault}: {deleted:?}");
        let state = sandbox.state().join("oci").join(&id);
        assert!(!Path::new(&state).exists(), "fault {fault} left {}: {deleted:?}", state.display());
        eventually(&format!("all ended after fault {fault}: {:?}", sandbox.leaks()), || {
            sandbox.leaks().is_empty()
        });
        roci(&["run", "--bundle", &bundle, &id], "").succeeds();
    }
}
