//! The two services of the fixtures, asked the same: what is true of one container's service is true of the other's.

use std::net::{Ipv4Addr, SocketAddr};

use rustix::process::Signal;
use tests::http::{free_port, request};
use tests::{Command, Running, eventually, needs, project_dir, register_jar};

/// Request, body; status and body of the answer, where it matters. In order: each may count on those before.
const EXCHANGES: &[(&str, &str, u16, Option<&str>)] = &[
    ("GET /health", "", 200, Some("ok\n")),
    ("GET /services", "", 200, Some("[]")),
    ("PUT /services/shop/one?ttl=30", "10.0.0.7:80", 200, Some("ok\n")),
    ("POST /services/shop/two?ttl=3600", "10.0.0.8:80\n", 200, Some("ok\n")),
    ("PUT /services/bank/one", "10.0.0.9:80", 200, Some("ok\n")),
    (
        "GET /services",
        "",
        200,
        Some(
            r#"[{"service":"bank","instance":"one","address":"10.0.0.9:80"},{"service":"shop","instance":"one","address":"10.0.0.7:80"},{"service":"shop","instance":"two","address":"10.0.0.8:80"}]"#,
        ),
    ),
    ("GET /services/bank", "", 200, Some(r#"[{"service":"bank","instance":"one","address":"10.0.0.9:80"}]"#)),
    ("GET /services/absent", "", 200, Some("[]")),
    ("PUT /services/bank/one", "10.0.0.10:80", 200, None),
    (
        "GET /services/bank/",
        "",
        200,
        Some(r#"[{"service":"bank","instance":"one","address":"10.0.0.10:80"}]"#),
    ),
    ("POST /services/shop/one/heartbeat", "", 200, Some("ok\n")),
    ("POST /services/shop/absent/heartbeat", "", 404, None),
    ("DELETE /services/shop/one", "", 200, Some("ok\n")),
    ("DELETE /services/shop/one", "", 404, None),
    ("POST /services/shop/one/heartbeat", "", 404, None),
    ("PUT /services/shop/one?ttl=0", "h:1", 400, None),
    ("PUT /services/shop/one?ttl=3601", "h:1", 400, None),
    ("PUT /services/shop/one?ttl=-1", "h:1", 400, None),
    ("PUT /services/shop/one?ttl=", "h:1", 400, None),
    ("PUT /services/shop/one", "", 400, None),
    ("PUT /services/shop/one", "with\"quote:1", 400, None),
    ("PUT /services/UPPER/one", "h:1", 400, None),
    ("PUT /services/shop/%22", "h:1", 400, None),
    ("GET /", "", 404, None),
    ("GET /elsewhere", "", 404, None),
    ("DELETE /services", "", 405, None),
    ("POST /health", "", 405, None),
    ("GET /services/shop/two", "", 405, None),
    ("POST /services/shop/two/other", "", 405, None),
    ("BREW", "", 400, None),
];

/// Status and body.
fn ask(address: SocketAddr, line: &str, body: &str) -> (u16, String) {
    let answer = request(address, line, body).unwrap_or_else(|error| panic!("{line}: {error}"));
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{line}: no status: {answer}"));
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn talks_as_a_registry(address: SocketAddr) {
    for (line, body, status, answer) in EXCHANGES {
        let found = ask(address, line, body);
        assert_eq!(found.0, *status, "{line}: {}", found.1);
        assert!(answer.is_none_or(|answer| answer == found.1), "{line}: {}", found.1);
    }
    assert_eq!(ask(address, "PUT /services/shop/long", &"h".repeat(256)).0, 400);
    assert_eq!(ask(address, "PUT /services/shop/long", &"h".repeat(255)).0, 200);
    assert_eq!(ask(address, &format!("PUT /services/{}/one", "n".repeat(64)), "h:1").0, 400);
    assert_eq!(ask(address, "PUT /services/shop/large", &"h".repeat(4097)).0, 413);

    assert_eq!(ask(address, "PUT /services/brief/one?ttl=1", "h:1").0, 200);
    assert_ne!(ask(address, "GET /services/brief", "").1, "[]");
    eventually("it expires", || ask(address, "GET /services/brief", "").1 == "[]");
}

/// Starts a service on a port of its own, which it is told in the variable `name`.
fn start(command: Command, name: &str, host: &str) -> (Running, SocketAddr) {
    let port = free_port();
    let mut service = command.env(name, format!("{host}{port}")).spawn();
    service.wait_for_stdout("listening on");
    (service, (Ipv4Addr::LOCALHOST, port).into())
}

#[test]
fn the_java_service_is_a_registry() {
    needs!("javac");
    let command = Command::new("java").arg("-jar").arg(register_jar());
    let (service, address) = start(command, "PORT", "");
    talks_as_a_registry(address);
    let (status, reason) = ask(address, "GET /elsewhere", "");
    assert_eq!((status, reason.as_str()), (404, "{\"error\":\"no such path\"}\n"));
    service.signal(Signal::TERM);
    let outcome = service.wait();
    outcome.exits(143).stdout_has("\nPUT /services/shop/one 200\n").stdout_has("\nGET / 404\n");
    assert!(outcome.stdout().ends_with("\nstopped\n"), "{}", outcome.stdout());
    assert_eq!(outcome.stderr(), "");
}

#[test]
fn the_small_service_is_a_registry() {
    let program = project_dir().join("fixtures/register/bin/register");
    assert!(program.exists(), "fixtures/register/bin is empty: run `make build`");
    let (service, address) = start(Command::new(program), "REGISTER_LISTEN", "127.0.0.1:");
    talks_as_a_registry(address);
    service.signal(Signal::TERM);
    service.wait().succeeds();
}

#[test]
fn a_port_that_is_taken_is_named() {
    needs!("javac");
    let taken = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("there are ports");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let java = || Command::new("java").arg("-jar").arg(register_jar());
    java().env("PORT", &port).run().fails(1, &[&format!("cannot listen on 0.0.0.0:{port}"), "in use"]);
    java().env("PORT", "many").run().fails(1, &["PORT is not a number"]);
    java().arg("--help-me").run().fails(2, &["usage"]);
}
