//! Sections on words, heredocs, instructions and their flags.

use super::{one, outline, parse};
use crate::dockerfile::mount::{CacheSharing, Mount};
use crate::dockerfile::{Command, parse_trigger};

#[test]
fn json_and_text() {
    for (line, expected) in [
        ("CMD [\"a\", \"b c\"]", "CMD [\"a\", \"b c\"]"),
        ("CMD [ \"a\" ]", "CMD [\"a\"]"),
        ("CMD []", "CMD []"),
        ("CMD [\"\\u00e4\\n\"]", "CMD [\"ä\\n\"]"),
        ("CMD ['a']", "CMD \"['a']\""),
        ("CMD [\"a\"", "CMD \"[\\\"a\\\"\""),
        ("CMD [\"a\\b\\x\"]", "CMD \"[\\\"a\\\\b\\\\x\\\"]\""),
        ("CMD [\"a\"] b", "CMD \"[\\\"a\\\"] b\""),
        ("CMD [\"a\",]", "CMD \"[\\\"a\\\",]\""),
        ("CMD [a]", "CMD \"[a]\""),
        ("CMD {\"a\":1}", "CMD \"{\\\"a\\\":1}\""),
        ("CMD \"a\"", "CMD \"\\\"a\\\"\""),
        ("CMD echo $x  'y'", "CMD \"echo $x  'y'\""),
        ("CMD [1]", "error: item 1 of the JSON list is a number: strings only"),
        ("CMD [\"a\", null]", "error: item 2 of the JSON list is null: strings only"),
        ("CMD [\"a\", true]", "error: item 2 of the JSON list is a boolean: strings only"),
        ("CMD [[\"a\"]]", "error: item 1 of the JSON list is a list: strings only"),
        ("CMD [{}]", "error: item 1 of the JSON list is an object: strings only"),
        (
            "CMD [\"a\\u0000\"]",
            "error: item 1 of the JSON list is a string with a NUL character: strings only",
        ),
        ("CMD", "error: CMD needs a command"),
        ("ENTRYPOINT []", "ENTRYPOINT []"),
        ("ENTRYPOINT [\"a\"]", "ENTRYPOINT [\"a\"]"),
        ("ENTRYPOINT a b", "ENTRYPOINT \"a b\""),
        ("ENTRYPOINT", "error: ENTRYPOINT needs a command"),
        ("SHELL [\"a\", \"-c\"]", "SHELL [\"a\", \"-c\"]"),
        ("SHELL []", "error: SHELL needs at least one item"),
        ("SHELL a", "error: SHELL needs a JSON list"),
        ("SHELL", "error: SHELL needs a JSON list"),
        ("SHELL ['a']", "error: SHELL needs a JSON list: expected value at column 8"),
        ("VOLUME [\"/a\", \"/b c\"]", "VOLUME </a> </b c>"),
        ("VOLUME /a /b", "VOLUME </a> </b>"),
        ("VOLUME $x", "VOLUME <$x>"),
        ("VOLUME", "error: VOLUME needs a path"),
        ("VOLUME []", "error: VOLUME needs a path"),
        ("VOLUME [\" /a \"]", "VOLUME </a>"),
        ("VOLUME [\" \"]", "error: VOLUME has an empty path"),
        ("VOLUME [\"\"]", "error: VOLUME has an empty path"),
        ("VOLUME \"\"", "error: VOLUME has an empty path"),
        ("RUN [\"a\", \"$b\"]", "RUN [\"a\", \"$b\"]"),
        ("RUN [ -f x ] && y", "RUN \"[ -f x ] && y\""),
        ("RUN []", "error: RUN needs a command"),
        ("RUN", "error: RUN needs a command"),
        ("RUN   ", "error: RUN needs a command"),
        ("RUN --network=none", "error: RUN needs a command"),
    ] {
        assert_eq!(one(line), expected, "{line}");
    }
}

#[test]
fn bad_json_is_told_where_json_was_meant() {
    for (line, warned) in [
        ("CMD ['a']", true),
        ("RUN [\"a\" \"b\"]", true),
        ("RUN [\"a\", \"b\"", true),
        ("COPY ['a', '/b'] x", true),
        ("RUN [ 'a', 'b' ]", true),
        ("RUN [ -f x ] && y", false),
        ("RUN [ \"$x\" = y ] || z", false),
        ("RUN [[ -f x ]]", false),
        ("COPY [a-z]* /x/", false),
        ("CMD [\"a\"]", false),
    ] {
        assert_eq!(!parse(&format!("FROM a\n{line}")).unwrap().warnings.is_empty(), warned, "{line}");
    }
}

#[test]
fn pairs_and_arguments() {
    for (line, expected) in [
        ("ENV a=b", "ENV <a>=<b>"),
        ("ENV a=b c=d", "ENV <a>=<b> <c>=<d>"),
        ("ENV a=", "ENV <a>=<>"),
        ("ENV a=b=c", "ENV <a>=<b=c>"),
        ("ENV a=\"b c\" d='e f'", "ENV <a>=<\"b c\"> <d>=<'e f'>"),
        ("ENV a=b\\ c", "ENV <a>=<b\\ c>"),
        ("ENV a=\"b\\\" c\" d=e", "ENV <a>=<\"b\\\" c\"> <d>=<e>"),
        ("ENV a=${b:-c}", "ENV <a>=<${b:-c}>"),
        ("ENV a b", "ENV legacy <a>=<b>"),
        ("ENV a b c", "ENV legacy <a>=<b c>"),
        ("ENV a b=c d", "ENV legacy <a>=<b=c d>"),
        ("ENV a \"b  c\"", "ENV legacy <a>=<\"b  c\">"),
        ("ENV $a=b", "ENV <$a>=<b>"),
        ("LABEL \"a b\"=c", "LABEL <\"a b\">=<c>"),
        ("LABEL a.b/c=d", "LABEL <a.b/c>=<d>"),
        ("LABEL a b", "LABEL legacy <a>=<b>"),
        ("ENV", "error: ENV needs at least one KEY=VALUE"),
        ("ENV a", "error: ENV a has no value"),
        ("ENV a=b c", "error: c is not KEY=VALUE"),
        ("ENV a=b # c", "error: # is not KEY=VALUE"),
        ("ENV =a", "error: ENV has a blank name before ="),
        ("ENV \"\"=a", "error: ENV has a blank name before ="),
        ("ENV a=\"b", "error: unterminated \" quote"),
        ("ENV a=it's", "error: unterminated ' quote"),
        ("ENV a=${b", "error: missing } of ${...}"),
        ("LABEL", "error: LABEL needs at least one KEY=VALUE"),
        ("LABEL a", "error: LABEL a has no value"),
        ("LABEL =b", "error: LABEL has a blank name before ="),
        ("ARG a", "ARG <a>"),
        ("ARG a=b", "ARG <a>=<b>"),
        ("ARG a=", "ARG <a>=<>"),
        ("ARG a b=c d", "ARG <a> <b>=<c> <d>"),
        ("ARG a=\"b c\"", "ARG <a>=<\"b c\">"),
        ("ARG", "error: ARG needs a name"),
        ("ARG =b", "error: ARG has a blank name before ="),
        ("WORKDIR /a b", "WORKDIR </a b>"),
        ("WORKDIR", "error: WORKDIR needs a path"),
        ("WORKDIR ${a:}", "error: unsupported modifier :} in ${a...}"),
        ("USER a:b", "USER <a:b>"),
        ("USER", "error: USER needs NAME[:GROUP] or UID[:GID]"),
        ("MAINTAINER me <me@x> 'y", "MAINTAINER <me <me@x> 'y>"),
        ("MAINTAINER", "error: MAINTAINER needs a name"),
        ("STOPSIGNAL SIGTERM", "STOPSIGNAL <SIGTERM>"),
        ("STOPSIGNAL 9", "STOPSIGNAL <9>"),
        ("STOPSIGNAL RTMIN+3", "STOPSIGNAL <RTMIN+3>"),
        ("STOPSIGNAL $s", "STOPSIGNAL <$s>"),
        ("STOPSIGNAL foo", "error: unknown signal foo"),
        ("STOPSIGNAL", "error: STOPSIGNAL needs a signal"),
        ("EXPOSE 80 443/tcp $p", "EXPOSE <80> <443/tcp> <$p>"),
        ("EXPOSE 8000-8010/udp", "EXPOSE <8000-8010/udp>"),
        ("EXPOSE", "error: EXPOSE needs a port"),
        ("EXPOSE x", "error: invalid port x: write PORT[-PORT][/tcp|udp|sctp] with numbers from 0 to 65535"),
        ("EXPOSE 80/http", "error: unknown protocol http of port 80/http: use tcp, udp or sctp"),
        ("EXPOSE 9-8", "error: port range 9-8 ends before it starts"),
    ] {
        assert_eq!(one(line), expected, "{line}");
    }
}

#[test]
fn stages() {
    let from = |line: &str| match parse(line) {
        Ok(file) => {
            let stage = &file.stages[0];
            let platform = stage.from.platform.as_ref().map_or("", |word| &word.text);
            let name = stage.name.as_ref().map_or("", |word| &word.text);
            format!("{}|{platform}|{name}", stage.from.image.text)
        }
        Err(errors) => format!("error: {}", errors[0].message),
    };
    for (line, expected) in [
        ("FROM a", "a||"),
        ("FROM a:b@sha256:c", "a:b@sha256:c||"),
        ("FROM a AS b", "a||b"),
        ("FROM a as B", "a||b"),
        ("FROM a As b-1_2.3", "a||b-1_2.3"),
        ("FROM --platform=linux/amd64 a AS b", "a|linux/amd64|b"),
        ("FROM --platform=$BUILDPLATFORM a", "a|$BUILDPLATFORM|"),
        ("FROM ${a:-b}", "${a:-b}||"),
        ("FROM", "error: FROM needs an image"),
        ("FROM --platform=linux/amd64", "error: FROM needs an image"),
        ("FROM a b", "error: FROM takes an image, and optionally AS and one name"),
        ("FROM a AS", "error: FROM takes an image, and optionally AS and one name"),
        ("FROM a b c", "error: FROM takes an image, and optionally AS and one name"),
        ("FROM a AS b c", "error: FROM takes an image, and optionally AS and one name"),
        ("FROM a AS 1b", "error: invalid stage name 1b: 1 is not allowed there"),
        ("FROM a AS b/c", "error: invalid stage name b/c: / is not allowed there"),
        ("FROM a AS -b", "error: invalid stage name -b: - is not allowed there"),
        ("FROM a AS ä", "error: invalid stage name ä: ä is not allowed there"),
        ("FROM a AS $b", "error: invalid stage name $b: $ is not allowed there"),
        (
            "FROM --platform=linux//x a",
            "error: invalid platform linux//x: write OS[/ARCH[/VARIANT]] such as linux/amd64",
        ),
        ("FROM --platform a", "error: flag --platform needs a value after ="),
        ("FROM --plaftorm=x a", "error: unknown flag --plaftorm for FROM"),
        ("FROM ${a", "error: missing } of ${...}"),
    ] {
        assert_eq!(from(line), expected, "{line}");
    }
    let file = parse("FROM a AS x\nFROM b AS Y\nFROM c AS x\nFROM d").unwrap();
    for (name, before, expected) in [
        ("x", 4, Some(2)),
        ("X", 2, Some(0)),
        ("y", 4, Some(1)),
        ("y", 1, None),
        ("z", 4, None),
        ("x", 99, Some(2)),
    ] {
        assert_eq!(file.stage_named(name, before).map(|stage| stage.index), expected, "{name} {before}");
    }
}

#[test]
fn copy_and_add() {
    for (line, expected) in [
        ("COPY a b", "COPY <a> -> <b>"),
        ("COPY a b c/", "COPY <a> <b> -> <c/>"),
        ("COPY [\"a b\", \"c\"]", "COPY <a b> -> <c>"),
        ("COPY \"a b\" c", "error: unterminated \" quote"),
        ("COPY \"a\" c", "COPY <\"a\"> -> <c>"),
        ("COPY a\\ b c", "COPY <a\\> <b> -> <c>"),
        ("COPY --from=x a b", "COPY from=x <a> -> <b>"),
        ("COPY --from=0 --chown=1:1 --chmod=755 a b", "COPY from=0 chown=1:1 chmod=755 <a> -> <b>"),
        (
            "COPY --link --parents --exclude=*.o --exclude=x a b",
            "COPY parents link exclude=*.o exclude=x <a> -> <b>",
        ),
        ("COPY --link=true a b", "COPY link <a> -> <b>"),
        ("COPY --link=false a b", "COPY <a> -> <b>"),
        ("COPY --chown=\"a:b\" c d", "COPY chown=a:b <c> -> <d>"),
        ("COPY --chown=$u:$g a b", "COPY chown=$u:$g <a> -> <b>"),
        ("COPY --chmod=u=rwX,go=rX a b", "COPY chmod=u=rwX,go=rX <a> -> <b>"),
        ("COPY --from= a b", "COPY <a> -> <b>"),
        ("COPY -- --a b", "COPY <--a> -> <b>"),
        ("COPY a --from=b c", "COPY <a> <--from=b> -> <c>"),
        ("COPY a", "error: COPY needs at least one source and a destination"),
        ("COPY", "error: COPY needs at least one source and a destination"),
        ("COPY [\"a\"]", "error: COPY needs at least one source and a destination"),
        ("COPY --form=x a b", "error: unknown flag --form for COPY"),
        ("COPY --from a b", "error: flag --from needs a value after ="),
        ("COPY --chown 1:1 a b", "error: flag --chown needs a value after ="),
        ("COPY --chown=1 --chown=2 a b", "error: flag --chown is given twice"),
        ("COPY --link=maybe a b", "error: flag --link is true or false, not maybe"),
        ("COPY --link= a b", "error: flag --link has an empty value"),
        ("COPY --from=$x a b", "error: --from=$x cannot hold a variable"),
        (
            "COPY --chmod=999 a b",
            "error: invalid mode 999: write an octal number up to 7777 or changes like u=rwX,go=rX",
        ),
        ("COPY http://x/y /z", "error: COPY cannot fetch a URL"),
        ("COPY --checksum=x a b", "error: unknown flag --checksum for COPY"),
        ("ADD a b", "ADD <a> -> <b>"),
        ("ADD http://x/y /z", "ADD <http://x/y> -> </z>"),
        ("ADD --unpack=false a b", "ADD unpack=false <a> -> <b>"),
        ("ADD --unpack a b", "ADD unpack=true <a> -> <b>"),
        ("ADD --keep-git-dir=true https://x/y.git /z", "ADD git <https://x/y.git> -> </z>"),
        ("ADD --checksum=sha256:0 https://x/y /z", "ADD checksum=sha256:0 <https://x/y> -> </z>"),
        ("ADD --checksum=sha256:0 a /z", "error: --checksum needs a single remote source"),
        ("ADD --checksum=sha256:0 https://x/y b /z", "error: --checksum needs a single remote source"),
        ("ADD --from=x a b", "error: unknown flag --from for ADD"),
        ("ADD --parents a b", "error: unknown flag --parents for ADD"),
        ("ADD a", "error: ADD needs at least one source and a destination"),
        ("ENV --x=y a=b", "error: unknown flag --x for ENV"),
        ("CMD --help", "error: unknown flag --help for CMD"),
    ] {
        assert_eq!(one(line), expected, "{line}");
    }
}

#[test]
fn heredocs() {
    for (text, expected) in [
        ("COPY <<E /d\na\nb\nE", "COPY E:\"a\\nb\\n\" -> </d>"),
        ("COPY <<E /d\nE", "COPY E:\"\" -> </d>"),
        ("COPY <<'E' /d\na\nE", "COPY raw E:\"a\\n\" -> </d>"),
        ("COPY <<\"E\" /d\na\nE", "COPY raw E:\"a\\n\" -> </d>"),
        ("COPY <<E\"F\" /d\na\nEF", "COPY raw EF:\"a\\n\" -> </d>"),
        ("COPY <<\\E /d\na\nE", "COPY raw E:\"a\\n\" -> </d>"),
        ("COPY <<-E /d\n\ta\n\t\tE", "COPY E:\"a\\n\" -> </d>"),
        ("COPY <<a <<b /d\n1\na\n2\nb", "COPY a:\"1\\n\" b:\"2\\n\" -> </d>"),
        ("COPY x <<a y /d\n1\na", "COPY <x> a:\"1\\n\" <y> -> </d>"),
        ("COPY <<dir/f.txt /d/\n1\ndir/f.txt", "COPY dir/f.txt:\"1\\n\" -> </d/>"),
        ("COPY <<E /d\n# kept\n\n\\\nE\nUSER u", "COPY E:\"# kept\\n\\n\\\\\\n\" -> </d>; USER <u>"),
        ("COPY <<E /d\r\na\r\nE\r\nUSER u", "COPY E:\"a\\r\\n\" -> </d>; USER <u>"),
        ("COPY <<E \\\n /d\na\nE", "COPY E:\"a\\n\" -> </d>"),
        ("COPY 3<<E /d\na\nE", "COPY E:\"a\\n\" -> </d>"),
        ("ADD <<E /d\na\nE", "ADD E:\"a\\n\" -> </d>"),
        ("COPY [\"<<E\", \"/d\"]\nUSER u", "COPY <<<E> -> </d>; USER <u>"),
        ("COPY a <<E\nx\nE", "error: a heredoc cannot be the destination"),
        ("COPY <<E\nx\nE", "error: COPY needs at least one source and a destination"),
        ("COPY <<E /d\na", "error: unterminated heredoc: no line is E, which line 2 announces"),
        ("COPY <<E /d\n${a\nE", "error: in heredoc E: missing } of ${...}"),
        ("COPY <<'E' /d\n${a\nE", "COPY raw E:\"${a\\n\" -> </d>"),
        ("RUN <<E\na\nb\nE", "RUN \"a\\nb\\n\""),
        ("RUN <<-E\n\ta\n\tE", "RUN \"a\\n\""),
        ("RUN <<'E'\n$a\nE", "RUN \"$a\\n\""),
        ("RUN <<E\n#!/bin/x\na\nE", "RUN file E:\"#!/bin/x\\na\\n\""),
        ("RUN python3 <<E\na\nE", "RUN \"python3 <<E\\na\\nE\""),
        ("RUN <<A cat >x && <<B cat >y\n1\nA\n2\nB", "RUN \"<<A cat >x && <<B cat >y\\n1\\nA\\n2\\nB\""),
        ("RUN --network=none <<E\na\nE", "RUN --network \"a\\n\""),
        ("RUN cat <<<x\nUSER u", "RUN \"cat <<<x\"; USER <u>"),
        ("RUN echo $((1<<2))\nUSER u", "RUN \"echo $((1<<2))\"; USER <u>"),
        ("RUN echo \"<<E\"\nUSER u", "RUN \"echo \\\"<<E\\\"\"; USER <u>"),
        ("RUN echo 1 << E\nUSER u", "RUN \"echo 1 << E\"; USER <u>"),
        ("RUN [\"a\", \"<<E\"]\nUSER u", "RUN [\"a\", \"<<E\"]; USER <u>"),
        ("CMD cat <<E\nUSER u", "CMD \"cat <<E\"; USER <u>"),
        ("ONBUILD RUN <<E\na\nE\nUSER u", "ONBUILD \"RUN <<E\\na\\nE\" RUN \"a\\n\"; USER <u>"),
        ("ONBUILD COPY <<E /d\na\nE", "ONBUILD \"COPY <<E /d\\na\\nE\" COPY E:\"a\\n\" -> </d>"),
    ] {
        assert_eq!(one(text), expected, "{text:?}");
    }
}

#[test]
fn run_flags() {
    for (line, expected) in [
        ("RUN --network=host a", "RUN --network \"a\""),
        ("RUN --network=default --security=sandbox a", "RUN --network --security \"a\""),
        ("RUN --mount=target=/x --mount=type=tmpfs,target=/y a", "RUN --mount --mount \"a\""),
        ("RUN --device=vendor/class=x,required a", "RUN --device \"a\""),
        ("RUN -- --a", "RUN \"--a\""),
        ("RUN a --network=x", "RUN \"a --network=x\""),
        ("RUN --network=hots a", "error: unknown value hots of flag --network"),
        ("RUN --security=x a", "error: unknown value x of flag --security"),
        ("RUN --mont=x a", "error: unknown flag --mont for RUN"),
        ("RUN --network a", "error: flag --network needs a value after ="),
        ("RUN --network=none --network=host a", "error: flag --network is given twice"),
        ("RUN --device=x,y a", "error: unknown device option y"),
        ("RUN --device= a", "error: flag --device has no device name"),
    ] {
        assert_eq!(one(line), expected, "{line}");
    }
}

/// The first mount of a RUN, with `$x` being `X`.
fn mount(value: &str) -> Result<Mount, String> {
    let file =
        parse(&format!("FROM a\nRUN --mount={value} true")).map_err(|errors| errors[0].message.clone())?;
    let Command::Run(run) = &file.stages[0].instructions[0].command else { panic!("not a RUN") };
    run.mounts[0].resolve(&|name: &str| (name == "x").then(|| "X".to_owned())).map_err(|error| error.message)
}

#[test]
fn mounts() {
    let bind = |target: &str, source: &str, from: Option<&str>, read_write| Mount::Bind {
        target: target.to_owned(),
        source: source.to_owned(),
        from: from.map(str::to_owned),
        read_write,
    };
    for (value, expected) in [
        ("target=/t", bind("/t", "/", None, false)),
        ("type=bind", bind(".", "/", None, false)),
        ("from=stage", bind(".", "/", Some("stage"), false)),
        ("type=bind,dst=/t,src=s,from=f,rw", bind("/t", "s", Some("f"), true)),
        ("destination=t,source=/s,readwrite=true", bind("t", "/s", None, true)),
        ("target=/t,rw=false", bind("/t", "/", None, false)),
        ("target=/t,ro", bind("/t", "/", None, false)),
        ("target=/t,readonly=false", bind("/t", "/", None, true)),
        ("target=/$x,source=${x}", bind("/X", "X", None, false)),
        ("type=BIND,target=/t", bind("/t", "/", None, false)),
        ("TARGET=/t", bind("/t", "/", None, false)),
        ("'target=/t,\"source=a,b\"'", bind("/t", "a,b", None, false)),
        ("'\"target=/t\"\"\",source=s'", bind("/t", "s", None, false)),
    ] {
        // A quote inside of a field is data of the record and a quote of the expansion.
        if value.contains("\"\"\"") {
            assert_eq!(mount(value), Err("mount key target: unterminated \" quote".to_owned()), "{value}");
        } else {
            assert_eq!(mount(value), Ok(expected), "{value}");
        }
    }
    let cache = Mount::Cache {
        id: "/c".to_owned(),
        target: "/c/".to_owned(),
        read_only: false,
        sharing: CacheSharing::Locked,
        from: None,
        source: "/".to_owned(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    assert_eq!(mount("type=cache,target=/c/,sharing=locked"), Ok(cache));
    let tmpfs = |size| Mount::Tmpfs { target: "/t".to_owned(), size };
    for (size, bytes) in
        [("1", 1), ("1k", 1 << 10), ("2m", 2 << 20), ("3G", 3 << 30), ("4kb", 4 << 10), ("5MiB", 5 << 20)]
    {
        assert_eq!(mount(&format!("type=tmpfs,target=/t,size={size}")), Ok(tmpfs(Some(bytes))));
    }
    assert_eq!(mount("type=tmpfs,target=/t"), Ok(tmpfs(None)));
    let secret = |id: &str, target: Option<&str>, env: Option<&str>, required| Mount::Secret {
        id: id.to_owned(),
        target: target.map(str::to_owned),
        env: env.map(str::to_owned),
        required,
        mode: 0o400,
        uid: 0,
        gid: 0,
    };
    for (value, expected) in [
        ("id=s", secret("s", Some("/run/secrets/s"), None, false)),
        ("source=s", secret("s", Some("/run/secrets/s"), None, false)),
        ("target=/a/b", secret("b", Some("/a/b"), None, false)),
        ("id=s,env=E", secret("s", None, Some("E"), false)),
        ("id=s,env=E,target=/t,required", secret("s", Some("/t"), Some("E"), true)),
    ] {
        assert_eq!(mount(&format!("type=secret,{value}")), Ok(expected), "{value}");
    }
    let ssh =
        Mount::Ssh { id: "default".to_owned(), target: None, required: true, mode: 0o600, uid: 1, gid: 0 };
    assert_eq!(mount("type=ssh,required=true,uid=1"), Ok(ssh));
}

#[test]
fn bad_mounts() {
    for (value, expected) in [
        ("type=bnid,target=/t", "unknown mount type bnid"),
        ("typ=bind,target=/t", "unknown mount key typ"),
        ("type=cache", "mount type cache needs a target"),
        ("type=tmpfs", "mount type tmpfs needs a target"),
        ("type=secret", "mount type secret needs an id or a target"),
        ("target=/", "mount target must not be /"),
        ("target=//../", "mount target must not be /"),
        ("target=/t,mode=755", "mount type bind has no key mode"),
        ("type=tmpfs,target=/t,uid=1", "mount type tmpfs has no key uid"),
        ("type=secret,id=a,source=b", "mount type secret takes id or source, not both"),
        ("type=secret,id=a,from=b", "mount type secret has no key from"),
        ("type=secret,id=a,sharing=locked", "mount type secret has no key sharing"),
        ("target=/t,required", "mount type bind has no key required"),
        ("target=/t,size=1", "mount type bind has no key size"),
        ("target=/t,sharing=shared", "mount type bind has no key sharing"),
        ("type=cache,target=/t,sharing=lokced", "unknown cache sharing lokced"),
        ("type=cache,target=/t,mode=9", "mount key mode is an octal number up to 7777, not 9"),
        ("type=cache,target=/t,uid=root", "mount key uid is a number, not root"),
        ("type=tmpfs,target=/t,size=1x", "mount key size is a number with k, m or g, not 1x"),
        (
            "type=tmpfs,target=/t,size=99999999999999999999g",
            "mount key size is a number with k, m or g, not 99999999999999999999g",
        ),
        ("target=/t,rw=maybe", "mount key readwrite is true or false, not maybe"),
        ("target", "mount key target needs a value"),
        ("target=/t,from=$x", "mount key from cannot hold a variable"),
        ("target=/t,z", "unknown mount key z"),
        ("target=/t,", "empty key in --mount"),
        ("", "empty key in --mount"),
        ("'target=/t,\"x'", "unterminated quote in --mount"),
        ("'target=/t,x\"'", "a quote in the middle of a mount value"),
        ("'\"target=/t\"x'", "text behind the closing quote of a mount value"),
        ("target=${x", "mount key target: missing } of ${...}"),
    ] {
        assert_eq!(mount(value), Err(expected.to_owned()), "{value}");
    }
    // Only with its variables is this one known to be wrong.
    assert!(parse("FROM a\nRUN --mount=type=$x,target=/t true").is_ok());
    assert_eq!(mount("type=$x,target=/t"), Err("unknown mount type x".to_owned()));
}

#[test]
fn healthchecks() {
    for (line, expected) in [
        ("HEALTHCHECK NONE", "HEALTHCHECK NONE"),
        ("HEALTHCHECK none", "HEALTHCHECK NONE"),
        ("HEALTHCHECK CMD a b", "HEALTHCHECK 0 0 0 0 0 \"a b\""),
        ("HEALTHCHECK cmd [\"a\"]", "HEALTHCHECK 0 0 0 0 0 [\"a\"]"),
        (
            "HEALTHCHECK --interval=1m30s --timeout=1ms --start-period=0 --start-interval=1s --retries=3 CMD a",
            "HEALTHCHECK 90000000000 1000000 0 1000000000 3 \"a\"",
        ),
        ("HEALTHCHECK", "error: HEALTHCHECK needs CMD or NONE"),
        ("HEALTHCHECK NONE x", "error: HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK CMD", "error: HEALTHCHECK CMD needs a command"),
        ("HEALTHCHECK CMD []", "error: HEALTHCHECK CMD needs a command"),
        ("HEALTHCHECK CMD [1]", "error: item 1 of the JSON list is a number: strings only"),
        ("HEALTHCHECK curl x", "error: unknown type curl of HEALTHCHECK: use CMD or NONE"),
        ("HEALTHCHECK --interval=5 CMD a", "error: invalid duration 5 of flag --interval: missing unit"),
        ("HEALTHCHECK --interval=1us CMD a", "error: flag --interval must be 0 or at least 1ms, not 1us"),
        ("HEALTHCHECK --timeout=-1s CMD a", "error: flag --timeout must be 0 or at least 1ms, not -1s"),
        ("HEALTHCHECK --retries=-1 CMD a", "error: flag --retries is a number from 0 on, not -1"),
        ("HEALTHCHECK --retries=x CMD a", "error: flag --retries is a number from 0 on, not x"),
        ("HEALTHCHECK --retires=1 CMD a", "error: unknown flag --retires for HEALTHCHECK"),
    ] {
        assert_eq!(one(line), expected, "{line}");
    }
}

#[test]
fn triggers() {
    for (line, expected) in [
        ("ONBUILD RUN a  b", "ONBUILD \"RUN a  b\" RUN \"a  b\""),
        ("onbuild copy a b", "ONBUILD \"copy a b\" COPY <a> -> <b>"),
        ("ONBUILD RUN a \\\n b", "ONBUILD \"RUN a  b\" RUN \"a  b\""),
        ("ONBUILD", "error: ONBUILD needs an instruction"),
        ("ONBUILD ONBUILD RUN a", "error: ONBUILD cannot be a trigger of ONBUILD"),
        ("ONBUILD FROM a", "error: FROM cannot be a trigger of ONBUILD"),
        ("ONBUILD MAINTAINER a", "error: MAINTAINER cannot be a trigger of ONBUILD"),
        ("ONBUILD RNU a", "error: unknown instruction RNU"),
        ("ONBUILD --x RUN a", "error: unknown flag --x for ONBUILD"),
        ("ONBUILD COPY a", "error: COPY needs at least one source and a destination"),
    ] {
        assert_eq!(one(line), expected, "{line}");
    }
    for (text, expected) in [
        ("RUN a", Ok("RUN \"a\"")),
        ("RUN <<E\na\nE", Ok("RUN \"a\\n\"")),
        ("COPY --from=x a b", Ok("COPY from=x <a> -> <b>")),
        ("", Err("empty trigger")),
        ("RUN a\nRUN b", Err("a trigger must be a single instruction")),
        ("FROM a", Err("FROM cannot be a trigger of ONBUILD")),
        ("FOO a", Err("unknown instruction FOO")),
    ] {
        let found = parse_trigger(text, "trigger of image a");
        let found = found
            .map(|(_, found)| super::command(&found.command))
            .map_err(|errors| errors[0].message.clone());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text:?}");
    }
}

#[test]
fn every_mistake_is_told_once() {
    let text = "FORM a\nRNU b\nENV c\nARG\nFROM x AS 1\nRUN d";
    let errors = parse(text).unwrap_err();
    let places: Vec<_> = errors.iter().filter_map(|error| error.place()).collect();
    assert_eq!(places, ["Dockerfile:1", "Dockerfile:2", "Dockerfile:3", "Dockerfile:4", "Dockerfile:5"]);
    let many = parse(&"x\n".repeat(1000)).unwrap_err();
    assert_eq!(many.len(), 20);
    assert_eq!(many[19].notes.last().unwrap(), "980 more errors are not shown");
    assert_eq!(outline("FROM a\nFROM b\nUSER c"), "USER <c>");
}
