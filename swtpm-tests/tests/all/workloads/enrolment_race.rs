//! One join token, many nodes.

use super::testbed::{Testbed, eventually};

/// Threat: a stolen join token races its owner. However many try at once, one node is admitted and the others are told why.
#[test]
fn of_a_hundred_agents_with_one_join_token_one_succeeds() {
    const AGENTS: usize = 100;
    let bed = Testbed::start("");
    let token = bed.join_token();
    let mut agents: Vec<_> = (0..AGENTS).map(|_| bed.spawn_agent(&token)).collect();
    // Each agent's log says what it was answered first.
    let refused = "failed to attest: join token does not exist or has already been used";
    let mut admitted = Vec::new();
    for (number, agent) in agents.iter_mut().enumerate() {
        let is_admitted = eventually("an agent to be admitted or refused", || {
            let log = agent.process().log();
            if log.contains("Node attestation was successful") {
                Some(true)
            } else {
                log.contains(refused).then_some(false)
            }
        });
        if is_admitted {
            admitted.push(number);
        }
    }
    assert_eq!(admitted.len(), 1, "{admitted:?}");
    agents[admitted[0]].0.wait_until_ready().unwrap();
    bed.only_node();
    // The server is up and serves others.
    bed.start_agent();
}
