//! The smallest HTTP/1.1 client that serves: one request over a Unix socket, the answer as JSON.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::error::{HarnessError, Result};

/// Longest silence of a program that answers at all.
const SILENCE: Duration = Duration::from_secs(20);

/// Reads a JSON document.
pub fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    let text = request(socket, "GET", path, None)?;
    serde_json::from_str(&text).map_err(|source| HarnessError::Json {
        what: format!("{path} of {}", socket.display()),
        text,
        source,
    })
}

/// Sends one request; the body of the answer.
pub fn request(socket: &Path, method: &str, path: &str, body: Option<&str>) -> Result<String> {
    let request = format!("{method} {path} on {}", socket.display());
    let answer = exchange(socket, method, path, body).map_err(HarnessError::io(request.clone()))?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| {
        HarnessError::Protocol(format!("{request}: the answer has no end of headers"))
    })?;
    let status = head
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| HarnessError::Protocol(format!("{request}: no status in {head:?}")))?;
    let body = if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        unchunk(body).ok_or_else(|| HarnessError::Protocol(format!("{request}: broken chunks")))?
    } else {
        body.to_owned()
    };
    if (200..300).contains(&status) {
        Ok(body)
    } else {
        Err(HarnessError::Http {
            request,
            status,
            body,
        })
    }
}

fn exchange(
    socket: &Path,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> std::io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(SILENCE))?;
    let body = body.unwrap_or_default();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn unchunk(mut text: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, rest) = text.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(rest.get(..size)?);
        text = rest.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn answer(reply: &'static str) -> Result<String> {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).unwrap();
            stream.write_all(reply.as_bytes()).unwrap();
        });
        let result = request(&socket, "GET", "/x", None);
        server.join().unwrap();
        result
    }

    #[test]
    fn plain_and_chunked_bodies_are_read() {
        assert_eq!(answer("HTTP/1.1 200 OK\r\n\r\n{}").unwrap(), "{}");
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(answer(chunked).unwrap(), "abc");
    }

    #[test]
    fn an_error_status_is_an_error_that_carries_the_body() {
        let error = answer("HTTP/1.1 404 Not Found\r\n\r\nnope").unwrap_err();
        assert!(
            matches!(error, HarnessError::Http { status: 404, ref body, .. } if body == "nope")
        );
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        assert!(answer("HTTP/1.1 200").is_err());
        assert!(answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nab").is_err());
    }
}
