//! Mutated inputs for every parser of bytes that a node sends: none panics. `./dev fuzz mutate` makes a million for each, from recorded
//! files too, and holds each to 50 ms.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod mutator;
mod parsers;

use mutator::{Numbers, mutate};

/// So many for each parser, in a build that is not optimised.
const INPUTS: usize = 2000;

/// Threat 16
#[test]
fn no_parser_panics_on_mutated_input() {
    for parser in parsers::all(&[]) {
        assert!((parser.run)(&parser.seeds[0]), "{} does not accept its first seed", parser.name);
        let mut numbers = Numbers::new(20_260_101);
        let mut input = Vec::new();
        for _ in 0..INPUTS {
            mutate(&mut numbers, &parser.seeds, &mut input);
            (parser.run)(&input);
        }
    }
}

#[test]
fn the_mutator_is_deterministic_and_changes_most_inputs() {
    let seeds = [vec![7; 100], b"another seed".to_vec()];
    let inputs = |seed| {
        let mut numbers = Numbers::new(seed);
        let mut input = Vec::new();
        let mut all = Vec::new();
        for _ in 0..500 {
            mutate(&mut numbers, &seeds, &mut input);
            all.push(input.clone());
        }
        all
    };
    assert_eq!(inputs(1), inputs(1));
    assert_ne!(inputs(1), inputs(2));
    let unchanged = inputs(1).iter().filter(|input| seeds.contains(input)).count();
    assert!((20..150).contains(&unchanged), "{unchanged} of 500 are as they were");
    let mut distinct = inputs(1);
    distinct.sort();
    distinct.dedup();
    assert!(distinct.len() > 350, "{} of 500 differ", distinct.len());
}
