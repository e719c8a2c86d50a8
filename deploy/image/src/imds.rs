//! The MAC of the primary ENI, from the instance metadata service (`IMDSv2` only).
//!
//! Two requests on one connection. A failure is the init container's, and kubelet starts that again.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Where instances find the service.
pub const ENDPOINT: &str = "http://169.254.169.254";
const PATIENCE: Duration = Duration::from_secs(10);
const TOKEN: &str = "/latest/api/token";
const MAC: &str = "/latest/meta-data/mac";

/// Why the MAC is not known.
#[derive(Debug, thiserror::Error)]
#[error("IMDS at {endpoint} does not tell {what}: {why}")]
pub struct ImdsError {
    endpoint: String,
    what: &'static str,
    why: String,
}

/// Asks for the MAC.
pub async fn primary_mac(endpoint: &str) -> Result<String, ImdsError> {
    let failed = |what| {
        move |why| ImdsError {
            endpoint: endpoint.to_owned(),
            what,
            why,
        }
    };
    match tokio::time::timeout(PATIENCE, ask(endpoint)).await {
        Ok(Ok(mac)) if is_mac(&mac) => Ok(mac),
        Ok(Ok(other)) => Err(failed(MAC)(format!("{other:?} is no MAC"))),
        Ok(Err((what, why))) => Err(failed(what)(why)),
        Err(_elapsed) => Err(failed(MAC)(format!("no answer within {PATIENCE:?}"))),
    }
}

type Step<T> = Result<T, (&'static str, String)>;

async fn ask(endpoint: &str) -> Step<String> {
    let at = |why: &dyn std::error::Error| (TOKEN, crate::chain(why));
    let uri: Uri = endpoint.parse().map_err(|error| at(&error))?;
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(80);
    let address: SocketAddr = format!("{host}:{port}")
        .parse()
        .map_err(|error| at(&error))?;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|error| at(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| at(&error))?;
    // It ends with the sender; what goes wrong on it, the sender tells.
    tokio::spawn(connection);
    let request = |method, path| {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("{host}:{port}"))
    };
    let token = request("PUT", TOKEN).header("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let token = text(&mut sender, TOKEN, token).await?;
    let mac = request("GET", MAC).header("x-aws-ec2-metadata-token", token);
    text(&mut sender, MAC, mac).await
}

async fn text(
    sender: &mut SendRequest<Empty<Bytes>>,
    what: &'static str,
    request: hyper::http::request::Builder,
) -> Step<String> {
    let at = |why: &dyn std::error::Error| (what, crate::chain(why));
    let request = request.body(Empty::new()).map_err(|error| at(&error))?;
    let reply = sender.send_request(request).await;
    let reply = reply.map_err(|error| at(&error))?;
    let status = reply.status();
    let body = reply.into_body().collect().await;
    let body = body.map_err(|error| at(&error))?.to_bytes();
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    if status.is_success() {
        Ok(text)
    } else {
        Err((what, format!("{status} {text}")))
    }
}

fn is_mac(text: &str) -> bool {
    text.split(':').count() == 6
        && text
            .split(':')
            .all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Serves one connection: the answers, one after another; hands back the requests.
    fn serve(answers: Vec<&'static str>) -> (String, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(TcpStream::try_clone(&stream).unwrap()).lines();
            let mut requests = Vec::new();
            for answer in answers {
                let head: Vec<String> = lines
                    .by_ref()
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                requests.push(head.join("\n"));
                write!(stream, "HTTP/1.1 {answer}").unwrap();
            }
            requests
        });
        (endpoint, served)
    }

    #[tokio::test]
    async fn the_mac_is_asked_for_with_a_token() {
        let (endpoint, served) = serve(vec![
            "200 OK\r\ncontent-length: 3\r\n\r\nabc",
            "200 OK\r\ncontent-length: 17\r\n\r\n02:0a:00:00:00:01",
        ]);
        let mac = primary_mac(&endpoint).await.unwrap();
        assert_eq!(mac, "02:0a:00:00:00:01");
        let requests = served.join().unwrap();
        assert!(requests[0].starts_with("PUT /latest/api/token HTTP/1.1"));
        assert!(requests[1].starts_with("GET /latest/meta-data/mac HTTP/1.1"));
        assert!(requests[1].contains("x-aws-ec2-metadata-token: abc"));
    }

    #[tokio::test]
    async fn a_refusal_is_told_with_what_was_asked_for() {
        let (endpoint, served) = serve(vec!["403 Forbidden\r\ncontent-length: 0\r\n\r\n"]);
        let error = primary_mac(&endpoint).await.unwrap_err().to_string();
        served.join().unwrap();
        assert!(
            error.contains("/latest/api/token: 403 Forbidden"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_no_mac_is_refused() {
        let (endpoint, served) = serve(vec![
            "200 OK\r\ncontent-length: 3\r\n\r\nabc",
            "200 OK\r\ncontent-length: 4\r\n\r\n../x",
        ]);
        let error = primary_mac(&endpoint).await.unwrap_err().to_string();
        served.join().unwrap();
        assert!(error.contains(r#""../x" is no MAC"#), "{error}");
    }
}
