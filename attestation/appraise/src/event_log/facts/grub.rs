//! GRUB's EV_IPL events (GRUB manual, "Measuring boot components"; no TCG specification).
//!
//! - PCR 8: `grub_cmd: `, `kernel_cmdline: ` or `module_cmdline: `, then a text and a NUL. The digest is of the text alone, so that the
//!   prefix is the log's word and the kinds can be exchanged. What tells them apart is the text: a command line begins with the path
//!   of a kernel, which no command does. So a kernel's command line is verified only if all of PCR 8 is text that hashes, and every text
//!   that begins like a path is the same one; otherwise another of them may be what was booted.
//! - PCR 9: the digest is of a file's content; the data is its name, a label. GRUB measures a file each time that it opens it, also
//!   only to look for it, and grubenv, which changes.
//!
//! Older systemd-boot measures its command line into PCR 8, too (`stub`). Whoever runs as root can extend both PCRs after the boot, and
//! boot loaders other than GRUB do with them as they please: what was started is in PCR 4.

use plastron_attestation_tcg::event_log::{EventType, RawEvent};
use serde::Serialize;

use super::digests::{Digests, Measured};
use super::provenance::{Fact, Provenance};
use super::reading::Reading;
use crate::event_log::finding::FindingKind;

/// The PCR of commands.
pub(super) const COMMAND_PCR: u8 = 8;

/// The PCR of files.
pub(super) const FILE_PCR: u8 = 9;

const COMMAND: &[u8] = b"grub_cmd: ";
const KERNEL: &[u8] = b"kernel_cmdline: ";
const MODULE: &[u8] = b"module_cmdline: ";

/// What GRUB did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Grub {
    /// Commands, after expansion, with all quoting gone. A menu entry that failed leaves its commands, too.
    pub commands: Vec<Fact<String>>,
    /// Command lines of kernels, each with its path first; the last one is what was booted.
    pub kernel_cmdlines: Vec<Fact<String>>,
    /// Files that were opened.
    pub files: Vec<Fact<Measured>>,
}

/// Reads the events of GRUB.
#[derive(Default)]
pub(super) struct GrubEvents {
    /// An event of PCR 8 that is not a text which hashes: it can hide a command line.
    obscure: Option<u32>,
    /// A text that is not of the kind that its prefix says, or a second command line.
    other_cmdline: Option<u32>,
    path_text: Option<Vec<u8>>,
}

impl GrubEvents {
    /// Reads an EV_IPL event if it is one of GRUB's; `false` leaves it to other rules.
    pub(super) fn read(&mut self, event: &RawEvent<'_>, facts: &mut Grub, reading: &mut Reading<'_>) -> bool {
        match event.pcr {
            COMMAND_PCR => self.command(event, facts, reading),
            FILE_PCR => {
                let label = label(event.data);
                let digests = Digests::of(event, reading.banks());
                let file = reading.label(event, Measured { label, digests });
                reading.push(&mut facts.files, "grub.files", event, file);
                true
            }
            _ => false,
        }
    }

    /// Looks at every event, whatever its type: one in PCR 8 that is none of GRUB's can hide a command line.
    pub(super) fn look(&mut self, event: &RawEvent<'_>) {
        if event.pcr == COMMAND_PCR && (event.claimed_type != EventType::IPL || split(event.data).is_none()) {
            self.obscure.get_or_insert(event.number);
        }
    }

    fn command(&mut self, event: &RawEvent<'_>, facts: &mut Grub, reading: &mut Reading<'_>) -> bool {
        let Some((prefix, rest)) =
            [COMMAND, KERNEL, MODULE].into_iter().find_map(|prefix| Some((prefix, event.data.strip_prefix(prefix)?)))
        else {
            return false;
        };
        let text = rest.strip_suffix(b"\0").unwrap_or(rest);
        let hashed = reading.hashed(event, &[text]);
        if !hashed {
            self.obscure.get_or_insert(event.number);
        } else if !self.is_consistent(prefix, text) {
            self.other_cmdline.get_or_insert(event.number);
        }
        let fact = reading.text(event, String::from_utf8_lossy(text).into_owned(), hashed);
        match prefix {
            KERNEL => reading.push(&mut facts.kernel_cmdlines, "grub.kernel_cmdlines", event, fact),
            _ => reading.push(&mut facts.commands, "grub.commands", event, fact),
        }
        true
    }

    /// Whether a text is of the kind that its prefix says: a command does not begin like a path, and what does is one command line.
    fn is_consistent(&mut self, prefix: &[u8], text: &[u8]) -> bool {
        if !begins_like_a_path(text) {
            return prefix == COMMAND;
        }
        prefix == KERNEL && self.path_text.get_or_insert_with(|| text.to_vec()).as_slice() == text
    }

    /// The command line of the kernel that was booted, if GRUB booted one.
    pub(super) fn kernel_cmdline(&self, facts: &Grub, reading: &mut Reading<'_>) -> Option<Fact<String>> {
        let cmdline = facts.kernel_cmdlines.last()?.clone();
        let (event, text) = match (self.other_cmdline, self.obscure) {
            (Some(event), _) => (event, "another text in PCR 8 that could be the kernel's command line"),
            (None, Some(event)) => {
                (event, "a text in PCR 8 that is not shown, which could be the kernel's command line")
            }
            (None, None) => return Some(cmdline),
        };
        reading.find_at(FindingKind::AmbiguousCommandLine, COMMAND_PCR, Some(event), text);
        Some(cmdline.at_most(Provenance::DigestOnly))
    }
}

/// A prefix, and the text between it and the final NUL.
fn split(data: &[u8]) -> Option<(&'static [u8], &[u8])> {
    let (prefix, rest) =
        [COMMAND, KERNEL, MODULE].into_iter().find_map(|prefix| Some((prefix, data.strip_prefix(prefix)?)))?;
    Some((prefix, rest.strip_suffix(b"\0").unwrap_or(rest)))
}

/// Whether a text can be a command line that GRUB made: the first word is the path of a file, on a device in brackets, or a list of
/// blocks, and none of these begins like the name of a command.
fn begins_like_a_path(text: &[u8]) -> bool {
    !matches!(text.first(), None | Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'[' | b'!' | b'.'))
}

/// A name with the NUL that ends it taken off.
pub(super) fn label(data: &[u8]) -> String {
    String::from_utf8_lossy(data.strip_suffix(b"\0").unwrap_or(data)).into_owned()
}
