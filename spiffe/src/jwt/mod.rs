//! JWT-SVIDs (JWT-SVID.md): build and validate.
//!
//! The key that signed decides how a token is verified; what the token says of its algorithm is only compared with that. Nothing
//! in a token's header can bring a key along. WIT-SVIDs are another type and never pass here (`typ` and the bundle's `use` differ).

mod algorithm;
mod claims;
mod error;
mod header;
mod issue;
mod json;
mod parse;
mod validate;

pub use algorithm::JwtAlgorithm;
pub use error::{JwtError, Part};
pub use issue::{JwtIssueError, JwtSvidTemplate, UnsignedJwt};
pub use parse::UnverifiedJwt;
pub use validate::{JwtSvid, validate};

/// Longest token that is read or issued, in bytes. A token travels in an HTTP header, and servers refuse header lists beyond 8 to
/// 16 KiB; the longest SPIFFE ID and an RSA-8192 signature together take 4.1 KiB of it.
pub const MAX_TOKEN_LEN: usize = 16 * 1024;

/// How far clocks may be apart, in seconds, when `exp` and `nbf` are compared with now. It is the leeway that SPIRE's validator gives.
pub const LEEWAY: u64 = 60;
