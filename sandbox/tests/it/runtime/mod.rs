//! Revisions and jobs as processes, over HTTP.

mod front;
mod jobs;
mod life;
mod releases;
mod sidecars;
mod stage;
mod users;
