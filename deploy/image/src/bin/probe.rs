//! `grpc-health-probe`: asks a gRPC server for its health, for kubelet's exec probes.
//!
//! In: flags as the stock manifests of the Amazon VPC CNI spell them, with one dash or two. Out: an
//! exit code: 0 serving, 1 bad flags, 2 no connection, 3 the call failed, 4 not serving.
//!
//! Deliberately absent: TLS.

use std::process::ExitCode;
use std::time::Duration;

use onsen_image::health::{self, Question, Unhealthy};

const HELP: &str = "\
grpc-health-probe -addr=unix:PATH|HOST:PORT [-service=NAME] [-connect-timeout=1s] [-rpc-timeout=1s]
                  [-user-agent=NAME] [-v]
";

fn main() -> ExitCode {
    let (question, verbose) = match parse(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(why) => {
            eprintln!("{why}\n\n{HELP}");
            return ExitCode::from(1);
        }
    };
    let asked = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(health::check(&question)));
    match asked {
        Ok(Ok(())) => {
            if verbose {
                eprintln!("{}: serving", question.address);
            }
            ExitCode::SUCCESS
        }
        Ok(Err(error)) => {
            eprintln!("{error}");
            ExitCode::from(Unhealthy::exit_code(&error))
        }
        Err(error) => {
            eprintln!("no runtime: {error}");
            ExitCode::from(1)
        }
    }
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<(Question, bool), String> {
    let mut arguments = arguments.peekable();
    let mut verbose = false;
    let mut question = Question {
        address: String::new(),
        service: String::new(),
        user_agent: "grpc_health_probe".to_owned(),
        connect_timeout: Duration::from_secs(1),
        rpc_timeout: Duration::from_secs(1),
    };
    while let Some(argument) = arguments.next() {
        let flag = argument
            .strip_prefix("--")
            .or_else(|| argument.strip_prefix('-'))
            .ok_or_else(|| format!("{argument:?} is no flag"))?;
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        if name == "v" {
            verbose = value.is_none_or(|value| value != "false");
            continue;
        }
        let value = value
            .or_else(|| arguments.next())
            .ok_or_else(|| format!("-{name} lacks its value"))?;
        match name {
            "addr" => question.address = value,
            "service" => question.service = value,
            "user-agent" => question.user_agent = value,
            "connect-timeout" => question.connect_timeout = duration(name, &value)?,
            "rpc-timeout" => question.rpc_timeout = duration(name, &value)?,
            _ => return Err(format!("unknown flag -{name}")),
        }
    }
    if question.address.is_empty() {
        return Err("-addr is not given".to_owned());
    }
    Ok((question, verbose))
}

/// As Go writes durations: `5s`, `1m30s`, `100ms`. None is no time to connect in.
fn duration(name: &str, text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("-{name}={text:?}: expected a time such as 5s"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<(Question, bool), String> {
        parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn the_stock_manifests_line_is_understood() {
        let (question, verbose) =
            parsed("-addr=unix:///var/run/aws-node/ipamd.sock -connect-timeout=5s -rpc-timeout=5s")
                .unwrap();
        assert_eq!(question.address, "unix:///var/run/aws-node/ipamd.sock");
        assert_eq!(question.connect_timeout, Duration::from_secs(5));
        assert_eq!(question.rpc_timeout, Duration::from_secs(5));
        assert!(!verbose);
    }

    #[test]
    fn two_dashes_and_separate_values_mean_the_same() {
        let (question, verbose) =
            parsed("--addr 127.0.0.1:50051 -service a.b -v --rpc-timeout 1m30s").unwrap();
        assert_eq!(question.address, "127.0.0.1:50051");
        assert_eq!(question.service, "a.b");
        assert_eq!(question.rpc_timeout, Duration::from_secs(90));
        assert!(verbose);
    }

    #[test]
    fn bad_flags_are_named() {
        for (line, words) in [
            ("-v", "-addr is not given"),
            ("-addr", "lacks its value"),
            ("-addr=x -tls=1", "unknown flag -tls"),
            ("-addr=x -rpc-timeout=5", "-rpc-timeout"),
            ("-addr=x -rpc-timeout=0s", "-rpc-timeout"),
            ("addr", "is no flag"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
