//! The kernel's command line: from GRUB, whose prefix no digest covers, and from systemd.

use plastron_attestation_appraise::event_log::facts::{Kernel, Provenance};
use plastron_attestation_appraise::event_log::{Facts, FindingKind};
use plastron_attestation_tcg::event_log::EventType;

use crate::boot::{Boot, event, found, grub, measured, utf16};

const CMDLINE: &str = "/vmlinuz root=/dev/vda1 ro \"x=a b\"";

fn provenance(facts: &Facts) -> Provenance {
    facts.kernel.cmdline.as_ref().unwrap().provenance()
}

#[test]
fn grub_tells_the_command_line_and_its_parameters() {
    let facts = Boot::linux().facts();
    assert_eq!(facts.kernel.cmdline.as_ref().unwrap().verified().unwrap(), CMDLINE);
    let args = facts.kernel.args.unwrap().verified().unwrap().clone();
    assert_eq!(args["root"], ["/dev/vda1"]);
    assert_eq!(args["ro"], [""]);
    assert_eq!(args["x"], ["a b"]);
    assert_eq!(args.len(), 3);
    assert_eq!(facts.grub.commands.len(), 3);
    assert_eq!(facts.grub.files[1].claimed().label, "/vmlinuz");
    assert_eq!(facts.grub.files[1].provenance(), Provenance::DigestOnly);
}

#[test]
fn parameters_are_what_the_kernel_takes() {
    let facts = systemd([cmdline("a=1\tb a=2  \"c=d e\" f=\\g \"h\" -- lockdown=integrity")]);
    let args = facts.kernel.args.unwrap().verified().unwrap().clone();
    let args: Vec<_> = args.iter().map(|(name, values)| (name.as_str(), values.join("|"))).collect();
    let wanted = [("a", "1|2"), ("b", ""), ("c", "d e"), ("f", "\\g"), ("h", "")];
    assert_eq!(args, wanted.map(|(name, values)| (name, values.to_owned())));
}

#[test]
fn an_altered_command_line_is_untrusted() {
    let boot = Boot::with(|boot| {
        let place = boot.find_text("kernel_cmdline: ");
        boot.events[place].data = b"kernel_cmdline: /vmlinuz root=/dev/vda1 ro lockdown=integrity\0".to_vec();
    });
    assert_eq!(provenance(&boot.facts()), Provenance::Untrusted);
    assert!(boot.facts().has(FindingKind::UntrustedText));
}

/// Threat 6: the prefix is the log's word. What GRUB ran as a command can't be shown as the kernel's command line.
#[test]
fn a_command_can_not_be_exchanged_with_the_command_line() {
    let exchanged = Boot::with(|boot| {
        let place = boot.find_text("kernel_cmdline: ");
        boot.events[place].data = format!("grub_cmd: {CMDLINE}\0").into_bytes();
        let place = boot.find_text("grub_cmd: linux ");
        boot.events[place].data = boot.events[place].data.strip_prefix(b"grub_cmd").unwrap().to_vec();
        boot.events[place].data.splice(0..0, *b"kernel_cmdline");
    });
    assert_eq!(provenance(&exchanged.facts()), Provenance::DigestOnly);
    assert!(exchanged.facts().has(FindingKind::AmbiguousCommandLine));
}

/// Threat 6: a node whose GRUB runs a function of the name of a kernel can't show its call as the command line.
#[test]
fn a_second_text_that_could_be_a_command_line_makes_both_doubtful() {
    for prefix in ["grub_cmd", "kernel_cmdline", "module_cmdline"] {
        for place in [Boot::linux().find_text("grub_cmd: set"), Boot::linux().find_text("grub_cmd: initrd")] {
            let boot = Boot::with(|boot| boot.events.insert(place, grub(prefix, "/vmlinuz lockdown=integrity")));
            assert_eq!(provenance(&boot.facts()), Provenance::DigestOnly, "{prefix}");
            let [("ambiguous_command_line", Some(_))] = found(&boot.facts())[..] else { panic!("one finding") };
        }
    }
}

/// Threat 6: the true command line can't be hidden in an event that shows another text, or is of another type.
#[test]
fn a_text_in_pcr_8_that_is_not_shown_makes_the_command_line_doubtful() {
    let hidden = "/vmlinuz init=/bin/sh";
    for event in [
        measured(8, EventType::IPL, hidden, "grub_cmd: echo hello\0"),
        measured(8, EventType::IPL, hidden, "something else"),
        measured(8, EventType::EFI_ACTION, hidden, "an action"),
        measured(8, EventType(0x8000_4711), hidden, "a vendor's"),
        measured(8, EventType::SEPARATOR, hidden, [0; 4]),
        event(8, EventType::EVENT_TAG, hidden),
    ] {
        let boot = Boot::with(|boot| boot.events.push(event.clone()));
        assert_eq!(provenance(&boot.facts()), Provenance::DigestOnly, "{}", event.event_type);
    }
}

#[test]
fn a_kernel_booted_twice_with_one_command_line_is_not_doubtful() {
    let facts = Boot::with(|boot| boot.events.push(grub("kernel_cmdline", CMDLINE))).facts();
    assert_eq!(provenance(&facts), Provenance::Verified);
}

/// A boot without GRUB, with these events in its place.
fn systemd(events: impl IntoIterator<Item = crate::boot::Event>) -> Facts {
    Boot::with(|boot| {
        boot.events.retain(|event| !matches!(event.pcr, 8 | 9));
        let place = boot.find_text("Exit Boot Services Invocation");
        boot.events.splice(place..place, events);
    })
    .facts()
}

fn cmdline(text: &str) -> crate::boot::Event {
    event(12, EventType::IPL, utf16(&format!("{text}\0")))
}

#[test]
fn a_unified_kernel_image_tells_its_sections_and_its_command_line() {
    let name = utf16(".linux\0");
    let facts = systemd([
        measured(11, EventType::IPL, b".linux\0", &name),
        measured(11, EventType::IPL, "a kernel", &name),
        cmdline("root=/dev/vda2 quiet"),
        cmdline("root=/dev/vda2 quiet"),
        measured(9, EventType::EVENT_TAG, "an initrd", b"\xec\x22\x3b\x8f\x0d\0\0\0Linux initrd\0"),
        measured(9, EventType::EVENT_TAG, "x", b"\xed\x22\x3b\x8f\x1a\0\0\0LOADED_IMAGE::LoadOptions\0"),
    ]);
    assert_eq!(found(&facts), []);
    assert_eq!(facts.uki.sections.len(), 1);
    assert_eq!(facts.uki.sections[0].claimed().label, ".linux");
    assert_eq!(facts.uki.sections[0].provenance(), Provenance::DigestOnly);
    let Kernel { cmdline, args, initrd, load_options } = facts.kernel;
    assert_eq!(cmdline.unwrap().verified().unwrap(), "root=/dev/vda2 quiet");
    assert_eq!(args.unwrap().verified().unwrap()["root"], ["/dev/vda2"]);
    assert_eq!((initrd[0].claimed().label.as_str(), initrd[0].provenance()), ("Linux initrd", Provenance::DigestOnly));
    assert_eq!(load_options.len(), 1);
}

#[test]
fn a_section_whose_name_was_not_measured_is_untrusted() {
    let name = utf16(".linux\0");
    let facts = systemd([
        measured(11, EventType::IPL, b".osrel\0", utf16(".osrel\0")),
        measured(11, EventType::IPL, "a kernel", &name),
    ]);
    assert_eq!(facts.uki.sections[0].provenance(), Provenance::Untrusted);
}

#[test]
fn two_command_lines_from_outside_are_doubtful() {
    let facts = systemd([cmdline("root=/dev/vda2"), cmdline("init=/bin/sh")]);
    assert_eq!(provenance(&facts), Provenance::DigestOnly);
    assert!(facts.has(FindingKind::AmbiguousCommandLine));
}

/// Threat 6: the true command line can't be called a credential, nor be hidden under another type.
#[test]
fn a_text_in_pcr_12_that_is_not_shown_makes_the_command_line_doubtful() {
    let hidden = utf16("init=/bin/sh\0");
    for event in [
        measured(12, EventType::IPL, &hidden, utf16("Credentials\0")),
        measured(12, EventType::EVENT_TAG, &hidden, b"\x01\0\0\0\x01\0\0\0x"),
        measured(12, EventType::SEPARATOR, &hidden, "WBCL"),
        event(12, EventType::EFI_ACTION, &hidden),
    ] {
        let facts = systemd([cmdline("lockdown=integrity"), event]);
        assert_eq!(provenance(&facts), Provenance::DigestOnly);
        assert!(facts.has(FindingKind::AmbiguousCommandLine));
    }
}

#[test]
fn grub_and_systemd_together_are_doubtful() {
    let facts = Boot::with(|boot| boot.events.push(cmdline("root=/dev/vda2"))).facts();
    assert_eq!(provenance(&facts), Provenance::DigestOnly);
    assert!(facts.has(FindingKind::AmbiguousCommandLine));
}

#[test]
fn old_systemd_boot_has_its_command_line_in_pcr_8_one_byte_short() {
    let text = utf16("initrd=\\initrd root=/dev/vda2");
    let data = [text.as_slice(), &[0]].concat();
    let facts = systemd([measured(8, EventType::IPL, [text.as_slice(), &[0, 0]].concat(), &data)]);
    assert_eq!(facts.kernel.cmdline.as_ref().unwrap().verified().unwrap(), "initrd=\\initrd root=/dev/vda2");
    assert_eq!(facts.kernel.args.unwrap().claimed()["initrd"], ["\\initrd"]);
    let other = systemd([measured(8, EventType::IPL, "x", &data)]);
    assert_eq!(provenance(&other), Provenance::Untrusted);
}
