//! Many TPMs at once, for load.

use plastron_attestation::EkTemplate;

use crate::ak::AkAlgorithm;
use crate::ek::rsa_bits;
use crate::manufacturer::Manufacturer;
use crate::rsa::RsaKeys;
use crate::tpm::FakeTpm;

/// TPMs of one manufacturer, each with an EK, a certificate and AKs of its own, made one by one.
///
/// Elliptic-curve keys are as good as any. RSA-2048 keys, of EKs and of AKs, are products of primes that the fleet shares: making
/// primes is what takes long, and 1,000 different keys need but 46 of them. Such keys are distinct and of the right form, and anyone
/// can factor them.
pub struct Fleet {
    manufacturer: Manufacturer,
    template: EkTemplate,
    ak_algorithm: AkAlgorithm,
    rsa: RsaKeys,
    left: usize,
}

impl Fleet {
    /// As many TPMs with EKs of this template, which make AKs of this type.
    pub fn new(manufacturer: &Manufacturer, template: EkTemplate, ak_algorithm: AkAlgorithm, size: usize) -> Self {
        let mut rsa = RsaKeys::default();
        let ek_bits = rsa_bits(template);
        for bits in [2048, 3072] {
            let eks = usize::from(ek_bits == Some(bits));
            let aks = usize::from(bits == 2048 && ak_algorithm == AkAlgorithm::Rsa2048);
            rsa.share(size * (eks + aks), bits);
        }
        Self { manufacturer: manufacturer.clone(), template, ak_algorithm, rsa, left: size }
    }
}

impl Iterator for Fleet {
    type Item = FakeTpm;

    fn next(&mut self) -> Option<FakeTpm> {
        self.left = self.left.checked_sub(1)?;
        let mut tpm = FakeTpm::with_keys(&self.manufacturer, self.template, self.rsa.clone());
        tpm.set_ak_algorithm(self.ak_algorithm);
        Some(tpm)
    }
}
