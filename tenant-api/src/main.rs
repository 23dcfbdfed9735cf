//! The program `tenant-api`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    tenant_api::commands::run().await
}
