//! The raw signing rate of a key, in a process of its own: a PKCS#11 module reads its configuration from the environment once.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair};
use plastron_hsm::{KeyInventory, KeyType};
use plastron_hsm_pkcs11::{PinSource, Pkcs11Config, Pkcs11Store, TokenSelector};
use plastron_swtpm_tests::SoftHsm;

use crate::cpu;
use crate::error::BenchError;
use crate::server::CaKey;

/// Of the hidden command.
#[derive(clap::Args)]
pub(crate) struct SignArguments {
    /// The token; a key of aws-lc-rs, with none of our code around it, without one.
    #[arg(long)]
    token: Option<String>,
    /// What kind of key: ec-p256 or ec-p384.
    #[arg(long)]
    key_type: String,
    /// Where its PIN is.
    #[arg(long)]
    pin_file: Option<PathBuf>,
    /// The instance whose keys are used; a new key without it.
    #[arg(long)]
    instance: Option<String>,
    /// How long.
    #[arg(long)]
    seconds: u64,
}

/// What a key does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SigningRate {
    /// Signatures per second of wall time, on all cores.
    pub(crate) per_second: f64,
    /// CPU microseconds of each, in the process that signs.
    pub(crate) cpu_micros: f64,
}

impl SigningRate {
    /// Measures in another process: the token with the server's own key, or aws-lc-rs with a new one of the same type.
    pub(crate) fn measure(
        token: Option<&SoftHsm>,
        key: CaKey,
        instance: &str,
        seconds: u64,
    ) -> Result<Self, BenchError> {
        let program = std::env::current_exe().map_err(BenchError::io("find this program"))?;
        let mut command = Command::new(program);
        command.args(["__sign", "--key-type", key.key_type(), "--seconds", &seconds.to_string()]);
        if let Some(token) = token {
            command.args(["--token", token.label(), "--instance", instance, "--pin-file"]).arg(token.pin_file());
            command.env("SOFTHSM2_CONF", token.conf());
        }
        let output = command.output().map_err(BenchError::io("start a process that signs"))?;
        if !output.status.success() {
            return Err(BenchError::wrong(String::from_utf8_lossy(&output.stderr)));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let figures: Vec<f64> = text.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
        match figures.as_slice() {
            [per_second, cpu_micros] => Ok(Self { per_second: *per_second, cpu_micros: *cpu_micros }),
            _ => Err(BenchError::wrong(format!("the process that signs said {text:?}"))),
        }
    }
}

/// The hidden command: prints signatures per second and CPU microseconds of each.
pub(crate) async fn run(arguments: &SignArguments) -> Result<(), BenchError> {
    let SignArguments { token, pin_file, instance, seconds, key_type } = arguments;
    let algorithm = match key_type.as_str() {
        "ec-p256" => &ECDSA_P256_SHA256_ASN1_SIGNING,
        "ec-p384" => &ECDSA_P384_SHA384_ASN1_SIGNING,
        other => return Err(BenchError::wrong(format!("no key type {other:?}"))),
    };
    let (limit, done) = (Duration::from_secs(*seconds), Arc::new(AtomicU64::new(0)));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (pid, mut tasks) = (std::process::id(), Vec::new());
    let (cpu_before, begun);
    if let (Some(token), Some(pin_file)) = (token, pin_file) {
        let store = open_token(token, pin_file, instance.as_deref().unwrap_or("bench"))?;
        let listed = store.list().await.map_err(BenchError::wrong)?;
        let key = listed.into_iter().find(|key| key.key_type == KeyType::EcP256);
        let key = key.ok_or_else(|| BenchError::wrong("the token has no P-256 key"))?;
        let scheme = key.key_type.default_scheme();
        (cpu_before, begun) = (cpu::of_process(pid)?, Instant::now());
        for _ in 0..workers {
            let (store, id, done) = (Arc::clone(&store), key.id.clone(), Arc::clone(&done));
            tasks.push(tokio::spawn(async move {
                while begun.elapsed() < limit {
                    store.sign(&id, scheme, &[7; 32]).await.map_err(BenchError::wrong)?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, BenchError>(())
            }));
        }
    } else {
        let key = Arc::new(EcdsaKeyPair::generate(algorithm).map_err(BenchError::wrong)?);
        (cpu_before, begun) = (cpu::of_process(pid)?, Instant::now());
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
    }
    for task in tasks {
        task.await.map_err(BenchError::wrong)??;
    }
    let (wall, cpu) = (begun.elapsed(), cpu::of_process(pid)?.saturating_sub(cpu_before));
    let done = f64::from(u32::try_from(done.load(Ordering::Relaxed)).unwrap_or(u32::MAX));
    println!("{} {}", done / wall.as_secs_f64(), cpu.as_secs_f64() * 1e6 / done);
    Ok(())
}

fn open_token(label: &str, pin_file: &Path, instance: &str) -> Result<Arc<dyn KeyInventory>, BenchError> {
    let store = Pkcs11Store::open(&Pkcs11Config {
        module: SoftHsm::module()?,
        token: TokenSelector::Label(label.to_owned()),
        pin: PinSource::File(pin_file.to_owned()),
        instance: instance.to_owned(),
        sessions: None,
        deadline: Pkcs11Config::DEFAULT_DEADLINE,
    });
    Ok(Arc::new(store.map_err(BenchError::wrong)?))
}
