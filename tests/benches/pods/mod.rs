//! Pods with the host's network, ours beside containerd's: how long one takes to start, and what many of them occupy.

mod containerd;
mod memory;
mod server;

use std::time::Duration;

use anyhow::Context;

use self::containerd::Containerd;
use self::memory::Memory;
use self::server::Server;
use crate::contest::{Contestant, compare_parts};
use crate::interrupt;
use crate::table::{Amount, Row, Target};
use crate::world::World;

/// The whole, and its parts.
const WHATS: &[&str] = &[
    "a pod with a container on the host's network",
    "... RunPodSandbox",
    "... CreateContainer",
    "... StartContainer",
];
/// How long servers and keepers get to give back what only starting took.
const SETTLE: Duration = Duration::from_secs(3);
const KB: u64 = 1024;

/// A pod's start takes at most a quarter of containerd's; of many pods each occupies at most 700 KB in all, 350 KB of
/// that anonymous in its keeper and pause process.
pub fn pods(world: &World, rounds: usize, count: usize) -> anyhow::Result<Vec<Row>> {
    let peer = Containerd::prepare(world);
    let mut rows = starts(world, peer.as_ref(), rounds)?;
    let ours = rest(ours(world)?, count).context("rcri")?;
    let peer = peer.map(|peer| rest(peer.serve(world)?, count).context("containerd")).transpose()?;
    rows.extend(memory_rows(ours, peer, count));
    world.remove_cgroup();
    for left in world.left() {
        println!("left behind by pods: {left}");
    }
    Ok(rows)
}

fn ours(world: &World) -> anyhow::Result<Server> {
    let socket = world.path().join("rcri.sock");
    let listen = format!("unix://{}", socket.display());
    let cni = world.path().join("cni").display().to_string();
    let command = world.ours("rcri", &["--listen", &listen, "--cni-conf-dir", &cni, "--cni-bin-dir", &cni]);
    Server::launch(world, command, &socket, || Ok(()))
}

fn starts(world: &World, peer: Option<&Containerd>, rounds: usize) -> anyhow::Result<Vec<Row>> {
    let Some(peer) = peer else { return Ok(Vec::new()) };
    let contestant = |name, server: Server| {
        Contestant::timed(name, move |run| {
            let (pod, times) = server.start_pod(run)?;
            server.remove_pod(&pod)?;
            Ok(times)
        })
    };
    let contestants = vec![contestant("rcri", ours(world)?), contestant("containerd", peer.serve(world)?)];
    compare_parts(WHATS, contestants, &[0.25], rounds)
}

/// What a fresh server takes with that many pods.
fn rest(server: Server, count: usize) -> anyhow::Result<Memory> {
    let started = (0..count).map(|number| {
        interrupt::check()?;
        server.start_pod(number).map(|(pod, _)| pod)
    });
    let pods = started.collect::<anyhow::Result<Vec<_>>>()?;
    std::thread::sleep(SETTLE);
    let memory = memory::measure(&server, &pods);
    for pod in &pods {
        server.remove_pod(pod)?;
    }
    memory
}

fn memory_rows(ours: Memory, peer: Option<Memory>, count: usize) -> Vec<Row> {
    let row = |what: &str, amount: fn(Memory) -> u64, target| Row {
        what: what.to_owned(),
        how: format!("{count} pods"),
        ours: Amount::Memory(amount(ours)),
        peer: peer.map(|peer| ("containerd".to_owned(), Amount::Memory(amount(peer)))),
        target,
    };
    let at_most = |kilobytes| Target::AtMost(Amount::Memory(kilobytes * KB));
    vec![
        row("a pod's share of server, monitors and pauses (PSS)", |memory| memory.per_pod, at_most(700)),
        row("... of the server", |memory| memory.server_per_pod, Target::PartOfAbove),
        row("a pod's monitor and pause (Pss_Anon)", |memory| memory.anonymous, at_most(350)),
    ]
}
