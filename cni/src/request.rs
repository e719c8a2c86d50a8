//! One request: the command, the container and the pod, from the environment.

use std::{env, fmt, path::PathBuf};

use crate::{
    conf::{Conf, is_identifier},
    error::CniError,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        })
    }
}

impl Command {
    /// The command asked for, or none when a person started us.
    pub(crate) fn from_environment() -> Result<Option<Self>, CniError> {
        let text = variable("CNI_COMMAND")?;
        Ok(Some(match text.as_str() {
            "" => return Ok(None),
            "ADD" => Self::Add,
            "DEL" => Self::Del,
            "CHECK" => Self::Check,
            "GC" => Self::Gc,
            "STATUS" => Self::Status,
            "VERSION" => Self::Version,
            _ => return Err(CniError::UnknownCommand(text)),
        }))
    }

    /// Checks that what the command needs is there, before stdin is read.
    pub(crate) fn check_environment(self) -> Result<(), CniError> {
        let needed: &[&'static str] = match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Self::Gc | Self::Status | Self::Version => &[],
        };
        let names: Vec<_> = needed
            .iter()
            .copied()
            .filter(|name| env::var_os(name).is_none_or(|value| value.is_empty()))
            .collect();
        if names.is_empty() {
            Ok(())
        } else {
            Err(CniError::MissingEnvironment { names })
        }
    }

    /// Checks that the command exists in the version of the configuration.
    pub(crate) fn check_version(self, config: &str) -> Result<(), CniError> {
        let too_old: &[&str] = match self {
            Self::Check => &["0.1.0", "0.2.0", "0.3.0", "0.3.1"],
            Self::Gc | Self::Status => &["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"],
            Self::Add | Self::Del | Self::Version => &[],
        };
        if too_old.contains(&config) {
            return Err(CniError::NotAllowed {
                command: self,
                config: config.into(),
            });
        }
        Ok(())
    }
}

/// The pod, as the runtime names it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) infra_container_id: String,
    pub(crate) uid: String,
}

/// A request about one container.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) conf: Conf,
    pub(crate) container_id: String,
    /// Absent in a late DEL, whose namespace is gone.
    pub(crate) netns: Option<PathBuf>,
    pub(crate) if_name: String,
    pub(crate) pod: Pod,
}

impl Request {
    pub(crate) fn from_environment(conf: Conf) -> Result<Self, CniError> {
        let container_id = variable("CNI_CONTAINERID")?;
        if !is_identifier(&container_id) {
            return Err(CniError::InvalidEnvironment {
                name: "CNI_CONTAINERID",
                value: container_id,
                why: "must begin with a letter or digit and go on with those, `_`, `.` or `-`",
            });
        }
        let if_name = variable("CNI_IFNAME")?;
        check_if_name(&if_name)?;
        let netns = variable("CNI_NETNS")?;
        Ok(Self {
            conf,
            container_id,
            netns: (!netns.is_empty()).then(|| netns.into()),
            if_name,
            pod: Pod::parse(&variable("CNI_ARGS")?)?,
        })
    }
}

fn variable(name: &'static str) -> Result<String, CniError> {
    match env::var(name) {
        Ok(value) => Ok(value),
        Err(env::VarError::NotPresent) => Ok(String::new()),
        Err(env::VarError::NotUnicode(value)) => Err(CniError::InvalidEnvironment {
            name,
            value: value.to_string_lossy().into_owned(),
            why: "is not UTF-8",
        }),
    }
}

fn check_if_name(name: &str) -> Result<(), CniError> {
    let why = if name.len() > 15 {
        "has more than 15 characters"
    } else if name == "." || name == ".." {
        "is not a name"
    } else if name
        .chars()
        .any(|c| c == '/' || c == ':' || c.is_whitespace())
    {
        "contains `/`, `:` or whitespace"
    } else {
        return Ok(());
    };
    Err(CniError::InvalidEnvironment {
        name: "CNI_IFNAME",
        value: name.into(),
        why,
    })
}

impl Pod {
    fn parse(arguments: &str) -> Result<Self, CniError> {
        let mut pod = Self::default();
        let mut ignore_unknown = false;
        let mut unknown = Vec::new();
        for pair in arguments.split(';').filter(|_| !arguments.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .filter(|(_, value)| !value.contains('='))
                .ok_or_else(|| CniError::Arguments(format!("CNI_ARGS: {pair:?} is no pair K=V")))?;
            let field = match key {
                "K8S_POD_NAME" => &mut pod.name,
                "K8S_POD_NAMESPACE" => &mut pod.namespace,
                "K8S_POD_INFRA_CONTAINER_ID" => &mut pod.infra_container_id,
                "K8S_POD_UID" => &mut pod.uid,
                "IgnoreUnknown" => {
                    ignore_unknown = match value {
                        "1" => true,
                        "0" => false,
                        word if word.eq_ignore_ascii_case("true") => true,
                        word if word.eq_ignore_ascii_case("false") => false,
                        _ => {
                            return Err(CniError::Arguments(format!(
                                "CNI_ARGS: IgnoreUnknown={value:?} is no boolean"
                            )));
                        }
                    };
                    continue;
                }
                _ => {
                    unknown.push(key);
                    continue;
                }
            };
            *field = value.into();
        }
        if !ignore_unknown && !unknown.is_empty() {
            return Err(CniError::Arguments(format!(
                "CNI_ARGS: unknown args {unknown:?}"
            )));
        }
        Ok(pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_a_runtime_name_the_pod() {
        let pod = Pod::parse(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c;K8S_POD_UID=u;X=",
        )
        .unwrap();
        let expected = Pod {
            name: "web-0".into(),
            namespace: "default".into(),
            infra_container_id: "c".into(),
            uid: "u".into(),
        };
        assert_eq!(pod, expected);
        assert_eq!(Pod::parse("").unwrap(), Pod::default());
    }

    #[test]
    fn arguments_that_are_no_pairs_or_unknown_are_refused() {
        let refused = |text: &str| Pod::parse(text).unwrap_err().to_string();
        assert!(refused("K8S_POD_NAME").contains("no pair"));
        assert!(refused("K8S_POD_NAME=a=b").contains("no pair"));
        assert!(refused("K8S_POD_NAME=a;").contains("no pair"));
        assert!(refused("COLOUR=red").contains("COLOUR"));
        assert!(refused("COLOUR=red;IgnoreUnknown=0").contains("COLOUR"));
        assert!(refused("IgnoreUnknown=maybe").contains("no boolean"));
    }

    #[test]
    fn interface_names_the_kernel_would_refuse_are_refused_first() {
        for name in ["a/b", "a:b", "a b", "..", "sixteen-letters-"] {
            assert!(check_if_name(name).is_err(), "{name}");
        }
        assert!(check_if_name("eth0").is_ok());
    }

    #[test]
    fn younger_commands_need_a_younger_configuration() {
        assert!(Command::Check.check_version("0.3.1").is_err());
        assert!(Command::Check.check_version("0.4.0").is_ok());
        assert!(Command::Gc.check_version("1.0.0").is_err());
        assert!(Command::Status.check_version("1.1.0").is_ok());
    }
    proptest::proptest! {
        #[test]
        fn no_arguments_make_the_parser_panic(text in "[KI=;a-z]{0,20}|\\PC{0,40}") {
            let _ = Pod::parse(&text);
            let _ = check_if_name(&text);
        }
    }
}
