//! What a process sets once, before it opens anything.

use rustix::fs::Mode;
use rustix::process::umask;

/// Bits that files of ours never grant: writing to the group, anything to others. SPIRE forces the same.
const UMASK: Mode = Mode::from_raw_mode(0o027);

/// Takes from new files at least what `0027` takes; a stricter umask stays. Call it first, before threads start.
pub fn restrict_umask() {
    let inherited = umask(UMASK);
    umask(inherited | UMASK);
}

/// Makes aws-lc-rs the provider of every rustls configuration that names none. A second call changes nothing.
pub fn install_crypto() {
    // The error says that a provider is installed already, which is what was asked for.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threat 39
    #[test]
    fn umask_is_at_least_0027_and_never_weaker_than_inherited() {
        // One test, because the umask belongs to the process.
        umask(Mode::empty());
        restrict_umask();
        assert_eq!(umask(Mode::from_raw_mode(0o077)), UMASK);
        restrict_umask();
        assert_eq!(umask(UMASK), Mode::from_raw_mode(0o077));
    }

    #[test]
    fn the_provider_can_be_installed_twice() {
        install_crypto();
        install_crypto();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
