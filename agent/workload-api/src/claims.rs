//! The claims of a validated token as `google.protobuf.Struct`, and how much of a foreign token a workload is shown
//! (SPIFFE_Workload_API.md, section 6.2.3).

use std::collections::BTreeSet;

use plastron_spiffe::TrustDomain;
use plastron_spiffe::jwt::JwtSvid;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

/// Which claims of foreign tokens are shown besides `sub`, `aud` and `exp` (SPIRE's `allowed_foreign_jwt_claims`): what a foreign domain
/// writes into its tokens is not ours to vouch for.
#[derive(Clone, Debug, Default)]
pub struct ForeignClaims(BTreeSet<String>);

impl ForeignClaims {
    /// These, by name.
    pub fn allow(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    fn shows(&self, name: &str) -> bool {
        matches!(name, "sub" | "aud" | "exp") || self.0.contains(name)
    }
}

/// The claims that a workload of `own` is shown.
pub(crate) fn shown(svid: &JwtSvid, own: &TrustDomain, foreign: &ForeignClaims) -> Struct {
    let is_own = svid.id().trust_domain() == own;
    let claims = svid.claims().iter().filter(|(name, _)| is_own || foreign.shows(name));
    Struct { fields: claims.map(|(name, value)| (name.clone(), to_value(value))).collect() }
}

/// Numbers become doubles, which is all that the message has: integers stay exact up to 2^53.
fn to_value(json: &serde_json::Value) -> Value {
    let kind = match json {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(*value),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.iter().map(to_value).collect() })
        }
        serde_json::Value::Object(members) => Kind::StructValue(Struct {
            fields: members.iter().map(|(name, value)| (name.clone(), to_value(value))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_kind_of_json_has_its_value() {
        let value = to_value(&json!({"a": [1, 2.5, -3, true, null, "x", {}], "big": 9_007_199_254_740_991_u64}));
        let Some(Kind::StructValue(members)) = value.kind else { panic!("{value:?}") };
        let Some(Kind::ListValue(list)) = &members.fields["a"].kind else { panic!("{members:?}") };
        let kinds: Vec<_> = list.values.iter().map(|value| value.kind.clone().unwrap()).collect();
        let expected = [
            Kind::NumberValue(1.0),
            Kind::NumberValue(2.5),
            Kind::NumberValue(-3.0),
            Kind::BoolValue(true),
            Kind::NullValue(0),
            Kind::StringValue("x".to_owned()),
            Kind::StructValue(Struct::default()),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(members.fields["big"].kind, Some(Kind::NumberValue(9_007_199_254_740_991.0)));
    }
}
