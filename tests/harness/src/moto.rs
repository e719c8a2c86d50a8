//! moto's server, an EC2 mock that nobody here wrote, as a program.
//!
//! It answers with EC2's own elements, and knows no faults, limits or prefixes: a witness for the wire, not
//! for behaviour. `cargo xtask setup` installs it; a test that cannot have it says `not run:`.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The running server, ended when dropped.
#[derive(Debug)]
pub struct Moto {
    server: Child,
    port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended already; nothing is left to do then.
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

impl Moto {
    /// A request that makes an instance, which the mock starts without.
    pub const RUN_INSTANCE: &str = "Action=RunInstances&Version=2016-11-15&ImageId=ami-12c6146b\
        &InstanceType=m5.large&MinCount=1&MaxCount=1&TagSpecification.1.ResourceType=instance\
        &TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=n";

    /// Starts it; when it cannot be, says so in the name of the test `name`.
    pub fn start_or_say_why_not(name: &str) -> Option<Self> {
        Self::start()
            .inspect_err(|reason| {
                // Not through `println!`: libtest would swallow it.
                drop(writeln!(
                    std::io::stderr(),
                    "not run: {name}: moto: {reason}"
                ));
            })
            .ok()
    }

    fn start() -> Result<Self, String> {
        let set = |name| {
            std::env::var_os(name)
                .filter(|it| !it.is_empty())
                .map(PathBuf::from)
        };
        let folder = set("ONSEN_TOOLS").or_else(|| Some(set("HOME")?.join(".cache/onsen/tools")));
        let program = folder
            .ok_or("HOME is not set")?
            .join("venv/bin/moto_server");
        if !program.is_file() {
            return Err("it is not installed; `cargo xtask setup` does it".to_owned());
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .map_err(|error| format!("no free port: {error}"))?
            .port();
        let server = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let mut moto = Self { server, port };
        // It imports much of Python: some seconds, and more on a busy machine.
        for _ in 0..1200 {
            if let Ok(Some(status)) = moto.server.try_wait() {
                return Err(format!("{} ended with {status}", program.display()));
            }
            if moto.exchange("GET", "/moto-api/data.json", "").is_ok() {
                return Ok(moto);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err("it did not answer within two minutes".to_owned())
    }

    /// Where it answers.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Puts a request of EC2's query protocol to it; its answer, whatever the status.
    pub fn ask(&self, body: &str) -> std::io::Result<String> {
        self.exchange("POST", "/", body)
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: ec2.eu-west-1.amazonaws.com\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=AKID/20260102/eu-west-1/ec2/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\r\n{body}",
            body.len()
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (_, body) = text
            .split_once("\r\n\r\n")
            .ok_or_else(|| std::io::Error::other("no end of headers"))?;
        Ok(body.to_owned())
    }
}
