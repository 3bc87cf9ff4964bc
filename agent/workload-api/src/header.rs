//! The security header (SPIFFE_Workload_Endpoint.md, sections 3 and 6).
//!
//! A browser or proxy that is tricked into sending a request to the socket can't add it (server-side request forgery).

use tonic::{Request, Status};

/// The metadata key.
pub(crate) const NAME: &str = "workload.spiffe.io";

/// Lets a request pass that carries the header exactly once with exactly the value `true`.
pub(crate) fn require(request: Request<()>) -> Result<Request<()>, Status> {
    let mut values = request.metadata().get_all(NAME).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if value.as_encoded_bytes() == b"true" => Ok(request),
        _ => Err(Status::invalid_argument("security header missing from request")),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn request(values: &[&'static str]) -> Request<()> {
        let mut request = Request::new(());
        for value in values {
            request.metadata_mut().append(NAME, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn exactly_one_exact_value_passes() {
        require(request(&["true"])).unwrap();
        for values in [&[][..], &["True"], &["false"], &["true,true"], &[" true"], &["true", "true"], &["true", "x"]] {
            let status = require(request(values)).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{values:?}");
            assert_eq!(status.message(), "security header missing from request");
        }
    }
}
