//! One run of a program: started in a clean environment, watched by a deadline, its result kept for assertions.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a command may take unless the test says otherwise.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long output may stay open after the program ended; longer means that something it started still lives.
const OUTPUT_GRACE: Duration = Duration::from_secs(5);
/// A command that has not started.
#[derive(Debug)]
pub struct Command {
    inner: std::process::Command,
    input: Vec<u8>,
    deadline: Duration,
}

impl Command {
    /// A command with an environment of nothing but `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        let mut inner = std::process::Command::new(program);
        inner.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        Command { inner, input: Vec::new(), deadline: DEADLINE }
    }

    /// Adds arguments.
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, arguments: I) -> Command {
        self.inner.args(arguments);
        self
    }

    /// Adds one argument.
    pub fn arg(self, argument: impl AsRef<OsStr>) -> Command {
        self.args([argument])
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Command {
        self.inner.env(name, value);
        self
    }

    /// Sets the working folder.
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Command {
        self.inner.current_dir(folder);
        self
    }

    /// Feeds `input` to standard input, which is empty otherwise.
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Command {
        self.input = input.into();
        self
    }

    /// Allows another time than a minute.
    pub fn deadline(mut self, deadline: Duration) -> Command {
        self.deadline = deadline;
        self
    }

    /// The standard library's command, for what this type does not offer (descriptors, process groups).
    pub fn inner(&mut self) -> &mut std::process::Command {
        &mut self.inner
    }

    /// Runs to the end.
    ///
    /// # Panics
    /// If it cannot start, misses its deadline (it is killed then), or something keeps its output open.
    pub fn run(self) -> Outcome {
        self.spawn().wait()
    }

    /// Starts it in the background; it is killed if the test drops it.
    ///
    /// # Panics
    /// If it cannot start.
    pub fn spawn(mut self) -> Running {
        let input = std::mem::take(&mut self.input);
        let mut running = self.spawn_interactive();
        running.send(&input);
        running.close_stdin();
        running
    }

    /// Starts it with standard input kept open: see [`Running::send`] and [`Running::close_stdin`].
    ///
    /// # Panics
    /// If it cannot start.
    pub fn spawn_interactive(mut self) -> Running {
        let line = self.line();
        self.inner.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.inner.spawn().unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        let stdin = child.stdin.take();
        let stdout = Stream::collect(child.stdout.take());
        let stderr = Stream::collect(child.stderr.take());
        Running { child, line, stdin, stdout, stderr, ends: Instant::now() + self.deadline, done: false }
    }

    fn line(&self) -> String {
        let program = Path::new(self.inner.get_program());
        let name = program.file_name().unwrap_or(program.as_os_str());
        let words = std::iter::once(name).chain(self.inner.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
    }
}

/// A command in the background.
#[derive(Debug)]
pub struct Running {
    child: Child,
    line: String,
    stdin: Option<ChildStdin>,
    stdout: Stream,
    stderr: Stream,
    ends: Instant,
    done: bool,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input; that it already ended is seen by its result, not here.
    pub fn send(&mut self, input: &[u8]) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(input).and_then(|()| stdin.flush());
        }
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it was already waited for.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.line));
    }

    /// What it has written to standard output so far.
    pub fn stdout_so_far(&self) -> String {
        self.stdout.text()
    }

    /// What it has written to standard error so far.
    pub fn stderr_so_far(&self) -> String {
        self.stderr.text()
    }

    /// Waits until standard output contains `text`.
    ///
    /// # Panics
    /// If it does not before the deadline or the end of the program.
    pub fn wait_for_stdout(&mut self, text: &str) {
        while !self.stdout.text().contains(text) {
            // What an ended program wrote may still be on its way to us.
            let ended = matches!(self.child.try_wait(), Ok(Some(_)))
                && self.stdout.finish(Instant::now() + OUTPUT_GRACE)
                && !self.stdout.text().contains(text);
            if ended || Instant::now() > self.ends {
                let stderr = self.stderr.text();
                panic!(
                    "{} never wrote {text:?}\nstdout: {}\nstderr: {stderr}",
                    self.line,
                    self.stdout.text()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// At the deadline, or when something keeps its output open after its end.
    pub fn wait(mut self) -> Outcome {
        let mut pause = Duration::from_micros(200);
        let status = loop {
            match self.child.try_wait().expect("waiting for a child cannot fail") {
                Some(status) => break status,
                None if Instant::now() > self.ends => {
                    let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
                    panic!("{} missed its deadline\nstdout: {stdout}\nstderr: {stderr}", self.line);
                }
                None => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        self.done = true;
        let grace = Instant::now() + OUTPUT_GRACE;
        for (name, stream) in [("stdout", &mut self.stdout), ("stderr", &mut self.stderr)] {
            assert!(stream.finish(grace), "{}: something still holds its {name} after it ended", self.line);
        }
        Outcome {
            line: self.line.clone(),
            status,
            stdout: self.stdout.bytes(),
            stderr: String::from_utf8_lossy(&self.stderr.bytes()).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The end of a command, with assertions that show the whole of it when they fail. They chain.
#[derive(Debug)]
pub struct Outcome {
    line: String,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: String,
}

impl Outcome {
    /// The exit code; a signal counts as 128 plus its number, as in a shell.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Standard output as text.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as bytes.
    pub fn stdout_bytes(&self) -> &[u8] {
        &self.stdout
    }

    /// Standard error as text.
    pub fn stderr(&self) -> &str {
        &self.stderr
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// If it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| self.fail(&format!("no JSON: {error}")))
    }

    /// Asserts exit code 0.
    #[track_caller]
    pub fn succeeds(&self) -> &Outcome {
        self.exits(0)
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Outcome {
        if self.code() == code { self } else { self.fail(&format!("expected exit code {code}")) }
    }

    /// Asserts an exit code, and that the message names everything in `words` in one complaint of ours.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) -> &Outcome {
        words.iter().fold(self.exits(code), |outcome, word| outcome.stderr_has(word))
    }

    /// Asserts standard output exactly.
    #[track_caller]
    pub fn stdout_is(&self, text: &str) -> &Outcome {
        if self.stdout() == text { self } else { self.fail(&format!("expected stdout {text:?}")) }
    }

    /// Asserts that standard output contains `text`.
    #[track_caller]
    pub fn stdout_has(&self, text: &str) -> &Outcome {
        if self.stdout().contains(text) { self } else { self.fail(&format!("expected {text:?} in stdout")) }
    }

    /// Asserts that standard output does not contain `text`.
    #[track_caller]
    pub fn stdout_lacks(&self, text: &str) -> &Outcome {
        if self.stdout().contains(text) {
            self.fail(&format!("expected no {text:?} in stdout"))
        } else {
            self
        }
    }

    /// Asserts that standard error contains `text`.
    #[track_caller]
    pub fn stderr_has(&self, text: &str) -> &Outcome {
        if self.stderr.contains(text) { self } else { self.fail(&format!("expected {text:?} in stderr")) }
    }

    /// Asserts that standard error does not contain `text`.
    #[track_caller]
    pub fn stderr_lacks(&self, text: &str) -> &Outcome {
        if self.stderr.contains(text) { self.fail(&format!("expected no {text:?} in stderr")) } else { self }
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        let (code, stdout, stderr) = (self.code(), self.stdout(), &self.stderr);
        panic!(
            "{what}\n  command: {}\n  exit code: {code}\n  stdout: {stdout}\n  stderr: {stderr}",
            self.line
        )
    }
}

/// Polls until `condition` holds; a test never sleeps a fixed time.
///
/// # Panics
/// With `what` after ten seconds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let ends = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < ends, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An output being read by a thread of its own, so that a program never blocks on a full pipe.
#[derive(Debug)]
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn collect(source: Option<impl Read + Send + 'static>) -> Stream {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = source.map(|mut source| {
            std::thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                while let Ok(count @ 1..) = source.read(&mut buffer) {
                    sink.lock().expect("no reader panics").extend_from_slice(&buffer[..count]);
                }
            })
        });
        Stream { bytes, reader }
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().expect("no reader panics").clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Whether the end of the output was seen before `until`.
    fn finish(&mut self, until: Instant) -> bool {
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) {
            if Instant::now() > until {
                return false;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        self.reader.take().is_none_or(|reader| reader.join().is_ok())
    }
}
