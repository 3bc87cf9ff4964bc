//! Between the processor and the TPM: what a listener learns there, and what damaged replies do.

use std::sync::Arc;

use plastron_attestation::{EkTemplate, PcrSelection, Response, TpmDevice, TpmDeviceError, TpmSvidKeys};
use plastron_attestation_tcg::HashAlgorithm;
use plastron_hsm_tpm::{Tpm, TpmConfig};
use plastron_swtpm_tests::Swtpm;

use crate::exchange::{CERTIFIED, Message, Node, Server, converse, open};
use crate::tap::{Damage, Tap};
use crate::tpm_device::assert_nothing_left;

fn open_through(tap: &Tap) -> Tpm {
    Tpm::open(TpmConfig::new(tap.tcti())).unwrap()
}

/// The secret that proves the binding of EK and AK passes encrypted to the EK only.
///
/// Threat 44
#[test]
fn a_listener_on_the_bus_does_not_learn_the_secret() {
    let tpm = Swtpm::start().unwrap();
    for template in CERTIFIED {
        let tap = Tap::on(&tpm);
        let mut server = Server::trusting(tpm.manufacturer(), template);
        let mut node = Node::new(&tpm, template);
        node.device = Box::new(open_through(&tap));
        let mut response = None;
        converse(&mut server, &mut node, |message, bytes| {
            if message == Message::Response {
                response = Some(Response::decode(&bytes).unwrap());
            }
            bytes
        })
        .unwrap();
        let response = response.unwrap();
        // The tap does see what is not secret.
        assert!(tap.has_seen(&response.attest));
        assert!(!tap.has_seen(&response.secret.unwrap()));
        assert_nothing_left(&tpm);
    }
}

/// Replies with flipped bits, cut short, grown, or with a size that is a lie: an error or an answer, never a crash or a wait, and the
/// TPM is usable afterwards.
///
/// Threat 17
#[test]
fn damaged_replies_are_errors() {
    let tpm = Swtpm::start().unwrap();
    let tap = Tap::on(&tpm);
    let mut clean = open(&tpm);
    let ak = clean.create_attestation_key(EkTemplate::H3P384).unwrap();
    let selection = PcrSelection(vec![(0x000b, 0xff), (0x000c, 0xff)]);
    let expected = clean.endorsement_key(EkTemplate::H3P384).unwrap();
    // A small deterministic generator: a failure can be repeated.
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below.max(1)).unwrap()).unwrap()
    };
    let mut errors = 0;
    for round in 0..120 {
        let (skip, kind, place, bit) = (random(24), round % 4, random(4096), random(8));
        let mut seen = 0;
        let mut device = open_through(&tap);
        tap.set_damage(Some(Box::new(move |_, mut reply| {
            seen += 1;
            if seen <= skip {
                return reply;
            }
            let length = reply.len();
            match kind {
                0 => reply[place % length] ^= 1 << bit,
                1 => reply.truncate(place % length),
                2 => reply.extend(vec![0xff; place]),
                _ => reply[2..6].copy_from_slice(&(u32::MAX - 7 * u32::from(bit > 3)).to_be_bytes()),
            }
            reply
        })));
        let ek = device.endorsement_key(EkTemplate::H3P384);
        let quote = device.quote(EkTemplate::H3P384, &ak, &[7; 32], &selection);
        let properties = device.properties();
        errors += usize::from(ek.is_err()) + usize::from(quote.is_err()) + usize::from(properties.is_err());
        tap.set_damage(None);
        drop(device);
    }
    assert!(errors > 60, "only {errors} errors: the damage did not arrive");
    assert_eq!(open(&tpm).endorsement_key(EkTemplate::H3P384).unwrap().public, expected.public);
    assert_nothing_left(&tpm);
}

/// Damages one reply to this command so that it does not parse; the rest pass.
fn damaging(command_code: u32, mut damage: impl FnMut(&mut Vec<u8>) + Send + 'static) -> Damage {
    Box::new(move |command, mut reply| {
        // Only an answer of success has a body that is read.
        if command[6..10] == command_code.to_be_bytes() && reply[6..10] == [0; 4] {
            damage(&mut reply);
            let size = u32::try_from(reply.len()).unwrap().to_be_bytes();
            reply[2..6].copy_from_slice(&size);
        }
        reply
    })
}

/// A reply that does not parse is named as that, with the command that it answers: cut short, without a body, longer than it should be,
/// with a count or a size that is a lie, or an attestation of another kind. Nothing panics, and the TPM is usable afterwards.
///
/// Threat 17
#[test]
fn a_reply_that_does_not_parse_is_malformed() {
    const GET_CAPABILITY: u32 = 0x17a;
    const READ_PUBLIC: u32 = 0x173;
    const CREATE_PRIMARY: u32 = 0x131;
    const CREATE: u32 = 0x153;
    const LOAD: u32 = 0x157;
    const QUOTE: u32 = 0x158;
    const CERTIFY: u32 = 0x148;
    const SIGN: u32 = 0x15d;
    const PCR_READ: u32 = 0x17e;
    const NV_READ_PUBLIC: u32 = 0x169;
    const NV_READ: u32 = 0x14e;
    const START_AUTH_SESSION: u32 = 0x176;
    type Way = (&'static str, fn(&mut Vec<u8>));
    let cut: Way = ("cut short", |reply| reply.truncate(10 + (reply.len() - 10) / 2));
    let empty: Way = ("empty", |reply| reply.truncate(10));
    let lie: Way = ("sizes of 0xff", |reply| reply[10..].iter_mut().for_each(|byte| *byte = 0xff));
    let tpm = Swtpm::start().unwrap();
    let tap = Tap::on(&tpm);
    // An EK that is made for every operation, by way of a session that is salted to it.
    let template = EkTemplate::L2P256;
    let mut clean = open(&tpm);
    let (ak, key) = (clean.create_attestation_key(template).unwrap(), clean.create_svid_key(template).unwrap());
    let selection = PcrSelection(vec![(0x000b, 0xff)]);
    let certified = open(&tpm).endorsement_key(EkTemplate::H3P384).unwrap();
    for command in [
        GET_CAPABILITY,
        READ_PUBLIC,
        CREATE_PRIMARY,
        CREATE,
        LOAD,
        QUOTE,
        CERTIFY,
        SIGN,
        PCR_READ,
        NV_READ_PUBLIC,
        NV_READ,
        START_AUTH_SESSION,
    ] {
        for (name, way) in [cut, empty, lie] {
            let mut device = open_through(&tap);
            tap.set_damage(Some(damaging(command, way)));
            let error = match command {
                GET_CAPABILITY => device.properties().map(|_| ()),
                NV_READ_PUBLIC | NV_READ => device.endorsement_key(EkTemplate::H3P384).map(|_| ()),
                READ_PUBLIC => device.endorsement_key(template).map(|_| ()),
                CREATE => device.create_svid_key(template).map(|_| ()),
                CERTIFY => device.certify_svid_key(template, &ak, &key, &[7; 32]).map(|_| ()),
                SIGN => device.sign_with_svid_key(template, &key, &[7; 32]).map(|_| ()),
                _ => device.quote(template, &ak, &[7; 32], &selection).map(|_| ()),
            };
            tap.set_damage(None);
            match error {
                Err(TpmDeviceError::MalformedReply { .. }) => {}
                // libtss2 reads on past the end of a reply, into what its buffer held before. Here that is what the TPM refuses next,
                // and what nobody uses.
                _ if name == "cut short" && matches!(command, NV_READ_PUBLIC | START_AUTH_SESSION) => {}
                other => panic!("{command:#x} {name}: {other:?}"),
            }
            drop(device);
            // A key or session whose handle never arrived stays in the TPM, and nobody can know it.
            tpm.tpm2(&["flushcontext", "-t"]).unwrap();
            tpm.tpm2(&["flushcontext", "-l"]).unwrap();
        }
    }
    // A quote that says it is a certification.
    let mut device = open_through(&tap);
    tap.set_damage(Some(damaging(QUOTE, |reply| {
        let place = reply.windows(6).position(|window| window == b"\xffTCG\x80\x18").unwrap();
        reply[place + 5] = 0x17;
    })));
    let error = device.quote(template, &ak, &[7; 32], &selection).unwrap_err();
    assert!(matches!(error, TpmDeviceError::MalformedReply { command: "Quote", .. }), "{error}");
    // A key that is not the one of the Name beside it.
    tap.set_damage(Some(damaging(READ_PUBLIC, |reply| reply[10 + 2 + 100] ^= 1)));
    let error = device.endorsement_key(template).unwrap_err();
    assert!(matches!(error, TpmDeviceError::MalformedReply { command: "ReadPublic", .. }), "{error}");
    tap.set_damage(None);
    assert_eq!(open(&tpm).endorsement_key(EkTemplate::H3P384).unwrap().public, certified.public);
}

/// A PCR that is extended between two reads, or between the last of them and the quote: values and quote belong together all the
/// same.
#[test]
fn values_are_those_of_the_quote_while_pcrs_change() {
    const PCR_READ: [u8; 4] = [0, 0, 0x01, 0x7e];
    let tpm = Arc::new(Swtpm::start().unwrap());
    let tap = Tap::on(&tpm);
    let mut device = open_through(&tap);
    let ak = device.create_attestation_key(EkTemplate::L1Rsa2048).unwrap();
    // Ten values take two reads.
    let selection = PcrSelection(vec![(0x000b, 0x3ff)]);
    for extended_after in 1..=4 {
        let (bystander, mut reads) = (Arc::clone(&tpm), 0);
        tap.set_damage(Some(Box::new(move |command, reply| {
            reads += usize::from(command[6..10] == PCR_READ);
            if command[6..10] == PCR_READ && reads == extended_after {
                bystander.extend_pcr(0, "sha256", &[7; 32]).unwrap();
            }
            reply
        })));
        let quote = device.quote(EkTemplate::L1Rsa2048, &ak, &[], &selection).unwrap();
        let values = quote.pcr_values.iter().map(Vec::as_slice);
        assert!(quote.attest.ends_with(&HashAlgorithm::Sha256.digest(values)), "{extended_after}");
    }
    // One that never rests is an error in the end, which names it. Both reads of an attempt are spoiled, three times.
    let bystander = Arc::clone(&tpm);
    tap.forget_commands();
    tap.set_damage(Some(Box::new(move |command, reply| {
        if command[6..10] == PCR_READ {
            bystander.extend_pcr(0, "sha256", &[7; 32]).unwrap();
        }
        reply
    })));
    let error = device.quote(EkTemplate::L1Rsa2048, &ak, &[], &selection).unwrap_err();
    let TpmDeviceError::PcrChanging { attempts: 3, pcrs } = &error else { panic!("{error}") };
    assert_eq!(pcrs, "sha256:0");
    assert!(error.to_string().contains("leave those PCRs out"), "{error}");
    assert!(tap.count(0x17e) <= 8, "{} reads", tap.count(0x17e));
    tap.set_damage(None);
    assert_nothing_left(&tpm);
}
