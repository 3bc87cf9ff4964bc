//! Event logs in both formats, whole, padded, cut and tampered with.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use plastron_attestation_tcg::HashAlgorithm;
use plastron_attestation_tcg::event_log::{
    EventType, LogError, LogFault, LogFormat, MAX_EVENT_DATA_LEN, MAX_EVENTS, MAX_LOG_LEN, NO_PCR, RawLog,
};

/// An algorithm that is not known here: SM3-256.
const SM3: u16 = 0x0012;

fn sha1_event(pcr: u32, event_type: u32, digest: [u8; 20], data: &[u8]) -> Vec<u8> {
    let mut bytes = [pcr.to_le_bytes(), event_type.to_le_bytes()].concat();
    bytes.extend(digest);
    bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend(data);
    bytes
}

fn spec_id_data(algorithms: &[(u16, u16)], vendor_info: &[u8]) -> Vec<u8> {
    let mut data = b"Spec ID Event03\0\0\0\0\0\x00\x02\x69\x02".to_vec();
    data.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
    for (algorithm, size) in algorithms {
        data.extend(algorithm.to_le_bytes());
        data.extend(size.to_le_bytes());
    }
    data.push(u8::try_from(vendor_info.len()).unwrap());
    data.extend(vendor_info);
    data
}

fn header(algorithms: &[(u16, u16)]) -> Vec<u8> {
    sha1_event(0, 3, [0; 20], &spec_id_data(algorithms, b""))
}

fn agile_event(pcr: u32, event_type: u32, digests: &[(u16, &[u8])], data: &[u8]) -> Vec<u8> {
    let mut bytes = [pcr.to_le_bytes(), event_type.to_le_bytes()].concat();
    bytes.extend(u32::try_from(digests.len()).unwrap().to_le_bytes());
    for (algorithm, digest) in digests {
        bytes.extend(algorithm.to_le_bytes());
        bytes.extend(*digest);
    }
    bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend(data);
    bytes
}

const SHA1_AND_SHA256: [(u16, u16); 2] = [(0x0004, 20), (0x000b, 32)];

fn extend(pcr: u32, data: &[u8]) -> Vec<u8> {
    agile_event(pcr, 0x8000_0007, &[(0x0004, &[0x11; 20]), (0x000b, &[0x22; 32])], data)
}

fn startup_locality(locality: &[u8]) -> Vec<u8> {
    agile_event(0, 3, &[(0x0004, &[0; 20]), (0x000b, &[0; 32])], &[b"StartupLocality\0", locality].concat())
}

/// A small log with one event of each form.
fn agile_log() -> Vec<u8> {
    [header(&SHA1_AND_SHA256), startup_locality(&[3]), extend(0, b"first"), extend(4, b"second")].concat()
}

fn fault(bytes: &[u8]) -> LogError {
    match RawLog::parse(bytes) {
        Ok(log) => panic!("{} events were read", log.events().len()),
        Err(error) => error,
    }
}

fn refused(parts: &[Vec<u8>], event: u32, reason: LogFault) {
    let error = fault(&parts.concat());
    assert_eq!((error.event, error.reason), (Some(event), reason));
}

#[test]
fn both_formats_are_read() {
    let bytes = agile_log();
    let log = RawLog::parse(&bytes).unwrap();
    assert_eq!(log.format(), LogFormat::CryptoAgile);
    assert_eq!(log.banks(), [HashAlgorithm::Sha1, HashAlgorithm::Sha256]);
    assert_eq!(log.startup_locality(), Some(3));
    let [spec_id, locality, first, second] = log.events() else { panic!("{:?}", log.events()) };
    assert!(!spec_id.is_extended() && !locality.is_extended() && first.is_extended());
    assert_eq!(spec_id.digest(HashAlgorithm::Sha1), None);
    assert_eq!((first.number, first.pcr, first.data), (2, 0, b"first".as_slice()));
    assert_eq!(first.digest(HashAlgorithm::Sha256).unwrap(), [0x22; 32]);
    assert_eq!(first.digest(HashAlgorithm::Sha384), None);
    assert_eq!((second.pcr, second.offset), (4, bytes.len() - extend(4, b"second").len()));
    assert_eq!(second.claimed_type.name(), Some("EV_EFI_ACTION"));

    let bytes = [sha1_event(7, 8, [1; 20], b"version"), sha1_event(u32::MAX, 3, [0; 20], b"")].concat();
    let log = RawLog::parse(&bytes).unwrap();
    assert_eq!((log.format(), log.banks()), (LogFormat::Sha1, [HashAlgorithm::Sha1].as_slice()));
    assert_eq!(log.events()[0].digest(HashAlgorithm::Sha1).unwrap(), [1; 20]);
    assert_eq!(log.events()[1].pcr, NO_PCR);
}

#[test]
fn a_type_without_a_name_shows_its_number() {
    assert_eq!(EventType::SEPARATOR.to_string(), "EV_SEPARATOR");
    assert_eq!(EventType(0x8000_0042).to_string(), "0x80000042");
}

#[test]
fn no_log_is_not_a_malformed_log() {
    for nothing in [Vec::new(), vec![0; 1024], vec![0xff; 1024]] {
        let error = fault(&nothing);
        assert_eq!((error.offset, error.event, error.reason), (0, None, LogFault::Empty));
    }
}

#[test]
fn padding_at_the_end_is_accepted_and_counted() {
    for padding in [0, 0xff] {
        let bytes = [agile_log(), vec![padding; 4096]].concat();
        let log = RawLog::parse(&bytes).unwrap();
        assert_eq!((log.events().len(), log.padding()), (4, 4096));
    }
    // Zeros that belong to the last event are not padding.
    let bytes = [agile_log(), extend(5, &[0; 64])].concat();
    let log = RawLog::parse(&bytes).unwrap();
    assert_eq!((log.events().len(), log.padding()), (5, 0));
    // Nor is a log padded that goes on after the zeros: they are events that extend no bank, which no replay accepts.
    let bytes = [agile_log(), vec![0; 4096], extend(5, b"hidden")].concat();
    let log = RawLog::parse(&bytes).unwrap();
    assert_eq!((log.padding(), log.events().len()), (0, 4 + 4096 / 16 + 1));
    assert!(log.events()[4].is_extended() && log.banks().iter().all(|bank| log.events()[4].digest(*bank).is_none()));
}

/// Every cut is refused, or falls on the end of an event: then fewer events are read, and some PCR does not replay.
#[test]
fn a_log_that_ends_inside_an_event_is_refused() {
    for bytes in [agile_log(), [sha1_event(7, 8, [1; 20], b"version"), sha1_event(4, 8, [2; 20], b"abc")].concat()] {
        let whole = RawLog::parse(&bytes).unwrap();
        let boundaries: Vec<usize> = whole.events().iter().map(|event| event.offset).collect();
        for cut in 1..bytes.len() {
            let bytes = bytes.get(..cut).unwrap();
            // The first bytes of an event of PCR 0 look like zero padding.
            let at_boundary = boundaries
                .iter()
                .any(|start| *start <= cut && *start > 0 && bytes[*start..].iter().all(|byte| *byte == 0));
            match RawLog::parse(bytes) {
                Ok(log) => assert!(at_boundary && log.events().len() < whole.events().len(), "cut at {cut}"),
                Err(error) => {
                    assert!(!at_boundary, "cut at {cut}: {error}");
                    assert!(error.offset <= cut && error.event.is_some() || error.reason == LogFault::Empty, "{error}");
                }
            }
        }
    }
}

/// Every 32-bit field of a real form, at every alignment, set to extremes: an answer, never a panic.
#[test]
fn extremes_in_every_field_are_survived() {
    let whole = agile_log();
    let mut refused = 0;
    for at in 0..whole.len() - 4 {
        for value in [0, 1, 24, 0x7f, 0xff, 0x1_0000, 0x10_0001, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            refused += u32::from(RawLog::parse(&bytes).is_err());
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn pcr_24_does_not_exist() {
    for pcr in [24, 255, 256, u32::MAX - 1] {
        refused(&[agile_log(), extend(pcr, b"")], 4, LogFault::PcrIndex { pcr, limit: 23 });
    }
    // Only EV_NO_ACTION may name no PCR.
    refused(&[agile_log(), extend(u32::MAX, b"")], 4, LogFault::PcrIndex { pcr: u32::MAX, limit: 23 });
}

#[test]
fn a_spec_id_event_declares_1_to_8_algorithms_with_their_sizes() {
    let with_count = |count: u32| {
        let mut data = spec_id_data(&SHA1_AND_SHA256, b"");
        data[24..28].copy_from_slice(&count.to_le_bytes());
        vec![sha1_event(0, 3, [0; 20], &data)]
    };
    for got in [0, 9, u32::MAX] {
        refused(&with_count(got), 0, LogFault::AlgorithmCount { got, limit: 8 });
    }
    refused(&[header(&[(0x000b, 20)])], 0, LogFault::DigestSize { algorithm: 0x000b, got: 20, wanted: 32 });
    refused(&[header(&[(SM3, 32), (SM3, 32)])], 0, LogFault::Duplicate { algorithm: SM3 });
    // Vendor data counts in eventSize; what comes after it is not of this event.
    let vendor = spec_id_data(&SHA1_AND_SHA256, b"abcd");
    assert!(RawLog::parse(&sha1_event(0, 3, [0; 20], &vendor)).is_ok());
    let short = LogFault::Short { field: "vendorInfo", needed: 4, left: 0 };
    let bytes = sha1_event(0, 3, [0; 20], vendor.get(..vendor.len() - 4).unwrap());
    assert_eq!(fault(&bytes), LogError { offset: bytes.len(), event: Some(0), reason: short });
    refused(&[sha1_event(0, 3, [0; 20], &[vendor, vec![1]].concat())], 0, LogFault::SpecIdTrailing { left: 1 });
}

#[test]
fn unknown_algorithms_are_skipped_by_their_declared_size() {
    let digests: [(u16, &[u8]); 2] = [(SM3, &[9; 7]), (0x000b, &[2; 32])];
    let bytes = [header(&[(0x000b, 32), (SM3, 7)]), agile_event(1, 1, &digests, b"data")].concat();
    let log = RawLog::parse(&bytes).unwrap();
    assert_eq!(log.banks(), [HashAlgorithm::Sha256]);
    assert_eq!((log.events()[1].data, log.padding()), (b"data".as_slice(), 0));
}

#[test]
fn digests_are_of_declared_algorithms_once_each() {
    let event = |digests: &[(u16, &[u8])]| vec![header(&SHA1_AND_SHA256), agile_event(1, 1, digests, b"")];
    let [sha1, sha256]: [(u16, &[u8]); 2] = [(0x0004, &[1; 20]), (0x000b, &[2; 32])];
    refused(&event(&[sha1, sha256, sha1]), 1, LogFault::DigestCount { count: 3, declared: 2 });
    refused(&event(&[sha1, sha1]), 1, LogFault::Duplicate { algorithm: 0x0004 });
    refused(&event(&[sha1, (0x000c, &[3; 48])]), 1, LogFault::Undeclared { algorithm: 0x000c });
    // A bank that one event leaves out is that bank's fault, found when it is replayed.
    let bytes = event(&[sha256]).concat();
    assert_eq!(RawLog::parse(&bytes).unwrap().events()[1].digest(HashAlgorithm::Sha1), None);
    let unknown: [(u16, &[u8]); 2] = [(SM3, &[1; 7]), (SM3, &[2; 7])];
    refused(
        &[header(&[(0x000b, 32), (SM3, 7)]), agile_event(1, 1, &unknown, b"")],
        1,
        LogFault::Duplicate { algorithm: SM3 },
    );
}

#[test]
fn counts_and_sizes_are_limited_before_anything_is_made_of_them() {
    let mut bytes = [header(&SHA1_AND_SHA256), extend(0, b"")].concat();
    let size_at = bytes.len() - 4;
    bytes[size_at..].copy_from_slice(&u32::MAX.to_le_bytes());
    let reason = LogFault::EventSize { size: u32::MAX, limit: MAX_EVENT_DATA_LEN };
    assert_eq!(fault(&bytes), LogError { offset: size_at, event: Some(1), reason });
    let count_at = header(&SHA1_AND_SHA256).len() + 8;
    bytes[count_at..count_at + 4].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    assert_eq!(fault(&bytes).reason, LogFault::DigestCount { count: 0x7fff_ffff, declared: 2 });

    let too_long = vec![1; MAX_LOG_LEN + 1];
    assert_eq!(fault(&too_long).reason, LogFault::TooLong { len: MAX_LOG_LEN + 1, limit: MAX_LOG_LEN });
    let many = |count: usize| [header(&SHA1_AND_SHA256), agile_event(1, 1, &[], b"").repeat(count)].concat();
    assert_eq!(RawLog::parse(&many(MAX_EVENTS - 1)).unwrap().events().len(), MAX_EVENTS);
    assert_eq!(fault(&many(MAX_EVENTS)).reason, LogFault::TooManyEvents { limit: MAX_EVENTS });
}

#[test]
fn startup_locality_is_0_3_or_4_once_and_before_pcr_0_is_extended() {
    let log = |events: &[Vec<u8>]| [vec![header(&SHA1_AND_SHA256)], events.to_vec()].concat();
    for locality in [0, 3, 4] {
        let bytes = log(&[extend(7, b""), startup_locality(&[locality])]).concat();
        assert_eq!(RawLog::parse(&bytes).unwrap().startup_locality(), Some(locality));
    }
    refused(&log(&[startup_locality(&[1])]), 1, LogFault::StartupLocality { locality: 1 });
    refused(&log(&[startup_locality(&[3]), startup_locality(&[3])]), 2, LogFault::StartupLocalityAgain);
    refused(&log(&[extend(0, b""), startup_locality(&[3])]), 2, LogFault::StartupLocalityLate);
    for locality in [[].as_slice(), &[3, 1], &[3, 0, 0, 7]] {
        let reason = LogFault::StartupLocalityLen { len: 16 + locality.len(), wanted: 17 };
        refused(&log(&[startup_locality(locality)]), 1, reason);
    }
    // coreboot fills the event up.
    let bytes = log(&[startup_locality(&[3, 0, 0, 0]), extend(0, b"")]).concat();
    assert_eq!(RawLog::parse(&bytes).unwrap().startup_locality(), Some(3));
    // Other EV_NO_ACTION events, also empty ones, mean nothing.
    let digests: [(u16, &[u8]); 0] = [];
    let bytes = log(&[agile_event(0, 3, &digests, b""), agile_event(7, 3, &digests, b"StartupLocality\0")]).concat();
    assert_eq!(RawLog::parse(&bytes).unwrap().startup_locality(), None);
}
