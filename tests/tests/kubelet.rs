//! An unmodified kubelet in standalone mode over `rcri`: a static pod of two containers that share localhost and a folder.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_cri::v1::{ListContainersRequest, ListPodSandboxRequest};
use rustix::mount::{UnmountFlags, unmount};
use tests::{Rcri, Running, Sandbox, needs, peer, write_network};

/// How long the kubelet gets for what it does every second or so.
const PATIENCE: Duration = Duration::from_secs(60);

/// Parameters of the kernel that a kubelet sets for its host.
const SYSCTLS: [&str; 3] = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"];

/// A kubelet with folders and ports of its own; what it changes on the host is put back.
struct Kubelet {
    running: Option<Running>,
    folder: std::path::PathBuf,
    port: u16,
    sysctls: Vec<String>,
}

impl Kubelet {
    fn start(sandbox: &Sandbox, server: &Rcri) -> Kubelet {
        let ports: Vec<TcpListener> =
            (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("loopback has ports")).collect();
        let number = |at: usize| ports[at].local_addr().expect("it is bound").port();
        let folder = sandbox.folder("kubelet");
        let at = |name: &str| sandbox.folder(format!("kubelet/{name}")).display().to_string();
        let config = serde_json::json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": format!("unix://{}", server.socket().display()),
            "staticPodPath": at("manifests"),
            "podLogsDir": at("logs"),
            "fileCheckFrequency": "1s",
            "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
            "authorization": {"mode": "AlwaysAllow"},
            "readOnlyPort": number(0), "port": number(1), "healthzPort": number(2),
            "failCgroupV1": false, "failSwapOn": false, "makeIPTablesUtilChains": false,
            "cgroupsPerQOS": false, "enforceNodeAllocatable": [],
            "podCIDR": "10.100.0.0/24",
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%",
                "imagefs.available": "1%"},
        });
        let config = sandbox.write("kubelet/config.json", config.to_string());
        let port = number(0);
        drop(ports);
        let sysctls = SYSCTLS.map(read_sysctl).to_vec();
        let command = sandbox.command(peer("kubelet").expect("it was found before"));
        let running = command
            .arg("--config")
            .arg(config)
            .args(["--root-dir", &at("root"), "--cert-dir", &at("certificates")])
            .args(["--hostname-override", "node", "-v", "2"])
            .deadline(Duration::from_secs(300))
            .spawn();
        Kubelet { running: Some(running), folder, port, sysctls }
    }

    /// Asks the read-only port.
    fn ask(&self, path: &str) -> Option<serde_json::Value> {
        use std::io::{Read, Write};
        let mut connection = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(connection, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// Asks until the answer pleases.
    fn eventually(&self, what: &str, mut pleases: impl FnMut(&Kubelet) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !pleases(self) {
            let words = || self.running.as_ref().map(Running::stderr_so_far).unwrap_or_default();
            assert!(Instant::now() < deadline, "{what}; the kubelet says:\n{}", words());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What the container of the pod wrote.
    fn log(&self, container: &str) -> String {
        let logs = self.folder.join("logs");
        let pods = std::fs::read_dir(logs).into_iter().flatten().flatten();
        let texts = pods.map(|pod| std::fs::read_to_string(pod.path().join(container).join("0.log")));
        texts.flatten().collect()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal(rustix::process::Signal::TERM);
            running.wait();
        }
        // It makes its folder a mount of its own, for volumes that travel.
        let _ = unmount(self.folder.join("root"), UnmountFlags::DETACH);
        for (name, value) in SYSCTLS.iter().zip(&self.sysctls) {
            let _ = std::fs::write(Path::new("/proc/sys").join(name), value);
        }
    }
}

fn read_sysctl(name: &str) -> String {
    std::fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default()
}

const POD: &str = r#"{
  "apiVersion": "v1", "kind": "Pod",
  "metadata": {"name": "two", "namespace": "default"},
  "spec": {
    "terminationGracePeriodSeconds": 1,
    "volumes": [{"name": "shared", "emptyDir": {}}],
    "containers": [
      {"name": "server", "image": "busybox", "imagePullPolicy": "Never",
       "command": ["sh", "-c", "echo from-server > /shared/file; mkdir /w; echo page > /w/index.html; exec httpd -f -p 8080 -h /w"],
       "livenessProbe": {"exec": {"command": ["cat", "/shared/file"]}, "periodSeconds": 1},
       "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]},
      {"name": "client", "image": "busybox", "imagePullPolicy": "Never",
       "command": ["sh", "-c", "until wget -qO- http://127.0.0.1:8080/; do sleep 0.1; done; cat /shared/file; exec sleep 1000"],
       "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    ]
  }
}"#;

#[test]
fn a_static_pod_runs_survives_its_server_and_goes() {
    needs!("root", "cgroup_v1", "cni", "kubelet");
    let sandbox = Sandbox::new();
    sandbox.import_busybox();
    write_network(&sandbox, "");
    let server = Rcri::start(&sandbox);
    let kubelet = Kubelet::start(&sandbox, &server);
    let manifest = sandbox.write("kubelet/manifests/two.json", POD);

    kubelet.eventually("both containers are ready", |kubelet| {
        let pods = kubelet.ask("/pods").unwrap_or_default();
        let statuses =
            pods["items"][0]["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        statuses.len() == 2 && statuses.iter().all(|status| status["ready"] == true)
    });
    kubelet.eventually("they share localhost and the folder", |kubelet| {
        let log = kubelet.log("client");
        log.contains("stdout F page") && log.contains("stdout F from-server")
    });
    let pods = kubelet.ask("/pods").unwrap_or_default();
    let status = &pods["items"][0]["status"];
    assert!(status["podIP"].as_str().is_some_and(|ip| ip.starts_with("10.")), "{status}");
    let listed = sandbox.rrun(["ps", "-a"]).run();
    listed.succeeds().stdout_has("k8s_server_two-node_default_").stdout_has("k8s_POD_two-node_default_");

    // A server that was killed finds what it had: nothing is restarted.
    server.kill();
    let server = Rcri::start(&sandbox);
    std::thread::sleep(Duration::from_secs(4));
    kubelet.eventually("nothing was restarted", |kubelet| {
        let pods = kubelet.ask("/pods").unwrap_or_default();
        let statuses =
            pods["items"][0]["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        statuses.iter().filter(|status| status["ready"] == true && status["restartCount"] == 0).count() == 2
    });

    std::fs::remove_file(manifest).expect("it was written");
    let client = server.client();
    kubelet.eventually("the containers are stopped", |_| {
        let containers = client.wait(client.runtime().list_containers(ListContainersRequest::default()));
        containers.is_ok_and(|list| list.containers.iter().all(|it| it.state != 1))
    });
    drop(kubelet);
    let pods = client
        .wait(client.runtime().list_pod_sandbox(ListPodSandboxRequest::default()))
        .expect("it serves")
        .items;
    for pod in pods {
        client.stop_pod(&pod.id).expect("a pod can be stopped");
        client.remove_pod(&pod.id).expect("a pod can be removed");
    }
    server.stop();
    sandbox.nothing_remains(&[]);
}
