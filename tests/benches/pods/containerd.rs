//! containerd as Debian ships it, with everything it makes below one temporary folder.
//!
//! It runs in a mount namespace of its own where `/run` is that folder's: shims and runc have their sockets and state
//! at fixed paths there, and what it mounts goes with its last process.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::json;
use sha2::{Digest, Sha256};
use tests::{busybox_archive, missing_need};

use super::server::Server;
use crate::contest::quiet;
use crate::world::World;

/// Not the Kubernetes image, which would have to be pulled, but the same thing: a static C program of some 700 KB that
/// waits.
const PAUSE: &str = include_str!("pause.c");

/// A place to run it, with the archives of its images.
#[derive(Debug)]
pub struct Containerd {
    folder: PathBuf,
}

impl Containerd {
    /// Prepares it, and says so if it is missing or does not work here.
    pub fn prepare(world: &World) -> Option<Containerd> {
        if let Some(missing) = missing_need(&["containerd", "gcc"]) {
            println!("skipped: {missing} not found");
            return None;
        }
        let containerd = Containerd { folder: world.path().join("containerd") };
        let works = containerd.fill().and_then(|()| {
            let server = containerd.serve(world)?;
            let (pod, _) = server.start_pod(0)?;
            server.remove_pod(&pod)
        });
        match works {
            Ok(()) => Some(containerd),
            Err(error) => {
                println!("skipped: containerd: {error:#}");
                None
            }
        }
    }

    /// Starts it.
    pub fn serve(&self, world: &World) -> anyhow::Result<Server> {
        let socket = self.folder.join("containerd.sock");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(r#"mount --bind "$1" /run && exec containerd --config "$2""#).arg("sh");
        command.arg(self.folder.join("run")).arg(self.folder.join("config.toml"));
        Server::launch(world, command, &socket, || {
            for archive in ["busybox.tar", "pause.tar"] {
                let mut import = Command::new("ctr");
                import.arg("--address").arg(&socket).args(["--namespace", "k8s.io", "images", "import"]);
                import.arg(self.folder.join(archive));
                quiet(import)?;
            }
            Ok(())
        })
    }

    /// The configuration, and the images as archives.
    fn fill(&self) -> anyhow::Result<()> {
        let folder = &self.folder;
        fs::create_dir_all(folder.join("run"))
            .with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(folder.join("config.toml"), config(folder))
            .with_context(|| format!("cannot write in {}", folder.display()))?;
        let cmd = json!({"Cmd": ["sh"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]});
        archive(&folder.join("busybox.tar"), "busybox", &cmd, busybox_archive())?;

        let (source, program) = (folder.join("pause.c"), folder.join("pause"));
        fs::write(&source, PAUSE).with_context(|| format!("cannot write {}", source.display()))?;
        let mut compile = Command::new("gcc");
        compile.args(["-Os", "-Wall", "-static", "-s", "-o"]).arg(&program).arg(&source);
        quiet(compile)?;
        let layer = folder.join("pause-layer.tar");
        let mut pack = Command::new("tar");
        pack.arg("-cf").arg(&layer).arg("-C").arg(folder).arg("pause");
        quiet(pack)?;
        archive(&folder.join("pause.tar"), "pause", &json!({"Entrypoint": ["/pause"]}), &layer)
    }
}

/// As it comes, but for: places; pauses that keep the score of whoever starts them, since lowering it takes
/// CAP_SYS_RESOURCE, which a machine may lack.
fn config(folder: &Path) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    format!(
        r#"version = 2
root = "{root}"
state = "{state}"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/pause:latest"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  conf_dir = "{cni}"
"#,
        root = at("root"),
        state = at("state"),
        socket = at("containerd.sock"),
        opt = at("opt"),
        cni = at("cni"),
    )
}

/// Writes an image of one layer as `docker save` does.
fn archive(path: &Path, name: &str, config: &serde_json::Value, layer: &Path) -> anyhow::Result<()> {
    let mut content = Vec::new();
    File::open(layer)
        .and_then(|mut file| file.read_to_end(&mut content))
        .with_context(|| format!("cannot read {}", layer.display()))?;
    let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = json!([{
        "Config": "config.json",
        "RepoTags": [format!("docker.io/library/{name}:latest")],
        "Layers": ["layer.tar"],
    }]);
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    let mut archive = tar::Builder::new(file);
    let (config, manifest) = (config.to_string(), manifest.to_string());
    for (name, bytes) in
        [("config.json", config.as_bytes()), ("layer.tar", &content), ("manifest.json", manifest.as_bytes())]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes)?;
    }
    archive.finish().with_context(|| format!("cannot write {}", path.display()))
}
