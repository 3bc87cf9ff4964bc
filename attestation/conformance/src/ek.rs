//! `endorsement_key`.

use plastron_attestation_tcg::TpmtPublic;

use crate::Fixture;
use crate::proof::trusted_ek;

/// Each EK is what its template says, the same each time it is asked for, another in another TPM, and has a certificate that leads to the
/// manufacturer where the fixture says so.
pub(crate) fn is_its_template_and_has_its_certificate(fixture: &dyn Fixture) {
    let (mut machine, mut other) = (fixture.make(), fixture.make());
    for &template in fixture.templates() {
        let name = template.name();
        let material = machine.device().endorsement_key(template).unwrap();
        assert_eq!(template.difference(&TpmtPublic::parse(&material.public).unwrap()), None, "{name}");
        assert_eq!(material.certificate.is_some(), fixture.certified().contains(&template), "{name}");
        trusted_ek(fixture, &mut *machine, template);
        let again = machine.device().endorsement_key(template).unwrap();
        assert_eq!((again.public, again.certificate), (material.public.clone(), material.certificate), "{name}");
        assert_ne!(other.device().endorsement_key(template).unwrap().public, material.public, "{name}");
    }
}
