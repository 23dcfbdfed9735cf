//! Markdown that somebody else wrote, cut to a size: whole lines, and what they opened is closed again.

/// The beginning of `text` in at most `limit` bytes, and `note` where something is missing. Blocks of code and
/// `<details>` that are open at the cut are closed, so that what is added behind it stands outside of them.
pub fn cut(text: &str, limit: usize, note: &str) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mut open = Open::default();
    let mut kept = String::new();
    for line in text.split_inclusive('\n') {
        let mut then = open.clone();
        then.line(line);
        let needed =
            kept.len() + line.len() + then.closing().len().max(open.closing().len()) + note.len() + 4;
        if needed > limit {
            break;
        }
        kept.push_str(line);
        open = then;
    }
    kept.push_str(&open.closing());
    format!("{}\n\n{note}\n", kept.trim_end())
}

/// What a text has opened and not closed yet.
#[derive(Clone, Debug, Default)]
struct Open {
    fence: Option<String>,
    details: usize,
}

impl Open {
    fn line(&mut self, line: &str) {
        let line = line.trim();
        let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'));
        let run: String = line.chars().take_while(|c| Some(*c) == mark).collect();
        match &self.fence {
            Some(fence) => {
                if run.starts_with(fence.as_str()) && run == line {
                    self.fence = None;
                }
            }
            None if run.len() >= 3 => self.fence = Some(run),
            None => {
                self.details += line.matches("<details").count();
                self.details = self.details.saturating_sub(line.matches("</details>").count());
            }
        }
    }

    /// What closes all of it.
    fn closing(&self) -> String {
        let fence = self.fence.as_ref().map(|fence| format!("{fence}\n")).unwrap_or_default();
        format!("{fence}{}", "\n</details>\n".repeat(self.details))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_stays_as_it_is() {
        assert_eq!(cut("a\n\n\nb", 6, "cut"), "a\n\n\nb");
    }

    #[test]
    fn a_cut_closes_what_is_open_and_says_so() {
        let text = format!(
            "# Plan\n<details><summary>x</summary>\n\n````diff\n{}````\n</details>\n",
            "+ line\n".repeat(100)
        );
        let short = cut(&text, 200, "*cut*");
        assert!(short.len() <= 200, "{}", short.len());
        assert!(short.ends_with("+ line\n````\n\n</details>\n\n*cut*\n"), "{short}");
    }

    #[test]
    fn a_line_that_is_too_long_goes_as_a_whole() {
        assert_eq!(cut(&format!("head\n{}", "x".repeat(1_000)), 100, "*cut*"), "head\n\n*cut*\n");
    }

    #[test]
    fn a_fence_in_a_fence_opens_nothing() {
        let text = format!("````\n```\n<details>\n````\n{}", "more\n".repeat(50));
        assert!(cut(&text, 100, "*cut*").ends_with("more\n\n*cut*\n"));
    }
}
