//! Every recorded conversation has the verdict again that it had.
//!
//! A credential for an RSA EK has OAEP's own chance in it, so its challenge can't be made again: the proofs of such an enrolment are
//! replayed stage by stage, over the challenge as it was sent. Every other conversation is replayed whole.

use plastron_attestation::{Challenge, EkTemplate, Task};
use plastron_attestation_appraise::Check;
use plastron_attestation_tcg::EkKeyType;

use crate::evidence::{Messages, anchors, rows};
use crate::index::Row;
use crate::server::{Server, csr_key_of};
use crate::stages::Stages;

/// True where the challenge holds something that can't be made again.
fn has_chance_of_its_own(row: &Row, messages: &Messages) -> bool {
    let is_rsa = matches!(row.template.key_type(), EkKeyType::Rsa(_));
    let enrols = Challenge::decode(&messages.challenge).is_ok_and(|challenge| matches!(challenge.task, Task::Enrol(_)));
    is_rsa && enrols
}

fn outcome<T>(verdict: Result<T, Check>) -> String {
    match verdict {
        Ok(_) => "admitted".to_owned(),
        Err(check) => check.to_string(),
    }
}

/// What the verifier says to a conversation now, and the challenge that it made.
fn replay(server: &mut Server, row: &Row, messages: &Messages) -> Result<(), Check> {
    let mut verifier = server.verifier(row);
    let challenge = server.challenge(&mut verifier, &messages.payload, row.time).map_err(|refused| refused.check())?;
    if has_chance_of_its_own(row, messages) {
        let stages = Stages::of(server, row, messages).map_err(|error| error.check())?;
        return stages.admit(server, row).map_err(|error| error.check());
    }
    assert_eq!(challenge, messages.challenge, "{row:?}: the same conversation has the same challenge");
    server.conclude(&mut verifier, &messages.response, row.time).map(drop).map_err(|refused| refused.check())
}

#[test]
fn every_conversation_has_its_verdict_again() {
    let mut server: Option<(String, Server)> = None;
    for row in rows() {
        let messages = Messages::of(&row);
        if server.as_ref().is_none_or(|(machine, _)| *machine != row.machine) {
            server = Some((row.machine.clone(), Server::new(&row, &messages.payload, anchors())));
        }
        let (_, server) = server.as_mut().unwrap();
        server.csr_key = csr_key_of(&messages.payload);
        assert_eq!(outcome(replay(server, &row, &messages)), row.expected, "{row:?}");
    }
}

/// Each template is there, with its certificate where swtpm makes one, and what was recorded is what the templates say.
#[test]
fn every_template_was_recorded() {
    for template in EkTemplate::ALL {
        let enrolled = rows().into_iter().find(|row| row.machine == template.name() && row.step == "enrol").unwrap();
        assert_eq!((enrolled.template, enrolled.expected.as_str()), (template, "admitted"));
        assert!(rows().iter().any(|row| row.machine == template.name() && row.step == "renew"));
    }
}
