//! Rules of services and revisions, through requests.
mod placeholder {}
