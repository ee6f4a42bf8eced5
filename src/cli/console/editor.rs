//! The terminal: lines that can be edited, with history and completion.

use std::path::PathBuf;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Behavior, CompletionType, Config, Context, Editor, Helper};

use super::complete::{Completion, Vocabulary};
use super::{entry, history_path};
use crate::io;

const PROMPT: &str = "piref> ";

/// Entries of former consoles that are remembered.
const MAX_HISTORY: usize = 2000;

/// What the user did.
pub(super) enum Line {
    /// Wrote statements or a command, over as many lines as it took.
    Entry(String),
    /// Ctrl-C: what was written is not meant.
    Cancelled,
    /// Ctrl-D.
    End,
}

/// A terminal with a memory.
pub(super) struct LineEditor {
    editor: Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
}

impl LineEditor {
    /// The terminal of the process, even where standard output goes elsewhere.
    pub(super) fn new() -> Result<Self, ReadlineError> {
        let config = Config::builder()
            .max_history_size(MAX_HISTORY)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .behavior(Behavior::PreferTerm)
            .build();
        let mut editor = Editor::with_config(config)?;
        editor.set_helper(Some(Assistant { vocabulary: Vocabulary::default(), paths: FilenameCompleter::new() }));
        // Without a place for it, or a right to write there, the history is of this console alone.
        let history = history_path().filter(|path| path.parent().is_some_and(|folder| io::create_dir(folder).is_ok()));
        if let Some(path) = &history {
            // There is none before the first console.
            _ = editor.load_history(path);
        }
        Ok(Self { editor, history })
    }

    /// The names to complete from now on.
    pub(super) fn learn(&mut self, vocabulary: Vocabulary) {
        if let Some(assistant) = self.editor.helper_mut() {
            assistant.vocabulary = vocabulary;
        }
    }

    /// The next entry.
    pub(super) fn read(&mut self) -> Result<Line, ReadlineError> {
        let entry = match self.editor.readline(PROMPT) {
            Ok(entry) => entry,
            Err(ReadlineError::Interrupted) => return Ok(Line::Cancelled),
            Err(ReadlineError::Eof) => return Ok(Line::End),
            Err(error) => return Err(error),
        };
        if !entry.trim().is_empty() {
            self.editor.add_history_entry(entry.as_str())?;
            if let Some(path) = &self.history
                && self.editor.append_history(path).is_err()
            {
                self.history = None;
            }
        }
        Ok(Line::Entry(entry))
    }
}

/// What helps while a line is written.
struct Assistant {
    vocabulary: Vocabulary,
    paths: FilenameCompleter,
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>), ReadlineError> {
        match self.vocabulary.complete(line, cursor) {
            Completion::Path => self.paths.complete_path(line, cursor),
            Completion::Words { start, words } => {
                let pairs = words.into_iter().map(|word| Pair { display: word.clone(), replacement: word });
                Ok((start, pairs.collect()))
            }
        }
    }
}

impl Validator for Assistant {
    fn validate(&self, ctx: &mut ValidationContext<'_>) -> Result<ValidationResult, ReadlineError> {
        let is_complete = entry::is_complete(ctx.input());
        Ok(if is_complete { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {}

impl Helper for Assistant {}
