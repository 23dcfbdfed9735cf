//! Why a comment could not be written, and what mends it.

/// What went wrong between deployer and GitHub.
#[derive(Debug, thiserror::Error)]
pub enum GithubError {
    /// A variable that each run of GitHub Actions has is not there.
    #[error("{0} is not set: this is no run of GitHub Actions")]
    NotInActions(&'static str),
    /// Workflows have the token only where they hand it on.
    #[error("GITHUB_TOKEN is not set")]
    NoToken,
    /// The event that started the run is about no pull request.
    #[error("this run belongs to no pull request (its event is `{0}`)")]
    NoPullRequest(String),
    /// The description of the event cannot be read.
    #[error("the event of this run cannot be read: {0}")]
    Event(String),
    /// `GITHUB_API_URL` is nothing that a token may be sent to.
    #[error("GITHUB_API_URL is no place to send a token to: {0}")]
    Place(String),
    /// 401.
    #[error("GitHub does not accept the token")]
    Token,
    /// 403 that does not pass by itself.
    #[error("the token of this run may not {doing}: {said}")]
    Forbidden { doing: &'static str, said: String },
    /// 404: the pull request does not exist, or the token sees nothing of it.
    #[error("GitHub shows this token no pull request {number} in {repository}")]
    NotFound { number: u64, repository: String },
    /// 403 or 429 that passes, but not soon.
    #[error("GitHub takes no more requests of this token for {seconds} s")]
    Limited { seconds: u64 },
    /// Any other answer that is no success.
    #[error("GitHub answered {status} when asked to {doing}: {said}")]
    Answered { doing: &'static str, status: u16, said: String },
    /// An answer that is not what GitHub documents.
    #[error("GitHub's answer cannot be read when asked to {doing}: {said}")]
    Unreadable { doing: &'static str, said: String },
    /// No answer.
    #[error("GitHub cannot be reached to {doing}: {said}")]
    Unreachable { doing: &'static str, said: String },
}

impl GithubError {
    /// What to do about it, one step each.
    pub fn hints(&self) -> Vec<String> {
        let one = |hint: &str| vec![hint.to_owned()];
        match self {
            Self::NotInActions(_) => one(
                "run it in a workflow of GitHub Actions; on a laptop, `plan --output markdown` prints the same text",
            ),
            Self::NoToken => one("give the step `env: {GITHUB_TOKEN: \"${{ github.token }}\"}`"),
            Self::NoPullRequest(_) => {
                one("run this step for the event `pull_request` alone, or name the pull request with --pr N")
            }
            Self::Token => one("take `${{ github.token }}` of the same run: it ends with its job"),
            Self::Forbidden { .. } => vec![
                "give the job `permissions: {pull-requests: write}`".to_owned(),
                "a run for a fork or of Dependabot has a token that only reads, whatever the workflow says"
                    .to_owned(),
            ],
            Self::NotFound { .. } => vec![
                "look at the number".to_owned(),
                "give the job `permissions: {pull-requests: write}`: without it, GitHub says the same"
                    .to_owned(),
            ],
            Self::Limited { .. } => one("run the job again after that time"),
            Self::Answered { .. } | Self::Unreachable { .. } => {
                one("run the job again; https://www.githubstatus.com says whether GitHub has trouble")
            }
            Self::Event(_) | Self::Place(_) | Self::Unreadable { .. } => Vec::new(),
        }
    }

    /// Trying again may help: what was asked for may be done or not.
    pub(super) fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Answered { status, .. } => *status >= 500 || *status == 404 || *status == 410,
            _ => false,
        }
    }
}
