//! What the workloads' socket offers: `disable_workload_api`, `disable_sds_api` and the `sds` block, with SPIRE's defaults.

use plastron_agent_workload_api::{Offers, PeerValidation, SdsSettings};

use super::raw::{RawAgent, RawSds};
use crate::arguments::Overrides;

/// What is offered; nothing if all is switched off, and then there is no socket.
pub(super) fn read(raw: &RawAgent, flags: &Overrides) -> Option<Offers> {
    let is_on = |switch: &Option<plastron_hcl1::Located<bool>>| switch.as_ref().is_some_and(|switch| switch.value);
    let workload_api = !(flags.disable_workload_api || is_on(&raw.disable_workload_api));
    let without_sds = flags.disable_sds_api || is_on(&raw.disable_sds_api);
    let sds = (!without_sds).then(|| settings(raw.sds.as_ref().map(|sds| &sds.value)));
    (workload_api || sds.is_some()).then_some(Offers { workload_api, sds })
}

fn settings(raw: Option<&RawSds>) -> SdsSettings {
    let defaults = SdsSettings::default();
    let Some(raw) = raw else { return defaults };
    let RawSds { default_all_bundles_name, default_bundle_name, default_svid_name, disable_spiffe_cert_validation } =
        raw;
    let name = |written: &Option<plastron_hcl1::Located<String>>, default: String| {
        written.as_ref().map_or(default, |written| written.value.clone())
    };
    SdsSettings {
        default_svid_name: name(default_svid_name, defaults.default_svid_name),
        default_bundle_name: name(default_bundle_name, defaults.default_bundle_name),
        default_all_bundles_name: name(default_all_bundles_name, defaults.default_all_bundles_name),
        validation: match disable_spiffe_cert_validation.as_ref().is_some_and(|disabled| disabled.value) {
            true => PeerValidation::RootsOnly,
            false => defaults.validation,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(block: &str, flags: &Overrides) -> Option<Offers> {
        let (raw, notices) = plastron_hcl1::from_str::<RawAgent>(block, "agent.conf").unwrap();
        assert!(notices.is_empty(), "{notices:?}");
        read(&raw, flags)
    }

    #[test]
    fn the_defaults_are_spires() {
        let sds = SdsSettings {
            default_svid_name: "default".to_owned(),
            default_bundle_name: "ROOTCA".to_owned(),
            default_all_bundles_name: "ALL".to_owned(),
            validation: PeerValidation::ByTrustDomain,
        };
        let all = Some(Offers { workload_api: true, sds: Some(sds) });
        for block in ["", "sds {}", "disable_sds_api = false"] {
            assert_eq!(offers(block, &Overrides::default()), all, "{block}");
        }
    }

    #[test]
    fn what_the_file_says_holds() {
        let block = "sds {
            default_svid_name = \"s\"
            default_bundle_name = \"b\"
            default_all_bundles_name = \"a\"
            disable_spiffe_cert_validation = true
        }";
        let sds = SdsSettings {
            default_svid_name: "s".to_owned(),
            default_bundle_name: "b".to_owned(),
            default_all_bundles_name: "a".to_owned(),
            validation: PeerValidation::RootsOnly,
        };
        assert_eq!(offers(block, &Overrides::default()), Some(Offers { workload_api: true, sds: Some(sds) }));
    }

    #[test]
    fn each_api_can_be_switched_off_by_file_and_flag() {
        let none = Overrides::default();
        let without_sds = Offers { workload_api: true, sds: None };
        let without_workload_api = Offers { workload_api: false, ..Offers::default() };
        assert_eq!(offers("disable_sds_api = true", &none), Some(without_sds.clone()));
        assert_eq!(offers("disable_workload_api = true", &none), Some(without_workload_api.clone()));
        assert_eq!(offers("disable_workload_api = true\ndisable_sds_api = true", &none), None);
        let flags = Overrides { disable_sds_api: true, ..Overrides::default() };
        assert_eq!(offers("", &flags), Some(without_sds));
        assert_eq!(offers("disable_workload_api = true", &flags), None);
        let flags = Overrides { disable_workload_api: true, ..Overrides::default() };
        assert_eq!(offers("", &flags), Some(without_workload_api));
    }
}
