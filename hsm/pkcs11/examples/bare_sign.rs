//! What a token signs with nothing of ours around it: C_SignInit and C_Sign in a loop on so many sessions, a thread each, by the first
//! P-256 key that it holds. The benchmark holds the server's rate against it.
//!
//! `bare_sign MODULE TOKEN_LABEL PIN_FILE SESSIONS SECONDS` prints signatures a second of all sessions together.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

/// DER of the OID of P-256 (SEC 2, A.2.1), as CKA_EC_PARAMS has it.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [module, label, pin_file, sessions, seconds] = arguments.as_slice() else {
        eprintln!("usage: bare_sign MODULE TOKEN_LABEL PIN_FILE SESSIONS SECONDS");
        return ExitCode::FAILURE;
    };
    match measure(Path::new(module), label, Path::new(pin_file), sessions, seconds) {
        Ok(per_second) => {
            println!("{per_second}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bare_sign: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(
    module: &Path,
    label: &str,
    pin_file: &Path,
    sessions: &str,
    seconds: &str,
) -> Result<f64, Box<dyn Error + Send + Sync>> {
    let (sessions, limit) = (sessions.parse::<usize>()?, Duration::from_secs(seconds.parse()?));
    let pkcs11 = Pkcs11::new(module)?;
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
    let slot = find(&pkcs11, label)?;
    let login = pkcs11.open_ro_session(slot)?;
    login.login(UserType::User, Some(&AuthPin::from(std::fs::read_to_string(pin_file)?.trim_end())))?;
    let begun = Instant::now();
    let mut threads = Vec::new();
    for _ in 0..sessions {
        let pkcs11 = pkcs11.clone();
        threads.push(std::thread::spawn(move || sign_until(&pkcs11, slot, begun, limit)));
    }
    let mut signed = 0;
    for thread in threads {
        signed += thread.join().map_err(|_| "a thread that signs ended early")??;
    }
    Ok(f64::from(signed) / begun.elapsed().as_secs_f64())
}

fn find(pkcs11: &Pkcs11, label: &str) -> Result<Slot, Box<dyn Error + Send + Sync>> {
    for slot in pkcs11.get_slots_with_initialized_token()? {
        if pkcs11.get_token_info(slot)?.label() == label {
            return Ok(slot);
        }
    }
    Err(format!("no token with the label {label:?}").into())
}

fn sign_until(
    pkcs11: &Pkcs11,
    slot: Slot,
    begun: Instant,
    limit: Duration,
) -> Result<u32, Box<dyn Error + Send + Sync>> {
    let session = pkcs11.open_ro_session(slot)?;
    let wanted = [
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::Sign(true),
        Attribute::EcParams(P256.to_vec()),
    ];
    let keys = session.find_objects(&wanted)?;
    let key = *keys.first().ok_or("the token has no P-256 key to sign with")?;
    // Asked for once: a handle to nothing shows now.
    session.get_attributes(key, &[AttributeType::KeyType])?;
    let mut signed = 0;
    while begun.elapsed() < limit {
        session.sign(&Mechanism::Ecdsa, key, &[7; 32])?;
        signed += 1;
    }
    Ok(signed)
}
