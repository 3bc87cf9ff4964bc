//! What every `TpmDevice` must pass. Tests only: the suite fails by panicking.
//!
//! Whatever a device answers is judged by the verifier's own functions, so a device can't agree with itself: an EK is good when a pool
//! trusts it, a credential when the verifier's secret comes back, a quote when `VerifiedQuote` accepts it. Not here: authorisation
//! values, lockout, NV contents and faults of the connection, which only some devices have.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test suite fails by panicking")]

mod activation;
mod ak;
mod ek;
mod life;
mod proof;
mod quote;
mod signature;
mod svid_key;

use plastron_attestation::{EkTemplate, TpmDevice, TpmSvidKeys};
use plastron_attestation_appraise::TrustAnchors;
use plastron_attestation_tcg::HashAlgorithm;

/// How machines with the device under test are made.
pub trait Fixture {
    /// A new machine that is switched on, with SHA-1, SHA-256 and SHA-384 allocated, every PCR at zero up to 15, and an EK of its own of
    /// each template.
    fn make(&self) -> Box<dyn Machine>;

    /// The templates that its TPM has an EK of.
    fn templates(&self) -> &[EkTemplate];

    /// The templates whose EK has a certificate in NV.
    fn certified(&self) -> &[EkTemplate];

    /// Who signed those.
    fn manufacturer(&self) -> TrustAnchors;

    /// When they are valid, in Unix seconds.
    fn now(&self) -> u64;
}

/// A machine with a TPM, and what people do to machines.
pub trait Machine {
    /// The device under test.
    fn device(&mut self) -> &mut dyn TpmDevice;

    /// The same device, if it keeps keys of SVIDs too.
    fn svid_keys(&mut self) -> Option<&mut dyn TpmSvidKeys>;

    /// TPM2_PCR_Extend of one bank.
    fn extend(&mut self, bank: HashAlgorithm, pcr: u8, digest: &[u8]);

    /// An orderly reboot.
    fn reboot(&mut self);

    /// The power fails and comes back.
    fn cut_power(&mut self);

    /// Suspend and resume.
    fn suspend_and_resume(&mut self);

    /// TPM2_Clear.
    fn clear(&mut self);

    /// Another machine with a copy of this one's TPM state, switched on.
    fn copy(&self) -> Box<dyn Machine>;
}

/// Runs the suite of `TpmDevice`.
pub fn run(fixture: &dyn Fixture) {
    ek::is_its_template_and_has_its_certificate(fixture);
    ak::is_a_good_child_of_its_ek(fixture);
    ak::is_of_use_to_its_own_tpm_and_ek_only(fixture);
    activation::gives_the_secret_of_the_right_credential_only(fixture);
    activation::survives_what_is_malformed(fixture);
    quote::covers_what_was_asked(fixture);
    quote::shows_banks_that_are_not_allocated(fixture);
    quote::refuses_what_no_tpm_has(fixture);
    life::a_reboot_counts(fixture);
    life::a_power_cut_makes_the_clock_unsafe(fixture);
    life::a_suspended_machine_resumes(fixture);
    life::a_clear_destroys_aks_and_keeps_eks(fixture);
    life::a_copy_is_the_same_tpm(fixture);
}

/// Runs the suite of `TpmSvidKeys`.
pub fn run_svid_keys(fixture: &dyn Fixture) {
    svid_key::signs(fixture);
    svid_key::is_certified_by_the_ak(fixture);
    svid_key::is_of_use_to_its_own_tpm_until_it_is_cleared(fixture);
}
