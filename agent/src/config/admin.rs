//! The admin socket, and who may have the identities of others over it.

use std::path::{Component, Path, PathBuf};

use plastron_hcl1::{ConfigError, Located};
use plastron_spiffe::{SpiffeId, TrustDomain};

/// What the admin socket is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admin {
    /// Absolute.
    pub(crate) socket_path: PathBuf,
    /// `authorized_delegates`.
    pub(crate) delegates: Vec<SpiffeId>,
}

/// Checks, in order: each delegate is an ID of our trust domain; the socket is not where everybody may look, which is the Workload API's
/// folder and what is below it. `None` where no socket is asked for.
pub(super) fn admin(
    socket_path: Option<Located<PathBuf>>,
    delegates: Option<Located<Vec<Located<String>>>>,
    workload_socket: &Path,
    own: &TrustDomain,
) -> Result<Option<Admin>, ConfigError> {
    let delegates = delegates.map(|delegates| delegates.value).unwrap_or_default();
    let read = delegates.into_iter().map(|text| match SpiffeId::parse(&text) {
        Ok(id) if id.trust_domain() == own => Ok(id),
        Ok(_) => Err(text.refuse(format!("a delegate is of trust domain {own}"))),
        Err(error) => Err(text.refuse(error)),
    });
    let delegates = read.collect::<Result<_, _>>()?;
    let Some(path) = socket_path.filter(|path| !path.value.as_os_str().is_empty()) else { return Ok(None) };
    let socket_path = absolute(&path.value).map_err(|error| path.refuse(error))?;
    let workload_socket = absolute(workload_socket).map_err(|error| path.refuse(error))?;
    let is_below = |socket: &Path, public: &Path| public.parent().is_some_and(|folder| socket.starts_with(folder));
    // By its name, since folders may be made later, and by where links lead, such as that of /var/run to /run.
    if is_below(&socket_path, &workload_socket) || is_below(&resolved(&socket_path), &resolved(&workload_socket)) {
        return Err(path.refuse(
            "admin socket cannot be in the same directory or a subdirectory as that containing the Workload API socket",
        ));
    }
    Ok(Some(Admin { socket_path, delegates }))
}

/// Where the links on the way to a socket lead, as far as there is a way. The socket's own name is no link: `bind` refuses one.
fn resolved(socket: &Path) -> PathBuf {
    let folders = socket.ancestors().skip(1);
    let there = folders.filter_map(|folder| Some((folder.canonicalize().ok()?, socket.strip_prefix(folder).ok()?)));
    there.map(|(folder, rest)| folder.join(rest)).next().unwrap_or_else(|| socket.to_owned())
}

/// From the root, without `.` and `..`. Links are not followed.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in std::path::absolute(path)?.components() {
        match component {
            Component::ParentDir => drop(clean.pop()),
            component => clean.push(component),
        }
    }
    Ok(clean)
}
