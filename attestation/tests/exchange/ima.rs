//! IMA lists in the exchange: read after the quote, asked for only where the pool wants one, and judged with the rest.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use plastron_attestation::{
    AttesterAction, AttesterError, AttesterEvent, Challenge, EkTemplate, LOG_TRANSFER_SECS, LogChunk, LogKind,
    LogRequest, Refused, Response, TpmDevice, VerifierAction, VerifierEvent, perform,
};
use plastron_attestation_appraise::{AttestedNode, Check, CheckOutcome, ImaPolicy};
use plastron_attestation_fake_tpm::FakeTpm;
use plastron_attestation_fake_tpm::event_log::LinuxBoot;
use plastron_attestation_fake_tpm::ima_list::{ImaListBuilder, Kernel};
use plastron_attestation_tcg::ima::MAX_IMA_LIST_LEN;

use crate::world::{Agent, Meddling, NOW, World, assert_refused, send, time};

/// The longest part of a list in one message.
const PART: usize = 160 * 1024;

fn world(ima: ImaPolicy) -> World {
    World::with_pool(|config| config.boot.ima = ima)
}

/// boot_aggregate, a file, a violation, a file.
fn list(tpm: &FakeTpm) -> ImaListBuilder {
    let mut list = ImaListBuilder::booted(Kernel::Linux6_1, tpm);
    list.file("/init", b"init").violation("/var/log/messages").file("/bin/sh", b"sh");
    list
}

/// A machine that has booted, with its event log and its list, of which the TPM has as many entries.
fn machine(world: &World, extended: usize) -> (FakeTpm, Agent, ImaListBuilder) {
    let mut tpm = world.tpm();
    let log = LinuxBoot::default().log();
    log.boot(&mut tpm);
    let list = list(&tpm);
    list.extend(&mut tpm, extended);
    let agent =
        Agent { event_log: Some(Arc::from(log.bytes())), ima_list: Some(Arc::from(list.bytes())), ..Agent::default() };
    (tpm, agent, list)
}

fn refused(ima: ImaPolicy, change: impl FnOnce(&mut FakeTpm, &mut Agent, &ImaListBuilder)) -> Box<Refused> {
    let mut world = world(ima);
    let (mut tpm, mut agent, list) = machine(&world, 4);
    change(&mut tpm, &mut agent, &list);
    world.admit(&mut tpm, &mut agent).expect_err("this must be refused")
}

pub(crate) fn missing() -> Box<Refused> {
    refused(ImaPolicy::Require, |_, agent, _| agent.ima_list = None)
}

pub(crate) fn tampered_entry() -> Box<Refused> {
    refused(ImaPolicy::Require, |_, agent, list| {
        let mut bytes = list.bytes().to_vec();
        // The last byte of the file's name before the NUL that ends it.
        bytes[list.offset_of(2).unwrap() - 2] ^= 1;
        agent.ima_list = Some(Arc::from(bytes));
    })
}

/// A list that is PCR 10's and says of PCR 0 to 9 what they were in another boot. There is no event log to say so before.
pub(crate) fn another_boot() -> Box<Refused> {
    refused(ImaPolicy::Require, |tpm, agent, _| {
        agent.event_log = None;
        tpm.measure(9, b"another initrd");
    })
}

/// What the verdict says of the list.
fn verdict(node: &AttestedNode) -> Vec<(Check, CheckOutcome, &str)> {
    let of_ima = [Check::ImaListMissing, Check::ImaList, Check::ImaBootAggregate];
    let records = node.records().iter().filter(|record| of_ima.contains(&record.check));
    records.map(|record| (record.check, record.outcome, record.detail.as_str())).collect()
}

#[test]
fn a_list_that_the_quote_covers_is_in_the_verdict() {
    for ima in [ImaPolicy::Accept, ImaPolicy::Require] {
        let mut world = world(ima);
        let (mut tpm, mut agent, _) = machine(&world, 4);
        let node = world.admit(&mut tpm, &mut agent).unwrap();
        let banks = "sha1 hashed, sha256 hashed, sha384 padded, sha512 padded";
        let allocated = banks.split(", ").filter(|bank| {
            let name = bank.split(' ').next().unwrap();
            plastron_attestation_tcg::HashAlgorithm::from_name(name).is_some_and(|bank| tpm.pcr(bank, 10).is_some())
        });
        let detail = format!("4 of 4 entries, {}, 1 violations", allocated.collect::<Vec<_>>().join(", "));
        assert_eq!(
            verdict(&node),
            [
                (Check::ImaListMissing, CheckOutcome::Passed, "4 entries"),
                (Check::ImaList, CheckOutcome::Passed, detail.as_str()),
                (Check::ImaBootAggregate, CheckOutcome::Passed, "of PCR 0 to 9 of bank sha256"),
            ]
        );
        // The list proves nothing that a registration entry could name.
        assert!(node.selectors().iter().all(|selector| !selector.to_string().contains("ima")));
    }
}

/// The list grows between quote and reading; at every renewal it is sent anew.
#[test]
fn a_list_that_grew_since_the_quote_counts_as_far_as_the_quote_goes() {
    let mut world = world(ImaPolicy::Require);
    let (mut tpm, mut agent, mut list) = machine(&world, 2);
    let node = world.admit(&mut tpm, &mut agent).unwrap();
    assert!(verdict(&node)[1].2.starts_with("2 of 4 entries, "), "{:?}", verdict(&node));
    assert!(verdict(&node)[1].2.ends_with(", 0 violations"), "what the quote does not cover is not counted");
    list.file("/usr/bin/new", b"new");
    agent.ima_list = Some(Arc::from(list.bytes()));
    let node = world.admit(&mut tpm, &mut agent).unwrap();
    assert!(verdict(&node)[1].2.starts_with("2 of 5 entries, "), "{:?}", verdict(&node));
    // What is in the TPM and not in the list that is sent is missed.
    agent.ima_list = Some(Arc::from(&list.bytes()[..list.offset_of(1).unwrap()]));
    assert_refused(&world.admit(&mut tpm, &mut agent).unwrap_err(), Check::ImaList);
}

/// Threat 6: an entry that is changed, hidden or of another boot does not lead to PCR 10 of this quote.
#[test]
fn a_list_that_the_quote_does_not_cover_is_refused() {
    for ima in [ImaPolicy::Accept, ImaPolicy::Require] {
        let hidden = refused(ima, |_, agent, list| {
            let hidden = list.offset_of(1).unwrap()..list.offset_of(2).unwrap();
            let mut bytes = list.bytes().to_vec();
            bytes.drain(hidden);
            agent.ima_list = Some(Arc::from(bytes));
        });
        assert_refused(&hidden, Check::ImaList);
        assert!(hidden.node().is_some(), "the quote had proven whose list it is");
        let unlogged = refused(ima, |tpm, _, _| tpm.measure(10, b"not in the list"));
        assert_refused(&unlogged, Check::ImaList);
    }
    assert_refused(&tampered_entry(), Check::ImaList);
    assert_refused(&another_boot(), Check::ImaBootAggregate);
}

/// No list is a case of its own, neither a bad one nor a good one.
#[test]
fn a_machine_without_a_list_is_refused_where_one_is_required() {
    let without = missing();
    assert_refused(&without, Check::ImaListMissing);
    assert!(without.to_string().contains("indeterminate: no IMA list"), "{without}");

    let mut world = world(ImaPolicy::Accept);
    let (mut tpm, mut agent, _) = machine(&world, 4);
    for ima_list in [None, Some(Arc::from([].as_slice()))] {
        agent.ima_list = ima_list;
        let node = world.admit(&mut tpm, &mut agent).unwrap();
        assert_eq!(
            verdict(&node),
            [
                (Check::ImaListMissing, CheckOutcome::NotChecked, "no IMA list: the pool accepts that"),
                (Check::ImaList, CheckOutcome::NotChecked, "no IMA list"),
                (Check::ImaBootAggregate, CheckOutcome::NotChecked, "no IMA list"),
            ]
        );
    }
}

#[test]
fn a_pool_that_says_nothing_is_sent_no_list() {
    let mut world = World::new();
    let (mut tpm, mut agent, _) = machine(&world, 4);
    let wanted = Rc::new(Cell::new(true));
    let seen = Rc::clone(&wanted);
    let mut meddling = Meddling {
        challenge: Box::new(move |bytes| {
            let challenge = Challenge::decode(&bytes).unwrap();
            assert!(challenge.selection.iter().all(|bank| bank.bitmap & 1 << 10 == 0));
            seen.set(challenge.ima_list_wanted);
            bytes
        }),
        log_chunk: Box::new(|_| panic!("asked for a part")),
        ..Meddling::default()
    };
    let node = world.converse(&mut tpm, &mut agent, &mut meddling).unwrap();
    assert!(!wanted.get());
    let not_checked = |check| (check, CheckOutcome::NotChecked, "the pool asks for no IMA list");
    assert_eq!(verdict(&node), [not_checked(Check::ImaList), not_checked(Check::ImaBootAggregate)]);

    let mut unasked = in_response(|response| response.ima_list_len = Some(100));
    assert_refused(&world.converse(&mut tpm, &mut agent, &mut unasked).unwrap_err(), Check::Sequence);
}

/// boot_aggregate sums PCR 0 to 9 up, so they are quoted too whatever else the pool wants.
#[test]
fn what_a_list_needs_is_quoted() {
    let mut world = World::with_pool(|config| {
        config.boot.ima = ImaPolicy::Require;
        config.pcrs = vec![7];
    });
    let (mut tpm, mut agent, _) = machine(&world, 4);
    world.admit(&mut tpm, &mut agent).unwrap();
    assert!(world.policy.pools[0].selection().iter().all(|bank| bank.bitmap == 0x7ff));
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

/// Threat 18: a length is refused before anything is asked for, and a stranger's before it is looked at.
#[test]
fn a_list_that_is_too_long_is_never_asked_for() {
    let mut world = world(ImaPolicy::Require);
    let (mut tpm, mut agent, _) = machine(&world, 4);
    let mut long = in_response(|response| response.ima_list_len = Some(u32::try_from(MAX_IMA_LIST_LEN + 1).unwrap()));
    long.log_chunk = Box::new(|_| panic!("asked for a part"));
    let refused = world.converse(&mut tpm, &mut agent, &mut long).unwrap_err();
    assert_refused(&refused, Check::Malformed);
    assert!(refused.to_string().contains("4194305 bytes, at most 4194304"), "{refused}");

    let mut stranger = in_response(|response| *response.signature.last_mut().unwrap() ^= 1);
    stranger.log_chunk = Box::new(|_| panic!("asked for a part"));
    assert_refused(&world.converse(&mut tpm, &mut agent, &mut stranger).unwrap_err(), Check::QuoteSignature);
}

/// Long lists travel in parts of one length, to the last byte that is allowed.
#[test]
fn a_long_list_comes_in_parts() {
    for (len, parts) in [(PART, 1), (PART + 100, 2), (MAX_IMA_LIST_LEN, 26)] {
        let mut world = world(ImaPolicy::Require);
        let (mut tpm, mut agent, mut list) = machine(&world, 4);
        // An entry of this template has 41 bytes beside its data.
        let mut left = len - list.bytes().len();
        while left > 0 {
            let data = if left > 512 * 1024 { 256 * 1024 } else { left } - 41;
            list.entry("filler-ng", &vec![7; data]);
            left = len - list.bytes().len();
        }
        assert_eq!(list.bytes().len(), len);
        agent.ima_list = Some(Arc::from(list.bytes()));
        let count = Rc::new(Cell::new(0));
        let counted = Rc::clone(&count);
        let mut meddling = Meddling {
            log_chunk: Box::new(move |bytes| {
                counted.set(counted.get() + 1);
                bytes
            }),
            ..Meddling::default()
        };
        world.converse(&mut tpm, &mut agent, &mut meddling).unwrap();
        assert_eq!(count.get(), parts, "{len}");
    }
}

#[test]
fn parts_of_another_length_and_lists_that_do_not_parse_are_malformed() {
    for change in [Vec::clear as fn(&mut Vec<u8>), |part: &mut Vec<u8>| part.push(7), |part| part.truncate(9)] {
        let mut world = world(ImaPolicy::Require);
        let (mut tpm, mut agent, _) = machine(&world, 4);
        let mut meddling = Meddling {
            log_chunk: Box::new(move |bytes| {
                let mut chunk = LogChunk::decode(&bytes).unwrap();
                change(&mut chunk.bytes);
                chunk.encode()
            }),
            ..Meddling::default()
        };
        let refused = world.converse(&mut tpm, &mut agent, &mut meddling).unwrap_err();
        assert_refused(&refused, Check::Malformed);
        assert!(refused.to_string().contains("the part of the IMA list that begins at 0"), "{refused}");
    }
    // Whatever the pool says of machines without a list: one that is bad is not none.
    let cut = refused(ImaPolicy::Accept, |_, agent, list| {
        agent.ima_list = Some(Arc::from(&list.bytes()[..list.bytes().len() - 1]));
    });
    assert_refused(&cut, Check::Malformed);
    assert!(cut.to_string().contains("IMA list, entry 3 at offset"), "{cut}");
}

/// The agent reads the list when the quote is made and not before; the server waits for its parts no longer than for those of a log.
#[test]
fn the_list_is_read_after_the_quote_and_awaited_for_a_time() {
    let world = world(ImaPolicy::Require);
    let (mut tpm, agent, list) = machine(&world, 4);
    let mut verifier = world.verifier();
    let mut attester = agent.attester(EkTemplate::H3P384, &Meddling::default());
    let payload = send(&mut attester, &mut tpm, EkTemplate::H3P384, AttesterEvent::Begin);
    let challenge = world.challenge(&mut verifier, &payload).unwrap();
    assert!(Challenge::decode(&challenge).unwrap().ima_list_wanted);
    let device: &mut dyn TpmDevice = &mut tpm;
    let mut action = attester.step(AttesterEvent::Challenge(&challenge)).unwrap();
    let mut asked = Vec::new();
    while let AttesterAction::Tpm(request) = action {
        asked.push(format!("{request:?}").split([' ', '{']).next().unwrap().to_owned());
        let reply = perform(device, EkTemplate::H3P384, request).unwrap();
        action = attester.step(AttesterEvent::Tpm(reply)).unwrap();
    }
    assert_eq!(asked, ["ActivateCredential", "Quote"]);
    assert!(matches!(action, AttesterAction::ReadImaList), "{action:?}");
    let action = attester.step(AttesterEvent::ImaList(Some(Arc::from(list.bytes())))).unwrap();
    let AttesterAction::Send(response) = action else { panic!("{action:?}") };
    let action = verifier.step(VerifierEvent::Response(&response), time(NOW)).unwrap();
    let VerifierAction::RequestImaList { message, len } = action else { panic!("{action:?}") };
    assert_eq!(usize::try_from(len).unwrap(), list.bytes().len());
    assert_eq!(LogRequest::decode(&message).unwrap(), LogRequest { log: LogKind::ImaList, offset: 0 });
    let chunk = send(&mut attester, &mut tpm, EkTemplate::H3P384, AttesterEvent::Challenge(&message));
    let late = time(NOW + LOG_TRANSFER_SECS + 1);
    assert_refused(&verifier.step(VerifierEvent::LogChunk(&chunk), late).unwrap_err(), Check::ChallengeFresh);
    // No more than there is.
    let beyond = LogRequest { log: LogKind::ImaList, offset: len }.encode();
    let error = attester.step(AttesterEvent::Challenge(&beyond)).unwrap_err();
    assert_eq!(error, AttesterError::LogPart { log: LogKind::ImaList, offset: len, len: list.bytes().len() });
}
