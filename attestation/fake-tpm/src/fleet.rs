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
    templates: Vec<EkTemplate>,
    ak_algorithm: AkAlgorithm,
    rsa: RsaKeys,
    left: usize,
}

impl Fleet {
    /// As many TPMs, each with an EK of each of these templates, which make AKs of this type.
    pub fn new(manufacturer: &Manufacturer, templates: &[EkTemplate], ak_algorithm: AkAlgorithm, size: usize) -> Self {
        let mut rsa = RsaKeys::default();
        for bits in [2048, 3072] {
            let eks = templates.iter().filter(|template| rsa_bits(**template) == Some(bits)).count();
            // A TPM makes an AK for each of its EKs, as a rule.
            let aks = if bits == 2048 && ak_algorithm == AkAlgorithm::Rsa2048 { templates.len() } else { 0 };
            rsa.share(size * (eks + aks), bits);
        }
        Self { manufacturer: manufacturer.clone(), templates: templates.to_vec(), ak_algorithm, rsa, left: size }
    }
}

impl Iterator for Fleet {
    type Item = FakeTpm;

    fn next(&mut self) -> Option<FakeTpm> {
        self.left = self.left.checked_sub(1)?;
        let mut tpm = FakeTpm::with_keys(&self.manufacturer, &self.templates, self.rsa.clone());
        tpm.set_ak_algorithm(self.ak_algorithm);
        Some(tpm)
    }
}
