//! The JOSE header of a token (JWT-SVID.md, section 2). It comes from a stranger: nothing in it is believed, only compared.

use serde_json::{Map, Value};

use super::{JwtAlgorithm, JwtError};

/// What the header claims.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) claimed_algorithm: JwtAlgorithm,
    pub(super) claimed_key_id: String,
}

impl Header {
    /// Checks, in order: no `crit`; `alg` among the nine; `typ` absent, `JWT` or `JOSE`; a `kid`. Members beyond these are ignored, as
    /// RFC 7515, section 4, demands of a reader; `jwk`, `jku`, `x5c` and `x5u` among them, so that no token brings its own key.
    pub(super) fn read(members: &Map<String, Value>) -> Result<Self, JwtError> {
        if members.contains_key("crit") {
            return Err(JwtError::Critical);
        }
        let alg = members.get("alg").and_then(Value::as_str).ok_or(JwtError::AlgorithmMissing)?;
        let claimed_algorithm =
            JwtAlgorithm::from_name(alg).ok_or_else(|| JwtError::AlgorithmUnsupported { alg: alg.to_owned() })?;
        match members.get("typ") {
            None => {}
            Some(Value::String(typ)) if typ == "JWT" || typ == "JOSE" => {}
            Some(typ) => return Err(JwtError::Type { typ: typ.to_string() }),
        }
        match members.get("kid").and_then(Value::as_str) {
            None | Some("") => Err(JwtError::KeyIdMissing),
            Some(key_id) => Ok(Self { claimed_algorithm, claimed_key_id: key_id.to_owned() }),
        }
    }
}
