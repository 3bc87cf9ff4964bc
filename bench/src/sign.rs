//! Raw signing rates of a key, in processes of their own: aws-lc-rs by a hidden command of this program, a token by `bare_sign` of
//! `hsm/pkcs11` (a PKCS#11 module reads its configuration from the environment once).

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use plastron_swtpm_tests::{SoftHsm, program};

use crate::cpu;
use crate::error::BenchError;
use crate::server::CaKey;

/// Of the hidden command.
#[derive(clap::Args)]
pub(crate) struct SignArguments {
    /// What kind of key: ec-p256 or ec-p384.
    #[arg(long)]
    key_type: String,
    /// How long.
    #[arg(long)]
    seconds: u64,
}

/// What aws-lc-rs does with a new key, with none of our code around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SigningRate {
    /// Signatures per second of wall time, on all cores.
    pub(crate) per_second: f64,
    /// CPU microseconds of each, in the process that signs.
    pub(crate) cpu_micros: f64,
}

impl SigningRate {
    /// Measures in another process, with a key of the same type.
    pub(crate) fn measure(key: CaKey, seconds: u64) -> Result<Self, BenchError> {
        let program = std::env::current_exe().map_err(BenchError::io("find this program"))?;
        let mut command = Command::new(program);
        command.args(["__sign", "--key-type", key.key_type(), "--seconds", &seconds.to_string()]);
        let figures = figures(&mut command)?;
        match figures.as_slice() {
            [per_second, cpu_micros] => Ok(Self { per_second: *per_second, cpu_micros: *cpu_micros }),
            _ => Err(BenchError::wrong(format!("the process that signs said {figures:?}"))),
        }
    }
}

/// Signatures a second of a bare loop of C_Sign on the server's own key, in so many sessions.
pub(crate) fn bare(token: &SoftHsm, key: CaKey, sessions: usize, seconds: u64) -> Result<f64, BenchError> {
    let mut command = Command::new(program("examples/bare_sign")?);
    command.arg(key.module()?).arg(token.label()).arg(token.pin_file());
    command.args([sessions.to_string(), seconds.to_string()]).envs(token.environment()?);
    let figures = figures(&mut command)?;
    match figures.as_slice() {
        [per_second] => Ok(*per_second),
        _ => Err(BenchError::wrong(format!("bare_sign said {figures:?}"))),
    }
}

/// The numbers that a process prints.
fn figures(command: &mut Command) -> Result<Vec<f64>, BenchError> {
    let output = command.output().map_err(BenchError::io("start a process that signs"))?;
    if !output.status.success() {
        return Err(BenchError::wrong(String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().filter_map(|figure| figure.parse().ok()).collect())
}

/// The hidden command: prints signatures per second and CPU microseconds of each.
pub(crate) async fn run(arguments: &SignArguments) -> Result<(), BenchError> {
    let SignArguments { seconds, key_type } = arguments;
    let algorithm = match key_type.as_str() {
        "ec-p256" => &ECDSA_P256_SHA256_ASN1_SIGNING,
        "ec-p384" => &ECDSA_P384_SHA384_ASN1_SIGNING,
        other => return Err(BenchError::wrong(format!("no key type {other:?}"))),
    };
    let (limit, done) = (Duration::from_secs(*seconds), Arc::new(AtomicU64::new(0)));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let key = Arc::new(EcdsaKeyPair::generate(algorithm).map_err(BenchError::wrong)?);
    let (pid, mut tasks) = (std::process::id(), Vec::new());
    let (cpu_before, begun) = (cpu::of_process(pid)?, Instant::now());
    for _ in 0..workers {
        let (key, done) = (Arc::clone(&key), Arc::clone(&done));
        tasks.push(tokio::task::spawn_blocking(move || {
            let random = SystemRandom::new();
            while begun.elapsed() < limit {
                key.sign(&random, &[7; 600]).map_err(BenchError::wrong)?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, BenchError>(())
        }));
    }
    for task in tasks {
        task.await.map_err(BenchError::wrong)??;
    }
    let (wall, cpu) = (begun.elapsed(), cpu::of_process(pid)?.saturating_sub(cpu_before));
    let done = f64::from(u32::try_from(done.load(Ordering::Relaxed)).unwrap_or(u32::MAX));
    println!("{} {}", done / wall.as_secs_f64(), cpu.as_secs_f64() * 1e6 / done);
    Ok(())
}
