use super::*;

/// Names of the findings with their lines.
fn findings(text: &str) -> String {
    let file = Dockerfile::parse(text, "Dockerfile").unwrap();
    let line = |finding: &Diagnostic| {
        format!(
            "{}:{}",
            finding.name.unwrap_or("-"),
            finding.place().unwrap().trim_start_matches("Dockerfile:")
        )
    };
    check_alone(&file).iter().map(line).collect::<Vec<_>>().join(" ")
}

#[test]
fn checks() {
    for (text, expected) in [
        ("FROM a", ""),
        ("FROM a AS Build", "StageNameCasing:1"),
        ("FROM a as b", "FromAsCasing:1"),
        ("from a as b", ""),
        ("from a AS b", "FromAsCasing:1"),
        ("FROM a\nrun x\nUSER x", "ConsistentInstructionCasing:2"),
        ("from a\nRUN x\nuser x", "ConsistentInstructionCasing:2"),
        ("FROM a\nRun x", "ConsistentInstructionCasing:2"),
        ("FROM a\nRUN x \\\n\n y", "NoEmptyContinuation:3"),
        ("FROM a AS x\nFROM b AS x", "DuplicateStageName:2"),
        ("FROM a AS x\nFROM b AS X", "StageNameCasing:2 DuplicateStageName:2"),
        ("FROM a AS scratch", "ReservedStageName:1"),
        ("FROM a AS context", "ReservedStageName:1"),
        ("FROM a\nCMD x", "JSONArgsRecommended:2"),
        ("FROM a\nENTRYPOINT x", "JSONArgsRecommended:2"),
        ("FROM a\nCMD [\"x\"]", ""),
        ("FROM a\nSHELL [\"x\"]\nCMD x", ""),
        ("FROM a AS x\nSHELL [\"x\"]\nFROM x\nCMD x", ""),
        ("FROM a\nMAINTAINER me", "MaintainerDeprecated:2"),
        ("FROM $X", "UndefinedArgInFrom:1"),
        ("ARG X=a\nFROM $X", ""),
        ("FROM ${X:-a}", ""),
        ("FROM --platform=$BUILDPLATFORM a", ""),
        ("FROM --platform=$BUILDPLATFROM a", "UndefinedArgInFrom:1"),
        ("ARG X\nFROM $X", "InvalidDefaultArgInFrom:2"),
        ("ARG X\nFROM a:$X", "InvalidDefaultArgInFrom:2"),
        ("ARG X\nFROM a:${X:-b}", ""),
        ("ARG X\nFROM a${X:+:}$X", ""),
        ("FROM a\nWORKDIR x", "WorkdirRelativePath:2"),
        ("FROM a\nWORKDIR /x\nWORKDIR y", ""),
        ("FROM a AS x\nWORKDIR /x\nFROM x\nWORKDIR y", ""),
        ("FROM a\nWORKDIR $X", ""),
        ("FROM scratch\nCOPY $x /", "UndefinedVar:2"),
        ("FROM scratch\nARG x\nCOPY $x /", ""),
        ("FROM scratch\nCOPY ${x:-a} /", ""),
        ("FROM scratch\nENV a=1 b=$a", "UndefinedVar:2"),
        ("FROM scratch\nARG a=1 b=$a", ""),
        ("FROM scratch\nENV PATH=$PATH:/x", ""),
        ("FROM scratch\nCOPY <<E /\n$x\nE", "UndefinedVar:3-4"),
        ("FROM scratch\nCOPY <<'E' /\n$x\nE", ""),
        ("FROM a\nCOPY $x /", ""),
        ("FROM a\nENV VERSION=1\nCOPY $VERSOIN /", "UndefinedVar:3"),
        ("FROM a AS x\nENV VERSION=1\nFROM x\nCOPY $VERSION /", ""),
        ("FROM a\nCMD [\"a\"]\nCMD [\"b\"]", "MultipleInstructionsDisallowed:2"),
        (
            "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK NONE\nHEALTHCHECK NONE",
            "MultipleInstructionsDisallowed:2 MultipleInstructionsDisallowed:3",
        ),
        ("FROM a\nCMD [\"a\"]\nFROM b\nCMD [\"b\"]", ""),
        ("FROM a\nENV a b", "LegacyKeyValueFormat:2"),
        ("FROM a\nLABEL a b c", "LegacyKeyValueFormat:2"),
        ("FROM --platform=$TARGETPLATFORM a", "RedundantTargetPlatform:1"),
        ("FROM --platform=linux/amd64 a", "FromPlatformFlagConstDisallowed:1"),
        ("FROM --platform=linux/amd64 a AS build-amd64", ""),
        ("FROM a\nARG GITHUB_TOKEN", "SecretsUsedInArgOrEnv:2"),
        ("FROM a\nENV DB_PASSWORD=x", "SecretsUsedInArgOrEnv:2"),
        ("FROM a\nENV PUBLIC_KEY=x TOKEN_FILE=y KEYBOARD=z MONKEY=m", ""),
        ("FROM a\nEXPOSE 80/TCP", "ExposeProtoCasing:2"),
        ("FROM a\nEXPOSE 127.0.0.1:80:80", "ExposeInvalidFormat:2"),
        ("# check=skip=MaintainerDeprecated\nFROM a\nMAINTAINER x", ""),
        ("# check=skip=all\nFROM a\nMAINTAINER x\nCMD x", ""),
        ("# check=skip=maintainerdeprecated\nFROM a\nMAINTAINER x", "MaintainerDeprecated:3"),
        ("FROM a\n# check=skip=MaintainerDeprecated\nMAINTAINER x", ""),
        ("FROM a\n# words\nARG X", ""),
        ("# check=experimental=all\nFROM a\n# words\nARG X", "InvalidDefinitionDescription:4"),
        (
            "# check=experimental=InvalidDefinitionDescription\n\n# b what it is\nFROM a AS b\n# X does\nARG X",
            "",
        ),
        ("# syntax=foreign/frontend\nFROM a", "-:1"),
        ("FROM a\nRUN ['x']", "-:2"),
    ] {
        assert_eq!(findings(text), expected, "{text:?}");
    }
}

#[test]
fn ignored_sources() {
    let ignore = Matcher::parse("*.log\ndir\n!dir/keep\n", ".dockerignore").unwrap();
    for (text, expected) in [
        ("FROM a\nCOPY x.log /", "x.log is excluded by .dockerignore:1 (*.log)"),
        ("FROM a\nADD ./x.log /", "./x.log is excluded by .dockerignore:1 (*.log)"),
        ("FROM a\nCOPY /../x.log /", "/../x.log is excluded by .dockerignore:1 (*.log)"),
        ("FROM a\nCOPY dir /", ""),
        ("FROM a\nCOPY dir/keep /", ""),
        ("FROM a\nCOPY --from=b x.log /", ""),
        ("FROM a\nCOPY $x.log /", ""),
        ("FROM a\nADD http://x/x.log /", ""),
        ("FROM a\nCOPY . /", ""),
    ] {
        let file = Dockerfile::parse(text, "Dockerfile").unwrap();
        let messages: Vec<_> =
            copy_ignored_file(&file, &ignore).into_iter().map(|found| found.message).collect();
        assert_eq!(messages.join(" "), expected, "{text:?}");
    }
}

#[test]
fn findings_of_others_are_skipped_too() {
    let text = "# check=skip=UndefinedVar\nFROM a\n# check=skip=Other\nRUN x\nRUN y";
    let file = Dockerfile::parse(text, "Dockerfile").unwrap();
    for (name, line, skipped) in [
        ("UndefinedVar", 5, true),
        ("Other", 2, false),
        ("Other", 4, true),
        ("Other", 5, false),
        ("More", 4, false),
    ] {
        let finding = Diagnostic::warning(&file.source, file.source.line_span(line), Some(name), "x");
        assert_eq!(is_skipped(&file, &finding), skipped, "{name} {line}");
    }
    let undefined = Dockerfile::parse("FROM scratch\nCOPY $x /", "Dockerfile").unwrap();
    assert!(check(&undefined).is_empty() && check_alone(&undefined).len() == 1);
}
