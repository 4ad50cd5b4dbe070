//! Section "Variables": every form, quotes and escapes.

use crate::dockerfile::expand::{expand, expand_heredoc, expand_list, usages};

/// What the tests know: `v` has a value, `e` is empty, `u` is not set.
fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "v" => "value",
        "w" => "word",
        "e" => "",
        "p" => "a/b/c.tar.gz",
        "s" => "one two",
        "star" => "a*b?c\\d",
        "q" => "it's \"quoted\"",
        "d" => "$v",
        "glob" => "*/",
        "x1" => "digit",
        "1" => "first",
        "12" => "twelfth",
        "ä" => "umlaut",
        _ => return None,
    };
    Some(value.to_owned())
}

fn expanded(text: &str) -> String {
    match expand(text, '\\', &lookup) {
        Ok(expanded) => expanded.text,
        Err(error) => format!("error at {}: {error}", error.at()),
    }
}

#[test]
fn forms() {
    for (text, expected) in [
        // Plain.
        ("", ""),
        ("plain", "plain"),
        ("$v", "value"),
        ("${v}", "value"),
        ("$v$v", "valuevalue"),
        ("$v.x", "value.x"),
        ("$v-x", "value-x"),
        ("$vx", ""),
        ("${v}x", "valuex"),
        ("a$v", "avalue"),
        ("$u", ""),
        ("$e", ""),
        ("$x1", "digit"),
        ("$ä", "umlaut"),
        ("$d", "$v"),
        ("$q", "it's \"quoted\""),
        // Names of digits and signs.
        ("$1", "first"),
        ("$12", "twelfth"),
        ("$1a", "firsta"),
        ("${1}2", "first2"),
        ("$@", ""),
        ("$*x", "x"),
        ("$#x", "x"),
        ("$?x", "x"),
        ("$-x", "x"),
        ("$$x", "x"),
        ("$!x", "x"),
        ("$0x", "x"),
        ("${@}x", "x"),
        // A dollar that begins nothing.
        ("$", "$"),
        ("a$", "a$"),
        ("$ v", "$ v"),
        ("$.", "$."),
        ("$/", "$/"),
        ("$=", "$="),
        ("$(cmd)", "$(cmd)"),
        ("a$\"b\"", "a$b"),
        // Defaults.
        ("${v:-d}", "value"),
        ("${e:-d}", "d"),
        ("${u:-d}", "d"),
        ("${v-d}", "value"),
        ("${e-d}", ""),
        ("${u-d}", "d"),
        ("${u:-}", ""),
        ("${u-}", ""),
        ("${u:-a b}", "a b"),
        ("${u:-$v}", "value"),
        ("${u:-${w}}", "word"),
        ("${u:-${u:-${w}}}", "word"),
        ("${u:-\"a}b\"}", "a}b"),
        ("${u:-'a}b'}", "a}b"),
        ("${u:-a\\}b}", "a}b"),
        ("${u:-a{b}c", "a{bc"),
        ("${u:--}", "-"),
        ("${u:-:-}", ":-"),
        ("${u:-'$v'}", "$v"),
        // Alternatives.
        ("${v:+a}", "a"),
        ("${e:+a}", ""),
        ("${u:+a}", ""),
        ("${v+a}", "a"),
        ("${e+a}", "a"),
        ("${u+a}", ""),
        ("${v:+}", ""),
        ("${v:+$w}", "word"),
        ("${v:+:$v}", ":value"),
        // Required.
        ("${v:?message}", "value"),
        ("${v?message}", "value"),
        ("${e?message}", ""),
        ("${e:?message}", "error at 0: e: message"),
        ("${u:?message}", "error at 0: u: message"),
        ("${u?message}", "error at 0: u: message"),
        ("x${u:?a $v}", "error at 1: u: a value"),
        ("${u:?}", "error at 0: u: is not allowed to be unset"),
        ("${u?}", "error at 0: u: is not allowed to be unset"),
        ("${e:?}", "error at 0: e: is not allowed to be empty"),
        ("${v:-${u:?message}}", "value"),
        ("${u:+${u:?message}}", ""),
        ("${v:+${u:?message}}", "error at 5: u: message"),
        // Prefixes.
        ("${p#*/}", "b/c.tar.gz"),
        ("${p##*/}", "c.tar.gz"),
        ("${p#a/}", "b/c.tar.gz"),
        ("${p#b}", "a/b/c.tar.gz"),
        ("${p#?}", "/b/c.tar.gz"),
        ("${p##?}", "/b/c.tar.gz"),
        ("${p#}", "a/b/c.tar.gz"),
        ("${p#*}", "a/b/c.tar.gz"),
        ("${p##*}", ""),
        ("${u#a}", ""),
        ("${e##*}", ""),
        ("${p#$glob}", "b/c.tar.gz"),
        ("${p#\"a\"/}", "b/c.tar.gz"),
        ("${star#a\\*}", "b?c\\d"),
        ("${star#a\\*b\\?c\\\\}", "d"),
        ("${star#a\\?}", "a*b?c\\d"),
        ("${v#[v]}", "value"),
        (
            "${v#v\\x}",
            "error at 0: invalid escape \\x in the pattern of ${v...}: only *, ? and \\ can be escaped",
        ),
        // Suffixes.
        ("${p%.*}", "a/b/c.tar"),
        ("${p%%.*}", "a/b/c"),
        ("${p%/*}", "a/b"),
        ("${p%%/*}", "a"),
        ("${p%gz}", "a/b/c.tar."),
        ("${p%?}", "a/b/c.tar.g"),
        ("${p%}", "a/b/c.tar.gz"),
        ("${p%%*}", ""),
        ("${v%lu?}", "va"),
        ("${u%a}", ""),
        ("${v%\\}}", "value"),
        // Replacements.
        ("${p/a/x}", "x/b/c.tar.gz"),
        ("${p/\\//_}", "a_b/c.tar.gz"),
        ("${p//\\//_}", "a_b_c.tar.gz"),
        ("${p//./-}", "a/b/c-tar-gz"),
        ("${p//[a]/x}", "a/b/c.tar.gz"),
        ("${p/b/}", "a//c.tar.gz"),
        ("${p//a/}", "/b/c.tr.gz"),
        ("${p/b*/x}", "a/x"),
        ("${p/*/x}", "x"),
        ("${p//*/x}", "x"),
        ("${p//?/x}", "xxxxxxxxxxxx"),
        ("${p/c/$v}", "a/b/value.tar.gz"),
        ("${p/c/\\}}", "a/b/}.tar.gz"),
        ("${p/c/\\/}", "a/b//.tar.gz"),
        ("${p/c/\\n}", "a/b/\\n.tar.gz"),
        ("${v/z/x}", "value"),
        ("${p///x}", "a/b/c.tar.gz"),
        ("${u/a/b}", ""),
        ("${e/*/b}", "b"),
        ("${star/\\*/x}", "axb?c\\d"),
        // Mistakes.
        ("${", "error at 0: missing } of ${...}"),
        ("a${v", "error at 1: missing } of ${...}"),
        ("${v:", "error at 0: missing } of ${...}"),
        ("${v:-", "error at 0: missing } of ${...}"),
        ("${v:-a", "error at 0: missing } of ${...}"),
        ("${v:-${u}", "error at 0: missing } of ${...}"),
        ("${v#a", "error at 0: missing } of ${...}"),
        ("${v/a/b", "error at 0: missing } of ${...}"),
        ("${v/a}", "error at 0: missing / between pattern and replacement in ${v/...}"),
        ("${}", "error at 0: bad substitution: ${ must be followed by a variable name"),
        ("${:-a}", "error at 0: bad substitution: ${ must be followed by a variable name"),
        ("${{v}}", "error at 0: bad substitution: ${ must be followed by a variable name"),
        ("${ v}", "error at 0: bad substitution: ${ must be followed by a variable name"),
        ("${v:#a}", "error at 0: unsupported modifier :# in ${v...}"),
        ("${v:%a}", "error at 0: unsupported modifier :% in ${v...}"),
        ("${v:1}", "error at 0: unsupported modifier :1 in ${v...}"),
        ("${v^}", "error at 0: unsupported modifier ^ in ${v...}"),
        ("${v,,}", "error at 0: unsupported modifier , in ${v...}"),
        ("${v@Q}", "error at 0: unsupported modifier @ in ${v...}"),
        ("${v v}", "error at 0: missing } of ${...}"),
        ("${#v}", "error at 0: unsupported modifier v in ${#...}"),
    ] {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn quotes_and_escapes() {
    for (text, expected) in [
        ("'a'", "a"),
        ("\"a\"", "a"),
        ("''", ""),
        ("\"\"", ""),
        ("a'b'c", "abc"),
        ("'a b'", "a b"),
        ("'$v'", "$v"),
        ("\"$v\"", "value"),
        ("\"${v}\"", "value"),
        ("'a\\'", "a\\"),
        ("'\"'", "\""),
        ("\"'\"", "'"),
        ("\"a\\\"b\"", "a\"b"),
        ("\"a\\$v\"", "a$v"),
        ("\"a\\\\b\"", "a\\b"),
        ("\"a\\nb\"", "a\\nb"),
        ("\"a\\'b\"", "a\\'b"),
        ("\"$q\"", "it's \"quoted\""),
        ("\"${u:-a b}\"", "a b"),
        ("\"${u:-\"a b\"}\"", "a b"),
        ("\\$v", "$v"),
        ("\\$\\{v\\}", "${v}"),
        ("\\a", "a"),
        ("\\\\", "\\"),
        ("\\\\$v", "\\value"),
        ("\\'a\\'", "'a'"),
        ("\\\"a", "\"a"),
        ("a\\", "a"),
        ("a\\ b", "a b"),
        ("`$v`", "`value`"),
        ("'a", "error at 0: unterminated ' quote"),
        ("a\"b", "error at 1: unterminated \" quote"),
        ("\"a\\\"", "error at 0: unterminated \" quote"),
        ("it's", "error at 2: unterminated ' quote"),
        ("\"${u:-a\"}", "error at 7: unterminated \" quote"),
        ("\"${v\"", "error at 1: missing } of ${...}"),
    ] {
        assert_eq!(expanded(text), expected, "{text}");
    }
}

#[test]
fn the_escape_is_that_of_the_file() {
    for (text, expected) in [
        ("C:\\dir\\$v", "C:\\dir\\value"),
        ("`$v", "$v"),
        ("\"`$v\"", "$v"),
        ("``", "`"),
        ("\"a`b\"", "a`b"),
        ("${u:-a`}b}", "a}b"),
        ("'a\\'", "a\\"),
    ] {
        let expanded = expand(text, '`', &lookup).map(|expanded| expanded.text);
        assert_eq!(expanded.as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn lists_are_split_outside_quotes() {
    for (text, expected) in [
        ("80", vec!["80"]),
        ("$s", vec!["one", "two"]),
        ("\"$s\"", vec!["one two"]),
        ("a$s.b", vec!["aone", "two.b"]),
        ("'a b'", vec!["a b"]),
        ("a\\ b", vec!["a b"]),
        (" a  b ", vec!["a", "b"]),
        ("$u", vec![]),
        ("$e $e", vec![]),
        ("\"\"", vec![""]),
        ("${u:-$s}", vec!["one", "two"]),
    ] {
        assert_eq!(expand_list(text, '\\', &lookup).unwrap().words, expected, "{text}");
    }
}

#[test]
fn heredocs_have_no_quotes() {
    for (text, expected) in [
        ("\"$v\"\n", "\"value\"\n"),
        ("it's ${v:-x}\n", "it's value\n"),
        ("\\$v \\\\ \\n\n", "$v \\ n\n"),
        ("\\\n", "\n"),
        ("$u.\n", ".\n"),
        ("`x` $(y)\n", "`x` $(y)\n"),
    ] {
        assert_eq!(expand_heredoc(text, &lookup).unwrap().text, expected, "{text}");
    }
}

#[test]
fn unset_names_are_told() {
    for (text, expected) in [
        ("$u", "u"),
        ("$v $e", ""),
        ("$a${b}\"$c\"'$d'", "a b c"),
        ("${u:-x}${u-x}${u:+x}${u+x}", ""),
        ("${u#x}${n/x/y}", "u n"),
        ("${v:-$u}", ""),
        ("${u:-$n}", "n"),
    ] {
        assert_eq!(expand(text, '\\', &lookup).unwrap().unset.join(" "), expected, "{text}");
    }
    let names = |text| -> Vec<String> {
        usages(text, '\\').unwrap().into_iter().map(|usage| format!("{}@{}", usage.name, usage.at)).collect()
    };
    // What stands behind the backslash is known only with the value of $e.
    assert!(usages("${p#\\$e*}", '`').is_ok() && usages("${p#\\x}", '`').is_err());
    assert_eq!(names("$a ${b:-$c} '$d' \\$e"), ["a@0", "b@3", "c@8"]);
}

#[test]
fn hostile_words_are_bounded() {
    let deep = format!("{}x{}", "${a:-".repeat(100_000), "}".repeat(100_000));
    assert!(expanded(&deep).contains("nested more than"));
    let quoted = format!("{}{}", "\"${a:-".repeat(100_000), "}\"".repeat(100_000));
    assert!(expanded(&quoted).contains("nested more than"));
    let big = |_: &str| Some("x".repeat(600_000));
    assert!(expand("$a$a", '\\', &big).is_err());
    assert!(expand("${a//x/yyyyyyyy}", '\\', &big).is_err());
    assert!(expand("${a//*x*x*x*x*x*x*x*x*z/y}", '\\', &big).is_err());
    assert!(expand("${a%%*x*x*x*x*z}", '\\', &big).is_ok());
}
