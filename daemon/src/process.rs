//! What a process sets once, before it opens anything.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// Bits that files of ours never grant: writing to the group, anything to others. SPIRE forces the same.
const UMASK: Mode = Mode::from_raw_mode(0o027);

/// Takes from new files at least what `0027` takes; a stricter umask stays. Call it first, before threads start.
pub fn restrict_umask() {
    let inherited = umask(UMASK);
    umask(inherited | UMASK);
}

/// Raises the number of files that may be open to the most that the machine's administrator lets this process have, as Go's programs do: a
/// shell's usual 1024 are fewer than a thousand clients need, each of which is a socket and perhaps a handle on its process.
pub fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Where it is not allowed, there are as many as there were.
        let _refused = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
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
    fn as_many_files_may_be_open_as_the_administrator_allows() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(200), maximum }).unwrap();
        raise_file_limit();
        assert_eq!(getrlimit(Resource::Nofile), Rlimit { current: maximum, maximum });
    }

    #[test]
    fn the_provider_can_be_installed_twice() {
        install_crypto();
        install_crypto();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
    }
}
