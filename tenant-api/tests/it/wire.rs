//! What stands between the API and a server that all tests share: it can be cut, frozen and mended for one test alone.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A port that leads to a server.
pub struct Wire {
    pub port: u16,
    state: watch::Sender<Line>,
}

/// How a [`Wire`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Whole,
    /// Nothing comes through, and nobody is told.
    Frozen,
    /// Connections are closed, and new ones too.
    Cut,
}

impl Wire {
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, watched) = watch::channel(Line::Whole);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, target, watched.clone()));
            }
        });
        Self { port, state }
    }

    pub fn set(&self, line: Line) {
        self.state.send_replace(line);
    }
}

async fn carry(near: TcpStream, target: u16, mut line: watch::Receiver<Line>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    loop {
        let now = *line.borrow_and_update();
        let (mut up, mut down) = ([0; 4096], [0; 4096]);
        tokio::select! {
            changed = line.changed() => if changed.is_err() { return },
            read = near_in.read(&mut up), if now == Line::Whole => match read {
                Ok(count) if count > 0 => if far_out.write_all(&up[..count]).await.is_err() { return },
                _ => return,
            },
            read = far_in.read(&mut down), if now == Line::Whole => match read {
                Ok(count) if count > 0 => if near_out.write_all(&down[..count]).await.is_err() { return },
                _ => return,
            },
            () = std::future::ready(()), if now == Line::Cut => return,
        }
    }
}
