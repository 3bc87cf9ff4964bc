//! How an event log travels: announced and signed for, sent once, in bounded parts, and only when it is asked for.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use plastron_attestation::{
    AnnouncedLog, AttesterEvent, EkTemplate, LOG_TRANSFER_SECS, LogChunk, LogKind, LogRequest, Payload, Response,
    VerifierAction, VerifierEvent,
};
use plastron_attestation_appraise::{
    AttestedNode, BootPolicy, Check, CheckOutcome, MAX_EVENT_LOG_LEN, MissingEventLog, Pool,
};
use plastron_attestation_fake_tpm::FakeTpm;
use plastron_attestation_fake_tpm::event_log::LinuxBoot;

use crate::world::{Agent, Meddling, NOW, World, assert_refused, pool_config, send, time};

/// The longest part of a log in one message.
const PART: usize = 160 * 1024;

/// Boots a TPM, and gives the log of that boot with padding up to this length.
fn booted(tpm: &mut FakeTpm, kernel_cmdline: &str, len: usize) -> Arc<[u8]> {
    let log = LinuxBoot { kernel_cmdline: kernel_cmdline.to_owned(), ..LinuxBoot::default() }.log();
    log.boot(tpm);
    let mut bytes = log.bytes().to_vec();
    assert!(bytes.len() <= len);
    bytes.resize(len, 0);
    Arc::from(bytes)
}

/// A machine that has booted, and an agent that has the log.
fn machine(world: &World, len: usize) -> (FakeTpm, Agent) {
    let mut tpm = world.tpm();
    let event_log = Some(booted(&mut tpm, "/vmlinuz", len));
    (tpm, Agent { event_log, ..Agent::default() })
}

/// Room for one boot.
const SMALL: usize = 16 * 1024;

/// Counts the parts that are sent after the response, and whether the response had one.
fn counted() -> (Meddling, Rc<Cell<(bool, usize)>>) {
    let seen = Rc::new(Cell::new((false, 0)));
    let (in_response, in_chunk) = (Rc::clone(&seen), Rc::clone(&seen));
    let meddling = Meddling {
        response: Box::new(move |bytes| {
            in_response.set((Response::decode(&bytes).unwrap().event_log.is_some(), 0));
            bytes
        }),
        log_chunk: Box::new(move |bytes| {
            let (first, count) = in_chunk.get();
            in_chunk.set((first, count + 1));
            bytes
        }),
        ..Meddling::default()
    };
    (meddling, seen)
}

fn in_response(change: fn(&mut Response)) -> Meddling {
    Meddling {
        response: Box::new(move |bytes| {
            let mut response = Response::decode(&bytes).unwrap();
            change(&mut response);
            response.encode()
        }),
        ..Meddling::default()
    }
}

fn in_chunk(change: fn(&mut Vec<u8>)) -> Meddling {
    Meddling {
        log_chunk: Box::new(move |bytes| {
            let mut chunk = LogChunk::decode(&bytes).unwrap();
            change(&mut chunk.bytes);
            chunk.encode()
        }),
        ..Meddling::default()
    }
}

#[test]
fn a_log_is_sent_with_the_response_or_in_parts_after_it() {
    for (len, parts) in [(SMALL, 0), (PART, 0), (PART + 1, 1), (3 * PART, 2), (MAX_EVENT_LOG_LEN, 25)] {
        let mut world = World::new();
        let (mut meddling, seen) = counted();
        let (mut tpm, mut agent) = machine(&world, len);
        let node = world.converse(&mut tpm, &mut agent, &mut meddling).unwrap();
        assert_eq!(seen.get(), (true, parts), "{len}");
        let log = agent.event_log.unwrap();
        assert_eq!(node.event_log().unwrap().bytes(), &log);
        assert_eq!(node.enrolled_tpm().event_log_sha256, Some(AnnouncedLog::of(&log).unwrap().sha256));
    }
}

/// A renewal in the same boot sends nothing; a log that the server lost is asked for again, and so is the log of another boot.
#[test]
fn a_log_that_the_server_has_is_not_sent_again() {
    let mut world = World::new();
    let (mut tpm, mut agent) = machine(&world, SMALL);
    let first_boot = agent.event_log.clone().unwrap();
    world.admit(&mut tpm, &mut agent).unwrap();
    let (mut meddling, seen) = counted();
    let node = world.converse(&mut tpm, &mut agent, &mut meddling).unwrap();
    assert_eq!(seen.get(), (false, 0));
    assert_eq!(node.event_log().unwrap().bytes(), &first_boot);
    let digest = node.records().iter().find(|record| record.check == Check::EventLogDigest).unwrap();
    assert_eq!((digest.outcome, digest.detail.as_str()), (CheckOutcome::Passed, "kept since an earlier attestation"));

    world.logs.clear();
    world.converse(&mut tpm, &mut agent, &mut meddling).unwrap();
    assert_eq!(seen.get(), (false, 1), "lost: asked for after the quote");
    // What was damaged in the store is no log either.
    world.logs.values_mut().for_each(|log| *log = Arc::from(b"damaged".as_slice()));
    let node = world.converse(&mut tpm, &mut agent, &mut meddling).unwrap();
    assert_eq!(seen.get(), (false, 1));
    assert_eq!(node.event_log().unwrap().bytes(), &first_boot);

    tpm.reboot();
    agent.event_log = Some(booted(&mut tpm, "/vmlinuz single", SMALL));
    world.converse(&mut tpm, &mut agent, &mut meddling).unwrap();
    assert_eq!(seen.get(), (true, 0));
}

/// Threat 1: the log that is judged is the one whose hash the quote covers, through the payload.
#[test]
fn another_log_than_the_announced_one_is_refused() {
    let mut world = World::new();
    let mut refused = |mut meddling: Meddling, len| {
        let (mut tpm, mut agent) = machine(&world, len);
        world.converse(&mut tpm, &mut agent, &mut meddling).unwrap_err()
    };
    let other_content = in_response(|response| response.event_log.as_mut().unwrap()[0] ^= 1);
    assert_refused(&refused(other_content, SMALL), Check::EventLogDigest);
    let by_chunk = refused(in_chunk(|part| part[0] ^= 1), PART + 100);
    assert_refused(&by_chunk, Check::EventLogDigest);
    assert!(by_chunk.node().is_some(), "the quote had proven whose log it is");
    // The announcement itself is in the payload, which the quote is bound to.
    let announced = Meddling {
        payload: Box::new(|bytes| {
            let mut payload = Payload::decode(&bytes).unwrap();
            payload.event_log = AnnouncedLog::of(&[8; 100]);
            payload.encode()
        }),
        response: in_response(|response| response.event_log = Some(vec![8; 100])).response,
        ..Meddling::default()
    };
    assert_refused(&refused(announced, SMALL), Check::QuoteBinding);
}

#[test]
fn parts_of_another_length_are_refused() {
    let mut world = World::new();
    let mut refused = |mut meddling: Meddling, len| {
        let (mut tpm, mut agent) = machine(&world, len);
        world.converse(&mut tpm, &mut agent, &mut meddling).unwrap_err()
    };
    for change in [
        (|response| response.event_log = None) as fn(&mut Response),
        |response| response.event_log = Some(Vec::new()),
        |response| response.event_log.as_mut().unwrap().truncate(100),
        |response| response.event_log.as_mut().unwrap().push(7),
    ] {
        assert_refused(&refused(in_response(change), SMALL), Check::Malformed);
        assert_refused(&refused(in_response(change), PART + 100), Check::Malformed);
    }
    for change in [Vec::clear as fn(&mut Vec<u8>), |part: &mut Vec<u8>| part.push(7)] {
        assert_refused(&refused(in_chunk(change), PART + 100), Check::Malformed);
    }
}

/// Threat 18: a length is refused before anything is asked for.
#[test]
fn a_log_that_is_too_long_is_never_asked_for() {
    let world = World::new();
    let mut verifier = world.verifier();
    let payload = |len| {
        let event_log = Some(AnnouncedLog { sha256: [1; 32], len });
        let (ek_public, ak_public) = (world.tpm().ek_public(), Vec::new());
        let claimed = plastron_attestation::Claims::default();
        Payload {
            ek_public,
            ek_certificate: None,
            ek_intermediates: vec![],
            ak_public,
            claimed,
            event_log,
            svid_key: None,
        }
        .encode()
    };
    let long = u32::try_from(MAX_EVENT_LOG_LEN + 1).unwrap();
    let refused = verifier.step(VerifierEvent::Payload(&payload(long)), time(NOW)).unwrap_err();
    assert_refused(&refused, Check::Malformed);
    assert!(refused.to_string().contains("4194305 bytes, at most 4194304"), "{refused}");
}

/// Threat 18: a stranger can make the server keep one message and no more.
#[test]
fn no_part_is_asked_for_before_the_quote_is_verified() {
    let mut world = World::new();
    let mut meddling = in_response(|response| *response.signature.last_mut().unwrap() ^= 1);
    meddling.log_chunk = Box::new(|_| panic!("asked for a part"));
    let (mut tpm, mut agent) = machine(&world, 3 * PART);
    let refused = world.converse(&mut tpm, &mut agent, &mut meddling).unwrap_err();
    assert_refused(&refused, Check::QuoteSignature);
    assert_eq!(refused.node(), None);
    let mut verifier = world.verifier();
    let chunk = LogChunk { bytes: vec![1] }.encode();
    assert_refused(&verifier.step(VerifierEvent::LogChunk(&chunk), time(NOW)).unwrap_err(), Check::Sequence);
    let stored = VerifierEvent::StoredLog(None);
    assert_refused(&world.verifier().step(stored, time(NOW)).unwrap_err(), Check::Sequence);
}

#[test]
fn a_log_that_was_not_asked_for_is_refused() {
    let mut world = World::new();
    let mut unasked = in_response(|response| response.event_log = Some(vec![7]));
    let refused = world.converse(&mut world.tpm(), &mut Agent::default(), &mut unasked).unwrap_err();
    assert_refused(&refused, Check::Sequence);
    let (mut tpm, mut agent) = machine(&world, SMALL);
    world.admit(&mut tpm, &mut agent).unwrap();
    let mut again = in_response(|response| response.event_log = Some(vec![7; 100]));
    assert_refused(&world.converse(&mut tpm, &mut agent, &mut again).unwrap_err(), Check::Sequence);
}

/// A node that answers forever holds no memory forever.
#[test]
fn a_transfer_ends_in_time() {
    let world = World::new();
    let mut verifier = world.verifier();
    let (mut tpm, agent) = machine(&world, 3 * PART);
    let mut attester = agent.attester(EkTemplate::H3P384, &Meddling::default());
    let payload = send(&mut attester, &mut tpm, EkTemplate::H3P384, AttesterEvent::Begin);
    let challenge = world.challenge(&mut verifier, &payload).unwrap();
    let response = send(&mut attester, &mut tpm, EkTemplate::H3P384, AttesterEvent::Challenge(&challenge));
    let action = verifier.step(VerifierEvent::Response(&response), time(NOW)).unwrap();
    let VerifierAction::RequestLog { message, .. } = action else { panic!("{action:?}") };
    assert_eq!(
        LogRequest::decode(&message).unwrap(),
        LogRequest { log: LogKind::EventLog, offset: u32::try_from(PART).unwrap() }
    );
    let chunk = send(&mut attester, &mut tpm, EkTemplate::H3P384, AttesterEvent::Challenge(&message));
    let late = time(NOW + LOG_TRANSFER_SECS + 1);
    assert_refused(&verifier.step(VerifierEvent::LogChunk(&chunk), late).unwrap_err(), Check::ChallengeFresh);
}

/// What a log proves becomes a selector; what it does not prove becomes none.
#[test]
fn secure_boot_is_a_selector_where_the_log_proves_it() {
    let selectors = |node: &AttestedNode| {
        node.selectors().iter().map(ToString::to_string).filter(|text| text.contains("secure_boot")).collect::<Vec<_>>()
    };
    for (secure_boot, selector) in [(true, "tpm:secure_boot:true"), (false, "tpm:secure_boot:false")] {
        let mut world = World::new();
        let mut tpm = world.tpm();
        let log = LinuxBoot { secure_boot, ..LinuxBoot::default() }.log();
        log.boot(&mut tpm);
        let mut agent = Agent { event_log: Some(Arc::from(log.bytes())), ..Agent::default() };
        assert_eq!(selectors(&world.admit(&mut tpm, &mut agent).unwrap()), [selector]);
        // The machine hides its log from then on: what it had proven is not its own any more.
        agent.event_log = None;
        assert!(selectors(&world.admit(&mut tpm, &mut agent).unwrap()).is_empty());
    }
}

/// The log that is kept is judged at every renewal, by the policy of then.
#[test]
fn a_kept_log_is_judged_by_the_policy_of_today() {
    let mut world = World::new();
    let mut tpm = world.tpm();
    let log = LinuxBoot { secure_boot: false, ..LinuxBoot::default() }.log();
    log.boot(&mut tpm);
    let mut agent = Agent { event_log: Some(Arc::from(log.bytes())), ..Agent::default() };
    world.admit(&mut tpm, &mut agent).unwrap();
    let mut config = pool_config(&world.manufacturer, EkTemplate::H3P384);
    config.boot = BootPolicy { secure_boot: Some(true), ..BootPolicy::default() };
    world.policy.pools = vec![Pool::new(config).unwrap()];
    assert_refused(&world.admit(&mut tpm, &mut agent).unwrap_err(), Check::SecureBoot);
}

/// Threat 6: a log that leaves out what was measured, or that of another boot, does not lead to the quoted values.
#[test]
fn a_log_that_the_quote_does_not_cover_is_refused() {
    let mut world = World::new();
    let (mut tpm, mut agent) = machine(&world, SMALL);
    tpm.measure(4, b"another boot application");
    assert_refused(&world.admit(&mut tpm, &mut agent).unwrap_err(), Check::EventLogReplay);
    let (mut other, _) = machine(&world, SMALL);
    agent.event_log = Some(booted(&mut other, "/vmlinuz init=/bin/sh", SMALL));
    let (mut tpm, _) = machine(&world, SMALL);
    assert_refused(&world.admit(&mut tpm, &mut agent).unwrap_err(), Check::EventLogReplay);
}

/// No log is a case of its own, not a bad log: nothing is issued unless the pool names it.
#[test]
fn a_machine_without_a_log_is_refused_unless_the_pool_takes_it() {
    let mut world = World::with_pool(|config| config.boot.missing_event_log = MissingEventLog::Refuse);
    for event_log in [None, Some(Arc::from([0xff; 64].as_slice()))] {
        let mut agent = Agent { event_log, ..Agent::default() };
        let refused = world.admit(&mut world.tpm(), &mut agent).unwrap_err();
        assert_refused(&refused, Check::EventLogMissing);
        assert!(refused.to_string().contains("indeterminate: no log"), "{refused}");
    }
    let (mut tpm, mut agent) = machine(&world, SMALL);
    world.admit(&mut tpm, &mut agent).unwrap();
    let mut world = World::new();
    let node = world.admit(&mut world.tpm(), &mut Agent::default()).unwrap();
    let record = node.records().iter().find(|record| record.check == Check::EventLogMissing).unwrap();
    assert_eq!(
        (record.outcome, record.detail.as_str()),
        (CheckOutcome::NotChecked, "no event log: the pool accepts that")
    );
}

/// A log that does not parse is refused with the place, whatever the pool says of machines without one.
#[test]
fn a_malformed_log_is_refused_with_offset_and_reason() {
    let mut world = World::new();
    let (mut tpm, mut agent) = machine(&world, SMALL);
    let log = agent.event_log.unwrap();
    agent.event_log = Some(Arc::from(&log[..200]));
    let refused = world.admit(&mut tpm, &mut agent).unwrap_err();
    assert_refused(&refused, Check::Malformed);
    assert!(
        refused.to_string().contains("the event log is malformed: event 1 at offset 195: event needs 28 bytes, 5 left"),
        "{refused}"
    );
}
