//! The log: one JSON object on one line each.
//!
//! Several plugins write to one file at once; each line goes out in one write at the end of the file.
//! Nothing is ever logged to stdout, which belongs to the runtime. Rotation is left to the node.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::Write,
    panic::Location,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

impl Level {
    pub(crate) fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "info" => Self::Info,
            "warn" => Self::Warn,
            "error" => Self::Error,
            "fatal" => Self::Fatal,
            _ => Self::Debug,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

pub(crate) struct Log {
    /// None: stderr.
    file: Option<File>,
    level: Level,
}

impl Log {
    /// Opens a log. A file that cannot be opened must not cost a pod its network: stderr then.
    pub(crate) fn open(path: &str, level: Level) -> Self {
        let file = match path {
            "" | "stderr" | "stdout" => None,
            path => {
                let _ = Path::new(path).parent().map(fs::create_dir_all);
                OpenOptions::new().create(true).append(true).open(path).ok()
            }
        };
        Self { file, level }
    }

    #[track_caller]
    pub(crate) fn debug(&self, message: fmt::Arguments<'_>) {
        self.write(Level::Debug, message, Location::caller());
    }

    #[track_caller]
    pub(crate) fn info(&self, message: fmt::Arguments<'_>) {
        self.write(Level::Info, message, Location::caller());
    }

    #[track_caller]
    pub(crate) fn warn(&self, message: fmt::Arguments<'_>) {
        self.write(Level::Warn, message, Location::caller());
    }

    #[track_caller]
    pub(crate) fn error(&self, message: fmt::Arguments<'_>) {
        self.write(Level::Error, message, Location::caller());
    }

    fn write(&self, level: Level, message: fmt::Arguments<'_>, caller: &Location<'_>) {
        #[derive(Serialize)]
        struct Line<'a> {
            level: &'a str,
            ts: String,
            caller: String,
            msg: String,
        }
        if level < self.level {
            return;
        }
        let line = Line {
            level: level.word(),
            ts: timestamp(SystemTime::now()),
            caller: format!("{}:{}", caller.file(), caller.line()),
            msg: message.to_string(),
        };
        let Ok(mut text) = serde_json::to_vec(&line) else {
            return;
        };
        text.push(b'\n');
        // A full disk must not cost a pod its network.
        let _ = match &self.file {
            Some(file) => (&mut &*file).write_all(&text),
            None => std::io::stderr().write_all(&text),
        };
    }
}

/// ISO 8601 in UTC with milliseconds.
fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March end with the leap day, which makes months a straight line.
    // Day 0 here is 1 March of year 0.
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (year, month, day) = (
        era * 400 + year + u64::from(month >= 10),
        if month < 10 { month + 3 } else { month - 9 },
        day - (153 * month + 2) / 5 + 1,
    );
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timestamps_are_those_of_the_calendar() {
        // Expected values come from `date -u`.
        let check = |millis, expected: &str| {
            assert_eq!(
                timestamp(UNIX_EPOCH + Duration::from_millis(millis)),
                expected
            );
        };
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(1_709_251_199_999, "2024-02-29T23:59:59.999Z");
        check(1_767_225_599_001, "2025-12-31T23:59:59.001Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn unknown_levels_log_everything() {
        assert_eq!(Level::parse("Error"), Level::Error);
        assert_eq!(Level::parse("loud"), Level::Debug);
        assert_eq!(Level::parse(""), Level::Debug);
    }
}
