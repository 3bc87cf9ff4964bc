//! The kernel that was booted: its command line, from GRUB (PCR 8) or systemd (PCR 12), and its initial RAM disk.
//!
//! These are facts about what was *booted*. What runs can be another kernel: kexec changes it without a change in PCR 0 to 9. A policy
//! that cares needs lockdown or IMA.

use std::collections::BTreeMap;

use serde::Serialize;

use super::digests::Measured;
use super::grub::{Grub, GrubEvents};
use super::provenance::{Fact, Provenance};
use super::reading::Reading;
use super::stub::{LinuxStub, Uki};
use crate::event_log::finding::FindingKind;

/// What follows is for init.
const END: &str = "--";

/// Most parameters of a command line. Linux takes 2,048 bytes on x86-64.
const MAX_ARGS: usize = 2048;

/// The kernel.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Kernel {
    /// The command line as it was measured: GRUB puts the kernel's path first.
    pub cmdline: Option<Fact<String>>,
    /// Its parameters with their values in order; a parameter without `=` has an empty value. The path is none of them, nor is what follows
    /// `--`, which is for init.
    pub args: Option<Fact<BTreeMap<String, Vec<String>>>>,
    /// Initial RAM disks.
    pub initrd: Vec<Fact<Measured>>,
    /// LoadOptions.
    pub load_options: Vec<Fact<Measured>>,
}

/// Puts together what boot loaders and the kernel's stub left.
pub(super) fn kernel(
    events: &GrubEvents,
    grub: &Grub,
    uki: &Uki,
    stub: LinuxStub,
    reading: &mut Reading<'_>,
) -> Kernel {
    let of_grub = events.kernel_cmdline(grub, reading);
    let of_systemd = outside_cmdline(uki, reading);
    let (cmdline, skip) = match (of_grub, of_systemd) {
        (Some(grub), Some(systemd)) => {
            // GRUB started a kernel and so did systemd: one of them handed over to the other, and the log does not say which.
            let text = "both GRUB and systemd-boot left a command line, and the log does not say whose kernel runs";
            reading.find_in(FindingKind::AmbiguousCommandLine, Some(&systemd), text);
            let skip = usize::from(grub.event() > systemd.event());
            let last = if grub.event() > systemd.event() { grub } else { systemd };
            (Some(last.at_most(Provenance::DigestOnly)), skip)
        }
        (Some(grub), None) => (Some(grub), 1),
        (None, systemd) => (systemd, 0),
    };
    let args = cmdline.clone().map(|fact| fact.map(|text| args(&text, skip)));
    let LinuxStub { initrd, load_options } = stub;
    Kernel { cmdline, args, initrd, load_options }
}

/// The command line from outside a unified image, which is there once or, by loader and stub, twice.
fn outside_cmdline(uki: &Uki, reading: &mut Reading<'_>) -> Option<Fact<String>> {
    let last = uki.cmdlines.last()?.clone();
    let other = uki.cmdlines.iter().find(|other| other.claimed() != last.claimed());
    let text = match (other, uki.obscure) {
        (Some(other), _) => {
            format!("PCR {} holds two command lines: {:?} and {:?}", last.pcr(), other.claimed(), last.claimed())
        }
        (None, Some(event)) => {
            format!("event {event} holds a text in PCR 12 that is not shown, which could be the kernel's command line")
        }
        (None, None) => return Some(last),
    };
    reading.find_in(FindingKind::AmbiguousCommandLine, Some(&last), text);
    Some(last.at_most(Provenance::DigestOnly))
}

/// The parameters after the first `skip` words. Quotes keep blanks together and are taken off; a backslash means nothing to the kernel.
fn args(cmdline: &str, skip: usize) -> BTreeMap<String, Vec<String>> {
    let mut args: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for word in words(cmdline).into_iter().skip(skip).take_while(|word| word != END).take(MAX_ARGS) {
        let (name, value) = word.split_once('=').unwrap_or((&word, ""));
        args.entry(name.to_owned()).or_default().push(value.to_owned());
    }
    args
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut begun) = (false, false);
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            blank if (blank.is_ascii_whitespace() || blank == '\x0b') && !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
                continue;
            }
            other => word.push(other),
        }
        begun = true;
    }
    if begun {
        words.push(word);
    }
    words
}
