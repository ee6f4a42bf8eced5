//! Forms of rows, and which of them the name of a file asks for.

use std::path::Path;

use crate::query::QueryError;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Lined up, control characters escaped; on a terminal long cells are cut.
    Table,
    /// Comma-separated under a header; lists and structs as JSON, null as nothing.
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// One array of objects; null, NaN and infinities as `null`.
    Json,
    /// One object a line.
    Ndjson,
    /// A table for a README.
    Markdown,
    /// A Parquet file, with the types of the columns.
    #[value(hide = true)]
    Parquet,
    /// An Arrow IPC file, with the types of the columns.
    #[value(hide = true)]
    Arrow,
}

/// How rows are written, and how much of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// Their format.
    pub format: Format,
    /// What `table` shows of a long cell.
    pub cells: Cells,
    /// Rows that `table` shows of an answer at most; the rest is counted.
    pub max_rows: Option<usize>,
}

/// What `table` shows of a long cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// Its beginning: for a terminal.
    Cut,
    /// All of it.
    Whole,
}

impl Form {
    /// All rows, all of each.
    pub fn whole(format: Format) -> Self {
        Self { format, cells: Cells::Whole, max_rows: None }
    }
}

impl Format {
    /// The format of a file of rows, by the extension of its name; `asked` is what the user asked for besides.
    ///
    /// # Errors
    /// If the two contradict each other, or neither says anything: a name without an extension, or `.txt`, is a table.
    pub fn of_file(path: &Path, asked: Option<Self>) -> Result<Self, QueryError> {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        let by_name = extension.as_deref().and_then(Self::of_extension);
        match (by_name, asked) {
            (None, Some(asked)) => Ok(asked),
            (Some(by_name), None) => Ok(by_name),
            (Some(by_name), Some(asked)) if by_name == asked => Ok(asked),
            // `.json` may be lines, and `.txt` any text.
            (Some(Self::Json), Some(Self::Ndjson)) => Ok(Self::Ndjson),
            (Some(Self::Table), Some(asked)) if asked.is_text() => Ok(asked),
            (Some(by_name), Some(asked)) => {
                Err(QueryError::OtherFormat { path: path.to_owned(), by_name: by_name.name(), asked: asked.name() })
            }
            (None, None) if extension.is_none() => Ok(Self::Table),
            (None, None) => Err(QueryError::NoFormat { path: path.to_owned() }),
        }
    }

    /// The format that files of this extension have.
    fn of_extension(extension: &str) -> Option<Self> {
        match extension {
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::Ndjson),
            "parquet" => Some(Self::Parquet),
            "arrow" => Some(Self::Arrow),
            "md" => Some(Self::Markdown),
            "txt" | "log" => Some(Self::Table),
            _ => None,
        }
    }

    /// Whether a terminal can show it.
    pub fn is_text(self) -> bool {
        !matches!(self, Self::Parquet | Self::Arrow)
    }

    /// Whether a file of it holds one answer: a second one would make it unreadable. Of separated values each begins with a
    /// header of its own.
    pub(super) fn holds_one_answer(self) -> bool {
        matches!(self, Self::Json | Self::Parquet | Self::Arrow)
    }

    /// For messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Table => "a table",
            Self::Csv => "CSV",
            Self::Tsv => "TSV",
            Self::Json => "JSON",
            Self::Ndjson => "JSON lines",
            Self::Markdown => "Markdown",
            Self::Parquet => "Parquet",
            Self::Arrow => "Arrow",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_says_the_format_and_a_contradiction_is_refused() {
        let of = |name: &str, asked| Format::of_file(Path::new(name), asked);
        for (name, asked, want) in [
            ("a.csv", None, Format::Csv),
            ("a.TSV", None, Format::Tsv),
            ("a.json", None, Format::Json),
            ("a.jsonl", None, Format::Ndjson),
            ("a.ndjson", Some(Format::Ndjson), Format::Ndjson),
            ("a.json", Some(Format::Ndjson), Format::Ndjson),
            ("a.b.parquet", None, Format::Parquet),
            ("a.arrow", None, Format::Arrow),
            ("README.md", None, Format::Markdown),
            ("a.txt", None, Format::Table),
            ("a.txt", Some(Format::Csv), Format::Csv),
            ("a", None, Format::Table),
            ("a", Some(Format::Csv), Format::Csv),
            ("a.dat", Some(Format::Csv), Format::Csv),
        ] {
            assert_eq!(of(name, asked).unwrap(), want, "{name}");
        }
        assert!(matches!(of("a.csv", Some(Format::Json)), Err(QueryError::OtherFormat { .. })));
        assert!(matches!(of("a.jsonl", Some(Format::Json)), Err(QueryError::OtherFormat { .. })));
        assert!(matches!(of("a.txt", Some(Format::Parquet)), Err(QueryError::OtherFormat { .. })));
        for name in ["a.xlsx", "a.csv.gz"] {
            assert!(matches!(of(name, None), Err(QueryError::NoFormat { .. })), "{name}");
        }
    }
}
