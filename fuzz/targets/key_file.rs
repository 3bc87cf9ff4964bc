//! A key file of the `disk` key store, as someone may have left it: a store opens with a good key or says what is malformed.
#![no_main]

use std::hint::black_box;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use plastron_hsm_soft::SoftStore;

static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    // Beside what else a run leaves behind, and private as the store demands.
    let path =
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/artifacts/keys")).join(std::process::id().to_string());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).expect("a directory for keys");
    path
});

fuzz_target!(|bytes: &[u8]| {
    let path = DIRECTORY.join("00000000000000000000000000000000.key");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&path).expect("a key file");
    std::io::Write::write_all(&mut file, bytes).expect("a key file");
    drop(file);
    let _ = black_box(SoftStore::on_disk(&DIRECTORY).map(|_| ()));
});
