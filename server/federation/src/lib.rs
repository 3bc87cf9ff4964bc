#![doc = include_str!("../README.md")]

mod basis;
mod certificate_files;
mod client;
mod endpoint;
mod fetch;
mod schedule;

pub use certificate_files::{CertificateFiles, CertificateFilesError, FollowedFiles};
pub use client::{BundleClient, WebRootsNow};
pub use endpoint::{BundleEndpoint, BundleNow};
pub use fetch::{FetchError, fetch};

/// An error with all its sources, in one line.
fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
