//! Where output goes: data, plans and reports to standard output, everything else to standard error.
//!
//! With `--output json` standard output holds exactly one JSON document for each command, whether it
//! succeeds or fails, and with `--output markdown` one text; what people want to read meanwhile still goes
//! to standard error.

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde_json::Value;

use super::errors::message_human;
use super::grouping::Detail;
use super::runner::Runner;
use super::style::{Color, PIPED_WIDTH, Style, Tone};

/// The form of what a command answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Human,
    /// One JSON document for programs
    Json,
    /// GitHub-flavoured markdown, for a comment on a pull request
    Markdown,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Text(String),
    /// Standard input is no terminal, or it ended.
    NobodyThere,
}

type Sink = Mutex<Box<dyn Write + Send>>;

/// The only way to standard output and standard error. Clones share both.
#[derive(Clone)]
pub struct Out {
    inner: Arc<Inner>,
}

struct Inner {
    format: Format,
    detail: Detail,
    stdout: Sink,
    stderr: Sink,
    style: Style,
    notes: Style,
    live: bool,
    bars: MultiProgress,
    /// The one document of this command has been written.
    answered: AtomicBool,
    lost: AtomicBool,
    /// GitHub Actions, where it runs this process.
    runner: Option<Runner>,
}

impl Out {
    /// Output of this process.
    pub fn new(color: Color, format: Format, detail: Detail) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let (colored, notes_colored) = (choice(color, &stdout), choice(color, &stderr));
        let style = style(colored, stdout.is_terminal(), terminal_size::terminal_size_of(&stdout));
        let notes = style_of_notes(notes_colored, &stderr);
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let live = stderr.is_terminal() && !dumb;
        Self::over(
            (format, detail),
            Box::new(AutoStream::new(stdout, colored)),
            Box::new(AutoStream::new(stderr, notes_colored)),
            (style, notes),
            live,
            Runner::of(|name| std::env::var(name).ok()),
        )
    }

    fn over(
        (format, detail): (Format, Detail),
        stdout: Box<dyn Write + Send>,
        stderr: Box<dyn Write + Send>,
        (style, notes): (Style, Style),
        live: bool,
        runner: Option<Runner>,
    ) -> Self {
        let target = if live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let (stdout, stderr) = (Mutex::new(stdout), Mutex::new(stderr));
        let answered = AtomicBool::new(false);
        let lost = AtomicBool::new(false);
        let inner =
            Inner { format, detail, stdout, stderr, style, notes, live, bars, answered, lost, runner };
        Self { inner: Arc::new(inner) }
    }

    pub fn format(&self) -> Format {
        self.inner.format
    }

    /// The runner of GitHub Actions that is told of problems and results, where there is one.
    pub(super) fn runner(&self) -> Option<&Runner> {
        self.inner.runner.as_ref()
    }

    /// Problems are about files in `root` from now on.
    pub fn works_in(&self, root: &std::path::Path) {
        if let Some(runner) = self.runner() {
            runner.works_in(root);
        }
    }

    /// Adds markdown to the summary of the step, in GitHub Actions.
    pub fn summary(&self, text: &str) {
        let written = self.runner().map_or(Ok(()), |runner| runner.summary(text));
        self.told("summary", &written);
    }

    /// Gives the step outputs, in GitHub Actions.
    pub(super) fn outputs(&self, outputs: &[(&str, String)]) {
        let written = self.runner().map_or(Ok(()), |runner| runner.outputs(outputs));
        self.told("outputs", &written);
    }

    /// What the runner is not told changes nothing of what was done.
    fn told(&self, what: &str, written: &io::Result<()>) {
        if let Err(error) = written {
            self.warning(&format!("the {what} of this step cannot be written: {error}"));
        }
    }

    /// How much of a large plan people want to see.
    pub(super) fn detail(&self) -> Detail {
        self.inner.detail
    }

    /// How text on standard output is to look.
    pub fn style(&self) -> &Style {
        &self.inner.style
    }

    /// How text on standard error is to look.
    pub fn notes_style(&self) -> &Style {
        &self.inner.notes
    }

    /// Data for standard output, as it is.
    pub fn text(&self, text: &str) {
        if !self.inner.bars.suspend(|| write(&self.inner.stdout, text)) {
            self.inner.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Some of the answer could not be written, e.g. to a full disk.
    pub fn lost(&self) -> bool {
        self.inner.lost.load(Ordering::Relaxed)
    }

    /// A line of data. In JSON it goes to standard error, because standard output holds one document only.
    pub fn line(&self, text: &str) {
        match self.inner.format {
            Format::Human | Format::Markdown => self.text(&format!("{text}\n")),
            Format::Json => self.status(text),
        }
    }

    /// The JSON document that answers the command. Only the first one is written.
    pub fn json(&self, document: &Value) {
        self.once(&format!("{document:#}\n"));
    }

    /// The markdown that answers the command. Only the first one is written.
    pub(super) fn markdown(&self, text: &str) {
        self.once(text);
    }

    fn once(&self, text: &str) {
        if !self.inner.answered.swap(true, Ordering::Relaxed) {
            self.text(text);
        }
    }

    /// A line on standard error: what happens just now.
    pub fn status(&self, text: &str) {
        self.note(&format!("{text}\n"));
    }

    /// `warning: ...` on standard error.
    pub fn warning(&self, text: &str) {
        self.note(&self.inner.notes.labelled(Tone::Warning, "warning", text));
    }

    /// `error: ...` and `hint: ...` on standard error.
    pub fn error(&self, message: &str, hints: &[String]) {
        self.note(&message_human(message, hints, &self.inner.notes));
    }

    /// Asks on standard error and reads a line from standard input.
    pub fn ask(&self, question: &str) -> Answer {
        if !io::stdin().is_terminal() {
            return Answer::NobodyThere;
        }
        self.note(question);
        let mut text = String::new();
        match io::stdin().lock().read_line(&mut text) {
            Ok(0) | Err(_) => Answer::NobodyThere,
            Ok(_) => Answer::Text(text.trim_end_matches(['\n', '\r']).to_owned()),
        }
    }

    /// Text for standard error that brings its own line ends.
    pub(super) fn note(&self, text: &str) {
        self.inner.bars.suspend(|| write(&self.inner.stderr, text));
    }

    /// Lines that move are shown.
    pub(super) fn live(&self) -> bool {
        self.inner.live
    }

    pub(super) fn bars(&self) -> &MultiProgress {
        &self.inner.bars
    }
}

/// Whether the text has arrived. A reader that went away (`| head`) has what it wanted.
fn write(sink: &Sink, text: &str) -> bool {
    let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
    match sink.write_all(text.as_bytes()).and_then(|()| sink.flush()) {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::BrokenPipe,
    }
}

fn choice(color: Color, stream: &impl anstream::stream::RawStream) -> ColorChoice {
    match color {
        Color::Auto => AutoStream::choice(stream),
        Color::Always => ColorChoice::Always,
        Color::Never => ColorChoice::Never,
    }
}

type Size = Option<(terminal_size::Width, terminal_size::Height)>;

fn style(color: ColorChoice, terminal: bool, size: Size) -> Style {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|n| *n > 20);
    let measured = size.filter(|_| terminal).map(|(terminal_size::Width(width), _)| usize::from(width));
    Style {
        color: color != ColorChoice::Never,
        width: columns.or(measured).unwrap_or(PIPED_WIDTH),
        wrap: terminal,
    }
}

fn style_of_notes(color: ColorChoice, stderr: &io::Stderr) -> Style {
    style(color, stderr.is_terminal(), terminal_size::terminal_size_of(stderr))
}

impl fmt::Debug for Out {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out").field("format", &self.inner.format).finish_non_exhaustive()
    }
}

/// Output into memory, for the tests of the views.
#[cfg(test)]
pub(super) mod captured {
    use super::*;

    #[derive(Clone, Debug, Default)]
    pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Buffer {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An output with its standard output and standard error.
    pub(crate) fn out(format: Format) -> (Out, Buffer, Buffer) {
        let (stdout, stderr) = (Buffer::default(), Buffer::default());
        let styles = (Style::PLAIN, Style::PLAIN);
        let out = Out::over(
            (format, Detail::Grouped),
            Box::new(stdout.clone()),
            Box::new(stderr.clone()),
            styles,
            false,
            None,
        );
        (out, stdout, stderr)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn standard_output_holds_one_json_document_only() {
        let (out, stdout, stderr) = captured::out(Format::Json);
        out.line("a line for people");
        out.json(&json!({"a": 1}));
        out.json(&json!({"b": 2}));
        assert_eq!(serde_json::from_str::<Value>(&stdout.text()).unwrap(), json!({"a": 1}));
        assert_eq!(stderr.text(), "a line for people\n");
    }

    #[test]
    fn messages_go_to_standard_error() {
        let (out, stdout, stderr) = captured::out(Format::Human);
        out.error("it cannot be done", &["do something else".to_owned()]);
        out.warning("it is odd");
        out.status("waiting");
        assert_eq!(stdout.text(), "");
        insta::assert_snapshot!(stderr.text(), @r"
        error: it cannot be done
        hint: do something else
        warning: it is odd
        waiting
        ");
    }

    #[test]
    fn a_pipe_has_no_colour_and_no_wrapping() {
        let piped = style(ColorChoice::Never, false, None);
        assert!(!piped.wrap && !piped.color);
    }
}
