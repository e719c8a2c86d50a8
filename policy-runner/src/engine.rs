//! The engine that all policies of a process share, and the limits they run under.
//!
//! Must hold: the configuration is the same for compiling and running, and deterministic: NaNs
//! are canonical, threads and relaxed SIMD are off.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use wasmtime::Config;
use wasmtime::component::{Component, Linker};

use crate::cache::Cache;
use crate::call::Call;
use crate::error::PolicyError;
use crate::policy::Policy;
use crate::versions::{SPOKEN, Version};

/// The epoch moves this often within one deadline.
const TICKS_PER_DEADLINE: u32 = 8;
/// Ticks a call may see. The first may come at once, so the deadline is met or overrun by a tick.
pub(crate) const TICKS_PER_CALL: u64 = TICKS_PER_DEADLINE as u64 + 1;

/// What one call of a policy may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of fuel, about one for each Wasm instruction.
    pub fuel: u64,
    /// The guest's linear memory.
    pub memory_bytes: usize,
    /// Elements of all its tables.
    pub table_elements: usize,
    /// The guest's part of the calling thread's stack.
    pub stack_bytes: usize,
    /// The safety net under the fuel.
    pub deadline: Duration,
    /// Lines of log that are kept of one call.
    pub log_lines: usize,
    /// Bytes that are kept of one line.
    pub log_line_bytes: usize,
    /// Bytes of an answer, as laid out in memory.
    pub output_bytes: usize,
    /// Bytes of the memo.
    pub memo_bytes: usize,
    /// Bytes of the component itself.
    pub component_bytes: usize,
    /// What compiling it may take, once for each component and engine.
    pub compile_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A decision of the default policy on a full node takes less than a thousandth.
            fuel: 500_000_000,
            memory_bytes: 64 << 20,
            table_elements: 100_000,
            stack_bytes: 512 << 10,
            deadline: Duration::from_secs(2),
            log_lines: 100,
            log_line_bytes: 1_024,
            output_bytes: 1 << 20,
            memo_bytes: 65_536,
            // A language runtime such as Python's has 40 MB.
            component_bytes: 64 << 20,
            compile_time: Duration::from_mins(2),
        }
    }
}

/// Compiles policies and keeps time for them. Clones share one engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What policies need of their engine for as long as they live.
pub(crate) struct Shared {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) linker: Linker<Call>,
    pub(crate) limits: Limits,
    pub(crate) cache: Option<Cache>,
    pub(crate) versions: &'static [Version],
    /// The ticker ends when this is dropped.
    _ticker: Sender<()>,
}

impl Engine {
    /// An engine. `cache` is a directory that only this process's user can write; it is made when
    /// it does not exist. Compiled policies are native code: never share it.
    pub fn new(limits: Limits, cache: Option<PathBuf>) -> Result<Self, PolicyError> {
        Self::speaking(SPOKEN, limits, cache)
    }

    /// An engine for policies of these versions of the contract.
    pub(crate) fn speaking(
        versions: &'static [Version],
        limits: Limits,
        cache: Option<PathBuf>,
    ) -> Result<Self, PolicyError> {
        let failed = |error: wasmtime::Error| PolicyError::Engine(format!("{error:#}"));
        let wasm = wasmtime::Engine::new(&config(&limits)).map_err(failed)?;
        let mut linker = Linker::new(&wasm);
        for version in versions {
            (version.link)(&mut linker).map_err(failed)?;
        }
        let cache = cache.map(|path| Cache::open(path, &wasm)).transpose()?;
        let ticker = start_ticker(wasm.clone(), limits.deadline / TICKS_PER_DEADLINE)?;
        let shared = Shared {
            wasm,
            linker,
            limits,
            cache,
            versions,
            _ticker: ticker,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Verifies, compiles and describes a component. Takes from a fraction of a millisecond (out
    /// of the cache) to a minute (a language runtime of many megabytes): not for a busy thread.
    pub fn load(&self, wasm: &[u8]) -> Result<Policy, PolicyError> {
        Policy::load(&self.shared, wasm)
    }

    /// What each call may use.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }
}

impl Shared {
    /// The component as native code, out of the cache when it is there.
    pub(crate) fn compile(&self, digest: &str, wasm: &[u8]) -> Result<Component, PolicyError> {
        let failed = |error: wasmtime::Error| PolicyError::Compile(format!("{error:#}"));
        let Some(cache) = &self.cache else {
            return Component::new(&self.wasm, wasm).map_err(failed);
        };
        if let Some(component) = cache.get(&self.wasm, digest) {
            return Ok(component);
        }
        let code = self.wasm.precompile_component(wasm).map_err(failed)?;
        cache.put(digest, &code)?;
        cache.get(&self.wasm, digest).ok_or_else(|| {
            PolicyError::Compile(
                "what the engine has just written into its cache cannot be read back".to_owned(),
            )
        })
    }
}

fn config(limits: &Limits) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        // A pool of compiler threads would keep its memory for the rest of the daemon's life.
        .parallel_compilation(false)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .max_wasm_stack(limits.stack_bytes);
    // Every call makes and drops an instance. A guest's memory on the heap, with bounds checked
    // by its code, costs a third of pages mapped, guarded and given back each time; and the
    // process needs no signal handlers.
    config
        .signals_based_traps(false)
        .memory_init_cow(false)
        .memory_reservation(0)
        .memory_reservation_for_growth(1 << 20)
        .memory_guard_size(0)
        .guard_before_linear_memory(false);
    config
}

/// Moves the epoch until the sender is dropped.
fn start_ticker(engine: wasmtime::Engine, tick: Duration) -> Result<Sender<()>, PolicyError> {
    let (sender, receiver) = mpsc::channel::<()>();
    thread::Builder::new()
        .name("policy-ticker".to_owned())
        .stack_size(64 << 10)
        .spawn(move || {
            while receiver.recv_timeout(tick) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })
        .map_err(PolicyError::Ticker)?;
    Ok(sender)
}
