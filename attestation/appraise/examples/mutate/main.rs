//! Mutated inputs for every parser of bytes that a node sends, with a bound on time:
//! `cargo run --release -p plastron-attestation-appraise --example mutate -- [--count N] [--seed N] [--only PARSER] [--artifacts DIR] [DIR]`.
//! Files below DIR (recorded logs, lists, certificates, quotes) become seeds of the parsers that accept them.
//!
//! The same seed gives the same inputs. An input that panics, or takes longer than 50 ms of three attempts' shortest, is written
//! to the artifacts' folder, and the exit code is non-zero.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    reason = "a program, which reads files, measures time and prints; what it calls is pure"
)]

#[path = "../../tests/mutation/mutator.rs"]
mod mutator;
#[path = "../../tests/mutation/parsers.rs"]
mod parsers;

use std::error::Error;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mutator::{Numbers, mutate};
use parsers::Parser;

/// No input takes longer.
const LONGEST: Duration = Duration::from_millis(50);

struct Arguments {
    count: u64,
    seed: u64,
    only: Option<String>,
    artifacts: PathBuf,
    recorded: Option<PathBuf>,
}

fn main() -> ExitCode {
    match arguments().and_then(|arguments| run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutate: {error}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Result<Arguments, Box<dyn Error>> {
    let mut parsed = Arguments {
        count: 1_000_000,
        seed: 1,
        only: None,
        artifacts: PathBuf::from("fuzz/artifacts/mutate"),
        recorded: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--count" => parsed.count = value()?.parse()?,
            "--seed" => parsed.seed = value()?.parse()?,
            "--only" => parsed.only = Some(value()?),
            "--artifacts" => parsed.artifacts = value()?.into(),
            option if option.starts_with('-') => return Err(format!("there is no option {option}").into()),
            directory => parsed.recorded = Some(directory.into()),
        }
    }
    Ok(parsed)
}

fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let mut recorded = Vec::new();
    if let Some(directory) = &arguments.recorded {
        read_below(directory, &mut recorded)?;
    }
    let parsers = parsers::all(&recorded);
    let chosen: Vec<&Parser> =
        parsers.iter().filter(|parser| arguments.only.as_deref().is_none_or(|only| only == parser.name)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = parsers.iter().map(|parser| parser.name).collect();
        return Err(format!("there is no such parser; these are: {}", names.join(", ")).into());
    }
    println!("{} recorded files, {} inputs for each parser, seed {}", recorded.len(), arguments.count, arguments.seed);
    let mut good = true;
    for parser in chosen {
        good &= run_parser(parser, arguments)?;
    }
    Ok(good)
}

fn run_parser(parser: &Parser, arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let mut numbers = Numbers::new(arguments.seed);
    let mut input = Vec::new();
    let (mut longest, mut slowest_len, mut accepted) = (Duration::ZERO, 0, 0u64);
    let began = Instant::now();
    for number in 0..arguments.count {
        mutate(&mut numbers, &parser.seeds, &mut input);
        let Some((mut took, accepts)) = time(parser, &input) else {
            return failed(parser, number, &input, "panicked", arguments);
        };
        // Another program may have had the processor meanwhile.
        for _ in 0..2 {
            if took > LONGEST / 20 {
                took = time(parser, &input).map_or(took, |(again, _)| took.min(again));
            }
        }
        if took > LONGEST {
            return failed(parser, number, &input, &format!("took {took:?}"), arguments);
        }
        accepted += u64::from(accepts);
        if took > longest {
            (longest, slowest_len) = (took, input.len());
        }
    }
    println!(
        "ok {:<16} {} seeds, {} inputs in {:.1} s, {accepted} accepted, the slowest {:.3} ms ({slowest_len} bytes)",
        parser.name,
        parser.seeds.len(),
        arguments.count,
        began.elapsed().as_secs_f64(),
        longest.as_secs_f64() * 1000.0,
    );
    Ok(true)
}

/// How long the parser takes and whether it accepts the input, or `None` if it panics.
fn time(parser: &Parser, input: &[u8]) -> Option<(Duration, bool)> {
    let began = Instant::now();
    let accepts = catch_unwind(AssertUnwindSafe(|| (parser.run)(input))).ok()?;
    Some((began.elapsed(), accepts))
}

fn failed(
    parser: &Parser,
    number: u64,
    input: &[u8],
    what: &str,
    arguments: &Arguments,
) -> Result<bool, Box<dyn Error>> {
    fs::create_dir_all(&arguments.artifacts)?;
    let file = arguments.artifacts.join(format!("{}-{}-{number}", parser.name, arguments.seed));
    fs::write(&file, input)?;
    println!("FAILED {} {what}: input {number} of seed {}, in {}", parser.name, arguments.seed, file.display());
    Ok(false)
}

/// Every file below a folder, the smallest names first, so that seeds have the same order everywhere.
fn read_below(directory: &Path, files: &mut Vec<Vec<u8>>) -> Result<(), Box<dyn Error>> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read_below(&path, files)?;
        } else {
            files.push(fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?);
        }
    }
    Ok(())
}
