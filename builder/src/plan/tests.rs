//! Plans of whole files, with images made up.

use std::collections::BTreeMap;

use image::document::{ContainerConfig, ImageConfig, Platform};
use image::store::StoreError;

use super::*;
use crate::plan::step::CopySource;

/// Images by name.
#[derive(Default)]
struct Made(BTreeMap<String, ImageConfig>);

impl Images for Made {
    fn image(&self, name: &str) -> Result<BaseImage, image::error::Error> {
        match self.0.get(name) {
            Some(config) => Ok(BaseImage { name: name.into(), config: config.clone(), layers: Vec::new() }),
            None => Err(StoreError::NoSuchImage { name: name.into() }.into()),
        }
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// A store with `base`, an image that has something of everything.
fn images() -> Made {
    let config = ContainerConfig {
        user: "app".into(),
        env: vec!["PATH=/bin".into(), "BASE=1".into(), "BROKEN".into()],
        cmd: Some(vec!["base".into()]),
        working_dir: "/base".into(),
        labels: [("from".to_owned(), "base".to_owned())].into(),
        ..ContainerConfig::default()
    };
    let base = ImageConfig { config, ..ImageConfig::scratch() };
    let mut triggers = base.clone();
    triggers.config.on_build = vec!["ENV TRIGGERED=$BASE".into(), "COPY --from=tools /x /y".into()];
    Made([("base".to_owned(), base), ("triggers".to_owned(), triggers)].into())
}

fn options(args: &[(&str, &str)]) -> Options {
    Options {
        target: None,
        args: BuildArgs::new(args.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()),
        network: Network::None,
        platform: Platform { architecture: "amd64".into(), os: "linux".into(), ..Platform::default() },
    }
}

fn plan_with(text: &str, options: &Options) -> Result<Plan, String> {
    let style = crate::dockerfile::Style::Plain;
    let file = Dockerfile::parse(text, "Dockerfile").map_err(|errors| errors[0].render(style))?;
    Plan::make(&file, options, &images()).map_err(|failure| failure.render(style))
}

fn plan(text: &str) -> Plan {
    plan_with(text, &options(&[])).unwrap()
}

fn result(text: &str) -> ContainerConfig {
    plan(text).target_stage().unwrap().config.config.clone()
}

/// The environment of the last RUN of the target.
fn run_env(plan: &Plan) -> Vec<String> {
    let mut runs = plan.target_stage().unwrap().steps.iter().filter_map(|step| match &step.action {
        Action::Run(run) => Some(run.env.clone()),
        _ => None,
    });
    runs.next_back().unwrap()
}

#[test]
fn everything_of_the_base_is_inherited() {
    let config = result("FROM base\nLABEL own=1\nENV NEW=$BASE\n");
    assert_eq!(config.env, ["PATH=/bin", "BASE=1", "NEW=1"]);
    assert_eq!(config.user, "app");
    assert_eq!(config.cmd, Some(vec!["base".to_owned()]));
    assert_eq!(config.labels.len(), 2);
    let scratch = result("FROM scratch\nLABEL a=b\n");
    assert_eq!(scratch.working_dir, "/");
    assert_eq!(scratch.env, [format!("PATH={DEFAULT_PATH}")]);
}

#[test]
fn an_entry_point_clears_only_an_inherited_cmd() {
    assert_eq!(result("FROM base\nENTRYPOINT [\"x\"]\n").cmd, None);
    assert_eq!(result("FROM base\nCMD [\"c\"]\nENTRYPOINT [\"x\"]\n").cmd, Some(vec!["c".to_owned()]));
    let shell = result("FROM base\nSHELL [\"/bin/bash\", \"-e\"]\nENTRYPOINT run it\n");
    assert_eq!(shell.entrypoint.unwrap(), ["/bin/bash", "-e", "run it"]);
    assert_eq!(result("FROM base AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT [\"x\"]\n").cmd, None);
}

#[test]
fn values_see_the_state_before_their_instruction() {
    let config = result("FROM scratch\nENV a=1\nENV a=2 b=$a\n");
    assert_eq!(config.env[1..], ["a=2", "b=1"]);
    let config = result("FROM scratch\nARG x=1 y=$x\nENV e=$y\n");
    assert_eq!(config.env[1..], ["e=1"]);
}

#[test]
fn arguments_have_their_order_and_scope() {
    let text = "ARG V=global\nARG W=$V\nFROM base\nARG V\nARG W=own\nARG NONE\nRUN x\n";
    assert_eq!(run_env(&plan(text)), ["PATH=/bin", "BASE=1", "V=global", "W=own"]);
    let given = options(&[("V", "given"), ("NONE", "n"), ("UNKNOWN", "u")]);
    let with_args = plan_with(text, &given).unwrap();
    assert_eq!(run_env(&with_args), ["PATH=/bin", "BASE=1", "V=given", "W=own", "NONE=n"]);
    assert!(with_args.warnings.iter().any(|warning| warning.message.contains("UNKNOWN")));
    let undeclared = plan("ARG V=global\nFROM base\nRUN x\n");
    assert_eq!(run_env(&undeclared), ["PATH=/bin", "BASE=1"]);
    let inherited = plan("FROM base AS a\nARG V=1\nFROM a\nRUN x\n");
    assert!(run_env(&inherited).contains(&"V=1".to_owned()));
    assert_eq!(inherited.target_stage().unwrap().config.config.env, ["PATH=/bin", "BASE=1", "BROKEN"]);
}

#[test]
fn the_later_of_env_and_arg_wins() {
    assert!(run_env(&plan("FROM base\nENV A=env\nARG A=arg\nRUN x\n")).contains(&"A=arg".to_owned()));
    assert!(run_env(&plan("FROM base\nARG A=arg\nENV A=env\nRUN x\n")).contains(&"A=env".to_owned()));
    assert!(run_env(&plan("FROM base\nENV A=env\nARG A\nRUN x\n")).contains(&"A=env".to_owned()));
}

#[test]
fn platform_values_must_be_declared() {
    let text = "FROM --platform=$BUILDPLATFORM base\nARG TARGETARCH\nENV A=$TARGETARCH B=$TARGETOS\n";
    assert_eq!(result(text).env[2..], ["BROKEN", "A=amd64", "B="].map(String::from)[1..]);
}

#[test]
fn proxies_reach_run_and_nothing_else() {
    let given = options(&[("HTTP_PROXY", "http://secret@proxy")]);
    let plan = plan_with("FROM base\nRUN x\n", &given).unwrap();
    let step = &plan.target_stage().unwrap().steps[0];
    let Action::Run(run) = &step.action else { panic!("not a RUN") };
    assert_eq!(run.proxies, ["HTTP_PROXY=http://secret@proxy"]);
    assert!(!run.env.iter().any(|entry| entry.contains("secret")) && !step.created_by.contains("secret"));
    assert!(plan.warnings.is_empty());
}

#[test]
fn only_reachable_stages_are_planned() {
    let text = "FROM missing AS unused\nFROM base AS one\nFROM base AS two\nCOPY --from=ONE /a /b\n";
    let plan = plan(text);
    assert_eq!(plan.stages.keys().copied().collect::<Vec<_>>(), [1, 2]);
    let mut first = options(&[]);
    first.target = Some("One".into());
    assert_eq!(plan_with(text, &first).unwrap().target, 1);
    first.target = Some("oen".into());
    assert!(plan_with(text, &first).unwrap_err().contains("did you mean one?"));
}

#[test]
fn triggers_run_first_and_are_dropped() {
    let text = "FROM base AS tools\nFROM triggers\nENV AFTER=$TRIGGERED\nONBUILD RUN y\n";
    let plan = plan(text);
    let stage = plan.target_stage().unwrap();
    assert!(stage.config.config.env.contains(&"AFTER=1".to_owned()));
    assert_eq!(stage.config.config.on_build, ["RUN y"]);
    assert_eq!(stage.steps[1].trigger.as_deref(), Some("COPY --from=tools /x /y"));
    assert_eq!(plan.stages.len(), 2);
    let failure = plan_with("FROM triggers\n", &options(&[])).unwrap_err();
    assert!(failure.contains("Dockerfile:1") && failure.contains("ONBUILD COPY"), "{failure}");
}

#[test]
fn working_directories_follow_each_other() {
    let plan = plan("FROM scratch\nWORKDIR a\nWORKDIR b/../c\nWORKDIR /\nUSER u\nWORKDIR x\nCOPY f .\n");
    let steps = &plan.target_stage().unwrap().steps;
    let paths: Vec<(&str, &str)> = steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Workdir(workdir) => Some((workdir.path.as_str(), workdir.user.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(paths, [("/a", ""), ("/a/c", ""), ("/x", "u")]);
    let Action::Copy(copy) = &steps.last().unwrap().action else { panic!("not a COPY") };
    assert_eq!((copy.destination.as_str(), copy.into_directory), ("/x", true));
}

#[test]
fn copies_are_expanded() {
    let text = "FROM scratch\nENV D=dir O=7\nCOPY --chown=$O:8 --chmod=6$O$O a$D <<X $D/\n$D '\\$D'\nX\n";
    let plan = plan(text);
    let Action::Copy(copy) = &plan.target_stage().unwrap().steps[1].action else { panic!("not a COPY") };
    assert_eq!(copy.chown.as_deref(), Some("7:8"));
    assert_eq!(copy.chmod.as_ref().map(|mode| mode.apply(0, false)), Some(0o677));
    assert_eq!((copy.destination.as_str(), copy.into_directory), ("/dir", true));
    assert!(matches!(&copy.sources[0], CopySource::Path { path, .. } if path == "adir"));
    assert!(matches!(&copy.sources[1], CopySource::Inline { content, .. } if content == "dir '$D'\n"));
}

#[test]
fn history_counts_layers_and_names_arguments() {
    let plan = plan("FROM scratch\nARG A=1\nRUN echo $A\nEXPOSE 80-81 53/udp\nCMD [\"x\"]\n");
    let said: Vec<&str> =
        plan.target_stage().unwrap().steps.iter().map(|step| step.created_by.as_str()).collect();
    assert_eq!(
        said,
        ["ARG A=1", "RUN |1 A=1 /bin/sh -c echo $A", "EXPOSE [80/tcp 81/tcp 53/udp]", "CMD [\"x\"]"]
    );
}

#[test]
fn failures_point_at_the_file() {
    for (text, words) in [
        ("FROM bsae\n", vec!["Dockerfile:1", "bsae", "did you mean base?"]),
        ("ARG B\nFROM $B\n", vec!["Dockerfile:2", "$B has no value", "--build-arg B="]),
        (
            "FROM later AS one\nFROM base AS later\nCOPY --from=one a b\n",
            vec!["Dockerfile:1", "Dockerfile:2", "only here"],
        ),
        (
            "FROM base\nRUN --mount=type=cache,target=/c true\n",
            vec!["Dockerfile:2", "RUN --mount is not supported"],
        ),
        ("FROM base\nRUN --security=insecure true\n", vec!["Dockerfile:2", "--security"]),
        ("FROM base\nRUN --network=host true\n", vec!["Dockerfile:2", "rbuild --network host"]),
        ("FROM base\nCOPY --link a b\n", vec!["Dockerfile:2", "--link"]),
        ("FROM base\nCOPY --parents a b\n", vec!["--parents"]),
        ("FROM base\nCOPY --exclude=x a b\n", vec!["--exclude"]),
        (
            "FROM base\nADD https://example.org/x /\n",
            vec!["Dockerfile:2", "https://example.org/x", "not supported"],
        ),
        ("FROM base\nADD --checksum=sha256:00 https://example.org/x /\n", vec!["--checksum"]),
        ("FROM base\nCOPY --from=3 a b\n", vec!["--from=3", "earlier stage"]),
        ("FROM base AS me\nCOPY --from=me a b\n", vec!["from itself"]),
        ("FROM base\nCOPY --chmod=9 a b\n", vec!["Dockerfile:2", "9"]),
        ("FROM base\nENV P=99999\nEXPOSE $P\n", vec!["Dockerfile:3", "99999"]),
        ("FROM base\nSTOPSIGNAL SIGTRM\n", vec!["Dockerfile:2", "SIGTRM"]),
        ("FROM base\nWORKDIR $NONE\n", vec!["Dockerfile:2", "empty"]),
        ("FROM --platform=linux/arm64 base\n", vec!["linux/arm64", "linux/amd64"]),
    ] {
        let failure = plan_with(text, &options(&[])).unwrap_err();
        for word in words {
            assert!(failure.contains(word), "{text}: {word} is missing in\n{failure}");
        }
    }
}

#[test]
fn an_unset_variable_is_a_warning() {
    let plan = plan("FROM base\nENV NAME=1 X=${BASSE}\n");
    let warning = &plan.warnings[0];
    assert_eq!(warning.name, Some("UndefinedVar"));
    assert!(warning.helps[0].contains("BASE"));
}
