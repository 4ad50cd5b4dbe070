//! The socket, signals, and the end.
//!
//! The socket is 0600: only the kubelet's user, root, gets in. A stale one is replaced, one that is served is not. At
//! SIGTERM or SIGINT no new request is taken and those under way have some time; pods go on without us.

use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixDatagram, UnixListener as StdListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_cri::v1::image_service_server::ImageServiceServer;
use k8s_cri::v1::runtime_service_server::RuntimeServiceServer;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::node::Node;
use crate::recovery;
use crate::service::{Images, Runtime};

/// Threads for requests; they never wait for anything slow.
const THREADS: usize = 2;
/// Threads that may wait, at most. Each is there for as long as it is needed.
const WAITING_THREADS: usize = 128;
const STACK: usize = 512 << 10;
/// How long an idle one of those stays.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
const BACKLOG: i32 = 128;
/// How long requests under way may take at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// Serves until it is told to stop.
pub fn run(config: Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(WAITING_THREADS)
        .thread_stack_size(STACK)
        .thread_keep_alive(KEEP_ALIVE)
        .thread_name("rcri")
        .enable_all()
        .build()
        .map_err(|error| Error::Internal(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(serve(config));
    // What still waits for a plugin or a monitor is not waited for: the next rcri finds what it leaves.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(config: Config) -> Result<()> {
    let path = config.listen.clone();
    // Before anything of pods is touched: another rcri may be serving them.
    let _lock = lock(&config.state)?;
    let listener = listen(&path)?;
    let node = Node::new(config)?;
    node.blocking(recovery::recover).await?;
    let listener = UnixListener::from_std(listener).map_err(Error::io("listen on", &path))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::io("watch", "SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::io("watch", "SIGINT"))?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = Server::builder()
        .add_service(RuntimeServiceServer::new(Runtime::new(Arc::clone(&node))))
        .add_service(ImageServiceServer::new(Images::new(Arc::clone(&node))))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
            // Dropped is as good as told.
            let _ = stopped.await;
        });
    let mut server = std::pin::pin!(server);
    tell_starter();
    tracing::info!("serving unix://{}", path.display());
    let ended = tokio::select! {
        ended = &mut server => Some(ended),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    let _ = stop.send(());
    let ended = match ended {
        Some(ended) => ended,
        None => {
            tracing::info!("told to stop");
            tokio::time::timeout(DRAIN, &mut server).await.unwrap_or(Ok(()))
        }
    };
    // Who connects from now on shall see that nobody is there.
    let _ = std::fs::remove_file(&path);
    ended.map_err(|error| Error::Internal(format!("the server failed: {error}")))
}

fn listen(path: &Path) -> Result<StdListener> {
    make_folder(path)?;
    let address = SocketAddrUnix::new(path).map_err(Error::io("name", path))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(Error::io("make the socket", path))?;
    // While it has no name: the file never exists with any other mode.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(Error::io("protect", path))?;
    match rustix::net::bind(&socket, &address) {
        Err(Errno::ADDRINUSE) if UnixStream::connect(path).is_ok() => {
            return Err(Error::invalid("listen", format!("somebody serves {} already", path.display())));
        }
        Err(Errno::ADDRINUSE) if !is_socket(path) => {
            let reason = format!("{} is there and no socket: remove it, or listen elsewhere", path.display());
            return Err(Error::invalid("listen", reason));
        }
        Err(Errno::ADDRINUSE) => {
            std::fs::remove_file(path).map_err(Error::io("replace the stale socket", path))?;
            rustix::net::bind(&socket, &address).map_err(Error::io("listen on", path))?;
        }
        bound => bound.map_err(Error::io("listen on", path))?,
    }
    rustix::net::listen(&socket, BACKLOG).map_err(Error::io("listen on", path))?;
    Ok(socket.into())
}

/// Only a socket that nobody serves is replaced: any other file is somebody's.
fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// One server for one state: a second one would undo what the first one is making.
fn lock(state: &Path) -> Result<OwnedFd> {
    let path = state.join("rcri.lock");
    make_folder(&path)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file =
        rustix::fs::openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR).map_err(Error::io("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::AGAIN) => {
            Err(Error::invalid("state", format!("another rcri works with {}", state.display())))
        }
        Err(errno) => Err(Error::io("lock", &path)(errno)),
    }
}

fn make_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder).map_err(Error::io("create", folder))
}

/// Tells systemd, if that started us (`Type=notify`), that requests are served.
fn tell_starter() {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let sent = UnixDatagram::unbound().and_then(|from| from.send_to(b"READY=1", Path::new(&socket)));
    if let Err(error) = sent {
        tracing::warn!("cannot tell {} that we are ready: {error}", Path::new(&socket).display());
    }
}
