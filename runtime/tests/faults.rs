//! Each numbered fault point, killed and failed at: `state` tells the truth and `delete --force` leaves nothing.
//! Runs with the feature `fault-injection`, which is what puts the points into the program.
#![cfg(feature = "fault-injection")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod common;

use std::process::Stdio;

use common::{Bundle, wait_for};
use runtime::fault;

/// Runs a verb with a fault asked for; output is thrown away, for a container that lives on would hold our pipes.
fn faulty(bundle: &Bundle, fault: &str, arguments: &[&str]) -> Option<i32> {
    let mut command = bundle.roci(arguments);
    command.env("HULL_FAULT", fault).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code()
}

#[test]
fn nothing_is_left_after_a_fault_at_any_point() {
    for point in fault::ALL {
        for fault in [point.to_string(), format!("{point}:error")] {
            let bundle = Bundle::new(&["sleep", "1000"]);
            bundle.write_config();
            let id = &bundle.id;
            let mut codes = vec![faulty(&bundle, &fault, &["create", id])];
            codes.push(faulty(&bundle, &fault, &["start", id]));
            codes.push(faulty(&bundle, &fault, &["exec", id, "true"]));
            if codes.iter().all(|code| *code == Some(0)) {
                // A point of delete: it is reached with force only.
                codes.push(faulty(&bundle, &fault, &["delete", "--force", id]));
            }
            assert!(codes.iter().any(|code| *code != Some(0)), "point {fault} is never reached: {codes:?}");
            let state = bundle.verb(&["state", id]);
            if state.code == 0 {
                let state: serde_json::Value = serde_json::from_str(&state.out).unwrap();
                let alive = state["pid"].as_i64().unwrap() > 0;
                let status = state["status"].as_str().unwrap().to_owned();
                assert_eq!(alive, matches!(&*status, "created" | "running"), "{fault}: {state}");
            }
            bundle.verb(&["delete", "--force", id]).succeeded();
            wait_for(&format!("nothing left after {fault}"), || bundle.left().is_empty());
            bundle.assert_nothing_left();
        }
    }
}

#[test]
fn a_run_that_fails_at_a_point_cleans_up_by_itself() {
    for point in fault::ALL.iter().filter(|point| !(20..30).contains(*point)) {
        let bundle = Bundle::new(&["true"]);
        bundle.write_config();
        let code = faulty(&bundle, &format!("{point}:error"), &["run", &bundle.id]);
        assert_eq!(code, Some(1), "{point}");
        bundle.assert_nothing_left();
    }
}
