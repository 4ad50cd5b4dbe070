//! What callers ask a monitor for, and its wire form.

use super::super::wire::{self, Message, Packet};
use super::DecodeError;

/// What callers ask for. Texts are UTF-8 without NUL; a request whose fields do not fit into one packet cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// Opens a conversation: the newest version the caller speaks.
    Hello {
        /// The caller's [`super::VERSION`].
        version: u16,
    },
    /// Asks how a container is.
    Status {
        /// Its id; the monitor's first container when missing.
        container: Option<&'a str>,
    },
    /// Sends a signal.
    Signal {
        /// To whom.
        subject: Subject<'a>,
        /// Signal number, 1 to 64.
        number: u32,
        /// To every process in the container's cgroup, instead of the first process.
        all: bool,
    },
    /// Gives a terminal a new size.
    Resize {
        /// Whose terminal.
        subject: Subject<'a>,
        /// Height in characters.
        rows: u16,
        /// Width in characters.
        columns: u16,
    },
    /// Answered once the container has ended and its end is on disk.
    Wait {
        /// Its id; the monitor's first container when missing.
        container: Option<&'a str>,
    },
    /// Makes a container of the bundle in a folder, up to the gate before its command. Descriptors: its root file
    /// system as a detached mount, and a lock to be held until nothing of the container is left.
    Create(Create<'a>),
    /// Runs the command of a created container; answered when it was executed.
    Start {
        /// Its id.
        container: &'a str,
    },
    /// Runs a further process. The first descriptor is a memory file with the process as in config.json; without a
    /// terminal its descriptors 0, 1 and 2 follow. One for each conversation; what a conversation's exec is sent
    /// afterwards names [`Subject::Exec`].
    Exec(Exec<'a>),
    /// Sends a copy of the container's output from now on, and takes its input. The descriptors are those named in
    /// [`Streams`], in that order: pipes or sockets, of which the monitor gets the far ends. Who does not read them is cut
    /// off: they are closed, and the conversation is told [`super::ErrorKind::TooSlow`] instead of how the container ends.
    Attach(Attach<'a>),
    /// Opens the container's log anew; answered when everything that follows goes there.
    ReopenLog {
        /// Its id.
        container: &'a str,
    },
    /// Makes the process that holds the namespaces of a pod. Descriptor: a lock to be held until it is gone.
    Pause(Pause<'a>),
    /// Kills a container if it still lives; answered when nothing of it is left but its files.
    Delete {
        /// Its id.
        container: &'a str,
    },
    /// Answered at once, and then by one [`super::Reply::Ended`] for each container that ends.
    Watch,
    /// Kills all containers; the monitor ends after its answer.
    Shutdown,
}

/// Whom a signal or size is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// The monitor's first container: all there was in version 1.
    First,
    /// A container by its id.
    Container(&'a str),
    /// The process that this conversation executes.
    Exec,
}

/// See [`Request::Create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create<'a> {
    /// Its id.
    pub container: &'a str,
    /// The folder with its config.json; how it lives is written there as status.json.
    pub folder: &'a str,
    /// Its log, absolute and without links; none when missing.
    pub log: Option<&'a str>,
    /// Length in bytes after which the log is rotated here; never when missing.
    pub log_size: Option<u64>,
    /// How many files a log that is rotated here has at most, at least 1.
    pub log_files: u32,
    /// More about it.
    pub flags: CreateFlags,
}

/// Yes or no about a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CreateFlags {
    /// config.json asks for a terminal.
    pub terminal: bool,
    /// It has a standard input that attached callers write to; else that is empty.
    pub stdin: bool,
    /// Its standard input ends when the first caller with one is gone.
    pub stdin_once: bool,
    /// It is killed when this conversation ends before it was started.
    pub bound: bool,
}

/// See [`Request::Exec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exec<'a> {
    /// Container to run it in.
    pub container: &'a str,
    /// The process asks for a terminal.
    pub terminal: bool,
    /// It is killed when the conversation ends.
    pub bound: bool,
}

/// See [`Request::Attach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attach<'a> {
    /// The container.
    pub container: &'a str,
    /// Which streams.
    pub streams: Streams,
}

/// Standard streams, whose descriptors come in the order of the fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    /// Its input is read from here.
    pub stdin: bool,
    /// Its output, or what its terminal shows, is written here.
    pub stdout: bool,
    /// Its error output is written here.
    pub stderr: bool,
}

/// See [`Request::Pause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause<'a> {
    /// Id of the pod.
    pub pod: &'a str,
    /// The pod's folder; how the process lives is written there as status.json.
    pub folder: &'a str,
    /// Where the network namespace is pinned; the monitor's own, which is the host's, when missing.
    pub network_namespace: Option<&'a str>,
    /// Host name of a UTS namespace of its own; the host's when missing.
    pub hostname: Option<&'a str>,
    /// Its cgroup.
    pub cgroup: &'a str,
    /// Kernel parameters, `name=value` each, separated by line ends.
    pub sysctls: Option<&'a str>,
    /// Which namespaces are its own.
    pub flags: PauseFlags,
}

/// Namespaces of a pod beyond network and host name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PauseFlags {
    /// A PID namespace, whose first process and reaper it is.
    pub pid: bool,
    /// An IPC namespace.
    pub ipc: bool,
}

/// Writes `request` as a packet; [`Packet::overflowed`] tells whether it may be sent.
pub fn encode_request(request: &Request<'_>, sequence: u32) -> Packet {
    let new = |kind| Packet::new(kind, sequence);
    let of = |kind, container| new(kind).text(wire::TAG_CONTAINER, container);
    match *request {
        Request::Hello { version } => new(wire::HELLO).number(wire::TAG_VERSION, u32::from(version)),
        Request::Status { container } => of(wire::STATUS, container),
        Request::Signal { subject, number, all } => {
            let packet = subject_fields(new(wire::SIGNAL).number(wire::TAG_NUMBER, number), subject);
            if all { packet.number(wire::TAG_ALL | super::CRITICAL, 1) } else { packet }
        }
        Request::Resize { subject, rows, columns } => subject_fields(
            new(wire::RESIZE)
                .number(wire::TAG_ROWS, u32::from(rows))
                .number(wire::TAG_COLUMNS, u32::from(columns)),
            subject,
        ),
        Request::Wait { container } => of(wire::WAIT, container),
        Request::Create(create) => create_fields(of(wire::CREATE, Some(create.container)), &create),
        Request::Start { container } => of(wire::START, Some(container)),
        Request::Exec(exec) => of(wire::EXEC, Some(exec.container))
            .number(wire::TAG_FLAGS, bits([exec.terminal, exec.bound, false, false])),
        Request::Attach(Attach { container, streams }) => of(wire::ATTACH, Some(container))
            .number(wire::TAG_FLAGS, bits([streams.stdin, streams.stdout, streams.stderr, false])),
        Request::ReopenLog { container } => of(wire::REOPEN_LOG, Some(container)),
        Request::Pause(pause) => pause_fields(of(wire::PAUSE, Some(pause.pod)), &pause),
        Request::Delete { container } => of(wire::DELETE, Some(container)),
        Request::Watch => new(wire::WATCH),
        Request::Shutdown => new(wire::SHUTDOWN),
    }
}

/// Reads a request and its sequence number.
pub fn decode_request(bytes: &[u8]) -> Result<(u32, Request<'_>), DecodeError> {
    let message = Message::parse(bytes)?;
    let container = || message.required(wire::TAG_CONTAINER, "container");
    let maybe_container = || message.text(wire::TAG_CONTAINER, "container");
    let request = match message.kind {
        wire::HELLO => Request::Hello { version: message.small(wire::TAG_VERSION, "version")? },
        wire::STATUS => Request::Status { container: maybe_container()? },
        wire::SIGNAL => Request::Signal {
            subject: subject(&message)?,
            number: message
                .number(wire::TAG_NUMBER)
                .filter(|number| (1..=64).contains(number))
                .ok_or(message.bad("signal number"))?,
            all: message.number(wire::TAG_ALL).is_some_and(|all| all != 0),
        },
        wire::RESIZE => Request::Resize {
            subject: subject(&message)?,
            rows: message.small(wire::TAG_ROWS, "rows")?,
            columns: message.small(wire::TAG_COLUMNS, "columns")?,
        },
        wire::WAIT => Request::Wait { container: maybe_container()? },
        wire::CREATE => Request::Create(create(&message)?),
        wire::START => Request::Start { container: container()? },
        wire::EXEC => {
            let [terminal, bound, ..] = flags(&message);
            Request::Exec(Exec { container: container()?, terminal, bound })
        }
        wire::ATTACH => {
            let [stdin, stdout, stderr, _] = flags(&message);
            Request::Attach(Attach { container: container()?, streams: Streams { stdin, stdout, stderr } })
        }
        wire::REOPEN_LOG => Request::ReopenLog { container: container()? },
        wire::PAUSE => Request::Pause(pause(&message)?),
        wire::DELETE => Request::Delete { container: container()? },
        wire::WATCH => Request::Watch,
        wire::SHUTDOWN => Request::Shutdown,
        _ => return Err(message.unsupported()),
    };
    Ok((message.sequence, request))
}

fn subject_fields(packet: Packet, subject: Subject<'_>) -> Packet {
    match subject {
        Subject::First => packet,
        Subject::Container(id) => packet.field(wire::TAG_CONTAINER, id.as_bytes()),
        // An older monitor would send the container what is meant for the exec.
        Subject::Exec => packet.number(wire::TAG_EXEC | super::CRITICAL, 1),
    }
}

fn subject<'a>(message: &Message<'a>) -> Result<Subject<'a>, DecodeError> {
    if message.number(wire::TAG_EXEC).is_some() {
        return Ok(Subject::Exec);
    }
    let container = message.text(wire::TAG_CONTAINER, "container")?;
    Ok(container.map_or(Subject::First, Subject::Container))
}

fn create_fields(packet: Packet, create: &Create<'_>) -> Packet {
    let CreateFlags { terminal, stdin, stdin_once, bound } = create.flags;
    let packet = packet
        .field(wire::TAG_FOLDER, create.folder.as_bytes())
        .text(wire::TAG_LOG, create.log)
        .number(wire::TAG_LOG_FILES, create.log_files)
        .number(wire::TAG_FLAGS, bits([terminal, stdin, stdin_once, bound]));
    match create.log_size {
        Some(size) => packet.long(wire::TAG_LOG_SIZE, size),
        None => packet,
    }
}

fn create<'a>(message: &Message<'a>) -> Result<Create<'a>, DecodeError> {
    let [terminal, stdin, stdin_once, bound] = flags(message);
    Ok(Create {
        container: message.required(wire::TAG_CONTAINER, "container")?,
        folder: message.required(wire::TAG_FOLDER, "folder")?,
        log: message.text(wire::TAG_LOG, "log")?,
        log_size: message.long(wire::TAG_LOG_SIZE),
        log_files: message.number(wire::TAG_LOG_FILES).unwrap_or(1),
        flags: CreateFlags { terminal, stdin, stdin_once, bound },
    })
}

fn pause_fields(packet: Packet, pause: &Pause<'_>) -> Packet {
    packet
        .field(wire::TAG_FOLDER, pause.folder.as_bytes())
        .text(wire::TAG_NETWORK_NAMESPACE, pause.network_namespace)
        .text(wire::TAG_HOSTNAME, pause.hostname)
        .field(wire::TAG_CGROUP, pause.cgroup.as_bytes())
        .text(wire::TAG_SYSCTLS, pause.sysctls)
        .number(wire::TAG_FLAGS, bits([pause.flags.pid, pause.flags.ipc, false, false]))
}

fn pause<'a>(message: &Message<'a>) -> Result<Pause<'a>, DecodeError> {
    let [pid, ipc, ..] = flags(message);
    Ok(Pause {
        pod: message.required(wire::TAG_CONTAINER, "pod")?,
        folder: message.required(wire::TAG_FOLDER, "folder")?,
        network_namespace: message.text(wire::TAG_NETWORK_NAMESPACE, "network namespace")?,
        hostname: message.text(wire::TAG_HOSTNAME, "host name")?,
        cgroup: message.required(wire::TAG_CGROUP, "cgroup")?,
        sysctls: message.text(wire::TAG_SYSCTLS, "kernel parameters")?,
        flags: PauseFlags { pid, ipc },
    })
}

/// The first flag is the lowest bit.
fn bits(flags: [bool; 4]) -> u32 {
    flags.iter().rev().fold(0, |bits, flag| bits << 1 | u32::from(*flag))
}

fn flags(message: &Message<'_>) -> [bool; 4] {
    let bits = message.number(wire::TAG_FLAGS).unwrap_or(0);
    [0, 1, 2, 3].map(|bit| bits >> bit & 1 == 1)
}
