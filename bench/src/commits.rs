//! Counts the commits of a SQLite database from outside, by its write-ahead log (SQLite's file format, section 4).
//!
//! Every commit's last frame states the size of the database after it, in pages; other frames have zero there. A log that is begun
//! anew after a checkpoint has another salt, and then the count is lost, which is said.

use std::fs;
use std::path::Path;

use crate::error::BenchError;

const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// The state of a log at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Commits {
    salt: u64,
    count: u32,
}

impl Commits {
    /// Of the log beside this database.
    pub(crate) fn of(database: &Path) -> Result<Self, BenchError> {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        let log = fs::read(&path).map_err(BenchError::io(format!("read {}", path.display())))?;
        Self::in_log(&log).ok_or_else(|| BenchError::wrong("the write-ahead log is malformed"))
    }

    fn in_log(log: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_be_bytes(*log.get(at..)?.first_chunk()?));
        let salt_at = |at: usize| Some(u64::from_be_bytes(*log.get(at..)?.first_chunk()?));
        let page_size = usize::try_from(number(8)?).ok().filter(|size| size.is_power_of_two())?;
        let salt = salt_at(16)?;
        let (mut at, mut count) = (LOG_HEADER, 0);
        // Frames after the end have the salt of an earlier log.
        while let Some(frame_salt) = salt_at(at + 8) {
            if frame_salt != salt {
                break;
            }
            if number(at + 4)? != 0 {
                count += 1;
            }
            at += FRAME_HEADER + page_size;
        }
        Some(Self { salt, count })
    }

    /// How many came since then, if the log is still the same.
    pub(crate) fn since(self, earlier: Self) -> Option<u32> {
        (self.salt == earlier.salt).then(|| self.count.checked_sub(earlier.count)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(frames: &[(u32, u64)]) -> Vec<u8> {
        let mut log = vec![0; LOG_HEADER];
        log[8..12].copy_from_slice(&512u32.to_be_bytes());
        log[16..24].copy_from_slice(&7u64.to_be_bytes());
        for (size, salt) in frames {
            let mut frame = vec![0; FRAME_HEADER + 512];
            frame[4..8].copy_from_slice(&size.to_be_bytes());
            frame[8..16].copy_from_slice(&salt.to_be_bytes());
            log.extend(frame);
        }
        log
    }

    #[test]
    fn commits_are_frames_with_a_size_and_the_log_s_own_salt() {
        let before = Commits::in_log(&log(&[(0, 7), (3, 7)])).unwrap();
        let after = Commits::in_log(&log(&[(0, 7), (3, 7), (0, 7), (4, 7), (5, 7), (9, 6), (9, 7)])).unwrap();
        assert_eq!((before.count, after.count), (1, 3));
        assert_eq!(after.since(before), Some(2));
        assert_eq!(after.since(Commits { salt: 8, count: 0 }), None);
        assert_eq!(Commits::in_log(&[0; 10]), None);
    }
}
