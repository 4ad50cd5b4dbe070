//! Plugins that hang, flood, crash or answer nonsense.

use std::time::{Duration, Instant};

use super::{Fakes, RESULT};

/// Runs ADD of a plugin that does this on ADD and nothing on DEL; its failure.
fn failure(body: &str) -> String {
    let fakes = Fakes::new();
    fakes.plugin("bad", &format!("if [ $CNI_COMMAND = DEL ]; then exit; fi\n{body}"));
    let error = fakes.attach(fakes.config("1.0.0", &["bad"])).add().unwrap_err();
    assert_eq!(fakes.calls(), ["bad ADD", "bad DEL"]);
    let text = error.to_string();
    let start = r#"network plugin "bad", ADD of network "net": "#;
    text.strip_prefix(start).unwrap_or_else(|| panic!("{text}")).to_owned()
}

fn alive(pid: i32) -> bool {
    crate::process::stat(pid).unwrap().is_some_and(|stat| !stat.ended)
}

#[test]
fn a_plugin_that_hangs_is_killed_with_what_it_started() {
    let fakes = Fakes::new();
    fakes.plugin(
        "bad",
        "[ $CNI_COMMAND = DEL ] && exit\ntrap '' TERM\nsleep 1000 & echo $! >pid\necho waiting >&2; wait",
    );
    let mut attachment = fakes.attach(fakes.config("1.0.0", &["bad"]));
    attachment.patience = Duration::from_secs(1);
    let started = Instant::now();
    let error = attachment.add().unwrap_err().to_string();
    assert!(error.ends_with("it did not end within 1 s and was killed: waiting"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
    let pid: i32 = std::fs::read_to_string(fakes.path("pid")).unwrap().trim().parse().unwrap();
    let gone = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        !alive(pid)
    });
    assert!(gone, "{pid}");
}

#[test]
fn one_that_hangs_on_del_leaves_time_to_the_others() {
    let fakes = Fakes::new();
    fakes.plugin("a", RESULT).plugin("b", "[ $CNI_COMMAND = DEL ] && sleep 1000\necho '{}'");
    let mut attachment = fakes.attach(fakes.config("1.0.0", &["a", "b"]));
    attachment.add().unwrap();
    attachment.patience = Duration::from_secs(2);
    let error = attachment.delete().unwrap_err().to_string();
    assert!(error.ends_with("it did not end within 1 s and was killed"), "{error}");
    assert_eq!(fakes.calls(), ["a ADD", "b ADD", "b DEL", "a DEL"]);
}

#[test]
fn output_is_limited() {
    for flood in ["head -c 2097152 /dev/zero", "yes", "head -c 2097152 /dev/zero & wait; sleep 1000"] {
        assert_eq!(failure(flood), "it wrote more than 1048576 bytes and was killed");
    }
    // Any amount of words on standard error is fine; the last of them are kept.
    let noise = failure("head -c 2097152 /dev/zero | tr '\\0' x >&2; echo the end >&2; exit 1");
    assert!(noise.ends_with("xthe end") && noise.len() < 5000, "{} bytes", noise.len());
}

#[test]
fn nonsense_is_named() {
    for (body, expected) in [
        ("", "it wrote no result: the output is empty"),
        ("echo hello", "it wrote no result: expected value at line 1 column 1: hello"),
        ("printf '\\033[2J\\000'", "it wrote no result: expected value at line 1 column 1: [2J"),
        (
            "echo '{ \"cniVersion\": \"0.1.0\" }'",
            "its result is of CNI version \"0.1.0\", and 0.3.0 to 1.1.0 are known",
        ),
        ("exit 3", "it ended with exit code 3"),
        ("echo out; exit 3", "it ended with exit code 3: out"),
        ("echo out; echo err >&2; exit 3", "it ended with exit code 3: err"),
        ("kill -9 $$", "it ended with signal 9"),
        ("echo '{ \"code\": 11 }'; exit 1", "it does not say why (code 11)"),
        ("printf %s '{ \"code\": 100, \"msg\": \"a\\nb\\u001b\" }'; exit 1", "a b (code 100)"),
    ] {
        assert_eq!(failure(body), expected, "{body}");
    }
}

#[test]
fn what_is_no_program_is_named() {
    let fakes = Fakes::new();
    super::install(&fakes.path("bin/text"), "#!/nowhere/shell\n");
    let error = fakes.attach(fakes.config("1.0.0", &["text"])).add().unwrap_err().to_string();
    assert!(error.contains("cannot run it: No such file or directory"), "{error}");
}

#[test]
fn input_need_not_be_read_and_output_need_not_be_closed() {
    let fakes = Fakes::new();
    // Larger than any pipe, and not read.
    let script = format!("#!/bin/sh\ncd {}\nsleep 1000 & echo $! >pid\n{RESULT}\n", fakes.path("").display());
    super::install(&fakes.path("bin/a"), &script);
    let text = serde_json::json!({
        "name": "net", "cniVersion": "1.0.0", "type": "a", "padding": "x".repeat(500_000)
    });
    let attachment = fakes.attach(super::config(&text));
    let started = Instant::now();
    attachment.add().unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    // What it left running on purpose runs on.
    let pid: i32 = std::fs::read_to_string(fakes.path("pid")).unwrap().trim().parse().unwrap();
    assert!(alive(pid));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[test]
fn plugins_get_three_descriptors() {
    let fakes = Fakes::new();
    fakes.plugin("a", &format!("ls -l /proc/$$/fd >open.$CNI_COMMAND\n{RESULT}"));
    let marker = std::fs::File::create(fakes.path("marker")).unwrap();
    // Unlike the file itself, its duplicate stays open over exec, as does what our own parent left us.
    let inherited = rustix::io::dup(&marker).unwrap();
    fakes.attach(fakes.config("1.0.0", &["a"])).add().unwrap();
    drop(inherited);
    let open = std::fs::read_to_string(fakes.path("open.ADD")).unwrap();
    // The others are the shell's: its script, and its own output put aside.
    assert!(open.contains(".call") && open.contains("pipe:") && !open.contains("marker"), "{open}");
}
