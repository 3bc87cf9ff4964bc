//! SIPA events as Windows writes them, and as they must not be.

use super::*;
use crate::ReadFault;

fn event(id: SipaEventId, data: &[u8]) -> Vec<u8> {
    let mut bytes = id.0.to_le_bytes().to_vec();
    bytes.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    bytes.extend(data);
    bytes
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn events_within_aggregations_are_read_in_order() {
    let module = [
        event(SipaEventId::FILEPATH, &utf16(r"\Windows\System32\ntoskrnl.exe")),
        event(SipaEventId::IMAGESIZE, &0x0100_0000u64.to_le_bytes()),
        event(SipaEventId::IMAGEVALIDATED, &[1]),
        event(SipaEventId::AUTHENTICODEHASH, &[7; 32]),
    ]
    .concat();
    let boundary = [
        event(SipaEventId::BOOTDEBUGGING, &[0]),
        event(SipaEventId::LOADEDMODULE_AGGREGATION, &module),
        event(SipaEventId(0x0005_7777), &[1, 2, 3]),
    ]
    .concat();
    let bytes =
        [event(SipaEventId::BOOTCOUNTER, &9u64.to_le_bytes()), event(SipaEventId::TRUSTBOUNDARY, &boundary)].concat();
    let events = SipaEvent::parse_all(&bytes).unwrap();
    let mut seen = Vec::new();
    events.iter().for_each(|event| event.walk(0, &mut |event, depth| seen.push((depth, event.id, event.value()))));
    assert_eq!(
        seen,
        [
            (0, SipaEventId::BOOTCOUNTER, SipaValue::Number(9)),
            (0, SipaEventId::TRUSTBOUNDARY, SipaValue::Bytes(&boundary)),
            (1, SipaEventId::BOOTDEBUGGING, SipaValue::Flag(false)),
            (1, SipaEventId::LOADEDMODULE_AGGREGATION, SipaValue::Bytes(&module)),
            (2, SipaEventId::FILEPATH, SipaValue::Text(r"\Windows\System32\ntoskrnl.exe".into())),
            (2, SipaEventId::IMAGESIZE, SipaValue::Number(0x0100_0000)),
            (2, SipaEventId::IMAGEVALIDATED, SipaValue::Flag(true)),
            (2, SipaEventId::AUTHENTICODEHASH, SipaValue::Bytes(&[7; 32])),
            (1, SipaEventId(0x0005_7777), SipaValue::Bytes(&[1, 2, 3])),
        ]
    );
}

#[test]
fn a_value_of_another_form_is_left_as_bytes() {
    let value = |id, data: &'static [u8]| SipaEvent { id, data, events: Vec::new() }.value();
    assert_eq!(value(SipaEventId::TESTSIGNING, &[2]), SipaValue::Number(2));
    assert_eq!(value(SipaEventId::TESTSIGNING, &[1, 0, 0]), SipaValue::Bytes(&[1, 0, 0]));
    assert_eq!(value(SipaEventId::FILEPATH, &[0, 0xd8]), SipaValue::Bytes(&[0, 0xd8]));
    assert_eq!(value(SipaEventId::FILEPATH, &[b'a', 0, 0, 0, b'b', 0]), SipaValue::Bytes(&[b'a', 0, 0, 0, b'b', 0]));
    assert_eq!(value(SipaEventId::BOOTCOUNTER, &[]), SipaValue::Bytes(&[]));
}

#[test]
fn names_and_marks_come_from_the_identifier() {
    assert_eq!(SipaEventId::CODEINTEGRITY.to_string(), "SIPAEVENT_CODEINTEGRITY");
    assert_eq!(SipaEventId(0x0005_7777).to_string(), "SIPAEVENT 0x00057777");
    assert!(SipaEventId::TRUSTPOINT_AGGREGATION.is_aggregation() && !SipaEventId::TRUSTPOINT_AGGREGATION.is_measured());
    assert!(!SipaEventId::QUOTE.is_measured() && SipaEventId::CODEINTEGRITY.is_measured());
}

#[test]
fn an_inner_event_must_not_leave_its_aggregation() {
    let mut inner = event(SipaEventId::BOOTDEBUGGING, &[0]);
    inner[4] = 2;
    let bytes = [event(SipaEventId::TRUSTBOUNDARY, &inner), event(SipaEventId::SAFEMODE, &[0])].concat();
    let error = SipaEvent::parse_all(&bytes).unwrap_err();
    assert_eq!(error.offset, 12);
    assert_eq!(error.reason, ReadFault::TooMany { what: "bytes of an event", got: 2, limit: 1 });
}

#[test]
fn half_an_event_at_the_end_is_refused() {
    let bytes = [event(SipaEventId::BOOTDEBUGGING, &[0]), vec![1, 2, 3]].concat();
    let error = SipaEvent::parse_all(&bytes).unwrap_err();
    assert_eq!((error.offset, error.reason), (9, ReadFault::Value { field: "bytes after the last event", value: 3 }));
}

#[test]
fn nesting_and_number_are_limited() {
    let deep = |levels: usize| {
        (0..levels).fold(event(SipaEventId::SAFEMODE, &[0]), |inner, _| event(SipaEventId::TRUSTBOUNDARY, &inner))
    };
    assert!(SipaEvent::parse_all(&deep(MAX_SIPA_DEPTH)).is_ok());
    let error = SipaEvent::parse_all(&deep(MAX_SIPA_DEPTH + 1)).unwrap_err();
    assert!(matches!(error.reason, ReadFault::TooMany { what: "levels of aggregation", .. }), "{error}");

    let many = |count: usize| {
        let inner = event(SipaEventId::SAFEMODE, &[]).repeat(count - 1);
        event(SipaEventId::TRUSTBOUNDARY, &inner)
    };
    assert!(SipaEvent::parse_all(&many(MAX_SIPA_EVENTS)).is_ok());
    let error = SipaEvent::parse_all(&many(MAX_SIPA_EVENTS + 1)).unwrap_err();
    assert!(matches!(error.reason, ReadFault::TooMany { what: "events", .. }), "{error}");
}
