//! The actions that workflows use, each by the commit of a version: a tag can be moved.

use serde::Serialize;

/// `OWNER/NAME@COMMIT # VERSION` of each, as `uses:` takes it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Actions {
    checkout: &'static str,
    upload_artifact: &'static str,
    download_artifact: &'static str,
    setup_uv: &'static str,
    setup_python: &'static str,
    setup_node: &'static str,
    setup_buildx: &'static str,
    docker_login: &'static str,
    auth: &'static str,
    trivy: &'static str,
    attest: &'static str,
    attest_provenance: &'static str,
}

pub(super) const ACTIONS: Actions = Actions {
    checkout: "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    upload_artifact: "actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1",
    download_artifact: "actions/download-artifact@3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c # v8.0.1",
    setup_uv: "astral-sh/setup-uv@85856786d1ce8acfbcc2f13a5f3fbd6b938f9f41 # v7.1.2",
    setup_python: "actions/setup-python@e797f83bcb11b83ae66e0230d6156d7c80228e7c # v6.0.0",
    setup_node: "actions/setup-node@2028fbc5c25fe9cf00d9f06a71cc4710d4507903 # v6.0.0",
    setup_buildx: "docker/setup-buildx-action@bb05f3f5519dd87d3ba754cc423b652a5edd6d2c # v4.2.0",
    docker_login: "docker/login-action@dbcb813823bdd20940b903addbd779551569679f # v4.6.0",
    auth: "google-github-actions/auth@7c6bc770dae815cd3e89ee6cdf493a5fab2cc093 # v3.0.0",
    trivy: "aquasecurity/trivy-action@ed142fd0673e97e23eac54620cfb913e5ce36c25 # v0.36.0",
    attest: "actions/attest@1e69f48acb82d1966a394da916b4c1698aa569d6 # v4.2.2",
    attest_provenance: "actions/attest-build-provenance@0f67c3f4856b2e3261c31976d6725780e5e4c373 # v4.1.1",
};
