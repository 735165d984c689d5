//! An HTTP endpoint for whoever collects metrics: `GET /metrics`, and nothing else.
//!
//! It decides what of HTTP is spoken: one request a connection, answered and closed, so that no
//! visitor keeps anything. Whoever may connect may read, so it listens where it is told and nowhere
//! by default.

use core::time::Duration;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use homa::Host;
use homa::metrics::{CONTENT_TYPE, text};

use crate::failure::Failure;

/// Longest request that is read, in bytes.
const REQUEST_MAX_BYTES: usize = 8192;

/// How long a visitor may take for its request, and for reading the response, byte by byte.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers at `address` for as long as the process lives, on a thread of its own, and says where.
///
/// # Errors
/// The address cannot be listened at.
pub(crate) fn serve(address: &str, hosts: Vec<Host>) -> Result<(), Failure> {
    let told = || format!("--metrics {address}");
    let listener = TcpListener::bind(address).map_err(Failure::work(told()))?;
    let local = listener.local_addr().map_err(Failure::work(told()))?;
    writeln!(io::stdout(), "metrics at http://{local}/metrics").map_err(Failure::work(told()))?;
    let answers = move || {
        for visitor in listener.incoming().flatten() {
            // One that leaves early misses its answer only.
            let _ = answer(visitor, &hosts);
        }
    };
    let thread = thread::Builder::new().name("metrics".to_owned());
    thread.spawn(answers).map_err(Failure::work(told()))?;
    Ok(())
}

fn answer(mut visitor: TcpStream, hosts: &[Host]) -> io::Result<()> {
    visitor.set_read_timeout(Some(PATIENCE))?;
    visitor.set_write_timeout(Some(PATIENCE))?;
    let request = read_head(&mut visitor)?;
    let (status, kind, body) = match words(&request) {
        Some(("GET", "/metrics")) => match text(hosts) {
            Ok(text) => ("200 OK", CONTENT_TYPE, text),
            Err(error) => (
                "500 Internal Server Error",
                "text/plain",
                format!("{error}\n"),
            ),
        },
        Some(("GET", _)) => (
            "404 Not Found",
            "text/plain",
            "only /metrics is here\n".to_owned(),
        ),
        _ => (
            "405 Method Not Allowed",
            "text/plain",
            "only GET is answered\n".to_owned(),
        ),
    };
    let length = body.len();
    write!(
        visitor,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

/// Method and path of a request, without what a question mark begins.
fn words(request: &[u8]) -> Option<(&str, &str)> {
    let line = core::str::from_utf8(request).ok()?.lines().next()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    Some((method, target.split('?').next()?))
}

/// The request up to the empty line, or as much of it as may be.
fn read_head(visitor: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while head.len() < REQUEST_MAX_BYTES && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match visitor.read(&mut piece)? {
            0 => break,
            count => head.extend_from_slice(&piece[..count]),
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_and_path_are_read_whatever_follows() {
        let request = b"GET /metrics?name=x HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(words(request), Some(("GET", "/metrics")));
        assert_eq!(words(b"POST / HTTP/1.1\r\n\r\n"), Some(("POST", "/")));
        assert_eq!(words(b"GET"), None);
        assert_eq!(words(b"\xff\xff /metrics x"), None);
        assert_eq!(words(b""), None);
    }
}
