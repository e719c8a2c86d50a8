//! What the policy remembers from one decision to the next: when it last gave blocks back and, when
//! upstream is followed to the letter, when its last round was.

use alloc::vec::Vec;

/// Two times, written as 16 bytes. A memo of another shape means never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memo {
    pub(crate) released_at: u64,
    pub(crate) round_at: u64,
    /// Blocks go back with this decision.
    pub(crate) released_now: bool,
}

impl Memo {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let number = |at: usize| {
            let part = bytes.get(at..at + 8)?;
            part.try_into().ok().map(u64::from_le_bytes)
        };
        Self {
            released_at: number(0).unwrap_or(0),
            round_at: number(8).unwrap_or(0),
            released_now: false,
        }
    }

    pub(crate) fn write(self, now: u64) -> Vec<u8> {
        let released_at = if self.released_now {
            now
        } else {
            self.released_at
        };
        [released_at, self.round_at]
            .into_iter()
            .flat_map(u64::to_le_bytes)
            .collect()
    }
}
