//! Binds a Unix socket so that no one else can be in its place, and its mode is the one that was asked for at any moment.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

use super::way::{check_way, make_directory};

/// `sun_path` has 108 bytes, and C clients end it with a NUL.
const MAX_PATH_LEN: usize = 107;
/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// Access to a socket and its directory, whatever the umask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketModes {
    /// Mode of directories that are created for the socket; existing ones keep theirs.
    pub directory: u32,
    /// Mode of the socket. Who may write may connect.
    pub socket: u32,
}

impl SocketModes {
    /// Everyone may connect: the Workload API.
    pub const PUBLIC: Self = Self { directory: 0o755, socket: 0o777 };
    /// The owner and the group may connect: admin sockets.
    pub const PRIVATE: Self = Self { directory: 0o750, socket: 0o770 };
}

/// A bound, listening socket. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    listener: StdUnixListener,
    file: SocketFile,
}

/// The file that we bound, known by its inode.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A file that someone else put in its place is left alone.
        if fs::symlink_metadata(&self.path).is_ok_and(|now| (now.dev(), now.ino()) == (self.device, self.inode)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl UnixSocket {
    /// Binds and listens. Checks, in order: an absolute path that fits into an address; a directory, made where it is missing, that
    /// belongs to us or root and in which others can't replace files, and so every directory above it; nothing at the path, or a socket on which nobody listens, which
    /// is removed. A symbolic link at the path is refused.
    pub fn bind(path: impl Into<PathBuf>, modes: SocketModes) -> Result<Self, BindError> {
        let path = path.into();
        let at = |source: io::Error| BindError::Io { path: path.clone(), source };
        let directory = match path.parent() {
            Some(parent) if path.is_absolute() && path.file_name().is_some() => parent,
            _ => return Err(BindError::NotAbsolute { path }),
        };
        if path.as_os_str().len() > MAX_PATH_LEN {
            return Err(BindError::TooLong { path });
        }
        let address = SocketAddrUnix::new(&path).map_err(|error| at(error.into()))?;
        // Before as well: nothing is made where somebody else decides what the way leads to.
        check_way(directory)?;
        make_directory(directory, modes.directory)?;
        check_way(directory)?;
        // Of two programs that start at once, one finds the other's socket.
        let lock = File::open(directory).map_err(at)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| at(error.into()))?;
        remove_stale(&path, &address)?;
        let socket = new_socket().map_err(at)?;
        bind(&socket, &address).map_err(|error| at(error.into()))?;
        // Until `listen` nobody can connect, so the umask's mode is never in force.
        let file = match fs::symlink_metadata(&path) {
            Ok(bound) => SocketFile { path: path.clone(), device: bound.dev(), inode: bound.ino() },
            Err(error) => return Err(at(error)),
        };
        fs::set_permissions(&path, Permissions::from_mode(modes.socket)).map_err(at)?;
        listen(&socket, BACKLOG).map_err(|error| at(error.into()))?;
        Ok(Self { listener: StdUnixListener::from(socket), file })
    }

    /// Where it is bound.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    pub(super) fn into_parts(self) -> (StdUnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), BindError> {
    let at = |source: io::Error| BindError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket { path: path.to_owned() }),
        Ok(_) => {}
    }
    match connect(&new_socket().map_err(at)?, address) {
        Err(rustix::io::Errno::CONNREFUSED) => fs::remove_file(path).map_err(at),
        // A full backlog is that of a program that listens.
        Ok(()) | Err(rustix::io::Errno::AGAIN) => Err(BindError::InUse { path: path.to_owned() }),
        Err(error) => Err(at(error.into())),
    }
}

/// Why a socket is not bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A relative path, or one without file name.
    #[error("socket path {path:?} is not the absolute path of a file")]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// Longer than a Unix socket's address.
    #[error("socket path {path:?} is too long; at most {MAX_PATH_LEN} bytes are possible")]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The directory can't be made or read.
    #[error("socket directory {directory:?} can't be used")]
    Directory {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The owner of the directory, or of a directory or link on the way to it, could replace the socket.
    #[error(
        "{directory:?}, on the way to the socket, belongs to user {uid}, who could replace the socket; give it to root or to this \
         user with chown, or put the socket elsewhere"
    )]
    DirectoryOwner {
        /// The directory.
        directory: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Others could replace the socket, or a directory on the way to it.
    #[error(
        "{directory:?}, on the way to the socket, has mode {mode:o}: others could replace the socket; take the write permission from \
         group and others with chmod go-w, or put the socket elsewhere"
    )]
    DirectoryMode {
        /// The directory.
        directory: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Something else is in the place; it is not removed.
    #[error("{path:?} exists and is not a socket; remove it or use another path")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Another program listens.
    #[error("another program listens on {path:?}; stop it or use another path")]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("can't bind {path:?}")]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    /// Threat 39.
    #[test]
    fn directory_and_socket_get_their_modes_whatever_the_umask() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/api.sock");
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let bound = UnixSocket::bind(&path, SocketModes { directory: 0o751, socket: 0o766 });
        rustix::process::umask(before);
        let bound = bound.unwrap();
        assert_eq!(bound.path(), path);
        assert_eq!((mode(&path), mode(&dir.path().join("a/b")), mode(&dir.path().join("a"))), (0o766, 0o751, 0o751));
        UnixStream::connect(&path).unwrap();
        drop(bound);
        assert!(!path.exists(), "nothing is left behind");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(StdUnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let first = UnixSocket::bind(&path, SocketModes::PUBLIC).unwrap();
        assert!(matches!(UnixSocket::bind(&path, SocketModes::PUBLIC), Err(BindError::InUse { .. })));
        // Also when its backlog is full.
        let held: Vec<_> = (0..=BACKLOG + 1)
            .map_while(|_| {
                let socket = new_socket().unwrap();
                connect(&socket, &SocketAddrUnix::new(&path).unwrap()).ok().map(|()| socket)
            })
            .collect();
        assert!(matches!(UnixSocket::bind(&path, SocketModes::PUBLIC), Err(BindError::InUse { .. })));
        drop(held);
        drop(first);
        UnixSocket::bind(&path, SocketModes::PUBLIC).unwrap();
    }

    #[test]
    fn a_socket_that_took_our_place_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let first = UnixSocket::bind(&path, SocketModes::PUBLIC).unwrap();
        fs::remove_file(&path).unwrap();
        let second = UnixSocket::bind(&path, SocketModes::PUBLIC).unwrap();
        drop(first);
        UnixStream::connect(second.path()).unwrap();
    }

    /// Threat 40.
    #[test]
    fn what_is_not_a_socket_is_never_removed_or_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, target) = (dir.path().join("file"), dir.path().join("link"), dir.path().join("target"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for path in [&file, &link, &dir.path().to_owned()] {
            assert!(
                matches!(UnixSocket::bind(path, SocketModes::PUBLIC), Err(BindError::NotASocket { .. })),
                "{path:?}"
            );
        }
        // A link to a live or stale socket is not followed either.
        drop(StdUnixListener::bind(&target).unwrap());
        assert!(matches!(UnixSocket::bind(&link, SocketModes::PUBLIC), Err(BindError::NotASocket { .. })));
        assert!(file.exists() && target.exists());
    }

    /// Threat 40.
    #[test]
    fn a_place_where_others_could_replace_the_socket_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        let refused = UnixSocket::bind(open.join("api.sock"), SocketModes::PUBLIC);
        assert!(matches!(refused, Err(BindError::DirectoryMode { mode: 0o777, .. })));
        fs::set_permissions(&open, Permissions::from_mode(0o775)).unwrap();
        let refused = UnixSocket::bind(open.join("api.sock"), SocketModes::PUBLIC);
        assert!(matches!(refused, Err(BindError::DirectoryMode { mode: 0o775, .. })));
        fs::set_permissions(&open, Permissions::from_mode(0o1777)).unwrap();
        UnixSocket::bind(open.join("api.sock"), SocketModes::PUBLIC).unwrap();
        // Only root can give a directory away; elsewhere the tests of the process harness do it.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&open, Some(12_345), None).unwrap();
            let refused = UnixSocket::bind(open.join("api.sock"), SocketModes::PUBLIC);
            assert!(matches!(refused, Err(BindError::DirectoryOwner { uid: 12_345, .. })));
        }
    }

    /// Threat 40: whoever may replace a directory above the socket's, or a link that leads to it, may replace the socket.
    #[test]
    fn a_way_that_others_could_turn_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let above = dir.path().join("above");
        let inner = above.join("inner");
        fs::create_dir_all(&inner).unwrap();
        let (link, again) = (dir.path().join("link"), dir.path().join("again"));
        std::os::unix::fs::symlink("above/inner", &link).unwrap();
        std::os::unix::fs::symlink(&link, &again).unwrap();
        let ways = [inner.clone(), above.join("made/../inner"), link.clone(), again, above.join("to/be/made")];
        fs::create_dir(above.join("made")).unwrap();
        for way in &ways {
            fs::set_permissions(&above, Permissions::from_mode(0o777)).unwrap();
            match UnixSocket::bind(way.join("api.sock"), SocketModes::PUBLIC) {
                Err(BindError::DirectoryMode { directory, mode: 0o777 }) => assert!(directory.ends_with("above")),
                other => panic!("{way:?}: {other:?}"),
            }
        }
        assert!(!above.join("to").exists(), "nothing is made where others decide");
        for way in &ways {
            fs::set_permissions(&above, Permissions::from_mode(0o1777)).unwrap();
            UnixSocket::bind(way.join("api.sock"), SocketModes::PUBLIC).unwrap();
        }
        // Only root can give a directory or a link away.
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(12_345), None).unwrap();
            match UnixSocket::bind(link.join("api.sock"), SocketModes::PUBLIC) {
                Err(BindError::DirectoryOwner { directory, uid: 12_345 }) => assert_eq!(directory, link),
                other => panic!("{other:?}"),
            }
            std::os::unix::fs::chown(&above, Some(12_345), None).unwrap();
            let refused = UnixSocket::bind(inner.join("api.sock"), SocketModes::PUBLIC);
            assert!(matches!(refused, Err(BindError::DirectoryOwner { uid: 12_345, .. })), "{refused:?}");
        }
    }

    #[test]
    fn links_in_a_circle_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        std::os::unix::fs::symlink(&two, &one).unwrap();
        std::os::unix::fs::symlink(&one, &two).unwrap();
        assert!(matches!(UnixSocket::bind(one.join("a.sock"), SocketModes::PUBLIC), Err(BindError::Directory { .. })));
    }

    #[test]
    fn impossible_paths_are_named() {
        let modes = SocketModes::PUBLIC;
        for path in ["api.sock", "", "/"] {
            assert!(matches!(UnixSocket::bind(path, modes), Err(BindError::NotAbsolute { .. })), "{path}");
        }
        assert!(matches!(UnixSocket::bind(format!("/{}", "a".repeat(107)), modes), Err(BindError::TooLong { .. })));
        assert!(matches!(UnixSocket::bind("/proc/no/such.sock", modes), Err(BindError::Directory { .. })));
    }
}
