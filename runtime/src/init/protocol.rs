//! What parent and child say to each other, and an end of the channel for each.
//!
//! Packets over a socket pair: one byte that names the message, then its data; a terminal travels as a descriptor.
//! Each side has only its own verbs.

use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use super::{Step, StepFailure};
use crate::error::{Error, Result};
use crate::hooks::{HookFailure, Point};

const IDS_MAPPED: u8 = b'i';
const START: u8 = b's';
const READY: u8 = b'r';
const CONSOLE: u8 = b'c';
const BORN: u8 = b'b';
const HOOKS_DUE: u8 = b'h';
const HOOKS_DONE: u8 = b'd';
const DEVICES_DUE: u8 = b'n';
const DEVICES_MOVED: u8 = b'm';
const LISTENER: u8 = b'l';
const LISTENER_TAKEN: u8 = b't';
const DEBUG: u8 = b'g';
const MOUNT_TO_MAP: u8 = b'm';
const MOUNT_MAPPED: u8 = b'n';
const BINDS_DUE: u8 = b'w';
const BINDS: u8 = b'v';
const FAILED_STEP: u8 = b'f';
const FAILED_COMMAND: u8 = b'x';
const FAILED_HOOK: u8 = b'k';
const FAILED_SPEC: u8 = b'p';
/// Longest message: a failure with a path in it.
const LONGEST: usize = 4096;
/// The words of a failure are cut to this, so that a reader takes it in one piece.
const LONGEST_WORDS: usize = 3000;
/// Most descriptors of a message; the kernel takes 253.
const MOST_DESCRIPTORS: usize = 64;

/// Why the child gives up.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A step failed.
    Step(StepFailure),
    /// The command cannot be run.
    Command(CommandFailure),
    /// A hook failed.
    Hook(HookFailure),
    /// A field of config.json asks for what is not there or not allowed, which only the child could find out.
    Spec { path: String, reason: String },
}

/// Why a command cannot be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommandFailure {
    /// What is wrong.
    pub(crate) reason: CommandReason,
    /// The command as given.
    pub(crate) command: String,
}

/// What is wrong with a command; the words are those that engines know from runc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum CommandReason {
    NotInPath,
    Missing,
    PermissionDenied,
    IsDirectory,
    Format,
    Loop,
    Interpreter,
}

impl CommandReason {
    const ALL: [CommandReason; 7] = [
        CommandReason::NotInPath,
        CommandReason::Missing,
        CommandReason::PermissionDenied,
        CommandReason::IsDirectory,
        CommandReason::Format,
        CommandReason::Loop,
        CommandReason::Interpreter,
    ];
}

impl From<StepFailure> for Failure {
    fn from(failure: StepFailure) -> Failure {
        Failure::Step(failure)
    }
}

impl From<HookFailure> for Failure {
    fn from(failure: HookFailure) -> Failure {
        Failure::Hook(failure)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        let CommandFailure { reason, command } = match failure {
            Failure::Step(failure) => return Error::Step(failure),
            Failure::Hook(failure) => return Error::Hook(failure),
            Failure::Spec { path, reason } => return Error::Spec { path, reason },
            Failure::Command(failure) => failure,
        };
        let words = match reason {
            CommandReason::NotInPath => "executable file not found in $PATH".to_owned(),
            CommandReason::Missing => format!("stat {command}: no such file or directory"),
            CommandReason::PermissionDenied => "permission denied".to_owned(),
            // Engines look for the second half, the errno that executing it would give.
            CommandReason::IsDirectory => "is a directory: permission denied".to_owned(),
            CommandReason::Format => "exec format error".to_owned(),
            CommandReason::Interpreter => {
                format!("exec {command}: no such file or directory; it is there, what is to run it is not")
            }
            CommandReason::Loop => "too many levels of symbolic links".to_owned(),
        };
        match reason {
            CommandReason::NotInPath | CommandReason::Missing | CommandReason::Interpreter => {
                Error::CommandNotFound { command, reason: words }
            }
            _ => Error::NotExecutable { command, reason: words },
        }
    }
}

impl Failure {
    /// The failure as a message: its kind, what failed, a number, and words.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let text;
        let (kind, what, number, words) = match self {
            Failure::Step(step) => (FAILED_STEP, step.step as u8, step.errno.raw_os_error(), &step.object),
            Failure::Hook(hook) => (FAILED_HOOK, hook.point as u8, hook.index as i32, &hook.reason),
            Failure::Command(command) => (FAILED_COMMAND, command.reason as u8, 0, &command.command),
            Failure::Spec { path, reason } => {
                text = format!("{path}\0{reason}");
                (FAILED_SPEC, 0, 0, &text)
            }
        };
        let mut bytes = vec![kind, what];
        bytes.extend(number.to_le_bytes());
        bytes.extend(&words.as_bytes()[..words.len().min(LONGEST_WORDS)]);
        bytes
    }

    /// Reads a message of failure.
    pub(crate) fn decode(message: &[u8]) -> Option<Failure> {
        let ([kind, what], rest) = message.split_first_chunk()?;
        let (number, words) = rest.split_first_chunk()?;
        let (what, number) = (usize::from(*what), i32::from_le_bytes(*number));
        let words = String::from_utf8_lossy(words).into_owned();
        match *kind {
            FAILED_STEP => Some(Failure::Step(StepFailure {
                step: *Step::ALL.get(what)?,
                object: words,
                errno: Errno::from_raw_os_error(number),
            })),
            FAILED_HOOK => {
                let point = *Point::ALL.get(what)?;
                Some(Failure::Hook(HookFailure { point, index: number as u32, reason: words }))
            }
            FAILED_COMMAND => {
                let reason = *CommandReason::ALL.get(what)?;
                Some(Failure::Command(CommandFailure { reason, command: words }))
            }
            FAILED_SPEC => {
                let (path, reason) = words.split_once('\0')?;
                Some(Failure::Spec { path: path.to_owned(), reason: reason.to_owned() })
            }
            _ => None,
        }
    }
}

/// Makes the two ends.
pub(crate) fn channel() -> Result<(ParentEnd, ChildEnd)> {
    let (parent, child) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(Error::system("create", "a socket pair"))?;
    Ok((ParentEnd(parent), ChildEnd(child)))
}

/// What the child says while it is being set up.
#[derive(Debug)]
pub(crate) enum FromChild {
    /// All is set up.
    Ready,
    /// The terminal's master.
    Console(OwnedFd),
    /// It waits for network devices of the host.
    DevicesDue,
    /// It waits for the hooks that its creator runs.
    HooksDue,
    /// The number, in the child, of the descriptor that answers its filter's calls.
    Listener(i32),
    /// It waits for the ids of this detached mount to be mapped, that of the mount with this number.
    MountToMap(u32, OwnedFd),
    /// It waits for the sources of the binds from this number on, of so many.
    BindsDue(u32, u32),
    /// A sibling of the sender goes on in its place (joined user namespace).
    Born(OwnedFd),
    /// It gives up.
    Failed(Failure),
    /// It is gone without a word.
    Gone,
}

/// The parent's end.
#[derive(Debug)]
pub(crate) struct ParentEnd(OwnedFd);

impl ParentEnd {
    /// The descriptor, for whoever takes over this end ([`ParentEnd::from_descriptor`]).
    pub(crate) fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// The end that another process of ours had.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> ParentEnd {
        ParentEnd(descriptor)
    }

    /// The descriptor, to be watched.
    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The id maps are written.
    pub(crate) fn ids_mapped(&self) -> Result<()> {
        self.send(IDS_MAPPED)
    }

    /// The network devices that the child waits for are there.
    pub(crate) fn devices_moved(&self) -> Result<()> {
        self.send(DEVICES_MOVED)
    }

    /// The hooks that the child waits for have run.
    pub(crate) fn hooks_done(&self) -> Result<()> {
        self.send(HOOKS_DONE)
    }

    /// The listener was handed on.
    pub(crate) fn listener_taken(&self) -> Result<()> {
        self.send(LISTENER_TAKEN)
    }

    /// The ids of the mount that the child waits for are mapped.
    pub(crate) fn mount_mapped(&self) -> Result<()> {
        self.send(MOUNT_MAPPED)
    }

    /// Hands over the sources of the binds that the child waits for.
    pub(crate) fn binds(&self, sources: &[OwnedFd]) -> Result<()> {
        let sources: Vec<_> = sources.iter().map(AsFd::as_fd).collect();
        send_all(self.0.as_fd(), &[BINDS], &sources)
            .map_err(Error::system("hand over", "the sources of bind mounts"))
    }

    /// The child may pass its gate.
    pub(crate) fn start(&self) -> Result<()> {
        self.send(START)
    }

    /// Lets the child through its gate and waits until it executed its command: then the channel closes by itself. So
    /// it does when the child dies on the way, which whoever waits for the child will see.
    pub(crate) fn start_and_follow(&self) -> Result<()> {
        self.start()?;
        match self.receive()? {
            FromChild::Failed(failure) => Err(failure.into()),
            _ => Ok(()),
        }
    }

    /// The next message. What the child tells for the log goes there.
    pub(crate) fn receive(&self) -> Result<FromChild> {
        let mut buffer = [0; LONGEST];
        let (length, descriptor) = loop {
            let (length, descriptor) = receive(self.0.as_fd(), &mut buffer)
                .map_err(Error::system("read from", "the container's first process"))?;
            match &buffer[..length] {
                [DEBUG, message @ ..] => log::debug!("{}", String::from_utf8_lossy(message)),
                _ => break (length, descriptor),
            }
        };
        Ok(match (&buffer[..length], descriptor) {
            ([], _) => FromChild::Gone,
            ([READY], _) => FromChild::Ready,
            ([DEVICES_DUE], _) => FromChild::DevicesDue,
            ([HOOKS_DUE], _) => FromChild::HooksDue,
            ([LISTENER, a, b, c, d], _) => FromChild::Listener(i32::from_le_bytes([*a, *b, *c, *d])),
            ([MOUNT_TO_MAP, a, b, c, d], Some(tree)) => {
                FromChild::MountToMap(u32::from_le_bytes([*a, *b, *c, *d]), tree)
            }
            ([BINDS_DUE, a, b, c, d, e, f, g, h], _) => {
                let number = |bytes| u32::from_le_bytes(bytes);
                FromChild::BindsDue(number([*a, *b, *c, *d]), number([*e, *f, *g, *h]))
            }
            ([CONSOLE], Some(master)) => FromChild::Console(master),
            ([BORN], Some(pidfd)) => FromChild::Born(pidfd),
            (message, _) => match Failure::decode(message) {
                Some(failure) => FromChild::Failed(failure),
                None => FromChild::Gone,
            },
        })
    }

    fn send(&self, message: u8) -> Result<()> {
        match rustix::net::send(&self.0, &[message], SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            // The reader will find why.
            Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::system("write to", "the container's first process")(errno)),
        }
    }
}

/// The child's end.
#[derive(Debug)]
pub(crate) struct ChildEnd(OwnedFd);

impl ChildEnd {
    /// The descriptor, to be kept open.
    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Waits until the id maps are written.
    pub(crate) fn wait_ids_mapped(&self) -> Result<(), StepFailure> {
        self.wait(IDS_MAPPED, "id maps")
    }

    /// Waits until the command may run.
    pub(crate) fn wait_start(&self) -> Result<(), StepFailure> {
        self.wait(START, "the start")
    }

    /// Lets the creator move network devices to where this process is, and waits until they are there.
    pub(crate) fn get_devices(&self) -> Result<(), StepFailure> {
        self.send(&[DEVICES_DUE], None, "network devices")?;
        self.wait(DEVICES_MOVED, "network devices")
    }

    /// Lets the creator run its hooks, and waits until they have run.
    pub(crate) fn run_hooks(&self) -> Result<(), StepFailure> {
        self.send(&[HOOKS_DUE], None, "hooks")?;
        self.wait(HOOKS_DONE, "hooks")
    }

    /// Lets the creator map the ids of a detached mount, which takes rights on its file system, and waits until it has.
    pub(crate) fn map_mount(&self, number: u32, tree: BorrowedFd<'_>) -> Result<(), StepFailure> {
        let mut message = [MOUNT_TO_MAP, 0, 0, 0, 0];
        message[1..].copy_from_slice(&number.to_le_bytes());
        self.send(&message, Some(tree), "an id-mapped mount")?;
        self.wait(MOUNT_MAPPED, "an id-mapped mount")
    }

    /// Asks for the sources of the binds from number `first` on, and takes what the creator gives: all of `count`, or as
    /// many of them as a message holds.
    pub(crate) fn take_binds(&self, first: u32, count: u32) -> Result<Vec<OwnedFd>, StepFailure> {
        let count = count.min(MOST_DESCRIPTORS as u32);
        let mut message = [BINDS_DUE, 0, 0, 0, 0, 0, 0, 0, 0];
        message[1..5].copy_from_slice(&first.to_le_bytes());
        message[5..].copy_from_slice(&count.to_le_bytes());
        self.send(&message, None, "bind mounts")?;
        let failed = || StepFailure::of(Step::Talk, "bind mounts");
        let mut answer = [0];
        let (length, sources) = receive_all(self.0.as_fd(), &mut answer).map_err(failed())?;
        match length {
            0 => Err(failed()(Errno::PIPE)),
            _ if answer == [BINDS] && sources.len() == count as usize => Ok(sources),
            _ => Err(failed()(Errno::PROTO)),
        }
    }

    /// Tells of the listener of the filter that was just loaded, and waits until somebody has it. By write(2), the one call
    /// that such a filter must not hand over: nobody could answer yet.
    pub(crate) fn pass_listener(&self, listener: &OwnedFd) -> Result<(), StepFailure> {
        let mut message = [LISTENER, 0, 0, 0, 0];
        message[1..].copy_from_slice(&listener.as_raw_fd().to_le_bytes());
        rustix::io::write(&self.0, &message).map_err(StepFailure::of(Step::Talk, "the seccomp listener"))?;
        self.wait(LISTENER_TAKEN, "the seccomp listener")
    }

    /// Reports that all is set up.
    pub(crate) fn ready(&self) -> Result<(), StepFailure> {
        self.send(&[READY], None, "readiness")
    }

    /// Hands the terminal's master over.
    pub(crate) fn console(&self, master: BorrowedFd<'_>) -> Result<(), StepFailure> {
        self.send(&[CONSOLE], Some(master), "the terminal")
    }

    /// Tells a step for the log, if anybody asked for such. Nothing may follow the loading of the last filter.
    pub(crate) fn debug(&self, message: fmt::Arguments<'_>) {
        if log::log_enabled!(log::Level::Debug) {
            let mut bytes = vec![DEBUG];
            bytes.extend(message.to_string().into_bytes());
            bytes.truncate(LONGEST);
            // A creator that does not listen any more misses nothing that it asked for.
            let _ = rustix::net::send(&self.0, &bytes, SendFlags::NOSIGNAL);
        }
    }

    /// Tells of the sibling that goes on.
    pub(crate) fn born(&self, pidfd: BorrowedFd<'_>) -> Result<(), StepFailure> {
        self.send(&[BORN], Some(pidfd), "the new process")
    }

    /// Tells why it gives up. Nobody is left to hear of a failure to do so.
    pub(crate) fn failed(&self, failure: &Failure) {
        let _ = rustix::net::send(&self.0, &failure.encode(), SendFlags::NOSIGNAL);
    }

    fn wait(&self, expected: u8, about: &str) -> Result<(), StepFailure> {
        let failed = StepFailure::of(Step::Talk, about);
        let mut message = [0];
        loop {
            match rustix::net::recv(&self.0, &mut message, RecvFlags::empty()) {
                Ok((1, _)) if message[0] == expected => return Ok(()),
                Ok((0, _)) => return Err(failed(Errno::PIPE)),
                Ok(_) => return Err(failed(Errno::PROTO)),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }

    fn send(
        &self,
        message: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
        about: &str,
    ) -> Result<(), StepFailure> {
        send_with(self.0.as_fd(), message, descriptor).map_err(StepFailure::of(Step::Talk, about))
    }
}

/// Sends a message, and with it possibly a descriptor.
pub(crate) fn send_with(
    socket: BorrowedFd<'_>,
    message: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(), Errno> {
    send_all(socket, message, descriptor.as_slice())
}

fn send_all(socket: BorrowedFd<'_>, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::MSGSIZE);
    }
    let data = [IoSlice::new(message)];
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(socket, &data, &mut control, SendFlags::NOSIGNAL))
        .map(drop)
}

fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Option<OwnedFd>), Errno> {
    let (length, descriptors) = receive_all(socket, buffer)?;
    Ok((length, descriptors.into_iter().next()))
}

fn receive_all(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut data = [IoSliceMut::new(buffer)];
        let received = match rustix::net::recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => received,
            Err(Errno::INTR) => continue,
            // The child was killed with a message of ours unread.
            Err(Errno::CONNRESET) => return Ok((0, Vec::new())),
            Err(errno) => return Err(errno),
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        return Ok((received.bytes, descriptors));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        let (parent, child) = channel().unwrap();
        parent.ids_mapped().unwrap();
        child.wait_ids_mapped().unwrap();
        parent.start().unwrap();
        child.wait_start().unwrap();
        child.ready().unwrap();
        assert!(matches!(parent.receive().unwrap(), FromChild::Ready));
        child.console(child.handle()).unwrap();
        assert!(matches!(parent.receive().unwrap(), FromChild::Console(_)));
        child.born(child.handle()).unwrap();
        assert!(matches!(parent.receive().unwrap(), FromChild::Born(_)));
        parent.mount_mapped().unwrap();
        child.map_mount(300, child.handle()).unwrap();
        assert!(matches!(parent.receive().unwrap(), FromChild::MountToMap(300, _)));
        let sources: Vec<_> =
            (0..MOST_DESCRIPTORS).map(|_| child.handle().try_clone_to_owned().unwrap()).collect();
        parent.binds(&sources).unwrap();
        assert_eq!(child.take_binds(7, 1000).unwrap().len(), MOST_DESCRIPTORS);
        assert!(matches!(parent.receive().unwrap(), FromChild::BindsDue(7, 64)));
        drop(sources);
        let step = StepFailure { step: Step::Mount, object: "x".repeat(9000), errno: Errno::PERM };
        child.failed(&Failure::Step(step));
        assert!(matches!(parent.receive().unwrap(), FromChild::Failed(Failure::Step(_))));
        for reason in CommandReason::ALL {
            child.failed(&Failure::Command(CommandFailure { reason, command: "a".to_owned() }));
            let FromChild::Failed(Failure::Command(got)) = parent.receive().unwrap() else { panic!() };
            assert_eq!(got.reason, reason);
        }
        child.failed(&Failure::Spec { path: "root.path".to_owned(), reason: "x".repeat(9000) });
        let FromChild::Failed(Failure::Spec { path, reason }) = parent.receive().unwrap() else { panic!() };
        assert!(path == "root.path" && reason.starts_with("xx"));
        drop(child);
        assert!(matches!(parent.receive().unwrap(), FromChild::Gone));
        parent.start().unwrap();
    }

    #[test]
    fn failures_cross_as_data() {
        let crossed = |failure: Failure| Failure::decode(&failure.encode()).unwrap();
        for &step in Step::ALL {
            let failure = StepFailure { step, object: "proc at /proc".to_owned(), errno: Errno::PERM };
            assert!(matches!(crossed(Failure::Step(failure.clone())), Failure::Step(got) if got == failure));
        }
        for point in Point::ALL {
            let failure = HookFailure { point, index: u32::MAX, reason: "x".to_owned() };
            assert!(matches!(crossed(Failure::Hook(failure.clone())), Failure::Hook(got) if got == failure));
        }
        for message in
            [&[][..], &[FAILED_STEP, 0, 1, 0], &[FAILED_STEP, 250, 1, 0, 0, 0], &[FAILED_HOOK, 9, 0, 0, 0, 0]]
        {
            assert!(Failure::decode(message).is_none(), "{message:?}");
        }
    }

    #[test]
    fn an_unexpected_word_is_refused() {
        let (parent, child) = channel().unwrap();
        parent.start().unwrap();
        assert_eq!(child.wait_ids_mapped().unwrap_err().errno, Errno::PROTO);
        drop(parent);
        assert_eq!(child.wait_start().unwrap_err().errno, Errno::PIPE);
    }
}
