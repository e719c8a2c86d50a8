//! One call of a policy: what it may use, what it has said, and how its failure is named.

use wasmtime::{ResourceLimiter, Trap};

use crate::bindings::onsen::policy::log;
use crate::engine::Limits;
use crate::error::PolicyError;
use crate::policy::{LogLevel, LogLine};

/// Core instances, memories and tables that one component may have. Most tool chains make fewer
/// than ten; componentize-py makes one for each part of Python, some forty.
const MAX_PARTS: usize = 128;

/// The data of a store.
pub(crate) struct Call {
    limits: Limits,
    memory_bytes: usize,
    table_elements: usize,
    pub(crate) log: Vec<LogLine>,
    dropped_lines: usize,
}

/// A growth that was refused; travels through the engine as its error.
#[derive(Debug)]
struct TooMuchMemory {
    wanted: usize,
    limit: usize,
}

impl std::fmt::Display for TooMuchMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of at most {}", self.wanted, self.limit)
    }
}

impl std::error::Error for TooMuchMemory {}

/// A component that cannot be started because its types are not those of its version; travels
/// through the engine as the context of its error.
#[derive(Debug)]
pub(crate) struct Misfit;

impl std::fmt::Display for Misfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the component does not start")
    }
}

impl Call {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            memory_bytes: 0,
            table_elements: 0,
            log: Vec::new(),
            dropped_lines: 0,
        }
    }

    /// All its linear memories together.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// What was logged; a last line tells what was dropped.
    pub(crate) fn into_log(mut self) -> Vec<LogLine> {
        if self.dropped_lines > 0 {
            self.log.push(LogLine {
                level: LogLevel::Warn,
                message: format!("{} more lines were dropped", self.dropped_lines),
            });
        }
        self.log
    }

    /// Names a failure of the engine, for a policy that is asked by this interface.
    pub(crate) fn verdict(&self, error: &wasmtime::Error, contract: &str) -> PolicyError {
        if let Some(refused) = error.downcast_ref::<TooMuchMemory>() {
            return PolicyError::OutOfMemory {
                wanted: refused.wanted,
                limit: refused.limit,
            };
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::OutOfFuel) => PolicyError::OutOfFuel {
                limit: self.limits.fuel,
            },
            Some(Trap::Interrupt) => PolicyError::Deadline(self.limits.deadline),
            Some(trap) => PolicyError::Trap(self.with_last_words(&trap.to_string())),
            None if error.is::<Misfit>() => PolicyError::WrongWorld {
                wanted: contract.to_owned(),
                found: format!("its types differ: {:#}", error.root_cause()),
            },
            None => PolicyError::BadOutput(format!("{:#}", error.root_cause())),
        }
    }

    /// A guest that panics logs why before it traps.
    fn with_last_words(&self, trap: &str) -> String {
        let words = self.log.iter().rfind(|line| line.level == LogLevel::Warn);
        words.map_or_else(
            || trap.to_owned(),
            |line| format!("{trap}; its last warning was: {}", line.message),
        )
    }
}

impl log::Host for Call {
    fn write(&mut self, level: log::Level, mut message: String) {
        if self.log.len() >= self.limits.log_lines {
            self.dropped_lines = self.dropped_lines.saturating_add(1);
            return;
        }
        message.truncate(message.floor_char_boundary(self.limits.log_line_bytes));
        self.log.push(LogLine {
            level: level.into(),
            message,
        });
    }
}

impl ResourceLimiter for Call {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self
            .memory_bytes
            .saturating_add(desired.saturating_sub(current));
        let limit = self.limits.memory_bytes;
        if wanted > limit {
            return Err(TooMuchMemory { wanted, limit }.into());
        }
        self.memory_bytes = wanted;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        let limit = self.limits.table_elements;
        if wanted > limit {
            // One element is one pointer.
            let bytes = |elements: usize| elements.saturating_mul(size_of::<usize>());
            return Err(TooMuchMemory {
                wanted: bytes(wanted),
                limit: bytes(limit),
            }
            .into());
        }
        self.table_elements = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_PARTS
    }

    fn tables(&self) -> usize {
        MAX_PARTS
    }

    fn memories(&self) -> usize {
        MAX_PARTS
    }
}
