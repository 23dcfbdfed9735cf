//! `serve`: the API, until SIGTERM or Ctrl-C.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, header};
use futures::StreamExt as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

use super::CommandError;
use crate::http::Peer;
use crate::service::App;
use crate::settings::{Environment, Settings};
use crate::store::database::Database;
use crate::{http, telemetry};

/// Cloud Run kills 10 s after SIGTERM. What is in flight gets most of that, closing connections the rest.
const GRACE: Duration = Duration::from_millis(8500);

/// How long open connections still bring requests after SIGTERM, each answered with the word that it is the last one. A request that
/// is on its way at that moment would otherwise find its connection closed.
const FAREWELL: Duration = Duration::from_millis(500);

/// Longest time that a client may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Args {
    /// Port to listen on, instead of PORT
    #[arg(long)]
    pub(super) port: Option<u16>,
}

pub(super) async fn run(args: &Args, mut settings: Settings) -> Result<(), CommandError> {
    settings.port = args.port.unwrap_or(settings.port);
    telemetry::install(&settings);
    let app = open(&settings).await?;
    let listener = listen(Ipv4Addr::UNSPECIFIED, settings.port).await?;
    until_asked(listener, app, &settings).await;
    Ok(())
}

/// The application on a database that may be served from.
pub(super) async fn open(settings: &Settings) -> Result<Arc<App>, CommandError> {
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    let app = Arc::new(App::new(settings)?);
    prepare(app.database(), settings).await?;
    Ok(app)
}

/// Takes a port; the system chooses one for 0.
pub(super) async fn listen(address: Ipv4Addr, port: u16) -> Result<TcpListener, CommandError> {
    let listening = TcpListener::bind((address, port)).await;
    listening.map_err(|source| CommandError::Listen { port, source })
}

/// Serves until somebody asks the process to stop, and closes the database.
pub(super) async fn until_asked(listener: TcpListener, app: Arc<App>, settings: &Settings) {
    let port = listener.local_addr().map_or(settings.port, |address| address.port());
    tracing::info!(port, "listening");
    serve(listener, http::router(Arc::clone(&app), settings), stop_asked()).await;
    // Idle connections of the database close at once; one that hangs must not hold up the end.
    drop(tokio::time::timeout(Duration::from_millis(500), app.database().close()).await);
}

/// Checks what must hold before anything is served, and migrates where that is wanted.
pub async fn prepare(database: &Database, settings: &Settings) -> Result<(), CommandError> {
    let role = database.check_runtime_role(settings.owner_role()).await?;
    let production = settings.environment == Environment::Production;
    let objection = if production { role.objection_in_production() } else { role.objection() };
    if let Some(objection) = objection {
        return Err(CommandError::Refused(objection));
    }
    if settings.migrate_on_start {
        database.migrate_shared().await?;
        let mut migrated = pin!(database.migrate_tenants().await?);
        while let Some(done) = migrated.next().await {
            // One broken tenant must not keep the others from being served; `doctor` says what is wrong with it.
            if let Err(error) = done {
                tracing::error!(error = crate::error_chain(&error), "a tenant's schema was not migrated");
            }
        }
    }
    Ok(())
}

/// Serves until `stop` is done, then finishes what is in flight, for [`GRACE`] at most.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let graceful = GracefulShutdown::new();
    let stopping = Arc::new(AtomicBool::new(false));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok(connection) => answer(connection, &server, &graceful, router.clone(), Arc::clone(&stopping)),
            // Out of file descriptors, mostly: they come back when connections end.
            Err(error) => {
                tracing::error!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    stopping.store(true, Ordering::Release);
    for connection in accepted_already(listener) {
        answer(connection, &server, &graceful, router.clone(), Arc::clone(&stopping));
    }
    tracing::info!("stopping");
    if graceful.count() > 0 {
        tokio::time::sleep(FAREWELL).await;
    }
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests in flight were given up");
    }
}

/// The connections that the system has accepted and nobody has taken yet. Closes the port: with it they would be lost.
fn accepted_already(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    // The port does not block: without a connection this is an error at once.
    std::iter::from_fn(|| listener.accept().ok())
        .filter_map(|(stream, peer)| {
            stream.set_nonblocking(true).ok()?;
            Some((TcpStream::from_std(stream).ok()?, peer))
        })
        .collect()
}

fn answer(
    (stream, peer): (TcpStream, SocketAddr),
    server: &http1::Builder,
    graceful: &GracefulShutdown,
    router: Router,
    stopping: Arc<AtomicBool>,
) {
    // Without it a small answer may wait for the acknowledgement of the one before; failing to set it costs that only.
    drop(stream.set_nodelay(true));
    let (router, peer) = (TowerToHyperService::new(router), Peer(peer.ip()));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let (answer, stopping) = (router.call(request), Arc::clone(&stopping));
        async move {
            let mut response = answer.await?;
            if stopping.load(Ordering::Acquire) {
                // Clients that keep connections make another one, elsewhere.
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = server.serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

/// Done when somebody asks the process to stop.
async fn stop_asked() {
    let interrupt = async {
        // A handler that cannot be installed never fires.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_nobody_has_taken_yet_is_not_lost() {
        let listener = listen(Ipv4Addr::LOCALHOST, 0).await.unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).await.unwrap();
        let taken = accepted_already(listener);
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].1, client.local_addr().unwrap());
        assert!(TcpStream::connect(address).await.is_err());
    }
}
