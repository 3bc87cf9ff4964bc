//! SPIRE's commands spell their flags as Go's `flag` package does; our parser of arguments wants two dashes.

use std::ffi::{OsStr, OsString};

/// Flags of SPIRE that are switches: Go takes `-node=true` for `-node` and `-node=false` for its absence.
const SWITCHES: &[&str] = &[
    "admin",
    "allowInsecureBootstrap",
    "disableX509SVIDPrefetch",
    "downstream",
    "dryRun",
    "expandEnv",
    "insecureBootstrap",
    "jwtSVIDIncludeJTI",
    "logSourceLocation",
    "node",
    "shallow",
    "silent",
    "storeSVID",
    "strict",
    "verbose",
];

/// Turns `-spiffeID x` and `-spiffeID=x` into `--spiffeID x` and `--spiffeID=x`, and resolves `-node=true` and `-node=false`.
///
/// Untouched: flags of one letter, a single `-` (standard input), values, and all that follows `--`.
pub fn normalise(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut out = Vec::new();
    let mut flags = true;
    for arg in args {
        flags &= arg != "--";
        if flags {
            out.extend(flag(&arg));
        } else {
            out.push(arg);
        }
    }
    out
}

fn flag(arg: &OsStr) -> Option<OsString> {
    let Some(text) = arg.to_str() else { return Some(arg.to_owned()) };
    let Some(body) = text.strip_prefix("--").or_else(|| text.strip_prefix('-')) else { return Some(text.into()) };
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    };
    if name.len() < 2 || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Some(text.into());
    }
    match value {
        Some(value) if SWITCHES.contains(&name) => match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(format!("--{name}").into()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => None,
            // Left for the parser of arguments to refuse.
            _ => Some(format!("--{body}").into()),
        },
        _ => Some(format!("--{body}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::normalise;

    fn normalised(line: &str) -> String {
        let args = normalise(line.split(' ').map(Into::into));
        args.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn go_spelling_becomes_two_dashes() {
        for (line, expected) in [
            ("entry create -spiffeID spiffe://td/a", "entry create --spiffeID spiffe://td/a"),
            ("-spiffeID=spiffe://td/a?b=c", "--spiffeID=spiffe://td/a?b=c"),
            ("--spiffeID x", "--spiffeID x"),
            ("-node=true -admin=1 x", "--node --admin x"),
            ("-node=false x", "x"),
            ("--downstream=true", "--downstream"),
            ("-node=maybe", "--node=maybe"),
            ("-banned=true", "--banned=true"),
            ("-data -", "--data -"),
            ("-o json", "-o json"),
            ("-h", "-h"),
            ("-ttl -5", "--ttl -5"),
            ("-a=b", "-a=b"),
            ("-- -spiffeID", "-- -spiffeID"),
            ("-selector unix:uid:-1", "--selector unix:uid:-1"),
        ] {
            assert_eq!(normalised(line), expected, "{line}");
        }
    }
}
