//! The command line as Go's `flag` package reads it, because people's fingers and scripts write SPIRE's commands so: one dash or two,
//! `-name value` or `-name=value`, a value that looks like a flag, switches with `=false`, and nothing after the first word that is no
//! flag. GNU's spelling of the same flags (`--spiffe-id` for `-spiffeID`) is understood as well.
//!
//! What each flag is comes from the program's own [`clap::Command`], so there is no second list of flags to keep.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// Turns a command line into one that `command` parses to the same end as Go would: every flag becomes `--name=value` or `--name`.
///
/// Left for the parser of arguments to judge: flags that the command has not, with two dashes, and commands that there are not.
pub fn normalise(args: impl IntoIterator<Item = OsString>, command: &Command) -> Vec<OsString> {
    let mut args = args.into_iter().peekable();
    let mut out: Vec<OsString> = args.next().into_iter().collect();
    let mut command = command;
    while let Some(inner) = args.peek().and_then(|word| word.to_str()).and_then(|word| command.find_subcommand(word)) {
        out.extend(args.next());
        command = inner;
    }
    let takes_words = command.get_positionals().any(|arg| !arg.is_hide_set());
    let mut may_be_command = command.has_subcommands();
    while let Some(arg) = args.next() {
        match Flag::parse(&arg, command) {
            Flag::Known(known, value) => {
                may_be_command = false;
                out.extend(written(known, value, || args.next()));
            }
            Flag::Unknown => out.push(with_two_dashes(arg)),
            // Ours take flags after words.
            Flag::None if takes_words && arg != "--" => out.push(arg),
            Flag::None if takes_words || may_be_command => {
                out.push(arg);
                out.extend(&mut args);
            }
            // Go's commands leave the rest alone, and so does whoever calls them.
            Flag::None => break,
        }
    }
    out
}

enum Flag<'a> {
    /// A flag of the command, with the value after `=`.
    Known(&'a Arg, Option<String>),
    /// What looks like a flag.
    Unknown,
    /// A word, or the end of the flags.
    None,
}

impl<'a> Flag<'a> {
    fn parse(arg: &OsStr, command: &'a Command) -> Self {
        if arg == "-" || arg == "--" || arg.as_encoded_bytes().first() != Some(&b'-') {
            return Self::None;
        }
        let Some(text) = arg.to_str() else { return Self::Unknown };
        let body = text.strip_prefix("--").or_else(|| text.strip_prefix('-')).unwrap_or(text);
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (body, None),
        };
        match command.get_arguments().find(|arg| is_named(arg, name)) {
            Some(known) => Self::Known(known, value),
            None => Self::Unknown,
        }
    }
}

/// Whether a flag has this name: SPIRE's spelling, GNU's, or the one letter that ours have besides.
fn is_named(arg: &Arg, name: &str) -> bool {
    let mut names = arg.get_long().into_iter().chain(arg.get_all_aliases().unwrap_or_default());
    let is_short = || arg.get_short().is_some_and(|short| name.chars().eq([short]));
    names.any(|long| long == name || gnu_spelling(long) == name) || is_short()
}

/// `-bogus` is one flag and not five of one letter each.
fn with_two_dashes(arg: OsString) -> OsString {
    let bytes = arg.as_encoded_bytes();
    if bytes.starts_with(b"--") || bytes.get(1..).is_none_or(|name| name.len() < 2 || name.get(1) == Some(&b'=')) {
        return arg;
    }
    let mut two = OsString::from("-");
    two.push(arg);
    two
}

/// `spiffe-id` for `spiffeID`, `bundle-endpoint-url` for `bundleEndpointURL`, `x509-svid-ttl` for `x509SVIDTTL`.
fn gnu_spelling(long: &str) -> String {
    // Words of capitals that run into each other in SPIRE's names.
    let split = long.replace("SVID", "Svid").replace("URL", "Url").replace("TTL", "Ttl").replace("JTI", "Jti");
    let mut out = String::with_capacity(split.len() + 4);
    let mut previous_is_small = false;
    for c in split.chars() {
        if c.is_ascii_uppercase() && previous_is_small {
            out.push('-');
        }
        previous_is_small = !c.is_ascii_uppercase();
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The flag as the parser of arguments wants it; nothing where Go's `=false` means that it is not there.
fn written(arg: &Arg, value: Option<String>, next: impl FnOnce() -> Option<OsString>) -> Option<OsString> {
    let long = arg.get_long()?;
    let bare = OsString::from(format!("--{long}"));
    let with = |value: OsString| {
        let mut text = OsString::from(format!("--{long}="));
        text.push(value);
        text
    };
    if !arg.get_action().takes_values() {
        return match value.as_deref() {
            None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Some(bare),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => None,
            // Left for the parser of arguments to refuse.
            Some(other) => Some(with(other.into())),
        };
    }
    match value {
        Some(value) => Some(with(value.into())),
        // A switch that may be given a value takes none from the next word.
        None if arg.get_num_args().is_some_and(|range| range.min_values() == 0) => Some(bare),
        None => Some(next().map_or(bare, with)),
    }
}

#[cfg(test)]
mod tests {
    use clap::ArgAction;

    use super::*;

    fn program() -> Command {
        let value = |long: &'static str| Arg::new(long).long(long);
        let switch = |long: &'static str| Arg::new(long).long(long).action(ArgAction::SetTrue);
        let create = Command::new("create")
            .arg(value("spiffeID").short('s'))
            .arg(value("x509SVIDTTL"))
            .arg(value("bundleEndpointURL"))
            .arg(value("selector").action(ArgAction::Append))
            .arg(value("data"))
            .arg(value("banned"))
            .arg(switch("node"))
            .arg(value("admin").num_args(0..=1).require_equals(true))
            .arg(value("output").short('o').alias("format"));
        let quote = Command::new("quote").arg(switch("raw")).arg(Arg::new("file"));
        let run = Command::new("run").arg(value("config")).arg(Arg::new("ignored").hide(true).num_args(..));
        let fetch = Command::new("fetch").arg(value("write")).subcommand(Command::new("x509").arg(value("write")));
        Command::new("p").subcommands([Command::new("entry").subcommand(create), quote, run, fetch])
    }

    fn normalised(line: &str) -> String {
        let args = normalise(format!("p {line}").split(' ').map(Into::into), &program());
        args[1..].iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn gos_spelling_becomes_the_parsers() {
        for (line, expected) in [
            ("-spiffeID spiffe://td/a", "--spiffeID=spiffe://td/a"),
            ("-spiffeID=spiffe://td/a?b=c", "--spiffeID=spiffe://td/a?b=c"),
            ("--spiffeID x", "--spiffeID=x"),
            ("-node=true -admin=1 -data x", "--node --admin=1 --data=x"),
            ("-node=false -data x", "--data=x"),
            ("-node=maybe", "--node=maybe"),
            ("-admin -node", "--admin --node"),
            ("-admin true -node", "--admin"),
            ("-banned=true", "--banned=true"),
            ("-banned=", "--banned="),
            ("-data - -node", "--data=- --node"),
            ("-data -node", "--data=-node"),
            ("-x509SVIDTTL -5", "--x509SVIDTTL=-5"),
            ("-selector a -selector b", "--selector=a --selector=b"),
            ("-data", "--data"),
            ("-format json", "--output=json"),
        ] {
            assert_eq!(normalised(&format!("entry create {line}")), format!("entry create {expected}"), "{line}");
        }
    }

    #[test]
    fn gnus_spelling_is_understood() {
        for (line, expected) in [
            ("--spiffe-id x", "--spiffeID=x"),
            ("--spiffe-id=x", "--spiffeID=x"),
            ("--x509-svid-ttl=5", "--x509SVIDTTL=5"),
            ("--bundle-endpoint-url u", "--bundleEndpointURL=u"),
        ] {
            assert_eq!(normalised(&format!("entry create {line}")), format!("entry create {expected}"), "{line}");
        }
        for (long, gnu) in [
            ("jwtSVIDIncludeJTI", "jwt-svid-include-jti"),
            ("disableX509SVIDPrefetch", "disable-x509-svid-prefetch"),
            ("endpointSpiffeID", "endpoint-spiffe-id"),
            ("storeSVID", "store-svid"),
            ("entryID", "entry-id"),
            ("dns", "dns"),
        ] {
            assert_eq!(gnu_spelling(long), gnu);
        }
    }

    #[test]
    fn flags_end_where_go_ends_them() {
        for (line, expected) in [
            ("entry create -node words -data x", "entry create --node"),
            ("entry create - -data x", "entry create"),
            ("entry create -- -data x", "entry create"),
            ("run config a.conf", "run"),
            ("run -config a.conf config b.conf", "run --config=a.conf"),
            // Those that take words take flags after them.
            ("quote -raw file -raw", "quote --raw file --raw"),
            ("quote - -raw -- -raw", "quote - --raw -- -raw"),
            ("fetch x509 -write d", "fetch x509 --write=d"),
            ("fetch -write d", "fetch --write=d"),
            ("fetch -write d x509", "fetch --write=d"),
        ] {
            assert_eq!(normalised(line), expected, "{line}");
        }
    }

    #[test]
    fn what_there_is_not_is_left_to_be_refused() {
        for line in ["entry create --bogus", "entry create -x", "entry create -h", "shew a b", "entry shew", "-v"] {
            assert_eq!(normalised(line), line, "{line}");
        }
        assert_eq!(normalised("entry create -help"), "entry create --help");
        assert_eq!(normalised("-version"), "--version");
        assert_eq!(normalised("entry create -o json -s=x"), "entry create --output=json --spiffeID=x");
    }
}
