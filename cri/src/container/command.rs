//! What a container runs: the image's words, replaced and completed by the request's. Pure.

use std::path::{Path, PathBuf};

use image::document::ContainerConfig as ImageSettings;
use k8s_cri::v1::ContainerConfig;
use runtime::spec::from_image::merge_env;

use crate::error::{Error, Result};

/// Program, environment and folder of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Program and arguments; at least one.
    pub args: Vec<String>,
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
    /// Absolute.
    pub cwd: PathBuf,
}

/// The rules of Kubernetes: `command` replaces entry point and arguments of the image, `args` alone only its arguments.
pub fn resolve(config: &ContainerConfig, image: &ImageSettings) -> Result<Command> {
    let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let (entry_point, arguments) = (words(&image.entrypoint), words(&image.cmd));
    let args = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => [&config.command[..], &config.args[..]].concat(),
        (true, false) => [&entry_point[..], &config.args[..]].concat(),
        (true, true) => [&entry_point[..], &arguments[..]].concat(),
    };
    if args.first().is_none_or(String::is_empty) {
        return Err(Error::invalid("config.command", "neither the request nor the image names a program"));
    }
    let cwd = [&config.working_dir, &image.working_dir].into_iter().find(|folder| !folder.is_empty());
    let cwd = Path::new("/").join(cwd.map_or("/", String::as_str));
    Ok(Command { args, env: merge_env(&image.env, &variables(config)?), cwd })
}

fn variables(config: &ContainerConfig) -> Result<Vec<String>> {
    let mut variables = Vec::with_capacity(config.envs.len());
    for variable in &config.envs {
        let (key, value) = (&variable.key, &variable.value);
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
            return Err(Error::invalid(
                "config.envs",
                format!("{key:?} cannot be a variable with that value"),
            ));
        }
        variables.push(format!("{key}={value}"));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::KeyValue;

    use super::*;

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn command_and_args_replace_as_kubernetes_says() {
        let image = ImageSettings {
            entrypoint: Some(words(&["/entry", "-e"])),
            cmd: Some(words(&["cmd"])),
            ..ImageSettings::default()
        };
        for (command, args, expected) in [
            (&[][..], &[][..], &["/entry", "-e", "cmd"][..]),
            (&["c"], &[], &["c"]),
            (&["c"], &["a"], &["c", "a"]),
            (&[], &["a"], &["/entry", "-e", "a"]),
        ] {
            let config = ContainerConfig { command: words(command), args: words(args), ..Default::default() };
            assert_eq!(resolve(&config, &image).unwrap().args, words(expected));
        }
        assert!(resolve(&ContainerConfig::default(), &ImageSettings::default()).is_err());
        let empty = ContainerConfig { command: words(&[""]), ..Default::default() };
        assert!(resolve(&empty, &image).is_err());
    }

    #[test]
    fn variables_and_folder_of_the_request_win() {
        let image = ImageSettings {
            cmd: Some(words(&["x"])),
            env: words(&["A=1", "B=2"]),
            working_dir: "srv".to_owned(),
            ..ImageSettings::default()
        };
        let variable = |key: &str, value: &str| KeyValue { key: key.to_owned(), value: value.to_owned() };
        let config =
            ContainerConfig { envs: vec![variable("A", "a=b"), variable("C", "")], ..Default::default() };
        let command = resolve(&config, &image).unwrap();
        assert_eq!(command.env, ["A=a=b", "B=2", "C="]);
        assert_eq!(command.cwd, Path::new("/srv"));
        let config = ContainerConfig { working_dir: "/w".to_owned(), ..Default::default() };
        assert_eq!(resolve(&config, &image).unwrap().cwd, Path::new("/w"));
        for (key, value) in [("", "x"), ("a=b", "x"), ("a", "x\0y")] {
            let config = ContainerConfig { envs: vec![variable(key, value)], ..Default::default() };
            assert!(resolve(&config, &image).is_err(), "{key:?}");
        }
    }
}
