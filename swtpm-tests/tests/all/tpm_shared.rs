//! Other programs use the same TPM, without a resource manager: three slots for objects and three for sessions.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use plastron_attestation::{AkBlob, EkTemplate, PcrSelection, TpmDevice, TpmDeviceError, TpmSvidKeys};
use plastron_hsm_tpm::{SharedTpm, Tpm, TpmConfig};
use plastron_swtpm_tests::Swtpm;

use crate::exchange::open;
use crate::tap::Tap;
use crate::tpm_device::assert_nothing_left;

const TEMPLATE: EkTemplate = EkTemplate::H3P384;

fn quote(device: &mut dyn TpmDevice, ak: &AkBlob) -> Result<(), TpmDeviceError> {
    device.quote(TEMPLATE, ak, &[7; 32], &PcrSelection(vec![(0x000b, 0xff)])).map(|_| ())
}

/// tpm2-tools as such a program: what they load without a resource manager stays loaded.
fn load_others(tpm: &Swtpm, count: usize) {
    for _ in 0..count {
        tpm.tpm2(&["createprimary", "-C", "o", "-c", "other.ctx", "-Q"]).unwrap();
    }
}

fn loaded(tpm: &Swtpm) -> usize {
    String::from_utf8(tpm.tpm2(&["getcap", "handles-transient"]).unwrap().stdout).unwrap().lines().count()
}

/// One command to the TPM itself, past every library.
fn raw(tpm: &Swtpm, command: &[u8]) -> Vec<u8> {
    let port: u16 = tpm.tcti().rsplit_once('=').unwrap().1.parse().unwrap();
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(command).unwrap();
    let mut reply = vec![0; 10];
    stream.read_exact(&mut reply).unwrap();
    let size = u32::from_be_bytes(reply[2..6].try_into().unwrap());
    reply.resize(usize::try_from(size).unwrap(), 0);
    stream.read_exact(&mut reply[10..]).unwrap();
    assert_eq!(reply[6..10], [0; 4], "{reply:02x?}");
    reply
}

/// A policy session, unsalted and unbound (part 3, TPM2_StartAuthSession); its handle.
fn start_session(tpm: &Swtpm) -> Vec<u8> {
    let null = [0x40, 0x00, 0x00, 0x07];
    let rest = [&[0, 16][..], &[7; 16], &[0, 0], &[1], &[0x00, 0x10], &[0x00, 0x0b]].concat();
    let body = [&null[..], &null, &rest].concat();
    let size = u32::try_from(10 + body.len()).unwrap().to_be_bytes();
    raw(tpm, &[&[0x80, 0x01][..], &size, &[0, 0, 0x01, 0x76], &body].concat())[10..14].to_vec()
}

/// TPM2_FlushContext.
fn flush(tpm: &Swtpm, handle: &[u8]) {
    raw(tpm, &[&[0x80, 0x01, 0, 0, 0, 14, 0, 0, 0x01, 0x65][..], handle].concat());
}

#[test]
fn what_others_loaded_stays_and_a_full_tpm_is_named() {
    let tpm = Swtpm::start().unwrap();
    let mut device = open(&tpm);
    let ak = device.create_attestation_key(TEMPLATE).unwrap();
    load_others(&tpm, 1);
    quote(&mut device, &ak).unwrap();
    quote(&mut open(&tpm), &ak).unwrap();
    assert_eq!(loaded(&tpm), 1);
    load_others(&tpm, 2);
    let error = quote(&mut device, &ak).unwrap_err();
    assert!(matches!(error, TpmDeviceError::Full { .. }), "{error}");
    assert!(error.to_string().contains("it holds 3 objects that are not this program's (Names 000b"), "{error}");
    assert_eq!(loaded(&tpm), 3);
    tpm.tpm2(&["flushcontext", "-t"]).unwrap();
    quote(&mut device, &ak).unwrap();
    assert_nothing_left(&tpm);
}

#[test]
fn sessions_of_others_stay_and_fill_the_tpm_too() {
    let tpm = Swtpm::start().unwrap();
    let mut device = open(&tpm);
    let mut create = || device.create_attestation_key(EkTemplate::L1Rsa2048);
    let mut sessions = vec![start_session(&tpm), start_session(&tpm)];
    create().unwrap();
    sessions.push(start_session(&tpm));
    let error = create().unwrap_err();
    assert!(matches!(error, TpmDeviceError::Full { .. }), "{error}");
    assert!(error.to_string().contains("3 sessions"), "{error}");
    for session in sessions {
        flush(&tpm, &session);
    }
    create().unwrap();
    assert_nothing_left(&tpm);
}

/// A predecessor that was killed leaves keys loaded that nobody else can have: their blobs are ours.
#[test]
fn keys_that_a_killed_predecessor_left_are_flushed() {
    let tpm = Swtpm::start().unwrap();
    let mut device = open(&tpm);
    let ak = device.create_attestation_key(TEMPLATE).unwrap();
    let length = u16::try_from(ak.public.len()).unwrap().to_be_bytes();
    std::fs::write(tpm.directory().join("ak.pub"), [&length[..], &ak.public].concat()).unwrap();
    std::fs::write(tpm.directory().join("ak.priv"), &ak.private).unwrap();
    for _ in 0..2 {
        tpm.tpm2(&["load", "-C", "0x81010016", "-u", "ak.pub", "-r", "ak.priv", "-c", "ak.ctx", "-Q"]).unwrap();
    }
    load_others(&tpm, 1);
    assert_eq!(loaded(&tpm), 3);
    quote(&mut open(&tpm), &ak).unwrap();
    assert_eq!(loaded(&tpm), 1);
    tpm.tpm2(&["flushcontext", "-t"]).unwrap();
    assert_nothing_left(&tpm);
}

/// The kernel's device without a resource manager lets in one program at a time, so what is loaded there is nobody's.
#[test]
fn a_sole_user_flushes_what_is_loaded() {
    let tpm = Swtpm::start().unwrap();
    assert!(TpmConfig::new("/dev/tpm0").sole_user && TpmConfig::new("device:/dev/tpm1").sole_user);
    assert!(!TpmConfig::new("/dev/tpmrm0").sole_user && !TpmConfig::new(tpm.tcti()).sole_user);
    load_others(&tpm, 3);
    (0..3).for_each(|_| drop(start_session(&tpm)));
    let mut device = Tpm::open(TpmConfig { sole_user: true, ..TpmConfig::new(tpm.tcti()) }).unwrap();
    device.create_attestation_key(EkTemplate::L1Rsa2048).unwrap();
    assert_nothing_left(&tpm);
}

/// Whoever flushes everything takes our keys too: the operation is done once more.
#[test]
fn an_operation_survives_that_its_keys_are_flushed() {
    const LOAD: [u8; 4] = [0, 0, 0x01, 0x57];
    let tpm = Arc::new(Swtpm::start().unwrap());
    let tap = Tap::on(&tpm);
    let mut device = Tpm::open(TpmConfig::new(tap.tcti())).unwrap();
    let ak = device.create_attestation_key(TEMPLATE).unwrap();
    let (bystander, times) = (Arc::clone(&tpm), Arc::new(AtomicUsize::new(1)));
    let left = Arc::clone(&times);
    tap.set_damage(Some(Box::new(move |command, reply| {
        if command[6..10] == LOAD && left.load(Ordering::Relaxed) > 0 {
            left.fetch_sub(1, Ordering::Relaxed);
            bystander.tpm2(&["flushcontext", "-t"]).unwrap();
            // One of its own objects gets the handle that ours had, and stays.
            load_others(&bystander, if loaded(&bystander) == 0 { 2 } else { 0 });
            bystander.tpm2(&["flushcontext", "0x80000000"]).unwrap();
        }
        reply
    })));
    quote(&mut device, &ak).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((times.load(Ordering::Relaxed), loaded(&tpm)), (0, 1));
    // Again and again is an error in the end.
    times.store(usize::MAX, Ordering::Relaxed);
    quote(&mut device, &ak).unwrap_err();
    tap.set_damage(None);
    drop(device);
    assert_eq!(loaded(&tpm), 1);
}

/// Another connection that loads and flushes objects all the time, and two users of ours.
#[test]
fn two_users_and_another_program_work_at_once() {
    let tpm = Swtpm::start().unwrap();
    let mut device = SharedTpm::open(TpmConfig::new(tpm.tcti())).unwrap();
    let ak = device.create_attestation_key(TEMPLATE).unwrap();
    let key = device.create_svid_key(TEMPLATE).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut device = open(&tpm);
            let mut turns = 0;
            while !done.load(Ordering::Relaxed) {
                // It has no persistent EK, so it makes one each time. It meets a full TPM too, which is its own affair.
                turns += usize::from(device.create_attestation_key(EkTemplate::L2P256).is_ok());
            }
            turns
        });
        let signer = scope.spawn({
            let mut device = device.clone();
            let key = &key;
            move || (0..40).all(|_| device.sign_with_svid_key(TEMPLATE, key, &[7; 32]).is_ok())
        });
        let quoted = (0..40).filter(|_| quote(&mut device, &ak).is_ok()).count();
        let signed = signer.join().unwrap();
        done.store(true, Ordering::Relaxed);
        assert!(signed && quoted == 40, "{signed} {quoted}");
        assert!(other.join().unwrap() > 0);
    });
    assert_nothing_left(&tpm);
}
