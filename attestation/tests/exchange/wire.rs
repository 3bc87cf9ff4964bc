//! The encoding: one form per message, bounded, and nothing but that form is read.

use plastron_attestation::{
    AnnouncedLog, CertifyBytes, Challenge, Claims, LogChunk, LogKind, LogRequest, MAX_MESSAGE_LEN, Payload, Response,
    Task, WireError,
};
use plastron_attestation_appraise::MadeCredential;
use plastron_attestation_tcg::PcrBank;
use zeroize::Zeroizing;

fn payload() -> Payload {
    Payload {
        ek_public: vec![1; 30],
        ek_certificate: Some(vec![2; 40]),
        ek_intermediates: vec![vec![3; 5], vec![4; 6]],
        ak_public: vec![5; 20],
        claimed: Claims {
            claimed_host_name: Some("h".into()),
            claimed_model: None,
            claimed_firmware: Some("f".into()),
        },
        event_log: Some(AnnouncedLog { sha256: [6; 32], len: 70_000 }),
        svid_key: Some(vec![7; 20]),
    }
}

fn challenge() -> Challenge {
    let made = MadeCredential { id_object: vec![1; 9], encrypted_secret: vec![2; 9] };
    let selection = vec![PcrBank { hash: 0x000b, bitmap: 0x4_03ff }];
    Challenge {
        task: Task::Enrol(made),
        nonce: [7; 32],
        selection,
        event_log_wanted: true,
        certification_wanted: true,
        ima_list_wanted: true,
    }
}

fn response() -> Response {
    Response {
        secret: Some(Zeroizing::new(vec![9; 32])),
        attest: vec![1; 100],
        signature: vec![2; 72],
        pcr_values: vec![vec![0; 32]; 11],
        event_log: Some(vec![8; 300]),
        certification: Some(CertifyBytes { attest: vec![4; 90], signature: vec![5; 72] }),
        ima_list_len: Some(300_000),
    }
}

#[test]
fn messages_round_trip() {
    assert_eq!(Payload::decode(&payload().encode()).unwrap(), payload());
    assert_eq!(Challenge::decode(&challenge().encode()).unwrap(), challenge());
    let renewal = Challenge {
        task: Task::Renew,
        event_log_wanted: false,
        certification_wanted: false,
        ima_list_wanted: false,
        ..challenge()
    };
    assert_eq!(Challenge::decode(&renewal.encode()).unwrap(), renewal);
    assert_eq!(Response::decode(&response().encode()).unwrap(), response());
    let without_log = Payload { event_log: None, svid_key: None, ..payload() };
    assert_eq!(Payload::decode(&without_log.encode()).unwrap(), without_log);
    for log in [LogKind::EventLog, LogKind::ImaList] {
        let request = LogRequest { log, offset: 163_840 };
        assert_eq!(LogRequest::decode(&request.encode()).unwrap(), request);
    }
    let chunk = LogChunk { bytes: vec![3; 1000] };
    assert_eq!(LogChunk::decode(&chunk.encode()).unwrap(), chunk);
}

/// What is read is what would be written: so a message has one encoding.
#[test]
fn whatever_is_read_is_written_back_the_same() {
    let (request, chunk) = (LogRequest { log: LogKind::ImaList, offset: 1 }, LogChunk { bytes: vec![1; 9] });
    let messages = [payload().encode(), challenge().encode(), response().encode(), request.encode(), chunk.encode()];
    for message in &messages {
        for at in 0..message.len() {
            for bit in 0..8 {
                let mut changed = message.clone();
                changed[at] ^= 1 << bit;
                for bytes in [changed.as_slice(), &message[..at]] {
                    if let Ok(read) = Payload::decode(bytes) {
                        assert_eq!(read.encode(), bytes);
                    }
                    if let Ok(read) = Challenge::decode(bytes) {
                        assert_eq!(read.encode(), bytes);
                    }
                    if let Ok(read) = Response::decode(bytes) {
                        assert_eq!(read.encode(), bytes);
                    }
                    if let Ok(read) = LogRequest::decode(bytes) {
                        assert_eq!(read.encode(), bytes);
                    }
                    if let Ok(read) = LogChunk::decode(bytes) {
                        assert_eq!(read.encode(), bytes);
                    }
                }
            }
        }
    }
}

fn field(tag: u16, value: &[u8]) -> Vec<u8> {
    [tag.to_be_bytes().as_slice(), &u32::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

/// Threat 18: a length is a claim, and nothing is allocated for it.
#[test]
fn what_is_not_a_message_is_named() {
    let message = |fields: &[Vec<u8>]| [b"PLTP\x02".as_slice(), &fields.concat()].concat();
    assert_eq!(Payload::decode(b"{}"), Err(WireError::NotOurs));
    assert_eq!(Payload::decode(b""), Err(WireError::NotOurs));
    assert_eq!(Payload::decode(b"PLTP"), Err(WireError::Truncated { what: "the version" }));
    assert_eq!(Payload::decode(b"PLTP\x01"), Err(WireError::Version { got: 1 }));
    let twice = message(&[field(1, b"a"), field(1, b"b")]);
    assert_eq!(Payload::decode(&twice), Err(WireError::Order { tag: 1, after: 1 }));
    let backwards = message(&[field(4, b"a"), field(1, b"b")]);
    assert_eq!(Payload::decode(&backwards), Err(WireError::Order { tag: 1, after: 4 }));
    let unknown = message(&[field(1, b"a"), field(4, b"b"), field(99, b"c")]);
    assert_eq!(Payload::decode(&unknown), Err(WireError::UnknownTag { message: "payload", tag: 99 }));
    assert!(matches!(Payload::decode(&message(&[field(4, b"a")])), Err(WireError::Missing { .. })));
    let huge = message(&[[1u16.to_be_bytes().as_slice(), &u32::MAX.to_be_bytes()].concat()]);
    assert_eq!(Payload::decode(&huge), Err(WireError::Truncated { what: "a value" }));
    let long = message(&[field(1, &vec![0; MAX_MESSAGE_LEN])]);
    let too_long = |message, limit| WireError::TooLong { message, len: long.len(), limit };
    assert_eq!(Payload::decode(&long), Err(too_long("payload", MAX_MESSAGE_LEN)));
    assert_eq!(Response::decode(&long), Err(too_long("response", MAX_MESSAGE_LEN)));
    assert_eq!(Challenge::decode(&long), Err(too_long("challenge", 4096)));
    assert_eq!(LogRequest::decode(&long), Err(too_long("log request", 64)));
    assert_eq!(LogChunk::decode(&long), Err(too_long("log chunk", 160 * 1024 + 64)));
    let log = |len: u32| Payload { event_log: Some(AnnouncedLog { sha256: [6; 32], len }), ..payload() };
    let empty = Payload::decode(&log(0).encode());
    assert!(matches!(empty, Err(WireError::Value { field: "the event log's length", .. })), "{empty:?}");
    let empty = Response::decode(&Response { ima_list_len: Some(0), ..response() }.encode());
    assert!(matches!(empty, Err(WireError::Value { field: "the IMA list's length", .. })), "{empty:?}");
    let many = vec![field(0, &[])[2..].to_vec(); 9].concat();
    let many = message(&[field(1, b"a"), field(3, &many), field(4, b"b")]);
    assert!(matches!(Payload::decode(&many), Err(WireError::Value { reason: "too many items", .. })));
}
