//! One GET over HTTP/1.1, by TCP or a Unix socket.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::error::CliError;

/// A daemon that is alive answers at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a daemon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A host and a port.
    Http(String),
    /// A socket file.
    Unix(PathBuf),
}

impl FromStr for Endpoint {
    type Err = CliError;

    fn from_str(text: &str) -> Result<Self, CliError> {
        let wrong = || CliError::Endpoint(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return (!path.is_empty())
                .then(|| Self::Unix(PathBuf::from(path)))
                .ok_or_else(wrong);
        }
        let host = text.strip_prefix("http://").ok_or_else(wrong)?;
        let host = host.trim_end_matches('/');
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
        (has_port && !host.contains('/'))
            .then(|| Self::Http(host.to_owned()))
            .ok_or_else(wrong)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(host) => write!(f, "http://{host}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The body of a successful answer.
pub(crate) fn get(endpoint: &Endpoint, path: &str) -> Result<String, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?;
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, connect(endpoint, path))
            .await
            .unwrap_or_else(|_| {
                Err(CliError::Silent {
                    endpoint: endpoint.to_string(),
                    seconds: PATIENCE.as_secs(),
                })
            })
    })
}

async fn connect(endpoint: &Endpoint, path: &str) -> Result<String, CliError> {
    let refused = |source| CliError::Connect {
        endpoint: endpoint.to_string(),
        source,
    };
    match endpoint {
        Endpoint::Http(host) => {
            let stream = TcpStream::connect(host).await.map_err(refused)?;
            exchange(stream, endpoint, host, path).await
        }
        Endpoint::Unix(socket) => {
            let stream = UnixStream::connect(socket).await.map_err(refused)?;
            exchange(stream, endpoint, "localhost", path).await
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    endpoint: &Endpoint,
    host: &str,
    path: &str,
) -> Result<String, CliError> {
    let broken = |source| CliError::Exchange {
        endpoint: endpoint.to_string(),
        source,
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    // What breaks the connection reaches the request below.
    tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", host)
        .body(Empty::<Bytes>::new())
        .map_err(CliError::Request)?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(broken)?;
    let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    if status.is_success() {
        return Ok(body);
    }
    Err(CliError::Status {
        endpoint: endpoint.to_string(),
        path: path.to_owned(),
        status: status.as_u16(),
        body: body.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn endpoints_are_told_apart_and_wrong_ones_are_refused() {
        for (text, expected) in [
            (
                "unix:/run/a.sock",
                Some(Endpoint::Unix("/run/a.sock".into())),
            ),
            (
                "unix:///run/a.sock",
                Some(Endpoint::Unix("/run/a.sock".into())),
            ),
            (
                "http://127.0.0.1:61679",
                Some(Endpoint::Http("127.0.0.1:61679".into())),
            ),
            ("http://[::1]:80/", Some(Endpoint::Http("[::1]:80".into()))),
            ("http://node", None),
            ("http://node:99999", None),
            ("http://node:1/path", None),
            ("https://node:1", None),
            ("unix:", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Endpoint>().ok(), expected, "{text}");
        }
    }

    fn answered(reply: &'static str) -> Result<String, CliError> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 1024];
            let length = stream.read(&mut buffer).unwrap();
            stream.write_all(reply.as_bytes()).unwrap();
            String::from_utf8_lossy(buffer.get(..length).unwrap()).into_owned()
        });
        let result = get(&Endpoint::Http(address.to_string()), "/onsen/v1/pods");
        let request = server.join().unwrap();
        assert!(
            request.starts_with("GET /onsen/v1/pods HTTP/1.1\r\n"),
            "{request}"
        );
        result
    }

    #[test]
    fn the_body_of_a_success_is_given() {
        let reply = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]";
        assert_eq!(answered(reply).unwrap(), "[]");
    }

    #[test]
    fn an_error_status_names_the_path_and_the_body() {
        let error = answered("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope");
        let text = error.unwrap_err().to_string();
        assert!(
            text.ends_with("/onsen/v1/pods was answered with 404: nope"),
            "{text}"
        );
    }

    #[test]
    fn a_daemon_that_is_not_there_is_named() {
        let endpoint = Endpoint::Unix("/nonexistent/socket".into());
        let text = get(&endpoint, "/").unwrap_err().to_string();
        assert!(text.contains("unix:/nonexistent/socket"), "{text}");
    }
}
