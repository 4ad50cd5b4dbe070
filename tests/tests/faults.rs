//! The engine over a runtime that is killed, or fails, at each of its fault points: what is left is freed by the next
//! command. The runtime alone is in `runtime/tests/faults.rs`.

use runtime::fault;
use tests::{Sandbox, eventually, fault_roci, leaks, needs};

/// `HULL_FAULT` for a kill and for an error at each point.
fn faults() -> impl Iterator<Item = String> {
    fault::ALWAYS.iter().flat_map(|point| [point.to_string(), format!("{point}:error")])
}

#[test]
fn the_engine_recovers_from_each() {
    needs!("root", "fault_injection");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    let mut ids = Vec::new();
    for fault in faults() {
        let run = sandbox
            .rrun(["run", "--rm", "--network", "none", "busybox", "true"])
            .env("HULL_ROCI", fault_roci());
        let outcome = run.env("HULL_FAULT", &fault).run();
        ids.extend(leaks::names_in(&sandbox.root().join("containers")));
        // Points of other verbs are not reached; where one is, the failure is ours, or the kill is seen as one.
        let code = outcome.code();
        assert!(matches!(code, 0 | 1 | 125 | 137), "fault {fault}: {outcome:?}");
        if fault.ends_with(":error") && code != 0 {
            outcome.stderr_has("fault point");
        }
        sandbox.rrun(["ps"]).run().succeeds();
        eventually(&format!("all ended after fault {fault}"), || sandbox.leaks().is_empty());
    }
    sandbox
        .rrun(["run", "--rm", "--network", "none", "busybox", "echo", "ok"])
        .run()
        .succeeds()
        .stdout_is("ok\n");
    sandbox.nothing_remains(&ids);
}
