//! What the grammar accepts and refuses, form by form.

use crate::{ConfigError, MAX_FILE_BYTES, MAX_NESTING, Node, SyntaxError, Value, parse};

/// A tree in one line, without positions: `a=1 b{c="x"}`.
fn shown(node: &Node) -> String {
    match &node.value {
        Value::String(text) => format!("{text:?}"),
        Value::Number(text) | Value::Float(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Null => "null".to_owned(),
        Value::List(nodes) => format!("[{}]", nodes.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(object) => {
            let items: Vec<String> = object.items.iter().map(|i| format!("{}={}", i.key, shown(&i.node))).collect();
            format!("{{{}}}", items.join(" "))
        }
    }
}

fn read(text: &str) -> String {
    shown(&parse(text, "f").unwrap_or_else(|error| panic!("{text:?}: {error}")))
}

fn refusal(text: &str) -> (String, SyntaxError) {
    match parse(text, "f") {
        Err(ConfigError::Syntax { position, problem, .. }) => (position.to_string(), problem),
        other => panic!("{text:?}: {other:?}"),
    }
}

#[test]
fn forms_of_hcl1_are_read() {
    for (text, tree) in [
        ("", "{}"),
        ("plugin_data { }", "{plugin_data={}}"),
        ("plugin_data = { }", "{plugin_data={}}"),
        ("NodeAttestor \"a\" plugin_data { }", "{NodeAttestor={a={plugin_data={}}}}"),
        ("NodeAttestor a { }", "{NodeAttestor={a={}}}"),
        ("federates_with \"td\" { }", "{federates_with={td={}}}"),
        ("federates_with = { \"td\" = { } }", "{federates_with={td={}}}"),
        ("w { a = 1 b = 2 }", "{w={a=1 b=2}}"),
        ("w { a = 1, b = 2 }", "{w={a=1 b=2}}"),
        ("a = 1 b = 2", "{a=1 b=2}"),
        ("a { b { } }", "{a={b={}}}"),
        ("K \"m\" { plugin_data {} }", "{K={m={plugin_data={}}}}"),
        ("a = 1,\nb = 2", "{a=1 b=2}"),
        ("\"server\" { }", "{server={}}"),
        ("\"NodeAttestor\" \"x\" { }", "{NodeAttestor={x={}}}"),
        ("a { \"key\" = 1 }", "{a={key=1}}"),
        ("a.b = 1", "{a.b=1}"),
        ("a\n{ b =\n1 }", "{a={b=1}}"),
        ("a = 1\na = 2", "{a=1 a=2}"),
        ("a = 0x1f b = .5 c = -3 e = 1e3 f = 1.5e-3 g = 0755", "{a=0x1f b=.5 c=-3 e=1e3 f=1.5e-3 g=0755}"),
        ("a = true b = false", "{a=true b=false}"),
        ("a = [1, 2,]", "{a=[1 2]}"),
        ("a = [,1,,2]", "{a=[1 2]}"),
        ("a = [[1] [2]]", "{a=[[1] [2]]}"),
        ("a = [{ b = 1 }, { b = 2 }]", "{a=[{b=1} {b=2}]}"),
        ("// a\n# b\na = 1 /* c\n */ # d", "{a=1}"),
        ("a = 1\r\nb = 2\r\n", "{a=1 b=2}"),
        ("\u{feff}a = 1", "{a=1}"),
        ("größe = 1", "{größe=1}"),
    ] {
        assert_eq!(read(text), tree, "{text:?}");
    }
}

#[test]
fn texts_keep_their_characters() {
    for (literal, value) in [
        (r#""${VAR}""#, "${VAR}"),
        (r#""$VAR""#, "$VAR"),
        (r#""$${b}""#, "$${b}"),
        (r#""%{x}""#, "%{x}"),
        (r#""${x "y" z}""#, "${x \"y\" z}"),
        ("\"${a\nb}\"", "${a\nb}"),
        (r#""${a{b}c}d""#, "${a{b}c}d"),
        (r#""${\n}\n""#, "${\\n}\n"),
        (r#""\a\b\f\n\r\t\v\\\"""#, "\u{7}\u{8}\u{c}\n\r\t\u{b}\\\""),
        (r#""\x41\101\u0041\U00000041""#, "AAAA"),
        (r#""\xc3\xa9""#, "é"),
        ("<<EOF\na\n${unclosed\nEOF\n", "a\n${unclosed\n"),
        ("<<EOF\r\na\r\nEOF\r\n", "a\n"),
        ("<<-EOF\n  a\n    b\n  EOF\n", "a\n  b\n"),
        ("<<-EOF\n a\n    b\n  EOF\n", " a\n    b\n"),
        ("<<EOF\na\n  EOF\n", "a\n  "),
        ("<<EOF\nEOF\n", ""),
        ("<<EOF\nEOFX\nEOF", "EOFX\n"),
    ] {
        assert_eq!(read(&format!("a = {literal}")), format!("{{a={value:?}}}"), "{literal:?}");
    }
}

/// A token that lost its quotes is not printed: errors get into logs.
#[test]
fn a_secret_without_quotes_is_not_in_the_message() {
    for secret in ["s3cret", "5ecret", "5e-cret", "0xcret", "08cret", "5.cret", "secret-s3cret"] {
        for text in [
            format!("agent {{ join_token = {secret}\n trust_domain = \"a\" }}"),
            format!("agent {{ join_token = {secret} }}"),
            format!("agent {{ tokens = [1 {secret}] }}"),
            format!("agent {{ tokens = [{secret} 1] }}"),
            format!("{{\"join_token\": {secret}}}"),
        ] {
            let (_, problem) = refusal(&text);
            assert!(!problem.to_string().contains("cret"), "{text}: {problem}");
        }
    }
}

/// Threat 32
#[test]
fn broken_texts_are_refused_with_their_place() {
    for (text, place, message) in [
        ("a = ", "1:5", "expected a value, found the end of the file"),
        ("a { b = }", "1:9", "expected a value, found '}'"),
        ("a { b }", "1:7", "expected '=' or '{', found '}'"),
        ("a", "1:2", "expected '=' or '{', found the end of the file"),
        ("a {", "1:4", "expected a key, found the end of the file"),
        ("a }", "1:3", "expected '=' or '{', found '}'"),
        ("a = 1 }", "1:7", "expected a key, found '}'"),
        ("= 1", "1:1", "expected a key, found '='"),
        ("{}{}", "1:3", "expected the end of the file, found '{'"),
        ("a = bare", "1:5", "expected a value, found a word without quotes"),
        ("a = null", "1:5", "expected a value, found a word without quotes"),
        ("a = f(1)", "1:5", "expected a value, found a word without quotes"),
        ("a = $VAR", "1:5", "unexpected character '$'"),
        ("true = 1", "1:1", "expected a key, found true"),
        ("a \"b\" = 1", "1:7", "a key with labels needs a block, not '='"),
        ("a = [1 2]", "1:8", "expected ',' or ']', found a number"),
        ("a = [1", "1:7", "expected ',' or ']', found the end of the file"),
        ("\n a = \"x\ny\"", "2:6", "string without a closing quote on its line"),
        ("a = \"x", "1:5", "string without a closing quote on its line"),
        ("a = \"${x\"", "1:5", "string without a closing quote on its line"),
        ("a = \"é\\q\"", "1:7", "unknown escape sequence \"\\q\""),
        ("a = \"\\400\"", "1:6", "unknown escape sequence \"\\400\""),
        ("a = \"\\xff\"", "1:5", "escape sequences that are not UTF-8 text"),
        ("a = \"\\ud800\"", "1:6", "escape sequences that are not UTF-8 text"),
        ("a /* b", "1:3", "comment without \"*/\""),
        ("a = <<EOF\nx", "1:5", "heredoc without its end marker \"EOF\" on a line of its own"),
        ("a = <<\nx\n", "1:5", "heredoc must begin with \"<<MARKER\" or \"<<-MARKER\" and the end of the line"),
        ("a = <EOF\n", "1:5", "heredoc must begin with \"<<MARKER\" or \"<<-MARKER\" and the end of the line"),
        ("<<EOF\nx\nEOF\n = 1", "1:1", "expected a key, found a heredoc"),
        ("a = 0x", "1:5", "a number with a wrong digit or without digits"),
        ("a = 089", "1:5", "a number with a wrong digit or without digits"),
        ("a = 1.", "1:5", "a number with a wrong digit or without digits"),
        ("a = 1e", "1:5", "a number with a wrong digit or without digits"),
        ("a = - 1", "1:5", "unexpected character '-'"),
        ("a = \u{c}1", "1:5", "unexpected character '\\u{c}'"),
        ("a : 1", "1:3", "unexpected character ':'"),
    ] {
        let (position, problem) = refusal(text);
        assert_eq!((position.as_str(), problem.to_string().as_str()), (place, message), "{text:?}");
    }
}

/// Threat 32
#[test]
fn nesting_is_bounded_however_it_is_written() {
    let too_deep = SyntaxError::TooDeep { limit: MAX_NESTING };
    for opening in ["a {", "a = {", "a \"b\" {"] {
        assert_eq!(refusal(&opening.repeat(100_000)).1, too_deep, "{opening}");
    }
    assert_eq!(refusal(&format!("a = {}", "[".repeat(100_000))).1, too_deep);
    assert_eq!(refusal(&format!("{} {{}}", "a ".repeat(100_000))).1, too_deep);
    assert_eq!(refusal(&format!("{{\"a\":{}", "[".repeat(100_000))).1, too_deep);
    assert_eq!(refusal(&"{\"a\":".repeat(100_000)).1, too_deep);

    let deepest = format!("{}{}", "a {".repeat(MAX_NESTING), "}".repeat(MAX_NESTING));
    assert!(parse(&deepest, "f").is_ok());
    let deeper = format!("{}{}", "a {".repeat(MAX_NESTING + 1), "}".repeat(MAX_NESTING + 1));
    assert_eq!(refusal(&deeper).1, too_deep);
}

/// Threat 32
#[test]
fn size_is_bounded() {
    let text = "#".repeat(MAX_FILE_BYTES);
    assert!(parse(&text, "f").is_ok());
    let error = parse(&format!("{text}#"), "f").unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { limit: MAX_FILE_BYTES, .. }), "{error}");
}

#[test]
fn positions_count_lines_and_characters() {
    let root = parse("/* é */ a = 1\nb {\n\t\"c\" = \"é\" d = [ 5 ]\n}", "f").unwrap();
    let Value::Object(object) = root.value else { panic!() };
    let [a, b] = object.items.as_slice() else { panic!() };
    assert_eq!((a.position.to_string(), a.node.position.to_string()), ("1:9".to_owned(), "1:13".to_owned()));
    let Value::Object(inner) = &b.node.value else { panic!() };
    let [c, d] = inner.items.as_slice() else { panic!() };
    assert_eq!((c.position.to_string(), c.node.position.to_string()), ("3:2".to_owned(), "3:8".to_owned()));
    let Value::List(values) = &d.node.value else { panic!() };
    assert_eq!(values[0].position.to_string(), "3:18");
}
