//! A client of the Container Runtime Interface, as the kubelet is one: for our `rcri` and for its peers.
//!
//! It blocks, because tests and benches are straight lines; a server that does not answer ends a call, not a test run.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use k8s_cri::v1::VersionRequest;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

/// The kubelet's own patience with a runtime.
const DEADLINE: Duration = Duration::from_secs(120);

/// A connection to a server.
pub struct Client {
    reactor: Runtime,
    channel: Channel,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to the server on this socket, which gets `patience` to be there and to answer.
    pub fn connect(socket: &Path, patience: Duration) -> anyhow::Result<Client> {
        let ends = Instant::now() + patience;
        loop {
            let attempt = Client::attempt(socket);
            if attempt.is_ok() || Instant::now() > ends {
                return attempt.with_context(|| format!("cannot reach a CRI server at {}", socket.display()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn attempt(socket: &Path) -> anyhow::Result<Client> {
        // One thread: what is measured with it must not depend on where the scheduler puts another one.
        let reactor = Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let channel = reactor.block_on(endpoint.connect())?;
        let client = Client { reactor, channel };
        client.wait(client.runtime().version(VersionRequest::default()))?;
        Ok(client)
    }

    /// Pods and containers. The stubs are cheap to make; hand what they return to [`Client::wait`].
    pub fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone())
    }

    /// Images.
    pub fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    /// The answer to a call.
    pub fn wait<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
        let answer = self.reactor.block_on(async { tokio::time::timeout(DEADLINE, call).await });
        match answer {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded(format!("no answer within {DEADLINE:?}"))),
        }
    }
}
