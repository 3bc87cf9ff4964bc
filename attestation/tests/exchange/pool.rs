//! A pool's configuration: what makes no sense is refused when it is read, not when a node comes.

use plastron_attestation::EkTemplate;
use plastron_attestation_appraise::{EkTrust, GoldenPcr, MissingEventLog, Pool, PoolConfig, PoolError, TrustAnchors};
use plastron_attestation_fake_tpm::Manufacturer;
use plastron_attestation_tcg::HashAlgorithm;

use crate::world::pool_config;

fn with(change: impl FnOnce(&mut PoolConfig)) -> Result<Pool, PoolError> {
    let mut config = pool_config(&Manufacturer::new("Turtle"), EkTemplate::H3P384);
    change(&mut config);
    Pool::new(config)
}

#[test]
fn nonsense_is_refused() {
    assert_eq!(TrustAnchors::new(vec![], vec![]).unwrap_err(), PoolError::NoRoots);
    let garbage = TrustAnchors::new(vec![vec![0x30, 0]], vec![]).unwrap_err();
    assert!(matches!(garbage, PoolError::Certificate { which: "root", index: 0, .. }));
    for name in ["", "a b", "a:b", "a/b", "\u{1b}[31m", &"x".repeat(65)] {
        assert!(matches!(with(|config| config.name = name.into()), Err(PoolError::Name { .. })), "{name:?}");
    }
    assert!(matches!(with(|config| config.ek_trust = EkTrust::Pin(vec![])), Err(PoolError::NoPins { .. })));
    assert!(matches!(with(|config| config.banks = vec![HashAlgorithm::Sha1]), Err(PoolError::Banks { .. })));
    assert!(matches!(with(|config| config.banks = vec![]), Err(PoolError::Banks { .. })));
    assert!(matches!(with(|config| config.pcrs = vec![]), Err(PoolError::NoPcrs { .. })));
    for index in [16, 23, 24, 255] {
        assert!(matches!(with(|config| config.pcrs = vec![index]), Err(PoolError::Pcr { .. })));
        assert!(matches!(with(|config| config.selector_pcrs = vec![index]), Err(PoolError::Pcr { .. })));
    }
    let golden = |bank, len: usize| GoldenPcr { bank, index: 0, value: vec![0; len] };
    let short = with(|config| config.golden_pcrs = vec![golden(HashAlgorithm::Sha256, 20)]);
    assert!(matches!(short, Err(PoolError::GoldenLength { .. })));
    let witness = with(|config| config.golden_pcrs = vec![golden(HashAlgorithm::Sha1, 20)]);
    assert!(matches!(witness, Err(PoolError::GoldenSha1 { .. })));
}

/// What a pool demands of a boot, its evidence can show.
#[test]
fn a_boot_policy_that_nothing_could_show_is_refused() {
    let without_log = with(|config| {
        config.boot.secure_boot = Some(true);
        config.boot.missing_event_log = MissingEventLog::Accept;
    });
    assert!(matches!(without_log, Err(PoolError::SecureBootWithoutLog { .. })));
    let without_bank = with(|config| {
        config.banks = vec![HashAlgorithm::Sha1, HashAlgorithm::Sha256];
        config.boot.unextended_banks = vec![HashAlgorithm::Sha256];
    });
    assert!(matches!(without_bank, Err(PoolError::NoBankLeft { .. })));
    let one_left = with(|config| config.boot.unextended_banks = vec![HashAlgorithm::Sha1, HashAlgorithm::Sha384]);
    assert_eq!(one_left.unwrap().boot().unextended_banks.len(), 2);
}

/// Threat 3: what policy judges is quoted, in every bank, each once.
#[test]
fn golden_and_selector_pcrs_are_quoted() {
    let pool = with(|config| {
        config.pcrs = vec![0];
        config.selector_pcrs = vec![3];
        config.golden_pcrs = vec![GoldenPcr { bank: HashAlgorithm::Sha256, index: 12, value: vec![0; 32] }];
        config.banks = vec![HashAlgorithm::Sha384, HashAlgorithm::Sha256, HashAlgorithm::Sha384];
    })
    .unwrap();
    let selection: Vec<_> = pool.selection().iter().map(|bank| (bank.hash, bank.bitmap)).collect();
    assert_eq!(selection, [(0x000b, 0b1_0000_0000_1001), (0x000c, 0b1_0000_0000_1001)]);
}
