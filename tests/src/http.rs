//! As much of an HTTP client as asking a registry takes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A port of this machine that was free a moment ago.
///
/// # Panics
/// If loopback has none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    listener.local_addr().expect("it is bound").port()
}

/// Sends a request such as `PUT /services/shop/one` with a body; returns status line, headers and body as text.
///
/// # Errors
/// If nobody listens, or the connection ends or stalls before the answer does.
pub fn request(address: impl Into<SocketAddr>, line: &str, body: &str) -> io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address.into(), PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(connection, "{line} HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{body}")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}
