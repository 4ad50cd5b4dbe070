//! Costs, for people: `cargo test -p runtime --test confinement -- --timings`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use runtime::cgroup::Hierarchies;
use runtime::security::seccomp::{compile, default_profile};
use runtime::spec::defaults;

use crate::cgroups::Group;
use crate::{child, pause};

/// Long enough for the kernel to forget that a cgroup move was near.
const IDLE: Duration = Duration::from_millis(200);

pub fn print() {
    // Only the first call looks for them.
    let started = Instant::now();
    let _ = black_box(Hierarchies::discover());
    println!("discover hierarchies             {:?}", started.elapsed());
    let warm = Group::new();
    println!("apply default device rules       {:?}", median(20, || drop(warm.cgroup.apply(None).unwrap())));
    for (name, pause) in [("back to back", Duration::ZERO), ("after idling", IDLE)] {
        let mut create = Vec::new();
        let (mut enter, mut join, mut remove) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..12 {
            std::thread::sleep(pause);
            let started = Instant::now();
            let group = Group::new();
            let entrance = group.cgroup.entrance().unwrap();
            create.push(started.elapsed());
            let report = child::start(entrance.clone_target(), |_| {
                let started = Instant::now();
                entrance.enter().unwrap();
                started.elapsed().as_nanos().to_string()
            });
            enter.push(Duration::from_nanos(report.finish().parse().unwrap()));
            let started = Instant::now();
            group.cgroup.remove(IDLE).unwrap();
            remove.push(started.elapsed());
            drop(group);
            std::thread::sleep(pause);
            let group = Group::new();
            let process = child::start(None, |gate| {
                gate.wait();
                String::new()
            });
            let started = Instant::now();
            group.cgroup.join(process.pid).unwrap();
            join.push(started.elapsed());
            process.finish();
        }
        println!(
            "{name}: create and open {:?}, enter {:?}, join instead {:?}, remove {:?}",
            middle(create),
            middle(enter),
            middle(join),
            middle(remove)
        );
    }
    let capabilities = defaults::capabilities();
    let profile = median(20, || drop(black_box(default_profile(&capabilities))));
    let default = default_profile(&capabilities);
    let program = compile(&default).unwrap().0;
    println!("make default profile             {profile:?}");
    println!(
        "compile it                       {:?}, {} instructions",
        median(2000, || drop(black_box(compile(&default)))),
        program.length()
    );
    let key = median(20, || {
        use sha2::Digest;
        black_box(sha2::Sha256::digest(serde_json::to_vec(&default).unwrap()));
    });
    println!("the key that a cache would need  {key:?}");
    let load: Duration = Duration::from_nanos(
        child::run(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let started = Instant::now();
            program.install().unwrap();
            started.elapsed().as_nanos().to_string()
        })
        .parse()
        .unwrap(),
    );
    println!("load it                          {load:?}");
    let start = |mode: &str| {
        let started = Instant::now();
        std::process::Command::new("/proc/self/exe")
            .args(["child", mode])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        started.elapsed()
    };
    let bare = middle((0..20).map(|_| start("bare")).collect());
    let protected = middle((0..20).map(|_| start("protected")).collect());
    println!("start this program               {bare:?} bare, {protected:?} protected");
    print_pause();
}

fn print_pause() {
    let mut times = Vec::new();
    let mut costs = String::new();
    for _ in 0..20 {
        let group = Group::new();
        let started = Instant::now();
        let running = pause::Running::start(pause::request(&group));
        times.push(started.elapsed());
        std::thread::sleep(Duration::from_millis(5));
        let (all, anonymous) = pause::memory(running.pid());
        costs = format!("which has {all} KiB, {anonymous} of them anonymous");
    }
    println!("start a pause process            {:?}, {costs}", middle(times));
}

fn median(rounds: usize, mut work: impl FnMut()) -> Duration {
    middle(
        (0..rounds)
            .map(|_| {
                let started = Instant::now();
                work();
                started.elapsed()
            })
            .collect(),
    )
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
